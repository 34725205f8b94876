//! What a worker says, written and read.

use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;

use serde::de::value::SeqAccessDeserializer;
use serde::de::{Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{PROTOCOL_VERSION, RECORD_SEPARATOR};
use crate::model::Verdict;
use crate::protocol::json;

/// Worker to server: these tasks have their outputs.
#[derive(Deserialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Done<'a> {
    /// The index of the first.
    pub index: u64,
    /// Their outputs, in order.
    #[serde(borrow)]
    pub outputs: Vec<&'a RawValue>,
    /// How long they took; left out by a worker that does not measure.
    pub ns: Option<Durations>,
    /// What they used, if the worker knows better than what is seen of its own process.
    #[serde(default)]
    pub usage: Usage,
}

/// How long tasks took, in nanoseconds.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Durations {
    /// So long each, as far as the worker knows: a number.
    Alike(u64),
    /// Each its own time: an array.
    Each(Vec<u64>),
}

impl Durations {
    /// How long the task at this place took; 0 if there is none.
    pub fn of(&self, at: usize) -> u64 {
        match self {
            Self::Alike(ns) => *ns,
            Self::Each(ns) => ns.get(at).copied().unwrap_or(0),
        }
    }
}

impl<'de> Deserialize<'de> for Durations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Either;
        impl<'de> Visitor<'de> for Either {
            type Value = Durations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("nanoseconds, or an array of them")
            }

            fn visit_u64<E>(self, ns: u64) -> Result<Durations, E> {
                Ok(Durations::Alike(ns))
            }

            fn visit_seq<A: SeqAccess<'de>>(self, each: A) -> Result<Durations, A::Error> {
                Vec::deserialize(SeqAccessDeserializer::new(each)).map(Durations::Each)
            }
        }
        deserializer.deserialize_any(Either)
    }
}

/// What tasks used, as far as a worker knows it: one that runs them in other processes does.
#[derive(Deserialize, Serialize, Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Usage {
    /// CPU time of all of them together, in nanoseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cpu_ns: Option<u64>,
    /// The most memory that one of them held, in bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_rss_bytes: Option<u64>,
}

impl Usage {
    /// Takes in what another task used.
    pub fn add(&mut self, other: Self) {
        let Self { cpu_ns, max_rss_bytes } = other;
        self.cpu_ns = cpu_ns.map(|ns| self.cpu_ns.unwrap_or(0).saturating_add(ns)).or(self.cpu_ns);
        self.max_rss_bytes = max_rss_bytes.max(self.max_rss_bytes);
    }
}

/// Worker to server: this task has failed.
#[derive(Deserialize, Serialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Failed<'a> {
    /// Its index.
    pub index: u64,
    /// How the attempt ended: `exception` unless the worker knows better.
    #[serde(default = "exception", deserialize_with = "failure")]
    pub verdict: Verdict,
    /// The error's type in the words of the function's language.
    #[serde(rename = "type", borrow, default)]
    pub kind: Option<Cow<'a, str>>,
    /// What went wrong.
    #[serde(borrow)]
    pub message: Cow<'a, str>,
    /// Where.
    #[serde(borrow, default)]
    pub stack: Option<Cow<'a, str>>,
    /// Whether another attempt may help; yes, unless the worker says no.
    #[serde(default = "yes")]
    pub retryable: bool,
    /// How long it took, in nanoseconds.
    #[serde(default)]
    pub ns: Option<u64>,
    /// What it used.
    #[serde(default)]
    pub usage: Usage,
}

/// Worker to server: something a task printed.
#[derive(Deserialize, Serialize, Debug)]
#[serde(deny_unknown_fields)]
pub struct Log<'a> {
    /// The task's index; left out if no task printed it.
    #[serde(default)]
    pub index: Option<u64>,
    /// Where it was printed or how serious it is, such as `stderr` or `warning`.
    #[serde(borrow, default = "log_stream")]
    pub stream: Cow<'a, str>,
    /// The text, one line or more.
    #[serde(borrow)]
    pub text: Cow<'a, str>,
    /// How many bytes before it were dropped.
    #[serde(default)]
    pub dropped_bytes: u64,
}

fn log_stream() -> Cow<'static, str> {
    "log".into()
}

/// Worker to server: how far the task at work is, in units of its own.
#[derive(Deserialize, Serialize, Clone, Copy, PartialEq, Debug)]
#[serde(deny_unknown_fields)]
pub struct Progress {
    /// The task's index.
    pub index: u64,
    /// How much of it is done.
    pub done: f64,
    /// Of how much, if that is known.
    #[serde(default)]
    pub total: Option<f64>,
}

fn yes() -> bool {
    true
}

fn exception() -> Verdict {
    Verdict::Exception
}

