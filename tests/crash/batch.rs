//! What is submitted, and what must come of it. All of it follows from a number, so none of it need be kept.

use std::fmt::Write as _;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::random::Random;
use crate::common::client::{JSON, NDJSON};

/// A job as its client knows it.
pub(crate) struct Batch {
    pub(crate) key: String,
    function: &'static str,
    inputs: Vec<Value>,
    streamed: bool,
}

impl Batch {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random(seed);
        let (function, count, streamed) = match random.below(100) {
            // More than is held in memory, so that a part of it is staged before the end of the body; and large enough for files.
            0..4 => ("echo", 300, true),
            4..34 => ("echo", random.within(1..20), false),
            34..67 => ("sha256", random.within(1..20), false),
            _ => ("sleep", random.within(1..10), false),
        };
        let mut input = |at: u64| match function {
            "sleep" => json!(random.below(20) as f64 / 1000.0),
            _ if streamed => json!(format!("{at} {}", "x".repeat(16_000))),
            _ => json!(format!("{at} of {seed}")),
        };
        let inputs = (0..count).map(&mut input).collect();
        Self { key: format!("crash-{seed}"), function, inputs, streamed }
    }

    /// Where it is sent, as what, and the body.
    pub(crate) fn request(&self) -> (String, &'static str, String) {
        if !self.streamed {
            let body = json!({"function": self.function, "inputs": self.inputs});
            return ("/v1/jobs".to_owned(), JSON, body.to_string());
        }
        let mut lines = String::new();
        self.inputs.iter().for_each(|input| writeln!(lines, "{input}").unwrap());
        (format!("/v1/jobs?function={}", self.function), NDJSON, lines)
    }

    pub(crate) fn outputs(&self) -> Vec<Value> {
        let hash = |text: &str| {
            Sha256::digest(text).iter().fold(String::new(), |mut hex, byte| {
                write!(hex, "{byte:02x}").unwrap();
                hex
            })
        };
        let output = |input: &Value| match self.function {
            "sha256" => json!(hash(input.as_str().unwrap())),
            _ => input.clone(),
        };
        self.inputs.iter().map(output).collect()
    }
}
