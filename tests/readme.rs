//! What the README says to paste works as pasted: its sessions with curl, one block after another, and the demo.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "this file needs a part of the harness")]
mod common;

use std::process::{Command, Output};

use common::server::Server;

/// The blocks of the README that are marked `sh session`, in order.
fn sessions() -> Vec<String> {
    let readme = include_str!("../README.md");
    let blocks = readme.split("```sh session\n").skip(1);
    blocks.map(|block| block.split("```").next().unwrap().to_owned()).collect()
}

fn pasted(server: &Server, session: &str) -> String {
    let script = session.replace("localhost:8080", &server.socket_address());
    let binary = env!("CARGO_BIN_EXE_gristmill");
    let script = script.replace("target/release/gristmill", binary);
    let script = script.replace("$PWD/target/release", binary.trim_end_matches("/gristmill"));
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", &script]).env("GRISTMILL_SERVER", server.socket_address());
    let output = bash.output().unwrap();
    assert!(output.status.success(), "{session}\n{output:?}");
    said(&output)
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn the_sessions_work_as_pasted() {
    let server = Server::start();
    let sessions = sessions();
    let [submit, poll, million, map, kill, cancel, problem, command] = &sessions[..] else {
        panic!("{sessions:#?}")
    };
    // The first two share a variable, as they do in the reader's shell.
    let said = pasted(&server, &format!("{submit}\n{poll}"));
    assert!(said.contains(r#""state":"succeeded""#), "{said}");
    assert!(said.contains(r#"{"seq":1,"#), "{said}");
    let outputs: Vec<&str> = said.lines().rev().take(3).collect();
    assert!(
        outputs[2].starts_with(r#""ca978112ca1bbdca"#) && outputs[0].starts_with(r#""2e7d2c03a9507ae2"#),
        "{said}"
    );

    let said = pasted(&server, million);
    assert_eq!(said.lines().next().unwrap().trim(), "1000000");
    assert!(said.contains(r#"{"seq":999999,"#) && said.contains(r#"{"seq":1000000,"#), "{said}");
    assert!(said.contains(r#""name":"million""#), "{said}");

    assert_eq!(pasted(&server, map), "1000000\n1000000\n");

    // Killed before it has read its task, a worker would not be charged with it.
    let asleep = r#"until grep -qs nanosleep "/proc/$PID/wchan"; do :; done"#;
    let said = pasted(&server, &kill.replace("kill -9", &format!("{asleep}; kill -9")));
    assert!(said.contains(r#""slots":4"#) && said.contains(r#""state":"succeeded""#), "{said}");
    assert_eq!(said.matches(r#""attempt":2"#).count(), 1, "{said}");

    assert!(pasted(&server, cancel).contains(r#""state":"cancelled""#));
    assert!(pasted(&server, problem).contains(r#"did you mean \"sha256\"?"#));

    let said = pasted(&server, command);
    assert!(said.contains("state      succeeded") && said.contains(r#""ca978112ca1bbdca"#), "{said}");
    assert_eq!(said.matches(r#"{"seq":"#).count(), 2, "{said}");
    assert!(said.contains("million") && said.contains("4 slots"), "{said}");
}

#[test]
fn the_demo_shows_the_batch_and_the_table() {
    let output =
        Command::new(env!("CARGO_BIN_EXE_gristmill")).args(["demo", "--tasks", "9"]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let said = said(&output);
    assert!(said.contains("found nonce 2083236893"), "{said}");
    assert!(said.contains("speed-up") && said.contains("1.00 ×"), "{said}");
}
