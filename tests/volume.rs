//! A million inputs in one stream: accepted, run, read back by cursor, each once, and the server's memory stays flat.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::io::{Cursor, Read, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use common::client::NDJSON;
use common::job::Job;
use common::procs::Proc;
use common::{Server, check, within};
use serde_json::json;

const COUNT: u64 = 1_000_000;
const PAGE: u64 = 100_000;
const MOST_MEMORY: u64 = 150 << 20;

/// `0` to `COUNT - 1`, a line each, made as it is read.
#[derive(Default)]
struct Numbers {
    next: u64,
    part: Cursor<String>,
}

impl Read for Numbers {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        if self.part.position() == self.part.get_ref().len() as u64 {
            let until = COUNT.min(self.next + 1000);
            let mut part = String::new();
            (self.next..until).for_each(|n| part.extend([n.to_string().as_str(), "\n"]));
            self.part = Cursor::new(part);
            self.next = until;
        }
        self.part.read(buffer)
    }
}

/// The seq and the index of a result line that echoes its own index at its first attempt.
fn seq_and_index(line: &str) -> (u64, u64) {
    let fields = || {
        let (seq, rest) = line.strip_prefix("{\"seq\":")?.split_once(",\"index\":")?;
        let (index, rest) = rest.split_once(",\"status\":\"succeeded\",\"output\":")?;
        let (output, rest) = rest.split_once(",\"attempt\":1,")?;
        (index == output && rest.ends_with('}')).then_some((seq.parse().ok()?, index.parse().ok()?))
    };
    fields().unwrap_or_else(|| panic!("not as expected: {line}"))
}

#[test]
fn a_million_inputs_in_one_stream() {
    let server = Server::start();
    let answer =
        server.client().post_stream("/v1/jobs?function=echo", NDJSON, Numbers::default()).expect(202);
    assert_eq!(answer.json()["progress"]["total"], COUNT);
    let job = Job::of(&server, &answer);
    within(Duration::from_secs(100), "the end of the job", || {
        check(job.status(), |status| status["state"] == "succeeded")
    });
    let (mut seen, mut read) = (vec![false; COUNT as usize], 0);
    while read < COUNT {
        let page = job.results_text(&format!("after={read}&limit={PAGE}"));
        for line in page.lines() {
            let (seq, index) = seq_and_index(line);
            read += 1;
            assert_eq!(seq, read);
            assert!(!std::mem::replace(&mut seen[index as usize], true), "{index} came twice");
        }
        assert!(read % PAGE == 0, "a page ended at {read}");
    }
    assert_eq!(job.results_text(&format!("after={COUNT}")), "");
    let memory = Proc::most_memory(server.pid());
    assert!(memory < MOST_MEMORY, "the server held {} MB", memory >> 20);
}

#[test]
fn a_stream_of_more_bytes_than_the_server_may_hold() {
    const INPUTS: usize = 180;
    let server = Server::start();
    let inputs = format!("\"{}\"\n", "x".repeat(1 << 20)).repeat(INPUTS);
    let job = Job::of(&server, &server.post_ndjson("/v1/jobs?function=sha256", &inputs).expect(202));
    job.succeeds();
    assert_eq!(job.results().len(), INPUTS);
    let memory = Proc::most_memory(server.pid());
    assert!(memory < MOST_MEMORY, "the server held {} MB of {INPUTS}", memory >> 20);
}

/// Asks for results and reads none of them.
fn stalled_reader(server: &Server, job: &Job<'_>) -> TcpStream {
    let mut connection = TcpStream::connect(server.socket_address()).unwrap();
    write!(connection, "GET {}/results?follow=true HTTP/1.1\r\nHost: localhost\r\n\r\n", job.path()).unwrap();
    connection
}

#[test]
fn readers_that_do_not_read_cost_little() {
    const READERS: u64 = 50;
    let server = Server::start();
    let inputs = "1\n".repeat(500_000);
    let job = Job::of(&server, &server.post_ndjson("/v1/jobs?function=echo", &inputs).expect(202));
    job.succeeds();
    let before = Proc::most_memory(server.pid());
    let readers: Vec<TcpStream> = (0..READERS).map(|_| stalled_reader(&server, &job)).collect();
    // When there is something to read for each, what the server holds for them is there.
    readers.iter().for_each(|reader| assert_eq!(reader.peek(&mut [0]).unwrap(), 1));
    server.map("echo", &json!([1])).succeeds();
    let each = (Proc::most_memory(server.pid()) - before) / READERS;
    assert!(each < 4 << 20, "{each} bytes for a reader");
}
