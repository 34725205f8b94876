//! Payloads too large for the database: in files beside it, through everything that can happen to them.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use common::job::Job;
use common::{Server, check, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

/// As many bytes as an input has here.
const BYTES: usize = 100_000;

fn server_on(data: &Path) -> Result<Server, common::server::Refused> {
    Server::launch(TempDir::new().unwrap(), &["--processes=2", "--data-dir", data.to_str().unwrap()], &[])
}

fn input(number: usize) -> String {
    format!("{number} {}", "x".repeat(BYTES))
}

/// So many large strings.
fn inputs(count: usize) -> Value {
    (0..count).map(input).collect()
}

/// Every output is there, and is its input.
#[track_caller]
fn is_whole(job: &Job<'_>, count: usize) {
    job.succeeds();
    let outputs = job.results_text("order=input&fields=output");
    let outputs: Vec<String> = outputs.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(outputs.iter().cloned().eq((0..count).map(input)), "{} outputs", outputs.len());
}

/// The payload files of a data directory.
fn files(data: &TempDir) -> Vec<PathBuf> {
    fs::read_dir(data.path().join("payloads")).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn bytes(files: &[PathBuf]) -> u64 {
    files.iter().map(|file| fs::metadata(file).unwrap().len()).sum()
}

fn wait_for_files(data: &TempDir, what: &str, right: impl Fn(&[PathBuf]) -> bool) {
    eventually(what, || check(files(data), |files| right(files)));
}

#[test]
fn large_payloads_are_in_files_and_go_with_their_job() {
    let data = TempDir::new().unwrap();
    let server = server_on(data.path()).unwrap();
    let small = server.map("echo", &json!([1, 2, 3]));
    small.succeeds();
    assert_eq!(files(&data), [] as [PathBuf; 0], "small ones are not");
    let job = server.map("echo", &inputs(30));
    is_whole(&job, 30);
    let written = bytes(&files(&data));
    assert!((2 * 30 * BYTES as u64..3 * 30 * BYTES as u64).contains(&written), "{written}");
    let database = fs::metadata(data.path().join("gristmill.sqlite")).unwrap().len();
    assert!(database < 10 * BYTES as u64, "{database}");
    server.delete(&job.path()).expect(204);
    wait_for_files(&data, "the end of the files", <[PathBuf]>::is_empty);
    small.has_each_result_once(3);
}

#[test]
fn results_that_are_freed_give_their_files_back() {
    let data = TempDir::new().unwrap();
    let server = server_on(data.path()).unwrap();
    let job = server.map("echo", &inputs(30));
    is_whole(&job, 30);
    let before = files(&data).len();
    server.delete(&format!("{}/results?through=29", job.path())).expect(200);
    assert_eq!(job.results_by("after=29")[0]["seq"], 30, "what is left is there");
    server.delete(&format!("{}/results?through=30", job.path())).expect(200);
    wait_for_files(&data, "the end of the results' file", |files| files.len() < before);
}

#[test]
fn a_killed_server_has_all_that_it_acknowledged_and_no_stray_file() {
    let data = TempDir::new().unwrap();
    let server = server_on(data.path()).unwrap();
    let done = server.map("echo", &inputs(20));
    is_whole(&done, 20);
    let held =
        server.submit(&json!({"function": "echo", "inputs": inputs(20), "lock": "one", "processes": 1}));
    server.kill9();
    fs::write(data.path().join("payloads/4711"), "what a transaction left that never was").unwrap();
    let torn = files(&data).into_iter().find(|file| !file.ends_with("4711")).unwrap();
    let mut grown = fs::read(&torn).unwrap();
    grown.extend(b"a torn tail");
    fs::write(&torn, grown).unwrap();
    server.restart();
    assert!(!data.path().join("payloads/4711").exists());
    is_whole(&done, 20);
    is_whole(&held, 20);
}

#[test]
fn a_lost_or_shortened_file_is_told_at_the_start() {
    let data = TempDir::new().unwrap();
    let server = server_on(data.path()).unwrap();
    let job = server.map("echo", &inputs(5));
    is_whole(&job, 5);
    server.terminate();
    assert!(server.ended().success());
    let file = files(&data).pop().unwrap();
    let whole = fs::read(&file).unwrap();
    fs::write(&file, &whole[1..]).unwrap();
    let refused = server_on(data.path()).err().unwrap();
    assert!(refused.log.contains("lost or damaged"), "{refused:#?}");
    fs::remove_file(&file).unwrap();
    let refused = server_on(data.path()).err().unwrap();
    assert!(refused.log.contains(file.to_str().unwrap()), "{refused:#?}");
    fs::write(&file, &whole).unwrap();
    is_whole(&Job::with_id(&server_on(data.path()).unwrap(), &job.id), 5);
}

#[test]
fn a_backup_is_one_file_with_all_of_it() {
    let (data, target) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let server = server_on(data.path()).unwrap();
    let job = server.map("echo", &inputs(30));
    is_whole(&job, 30);
    let queued = server.map("sleep", &json!([60, 60, 60, 60]));
    let copy = target.path().join("gristmill.sqlite");
    let mut backup = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    let outcome = backup.arg("backup").arg(&copy).arg("--data-dir").arg(data.path()).output().unwrap();
    assert!(outcome.status.success(), "{outcome:#?}");
    assert_eq!(fs::read_dir(target.path()).unwrap().count(), 1);
    let restored = server_on(target.path()).unwrap();
    is_whole(&Job::with_id(&restored, &job.id), 30);
    assert_eq!(files(&target), [] as [PathBuf; 0]);
    assert_eq!(Job::with_id(&restored, &queued.id).status()["progress"]["total"], 4);
}

#[test]
fn open_jobs_and_failed_tasks_work_on_files_as_well() {
    let data = TempDir::new().unwrap();
    let server = server_on(data.path()).unwrap();
    let job = server.submit(&json!({"function": "echo", "open": true}));
    for piece in 0..3 {
        let piece: Vec<String> = (piece * 10..(piece + 1) * 10).map(input).collect();
        server
            .post_json(&format!("{}/inputs", job.path()), &json!({"inputs": piece}).to_string())
            .expect(202);
    }
    server.post_json(&format!("{}/close", job.path()), "").expect(200);
    is_whole(&job, 30);
    let long = format!("not a number {}", "x".repeat(BYTES));
    let job = server.submit(&json!({"function": "count", "inputs": [long, 3, long], "max_attempts": 1}));
    assert_eq!(job.wait()["progress"]["failed"], 2);
    server.post_json(&format!("{}/retry", job.path()), "").expect(202);
    assert_eq!(job.wait()["progress"]["failed"], 2);
    assert_eq!(job.results().len(), 5);
    assert!(job.by_input()[1]["output"] == 3);
}

#[test]
fn when_clients_hold_every_descriptor_files_are_read_and_written_all_the_same() {
    let data = TempDir::new().unwrap();
    let server = server_on(data.path()).unwrap();
    server.map("echo", &json!([1, 2])).succeeds();
    let connect = || TcpStream::connect(server.socket_address());
    let mut kept = connect().unwrap();
    let reads = |kept: &mut TcpStream| {
        let mut status = [0; 12];
        kept.read_exact(&mut status).unwrap();
        String::from_utf8(status.to_vec()).unwrap()
    };
    write!(kept, "GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n").unwrap();
    assert_eq!(reads(&mut kept), "HTTP/1.1 200");
    server.limit_descriptors(64);
    // Fewer than may wait to be accepted.
    let others: Vec<TcpStream> = (0..100).filter_map(|_| connect().ok()).collect();
    // More than is kept in memory of it, so that it is read from files.
    let body = json!({"function": "echo", "inputs": inputs(300)}).to_string();
    let head =
        "POST /v1/jobs HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nprefer: wait=30";
    write!(kept, "{head}\r\ncontent-length: {}\r\n\r\n{body}", body.len()).unwrap();
    let mut answer = Vec::new();
    kept.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
    while !String::from_utf8_lossy(&answer).contains("HTTP/1.1 200") {
        let mut some = [0; 4096];
        let read = kept.read(&mut some).unwrap();
        assert_ne!(read, 0, "{}", String::from_utf8_lossy(&answer));
        answer.extend(&some[..read]);
    }
    drop(others);
    let id = server.get("/v1/jobs?limit=1").expect(200).json()["items"][0]["id"].as_str().unwrap().to_owned();
    is_whole(&Job::with_id(&server, &id), 300);
}
