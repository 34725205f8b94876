//! A small disk, filled and freed: what is new is refused, what is done waits, reads go on, and all resumes by itself.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::Command;

use common::client::Answer;
use common::job::Job;
use common::{Server, check, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

/// A file system of its own in memory.
struct SmallDisk {
    dir: TempDir,
}

impl SmallDisk {
    /// `None` where this user may not mount.
    fn new(megabytes: u32) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let size = format!("size={megabytes}m");
        let mounted =
            Command::new("mount").args(["-t", "tmpfs", "-o", &size, "tmpfs"]).arg(dir.path()).output();
        if mounted.is_ok_and(|output| output.status.success()) {
            return Some(Self { dir });
        }
        // That takes a right that no package gives, so it is not asked for on CI either.
        eprintln!("skipped: a tmpfs cannot be mounted here");
        None
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Fills it to the last byte with a file of this name.
    fn fill(&self, name: &str) {
        let zeros = fs::File::open("/dev/zero").unwrap();
        let mut file = fs::File::create(self.path(name)).unwrap();
        let error = std::io::copy(&mut std::io::Read::take(zeros, 1 << 30), &mut file).unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::StorageFull);
    }

    fn free(&self, name: &str) {
        fs::remove_file(self.path(name)).unwrap();
    }

    /// A server with its data on this disk.
    fn server(&self) -> Server {
        let data = self.path("data");
        Server::with(&["--processes=2", "--data-dir", data.to_str().unwrap()])
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        // A server that still ends may hold it a moment longer.
        drop(Command::new("umount").arg("--lazy").arg(self.dir.path()).status());
    }
}

fn echo(server: &Server, bytes: usize) -> Answer {
    let body = json!({"function": "echo", "inputs": ["x".repeat(bytes)]});
    server.post_json("/v1/jobs", &body.to_string())
}

/// Waits until a small job is accepted again.
fn accepts_again(server: &Server) {
    let answer = eventually("a submit to be accepted", || {
        check(Box::new(echo(server, 10)), |answer| answer.status == 202)
    });
    Job::of(server, &answer).succeeds();
}

#[test]
fn a_full_disk_refuses_what_is_new_and_resumes_by_itself() {
    let Some(disk) = SmallDisk::new(24) else { return };
    let server = disk.server();
    let done = server.map("echo", &json!([1, 2, 3]));
    done.succeeds();
    disk.fill("ballast");
    let refused =
        eventually("a refusal", || check(Box::new(echo(&server, 100_000)), |answer| answer.status != 202));
    refused.problem(503, "storage-full");
    assert!(!refused.header("retry-after").is_empty());
    assert_eq!(done.results().len(), 3, "reads go on");
    server.get("/healthz").expect(200);
    disk.free("ballast");
    accepts_again(&server);
    done.has_each_result_once(3);
}

#[test]
fn payload_files_that_find_no_room_leave_nothing_behind() {
    let Some(disk) = SmallDisk::new(48) else { return };
    let server = disk.server();
    let large = || echo(&server, 6_000_000);
    let first = large();
    let done = Job::of(&server, &first.expect(202));
    done.succeeds();
    let refused = eventually("a refusal", || check(Box::new(large()), |answer| answer.status != 202));
    refused.problem(503, "storage-full");
    // One whose result found no room ends when the others have made some.
    eventually("the end of every job", || {
        let jobs = server.get("/v1/jobs").json()["items"].as_array().unwrap().clone();
        for job in &jobs {
            server.delete(job["links"]["self"].as_str().unwrap());
        }
        check(jobs, Vec::is_empty)
    });
    let files = || fs::read_dir(disk.path("data/payloads")).unwrap().count();
    eventually("the end of the files", || check(files(), |count| *count == 0));
    accepts_again(&server);
    Job::of(&server, &large().expect(202)).succeeds();
}

#[test]
fn results_that_come_in_while_the_disk_is_full_are_kept() {
    let Some(disk) = SmallDisk::new(24) else { return };
    let server = disk.server();
    let job = server.map("sleep", &json!(vec![0.05; 400]));
    job.wait_for_done(10);
    disk.fill("ballast");
    // More than the reserve holds.
    eventually("a refusal", || check(Box::new(echo(&server, 1_000_000)), |answer| answer.status == 503));
    disk.fill("more");
    let before = job.results().len();
    disk.free("ballast");
    disk.free("more");
    let status = job.succeeds();
    assert_eq!(status["progress"]["succeeded"], 400);
    job.has_each_result_once(400);
    assert!(before < 400, "it was at work while the disk was full");
    assert!(job.results().iter().all(|result| result["attempt"] == 1));
}

#[test]
fn jobs_can_be_deleted_to_make_room() {
    let Some(disk) = SmallDisk::new(24) else { return };
    let server = disk.server();
    let mut kept: Vec<Job<'_>> = Vec::new();
    let refused = loop {
        let answer = echo(&server, 500_000);
        if answer.status != 202 {
            break answer;
        }
        kept.push(Job::of(&server, &answer));
        assert!(kept.len() < 100, "the disk is never full");
    };
    refused.problem(503, "storage-full");
    assert!(kept.len() >= 5, "{} jobs", kept.len());
    for job in kept.iter().take(kept.len() / 2) {
        eventually("the job's end", || {
            let status = job.status();
            if status["timings"]["finished_at"].is_string() {
                Ok(())
            } else {
                job.cancel();
                Err(status)
            }
        });
        server.delete(&job.path()).expect(204);
    }
    accepts_again(&server);
    let states: Vec<Value> =
        kept.iter().skip(kept.len() / 2).map(|job| job.wait()["state"].clone()).collect();
    assert!(states.iter().all(|state| state == "succeeded"), "{states:?}");
}

#[test]
fn a_server_starts_on_a_full_disk() {
    let Some(disk) = SmallDisk::new(24) else { return };
    let server = disk.server();
    let job = server.map("echo", &json!([1, 2, 3]));
    job.succeeds();
    disk.fill("ballast");
    server.kill9();
    server.restart();
    job.has_each_result_once(3);
    disk.free("ballast");
    accepts_again(&server);
}

#[test]
fn an_upload_of_which_a_part_found_no_room_is_refused() {
    let Some(disk) = SmallDisk::new(48) else { return };
    let server = disk.server();
    server.map("echo", &json!([1])).succeeds();
    let mut upload = TcpStream::connect(server.socket_address()).unwrap();
    let head = "POST /v1/jobs?function=echo HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\
                Content-Type: application/x-ndjson\r\nTransfer-Encoding: chunked\r\n\r\n";
    disk.fill("ballast");
    // So much that a part of it is passed on to the store while the rest is still to come.
    let lines = format!("\"{}\"\n", "x".repeat(9_997)).repeat(500);
    write!(upload, "{head}{:x}\r\n{lines}\r\n", lines.len()).unwrap();
    server.wait_for_log("the disk is full");
    disk.free("ballast");
    accepts_again(&server);
    write!(upload, "2\r\n1\n\r\n0\r\n\r\n").unwrap();
    let mut answer = String::new();
    upload.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 503") && answer.contains("storage-full"), "{answer}");
}
