//! The `frames` protocol, both sides of it: messages of one line of JSON, each an object with one key, its kind.
//!
//! The server writes `run` and `take_back`; the worker writes `ready`, `done`, `failed`, `returned`, `log` and
//! `progress`, each behind the byte 0x1E (the record separator of RFC 7464), so that a stray print is never taken for an answer.

mod answers;
mod requests;

pub use answers::{
    Answer, BadMessage, Done, Durations, Failed, Log, Progress, Usage, encode_done, encode_failed,
    encode_log, encode_ready, encode_returned,
};
pub use requests::{Request, Run};

/// The version of the protocol that this server speaks.
pub const PROTOCOL_VERSION: u32 = 1;
/// The first byte of every protocol line that a worker writes.
pub const RECORD_SEPARATOR: u8 = 0x1e;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tail_is_asked_for_and_returned() {
        let mut message = Vec::new();
        Request::encode_take_back(&mut message, 40);
        assert!(matches!(Request::decode(&message), Ok(Request::TakeBack { index: 40 })));
        message.clear();
        encode_returned(&mut message, 43);
        assert!(matches!(Answer::decode(&message[1..]), Ok(Answer::Returned { index: 43 })));
    }
}
