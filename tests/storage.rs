//! The data directory: a database that is lost or damaged, a copy of it, and a disk that fails.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use common::job::Job;
use common::tracer::Tracer;
use common::{Server, check, eventually};
use serde_json::json;
use tempfile::TempDir;

/// A server on this directory; it may refuse to start.
fn server_on(data: &Path) -> Result<Server, common::server::Refused> {
    let flags = ["--processes=2", "--data-dir", data.to_str().unwrap()];
    Server::launch(TempDir::new().unwrap(), &flags, &[])
}

/// A data directory with a job of a thousand results, and nobody at work on it.
fn data_with_a_job() -> (TempDir, String) {
    let dir = TempDir::new().unwrap();
    let server = server_on(dir.path()).unwrap();
    let job = server.map("echo", &json!((0..1000).collect::<Vec<_>>()));
    job.succeeds();
    let id = job.id.clone();
    server.terminate();
    assert!(server.ended().success());
    (dir, id)
}

fn database(dir: &TempDir) -> PathBuf {
    dir.path().join("gristmill.sqlite")
}

/// `gristmill backup`, to where a server on the target would look for it.
fn backup(dir: &TempDir, target: &TempDir) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    command.arg("backup").arg(database(target)).arg("--data-dir").arg(dir.path()).output().unwrap()
}

#[test]
fn a_lost_database_is_not_taken_for_a_first_start() {
    let (dir, id) = data_with_a_job();
    let kept = dir.path().join("kept");
    fs::rename(database(&dir), &kept).unwrap();
    let refused = server_on(dir.path()).err().unwrap();
    assert!(!refused.status.success());
    assert!(refused.log.contains("is missing"), "{refused:#?}");
    assert!(!database(&dir).exists(), "nothing was made in its place");
    fs::rename(&kept, database(&dir)).unwrap();
    let server = server_on(dir.path()).unwrap();
    server.get(&format!("/v1/jobs/{id}")).expect(200);
}

#[test]
fn a_damaged_database_is_refused_and_left_as_it_was() {
    let (origin, _) = data_with_a_job();
    // A backup is one file, without a log beside it.
    let dir = TempDir::new().unwrap();
    assert!(backup(&origin, &dir).status.success());
    let whole = fs::read(database(&dir)).unwrap();
    let page = 8192;
    for damage in [0..16, 2 * page..3 * page] {
        let mut damaged = whole.clone();
        damaged[damage].fill(0x55);
        fs::write(database(&dir), &damaged).unwrap();
        let refused = server_on(dir.path()).err().unwrap();
        assert!(!refused.status.success() && refused.log.contains("gristmill.sqlite"), "{refused:#?}");
        assert_eq!(fs::read(database(&dir)).unwrap(), damaged);
    }
    fs::write(database(&dir), &whole).unwrap();
    server_on(dir.path()).unwrap();
}

#[test]
fn a_backup_under_load_holds_all_that_was_accepted_before_it() {
    let dir = TempDir::new().unwrap();
    let server = server_on(dir.path()).unwrap();
    let before: Vec<Job<'_>> = (0..10).map(|_| server.map("echo", &json!([1, 2, 3]))).collect();
    let load = server.map("sleep", &json!(vec![0.01; 200]));
    load.wait_for_done(20);
    let target = TempDir::new().unwrap();
    assert!(backup(&dir, &target).status.success());
    let again = backup(&dir, &target);
    assert!(!again.status.success() && String::from_utf8_lossy(&again.stderr).contains("exists already"));
    load.succeeds();
    let restored = server_on(target.path()).unwrap();
    for job in &before {
        let job = Job::of(&restored, &restored.get(&job.path()).expect(200));
        job.succeeds();
        job.has_each_result_once(3);
    }
    let load = Job::of(&restored, &restored.get(&load.path()).expect(200));
    load.succeeds();
    load.has_each_result_once(200);
}

#[test]
fn inputs_that_were_there_already_leave_nothing_behind() {
    let dir = TempDir::new().unwrap();
    let server = server_on(dir.path()).unwrap();
    let job = server.submit(&json!({"function": "echo", "open": true}));
    // More than what is kept in memory until the end of the body.
    let lines = format!("\"{}\"\n", "x".repeat(1000)).repeat(8_000);
    let send = || {
        let headers = [("Content-Type", common::client::NDJSON), ("Idempotency-Key", "once")];
        server.client().call("POST", &format!("{}/inputs", job.path()), &headers, &lines).expect(202);
    };
    send();
    send();
    let database = rusqlite::Connection::open(database(&dir)).unwrap();
    let count = |sql: &str| database.query_row(sql, [], |row| row.get::<_, i64>(0)).unwrap();
    eventually("the end of what was staged in vain", || {
        check(count("SELECT count(*) FROM jobs"), |jobs| *jobs == 1)
    });
    assert_eq!(count("SELECT sum(count) FROM inputs"), 8_000);
}

#[test]
fn a_commit_that_fails_is_never_acknowledged_and_ends_the_server() {
    let dir = TempDir::new().unwrap();
    let server = server_on(dir.path()).unwrap();
    let done = server.map("echo", &json!([1, 2, 3]));
    done.succeeds();
    let Some(failing) = Tracer::inject(&server, "fsync,fdatasync", "error=EIO") else { return };
    let body = json!({"function": "echo", "inputs": [1]}).to_string();
    let headers = [("Content-Type", common::client::JSON)];
    let answer = server.client().try_call("POST", "/v1/jobs", &headers, &body);
    // The answer or the connection may be lost with the server.
    if let Ok(answer) = answer {
        answer.problem(503, "storage-stopped");
    }
    assert!(!server.ended().success());
    drop(failing);
    server.leaves_nothing_running();
    server.restart();
    done.has_each_result_once(3);
    let jobs = server.get("/v1/jobs").json();
    // Whether the job that was not acknowledged is there is not known; it is whole or not at all.
    for job in jobs["items"].as_array().unwrap() {
        let job = Job::of(&server, &server.get(job["links"]["self"].as_str().unwrap()).expect(200));
        job.succeeds();
    }
    eventually("a submit", || check(server.post_json("/v1/jobs", &body).status, |status| *status == 202));
}

#[test]
fn a_commit_that_finds_no_room_in_the_log_has_not_happened() {
    let dir = TempDir::new().unwrap();
    let server = server_on(dir.path()).unwrap();
    let done = server.map("echo", &json!([1, 2, 3]));
    done.succeeds();
    let body = json!({"function": "echo", "inputs": [1]}).to_string();
    let submit = || server.post_json("/v1/jobs", &body);
    let Some(failing) = Tracer::inject(&server, "pwrite64", "error=ENOSPC") else { return };
    submit().problem(503, "storage-full");
    drop(failing);
    eventually("a submit", || check(submit().status, |status| *status == 202));
    server.kill9();
    server.restart();
    let jobs = server.get("/v1/jobs").json();
    assert_eq!(jobs["items"].as_array().unwrap().len(), 2, "{jobs:#}");
    done.has_each_result_once(3);
}
