//! The command line as a client: the real binary against a real server, as a shell would run it.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

mod actions;
mod errors;
mod jobs;
mod manual;
mod streams;
mod terminal;

use std::io::Write as _;
use std::process::{Command, Stdio};

use common::Server;
use serde_json::Value;

/// How a command ended.
#[derive(Debug)]
struct Ran {
    stdout: String,
    stderr: String,
    code: Option<i32>,
}

/// The command, with nothing of the environment but this server.
fn gristmill(server: &Server, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    command.args(arguments).env_clear().env("GRISTMILL_SERVER", server.socket_address());
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs it with this on standard input.
fn run_with(mut command: Command, stdin: &str) -> Ran {
    let mut process = command.stdin(Stdio::piped()).spawn().unwrap();
    let mut pipe = process.stdin.take().unwrap();
    let text = stdin.to_owned();
    // One that does not read its input closes the pipe.
    let writer = std::thread::spawn(move || drop(pipe.write_all(text.as_bytes())));
    let output = process.wait_with_output().unwrap();
    writer.join().unwrap();
    let [stdout, stderr] = [output.stdout, output.stderr].map(|text| String::from_utf8(text).unwrap());
    Ran { stdout, stderr, code: output.status.code() }
}

fn run(server: &Server, arguments: &[&str]) -> Ran {
    run_with(gristmill(server, arguments), "")
}

impl Ran {
    /// What it wrote, which must be all that there is to say.
    #[track_caller]
    fn quietly(self) -> String {
        assert_eq!((self.code, self.stderr.as_str()), (Some(0), ""), "{self:#?}");
        self.stdout
    }

    #[track_caller]
    fn ends(self, code: i32, says: &str) -> Self {
        assert!(
            self.code == Some(code) && self.stderr.contains(says),
            "{code} and {says:?} wanted: {self:#?}"
        );
        self
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// Submits, which must say nothing but the id.
#[track_caller]
fn submit(server: &Server, arguments: &[&str]) -> String {
    let printed = run(server, &[&["submit"], arguments].concat()).quietly();
    let id = printed.strip_suffix('\n').unwrap();
    assert_eq!(id.len(), 36, "{id}");
    id.to_owned()
}
