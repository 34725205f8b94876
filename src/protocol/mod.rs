//! Bytes to messages and back, without input or output: JSON values as lines, and the `frames` protocol between
//! the server and its workers (`docs/protocol.md`).
//!
//! Imports `model`. Deliberately absent: processes, sockets, clocks. Everything here is bounded.

pub mod frames;
pub mod json;
pub mod lines;
pub mod tail;

pub use frames::{Answer, BadMessage, Done, Failed, PROTOCOL_VERSION, RECORD_SEPARATOR, Request, Run, Usage};
pub use lines::{LineSplitter, LineTooLong};
pub use tail::Tail;
