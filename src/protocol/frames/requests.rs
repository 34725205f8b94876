//! What the server says, `run` and `take_back`, written and read.

use std::io::Write as _;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::{JobId, TraceParent};
use crate::protocol::json;

/// Server to worker: run these tasks in order.
#[derive(Deserialize, Debug)]
pub struct Run<'a> {
    /// The job they belong to.
    pub job: JobId,
    /// The index of the first.
    pub index: u64,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// The span of a distributed trace that they run in, as `traceparent` of W3C Trace Context.
    #[serde(borrow, default)]
    pub traceparent: Option<&'a str>,
    /// Their inputs.
    #[serde(borrow)]
    pub inputs: Vec<&'a RawValue>,
}

/// What the server says.
#[derive(Deserialize, Debug)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Request<'a> {
    /// Run these tasks.
    #[serde(borrow)]
    Run(Run<'a>),
    /// Return what has not been started of the chunk that begins at this index.
    TakeBack {
        /// The index of the chunk's first task.
        index: u64,
    },
}

impl<'a> Request<'a> {
    /// Reads a request from a line.
    pub fn decode(line: &'a [u8]) -> Result<Self, serde_json::Error> {
        json::parse(line)
    }

    /// Writes a `take_back` message.
    pub fn encode_take_back(message: &mut Vec<u8>, index: u64) {
        writeln!(message, r#"{{"take_back":{{"index":{index}}}}}"#).expect("writing to a Vec cannot fail");
    }
}

impl Run<'_> {
    /// Writes the message with its line break. `lines` are the inputs as segments keep them: as no line holds a
    /// raw line break, the array is made by turning each line's end into a comma.
    pub fn encode(
        message: &mut Vec<u8>,
        job: JobId,
        (index, attempt): (u64, u32),
        trace: Option<TraceParent>,
        lines: &[u8],
    ) {
        message.reserve(lines.len() + 256);
        write!(message, r#"{{"run":{{"job":"{job}","index":{index},"attempt":{attempt},"#)
            .expect("writing to a Vec cannot fail");
        if let Some(trace) = trace {
            write!(message, r#""traceparent":"{trace}","#).expect("writing to a Vec cannot fail");
        }
        message.extend_from_slice(br#""inputs":["#);
        let start = message.len();
        message.extend_from_slice(lines);
        message.pop_if(|last| *last == b'\n');
        message[start..].iter_mut().for_each(|byte| *byte = if *byte == b'\n' { b',' } else { *byte });
        message.extend_from_slice(b"]}}\n");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_reads_back() {
        let job = "0190b5f7-7c4d-7abc-8def-0123456789ab".parse().unwrap();
        let mut message = Vec::new();
        Run::encode(&mut message, job, (7, 2), None, b"1\n\"a,b\"\n{\"x\": [1, 2]}\n");
        assert_eq!(memchr::memchr(b'\n', &message), Some(message.len() - 1));
        let Ok(Request::Run(run)) = Request::decode(&message) else { panic!("{message:?}") };
        assert_eq!((run.job, run.index, run.attempt), (job, 7, 2));
        let inputs: Vec<_> = run.inputs.iter().map(|input| input.get()).collect();
        assert_eq!((inputs, run.traceparent), (vec!["1", "\"a,b\"", "{\"x\": [1, 2]}"], None));

        message.clear();
        let trace = TraceParent { trace: 0xabc, span: 0xdef, flags: 1 };
        Run::encode(&mut message, job, (7, 2), Some(trace), b"1\n");
        let Ok(Request::Run(run)) = Request::decode(&message) else { panic!("{message:?}") };
        assert_eq!(run.traceparent.map(str::parse), Some(Ok(trace)));
    }
}
