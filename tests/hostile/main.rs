//! Hostile workers: one program with a switch for each fault, behind the front door. The task at fault gets its own
//! verdict, with figures; those beside it succeed at their first attempt; the server stays small; nothing survives.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

mod adapters;
mod answers;
mod ends;
mod floods;
mod jobs;
mod limits;
mod starts;

use common::Server;
use common::procs::Proc;
use serde_json::{Value, json};

const CONFIG: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/hostile/gristmill.toml");
/// So many inputs, and which of them is bad: chunks of many are under way by then.
const COUNT: usize = 60;
const BAD: usize = 30;
/// So much may the server's memory grow over what it holds at its start.
const MOST_GROWTH: u64 = 150_000_000;

/// A server with every function of `gristmill.toml`, and how much memory it held at its start.
struct Mill {
    server: Server,
    memory: u64,
}

impl Mill {
    fn start() -> Self {
        let server = Server::with(&["--processes=2", "--grace=2s", "--config", CONFIG]);
        let memory = Proc::most_memory(server.pid());
        Self { server, memory }
    }

    /// Runs one bad input among good ones, which succeed at their first attempt; gives the result of the bad one.
    #[track_caller]
    fn one_among_many(&self, function: &str, bad: &Value) -> Value {
        let mut inputs: Vec<Value> = (0..COUNT).map(|index| json!(index)).collect();
        inputs[BAD] = bad.clone();
        let job = self.server.map(function, &json!(inputs));
        job.wait();
        job.has_each_result_once(COUNT as u64);
        let mut results = job.by_input();
        let result = results.remove(BAD);
        for good in results {
            let seen = (&good["status"], &good["output"], &good["attempt"]);
            assert_eq!(seen, (&json!("succeeded"), &good["index"], &json!(1)), "{function}: {good:#}");
        }
        result
    }

    /// Ends the server: it held little memory all the time, and leaves nothing behind.
    #[track_caller]
    fn ends_clean(self) {
        let grown = Proc::most_memory(self.server.pid()) - self.memory;
        assert!(grown < MOST_GROWTH, "the server's memory grew by {grown} bytes");
        self.server.terminate();
        assert!(self.server.ended().success());
        self.server.leaves_nothing_running();
    }
}

fn bad() -> Value {
    json!({"bad": true})
}

/// One bad input among good ones fails with this verdict and message, at this attempt; gives its result.
#[track_caller]
fn fails(function: &str, input: &Value, attempt: u64, verdict: &str, message: &str) -> Value {
    let mill = Mill::start();
    let result = mill.one_among_many(function, input);
    let error = &result["error"];
    assert_eq!((&error["verdict"], &result["attempt"]), (&json!(verdict), &json!(attempt)), "{result:#}");
    assert_eq!(error["message"], message, "{result:#}");
    mill.ends_clean();
    result
}

/// One bad input among good ones succeeds with this output.
#[track_caller]
fn succeeds(function: &str, input: &Value, output: &str) {
    let mill = Mill::start();
    let result = mill.one_among_many(function, input);
    assert_eq!((&result["output"], &result["attempt"]), (&json!(output), &json!(1)), "{result:#}");
    mill.ends_clean();
}