/// What a worker may say of a task that has failed; that it was cancelled or interrupted, only the server knows.
const FAILURES: [Verdict; 7] = [
    Verdict::Exception,
    Verdict::Crash,
    Verdict::Timeout,
    Verdict::Oom,
    Verdict::Hang,
    Verdict::OutputTooLarge,
    Verdict::BadOutput,
];

fn failure<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Verdict, D::Error> {
    let word = Cow::<str>::deserialize(deserializer)?;
    FAILURES.into_iter().find(|verdict| verdict.as_str() == word).ok_or_else(|| {
        let words = FAILURES.map(Verdict::as_str).join(", ");
        D::Error::custom(format!("the verdict of a failed task is {word:?}; it can be {words}"))
    })
}

/// What a worker says.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case")]
pub enum Answer<'a> {
    /// It is warm and takes work.
    Ready {
        /// The protocol's version that it speaks.
        protocol: u32,
        /// Whether it answers `take_back` at once, even while a task runs.
        #[serde(default)]
        take_back: bool,
    },
    /// Outputs.
    #[serde(borrow)]
    Done(Done<'a>),
    /// An error.
    #[serde(borrow)]
    Failed(Failed<'a>),
    /// It will not run the tasks of its chunk from this index on.
    Returned {
        /// The first index that it will not run.
        index: u64,
    },
    /// Something was printed.
    #[serde(borrow)]
    Log(Log<'a>),
    /// How far the task at work is.
    Progress(Progress),
}

/// A protocol line that is none.
#[derive(Debug, thiserror::Error)]
pub enum BadMessage {
    /// Not a message of the protocol.
    #[error("not a message of the frames protocol: {0}")]
    Syntax(#[from] serde_json::Error),
    /// An output nests too deeply.
    #[error("the output of task {0} nests deeper than 64 arrays and objects")]
    TooDeep(u64),
    /// Not one duration for each output.
    #[error("{outputs} outputs with {durations} durations")]
    Durations {
        /// How many outputs.
        outputs: usize,
        /// How many durations.
        durations: usize,
    },
}

impl<'a> Answer<'a> {
    /// Reads an answer from a line, without the record separator before it.
    pub fn decode(line: &'a [u8]) -> Result<Self, BadMessage> {
        let answer = json::parse(line)?;
        if let Self::Done(done) = &answer {
            done.check()?;
        }
        Ok(answer)
    }
}

impl Done<'_> {
    fn check(&self) -> Result<(), BadMessage> {
        if let Some(Durations::Each(ns)) = &self.ns
            && ns.len() != self.outputs.len()
        {
            return Err(BadMessage::Durations { outputs: self.outputs.len(), durations: ns.len() });
        }
        match self.outputs.iter().position(|output| json::is_too_deep(output.get().as_bytes())) {
            Some(at) => Err(BadMessage::TooDeep(self.index + at as u64)),
            None => Ok(()),
        }
    }
}

/// Writes the `ready` message.
pub fn encode_ready(message: &mut Vec<u8>, take_back: bool) {
    message.push(RECORD_SEPARATOR);
    let ready = format_args!(r#"{{"ready":{{"protocol":{PROTOCOL_VERSION},"take_back":{take_back}}}}}"#);
    writeln!(message, "{ready}").expect("writing to a Vec cannot fail");
}

/// Writes the `returned` message.
pub fn encode_returned(message: &mut Vec<u8>, index: u64) {
    message.push(RECORD_SEPARATOR);
    writeln!(message, r#"{{"returned":{{"index":{index}}}}}"#).expect("writing to a Vec cannot fail");
}

/// Writes a `done` message from outputs joined by commas and durations joined by commas.
pub fn encode_done(message: &mut Vec<u8>, index: u64, outputs: &[u8], ns: &[u8], usage: Usage) {
    message.push(RECORD_SEPARATOR);
    write!(message, r#"{{"done":{{"index":{index},"outputs":["#).expect("writing to a Vec cannot fail");
    message.extend_from_slice(outputs);
    message.extend_from_slice(br#"],"ns":["#);
    message.extend_from_slice(ns);
    message.push(b']');
    if usage != Usage::default() {
        message.extend_from_slice(br#","usage":"#);
        serde_json::to_writer(&mut *message, &usage).expect("numbers always serialise");
    }
    message.extend_from_slice(b"}}\n");
}

/// Writes a `failed` message.
pub fn encode_failed(message: &mut Vec<u8>, failed: &Failed<'_>) {
    encode(message, br#"{"failed":"#, failed);
}

/// Writes a `log` message.
pub fn encode_log(message: &mut Vec<u8>, log: &Log<'_>) {
    encode(message, br#"{"log":"#, log);
}

fn encode(message: &mut Vec<u8>, head: &[u8], body: &impl Serialize) {
    message.push(RECORD_SEPARATOR);
    message.extend_from_slice(head);
    serde_json::to_writer(&mut *message, body).expect("strings and numbers always serialise");
    message.extend_from_slice(b"}\n");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_read_back() {
        let mut message = Vec::new();
        let usage = Usage { cpu_ns: Some(7), max_rss_bytes: None };
        encode_done(&mut message, 3, b"1,[2]", b"10,20", usage);
        assert_eq!(message[0], RECORD_SEPARATOR);
        let Ok(Answer::Done(done)) = Answer::decode(&message[1..]) else { panic!("{message:?}") };
        let ns = Some(Durations::Each(vec![10, 20]));
        assert_eq!((done.index, done.outputs.len(), done.ns, done.usage), (3, 2, ns, usage));
        let alike = br#"{"done":{"index":3,"outputs":[1,2],"ns":15}}"#;
        let Ok(Answer::Done(done)) = Answer::decode(alike) else { panic!("{alike:?}") };
        assert_eq!(done.ns.map(|ns| (ns.of(0), ns.of(1))), Some((15, 15)));

        message.clear();
        let (kind, message_text) = (Some("ValueError".into()), "a \"quoted\" word".into());
        let failed = Failed {
            index: 9,
            verdict: Verdict::Crash,
            kind,
            message: message_text,
            stack: None,
            retryable: false,
            ns: Some(5),
            usage: Usage::default(),
        };
        encode_failed(&mut message, &failed);
        let Ok(Answer::Failed(read)) = Answer::decode(&message[1..]) else { panic!("{message:?}") };
        assert_eq!((read.index, read.verdict, read.retryable), (9, Verdict::Crash, false));
        assert_eq!(read.message, failed.message);
        let least = br#"{"failed":{"index":1,"message":"no"}}"#;
        let Ok(Answer::Failed(read)) = Answer::decode(least) else { panic!("{least:?}") };
        assert_eq!((read.verdict, read.retryable), (Verdict::Exception, true));

        message.clear();
        encode_ready(&mut message, true);
        assert!(matches!(Answer::decode(&message[1..]), Ok(Answer::Ready { protocol: 1, take_back: true })));
        let plain = br#"{"ready":{"protocol":1}}"#;
        assert!(matches!(Answer::decode(plain), Ok(Answer::Ready { protocol: 1, take_back: false })));
    }

    #[test]
    fn logs_and_progress_read_back() {
        let mut message = Vec::new();
        let log = Log { index: Some(3), stream: "stderr".into(), text: "a\nb".into(), dropped_bytes: 9 };
        encode_log(&mut message, &log);
        let Ok(Answer::Log(read)) = Answer::decode(&message[1..]) else { panic!("{message:?}") };
        assert_eq!(
            (read.index, read.stream, read.text, read.dropped_bytes),
            (Some(3), log.stream, log.text, 9)
        );
        let least = br#"{"log":{"text":"x"}}"#;
        assert!(
            matches!(Answer::decode(least), Ok(Answer::Log(log)) if log.stream == "log" && log.index.is_none())
        );
        let progress = br#"{"progress":{"index":3,"done":1,"total":10}}"#;
        let Ok(Answer::Progress(read)) = Answer::decode(progress) else { panic!() };
        assert_eq!(read, Progress { index: 3, done: 1.0, total: Some(10.0) });
    }

    #[test]
    fn a_failed_task_has_the_verdict_of_a_failure() {
        let line = |word| format!(r#"{{"failed":{{"index":1,"verdict":"{word}","message":"m"}}}}"#);
        for verdict in FAILURES {
            let line = line(verdict.as_str());
            let Ok(Answer::Failed(failed)) = Answer::decode(line.as_bytes()) else { panic!("{line}") };
            assert_eq!(failed.verdict, verdict);
        }
        for word in ["ok", "cancelled", "interrupted", "sad", ""] {
            let why = Answer::decode(line(word).as_bytes()).unwrap_err().to_string();
            let words = "exception, crash, timeout, oom, hang, output_too_large, bad_output at line 1";
            assert!(why.contains(&format!("is {word:?}; it can be {words}")), "{why}");
        }
    }

    #[test]
    fn what_is_no_answer_is_refused() {
        for line in [
            "",
            "{}",
            "[]",
            r#"{"done":{"index":1}}"#,
            r#"{"dance":{}}"#,
            r#"{"done":{"index":-1,"outputs":[]}}"#,
        ] {
            assert!(matches!(Answer::decode(line.as_bytes()), Err(BadMessage::Syntax(_))), "{line}");
        }
        let short = br#"{"done":{"index":1,"outputs":[1,2],"ns":[1]}}"#;
        assert!(matches!(Answer::decode(short), Err(BadMessage::Durations { outputs: 2, durations: 1 })));
        let deep = format!(r#"{{"done":{{"index":4,"outputs":[1,{}1{}]}}}}"#, "[".repeat(65), "]".repeat(65));
        assert!(matches!(Answer::decode(deep.as_bytes()), Err(BadMessage::TooDeep(5))));
    }
}
