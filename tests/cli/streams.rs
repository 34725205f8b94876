//! Pipes: results across a restart, readers that go away, and memory that does not grow.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::process::Signal;

use super::common::Server;
use super::common::job::Job;
use super::common::procs::{Proc, signal};
use super::{gristmill, run, submit};

/// A line of its output.
fn line(process: &mut Child) -> String {
    let mut line = String::new();
    BufReader::with_capacity(1, process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    line
}

/// A pipe that nobody reads.
fn closed_pipe() -> Stdio {
    std::io::pipe().unwrap().1.into()
}

#[test]
fn results_go_on_behind_a_restart_of_the_server() {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let server = Server::with(&["--processes=2", &format!("--listen=127.0.0.1:{port}")]);
    let id = submit(&server, &["sleep", "0", "0.1", "2", "0.2", "--processes=1"]);
    let arguments = ["results", &id, "--follow", "--outputs", "--order=input", "--limit=3"];
    let mut results = gristmill(&server, &arguments).spawn().unwrap();
    let mut waiting = gristmill(&server, &["status", &id, "--follow"]);
    let waiting = waiting.spawn().unwrap();
    assert_eq!(line(&mut results), "0\n");
    server.kill9();
    server.restart();
    let results = results.wait_with_output().unwrap();
    let [stdout, stderr] = [results.stdout, results.stderr].map(|text| String::from_utf8(text).unwrap());
    assert_eq!((stdout.as_str(), results.status.code()), ("0.1\n2\n", Some(0)), "{stderr}");
    assert!(stderr.contains("going on after"), "{stderr}");
    assert_eq!(waiting.wait_with_output().unwrap().status.code(), Some(0));
}

#[test]
fn a_reader_that_goes_away_is_no_mistake() {
    let server = Server::start();
    let many = (0..100_000).fold(String::new(), |lines, number| lines + &number.to_string() + "\n");
    super::run_with(gristmill(&server, &["submit", "echo", "--wait"]), &many).quietly();
    let script =
        format!("{} results last | head -1; echo ${{PIPESTATUS[0]}}", env!("CARGO_BIN_EXE_gristmill"));
    let mut bash = Command::new("bash");
    let piped = bash.args(["-c", &script]).env("GRISTMILL_SERVER", server.socket_address()).output().unwrap();
    let stdout = String::from_utf8(piped.stdout).unwrap();
    assert!(stdout.starts_with("{\"seq\":1,") && stdout.ends_with("\n141\n"), "{stdout}");
    assert_eq!(String::from_utf8(piped.stderr).unwrap(), "");
}

#[test]
fn no_command_minds_a_closed_pipe() {
    let server = Server::start();
    submit(&server, &["echo", "1", "--wait"]);
    let commands: [&[&str]; 12] = [
        &["jobs"],
        &["jobs", "--json"],
        &["status", "last"],
        &["results", "last"],
        &["pool"],
        &["functions"],
        &["top"],
        &["man"],
        &["completions", "bash"],
        &["check-config"],
        &["cancel", "last"],
        &["submit", "echo", "1"],
    ];
    for arguments in commands {
        let ended = gristmill(&server, arguments).env("HOME", "/").stdout(closed_pipe()).output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert_eq!((ended.status.code(), stderr.as_str()), (Some(141), ""), "{arguments:?}");
    }
}

#[test]
fn errors_that_nobody_reads_are_no_panic() {
    let server = Server::start();
    let ended = gristmill(&server, &["status", "00000000"]).stderr(closed_pipe()).output().unwrap();
    assert_eq!(ended.status.code(), Some(1));
}

#[test]
fn a_full_disk_is_said() {
    let server = Server::start();
    submit(&server, &["echo", "1", "--wait"]);
    for arguments in [&["jobs"][..], &["results", "last"]] {
        let full = std::fs::File::create("/dev/full").unwrap();
        let ended = gristmill(&server, arguments).stdout(full).output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.code() == Some(1) && stderr.contains("No space left"), "{stderr}");
    }
}

#[test]
fn inputs_are_streamed_and_not_kept() {
    const MOST: u64 = 48 << 20;
    let server = Server::start();
    let mut submitting =
        gristmill(&server, &["submit", "echo", "--text"]).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = submitting.stdin.take().unwrap();
    let lines = format!("{}\n", "x".repeat(999)).repeat(1000);
    for _ in 0..80 {
        stdin.write_all(lines.as_bytes()).unwrap();
    }
    let most = Proc::most_memory(submitting.id());
    drop(stdin);
    assert!(most < MOST, "{most} bytes for 80 MB of inputs");
    let id = line(&mut submitting);
    assert_eq!(submitting.wait().unwrap().code(), Some(0));
    assert_eq!(Job::with_id(&server, id.trim()).status()["progress"]["total"], 80_000);
    run(&server, &["cancel", "last"]).quietly();
}

#[test]
fn ctrl_c_ends_the_waiting_and_not_the_job() {
    let server = Server::start();
    for arguments in [&["--wait"][..], &["--results"]] {
        let arguments = [&["submit", "sleep", "0", "3600"], arguments].concat();
        let mut waiting = gristmill(&server, &arguments).spawn().unwrap();
        line(&mut waiting);
        signal(waiting.id(), Signal::INT);
        let ended = waiting.wait_with_output().unwrap();
        let stderr = String::from_utf8(ended.stderr).unwrap();
        assert!(ended.status.code() == Some(130) && stderr.contains("the job goes on"), "{stderr}");
        let id = run(&server, &["jobs", "-q", "--limit=1"]).quietly();
        assert!(stderr.contains(&format!("gristmill cancel {}", id.trim())), "{stderr}");
        assert!(run(&server, &["cancel", id.trim()]).quietly().contains("cancel"));
    }
}
