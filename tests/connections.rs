//! Connections that are kept: one that says nothing is closed, one that was of use waits for whoever reads slowly.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use common::Server;
use serde_json::json;

/// Longer than a server waits for the head of a first request.
const LONG: Duration = Duration::from_secs(12);
/// Far longer than that.
const PATIENCE: Duration = Duration::from_secs(30);

fn connect(server: &Server) -> BufReader<TcpStream> {
    let stream = TcpStream::connect(server.socket_address()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    BufReader::new(stream)
}

fn ask(connection: &mut BufReader<TcpStream>, path: &str) {
    write!(connection.get_mut(), "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").unwrap();
}

/// The lines of the next answer up to this one.
fn read_to(connection: &mut BufReader<TcpStream>, last: &str) -> Vec<String> {
    let mut lines = Vec::new();
    while lines.last().is_none_or(|line| line != last) {
        let mut line = String::new();
        let count = connection.read_line(&mut line).unwrap();
        assert!(count > 0, "closed behind {:?}", lines.last());
        lines.push(line.trim_end().to_owned());
    }
    lines
}

#[test]
fn who_takes_long_to_read_an_answer_asks_on_over_the_same_connection() {
    let server = Server::start();
    let job = server.map("echo", &json!((0..1000).collect::<Vec<u32>>()));
    job.succeeds();
    let mut connection = connect(&server);
    ask(&mut connection, &format!("{}/results?follow=true", job.path()));
    // The server has long written all of it when it is read.
    std::thread::sleep(LONG);
    let answer = read_to(&mut connection, "0");
    assert_eq!(answer.iter().filter(|line| line.starts_with("{\"seq\":")).count(), 1000);
    read_to(&mut connection, "");
    ask(&mut connection, &job.path());
    assert_eq!(read_to(&mut connection, "")[0], "HTTP/1.1 200 OK");
}

#[test]
fn who_connects_and_asks_nothing_is_let_go() {
    let server = Server::start();
    let (mut silent, mut slow) = (connect(&server), connect(&server));
    let since = Instant::now();
    slow.get_mut().write_all(b"GET /v1/pool HTTP/1.1\r\nHost: local").unwrap();
    for connection in [&mut silent, &mut slow] {
        // At its end, or cut.
        let end = connection.read_to_end(&mut Vec::new());
        assert!(
            end.as_ref().map_or_else(|error| error.kind() == ErrorKind::ConnectionReset, |count| *count == 0),
            "{end:?}"
        );
    }
    assert!(since.elapsed() < PATIENCE, "{:?}", since.elapsed());
}
