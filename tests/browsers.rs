//! Browsers: a page of somebody else's cannot make one call the server.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use common::Server;
use common::client::Answer;
use serde_json::json;
use tempfile::TempDir;

const TOKEN: &str = "boss-0123456789abcdef";
const CALLS: [(&str, &str); 8] = [
    ("GET", "/"),
    ("GET", "/v1/pool"),
    ("HEAD", "/v1/pool"),
    ("POST", "/v1/jobs"),
    ("POST", "/v1/jobs/1/cancel"),
    ("PATCH", "/v1/pool"),
    ("DELETE", "/v1/workers/worker-99"),
    ("OPTIONS", "/v1/pool"),
];

/// The status and the whole answer to a request with just these headers.
fn raw(server: &Server, method: &str, path: &str, headers: &[&str]) -> (u16, String) {
    let mut connection = TcpStream::connect(server.socket_address()).unwrap();
    let line = format!("{method} {path} HTTP/1.1");
    let head = [&[&*line], headers, &["Connection: close\r\n\r\n"]].concat();
    connection.write_all(head.join("\r\n").as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok());
    (status.unwrap_or_else(|| panic!("{answer}")), answer)
}

fn call(server: &Server, method: &str, path: &str, headers: &[(&str, &str)]) -> Answer {
    server.client().call(method, path, headers, "")
}

fn launch(flags: &[&str], environment: &[(&str, &str)]) -> Server {
    Server::launch(TempDir::new().unwrap(), flags, environment).unwrap()
}

#[track_caller]
fn wrong_host(server: &Server, method: &str, path: &str, headers: &[&str]) {
    let (status, answer) = raw(server, method, path, headers);
    assert_eq!(status, 403, "{method} {path} {headers:?}: {answer}");
    if method != "HEAD" {
        assert!(
            answer.contains("urn:gristmill:problem:wrong-host") && answer.contains("allowed_hosts"),
            "{answer}"
        );
    }
}

#[test]
fn a_host_that_is_not_this_machine_is_refused_on_every_method() {
    for server in [Server::start(), launch(&[], &[("GRISTMILL_TOKEN", TOKEN)])] {
        let bearer = format!("Authorization: Bearer {TOKEN}");
        for (method, path) in CALLS {
            let evil: [&[&str]; 6] = [
                &["Host: evil.example"],
                &["Host: localhost.evil.example:8080"],
                &["Host: 10.0.0.7"],
                &["Host: "],
                &["Host: localhost", "Host: evil.example"],
                &["Host: evil.example", &bearer],
            ];
            evil.iter().for_each(|headers| wrong_host(&server, method, path, headers));
            wrong_host(&server, method, &format!("http://evil.example{path}"), &["Host: localhost"]);
            for host in ["localhost", "LOCALHOST:1", "127.0.0.1:99", "[::1]:8080", "[::1]"] {
                let (status, answer) = raw(&server, method, path, &[&format!("Host: {host}"), &bearer]);
                assert_ne!(status, 403, "{host}: {answer}");
            }
        }
        assert_eq!(
            raw(&server, "GET", "/healthz", &["Host: 10.0.0.7:80"]).0,
            200,
            "a probe knows the address"
        );
    }
}

#[test]
fn the_operator_allows_further_hosts() {
    let hosts = "--allowed-hosts=jobs.example.com,mill";
    let server = launch(&[hosts], &[]);
    for host in ["jobs.example.com", "Jobs.Example.com:8080", "mill:80", "localhost"] {
        assert_eq!(raw(&server, "GET", "/v1/pool", &[&format!("Host: {host}")]).0, 200, "{host}");
    }
    wrong_host(&server, "GET", "/v1/pool", &["Host: example.com"]);
}

#[test]
fn a_server_in_the_network_checks_the_host_only_without_a_token() {
    let anywhere = "--listen=0.0.0.0:0";
    let open = launch(&[anywhere, "--no-auth"], &[]);
    wrong_host(&open, "GET", "/v1/pool", &["Host: evil.example"]);
    assert_eq!(raw(&open, "GET", "/v1/pool", &["Host: 10.0.0.7:8080"]).0, 200, "an address is never rebound");
    let server = launch(&[anywhere], &[("GRISTMILL_TOKEN", TOKEN)]);
    let bearer = format!("Authorization: Bearer {TOKEN}");
    assert_eq!(raw(&server, "GET", "/v1/pool", &["Host: jobs.example.com", &bearer]).0, 200);
    let origin = "Origin: http://evil.example";
    assert_eq!(raw(&server, "GET", "/v1/pool", &["Host: jobs.example.com", &bearer, origin]).0, 403);
    let own = "Origin: https://jobs.example.com";
    assert_eq!(raw(&server, "GET", "/v1/pool", &["Host: jobs.example.com", &bearer, own]).0, 200);
}

#[test]
fn another_origin_is_refused_on_every_method() {
    let server = Server::start();
    let own = server.client().address.clone();
    let port = own.rsplit(':').next().unwrap();
    let other_name = format!("http://localhost:{port}");
    for (method, path) in CALLS {
        for origin in
            ["http://evil.example", "null", "", "http://127.0.0.1:1", "http://127.0.0.1", &other_name]
        {
            let answer = call(&server, method, path, &[("Origin", origin)]);
            if method == "HEAD" {
                answer.expect(403);
                continue;
            }
            let problem = answer.problem(403, "wrong-origin");
            assert!(problem["detail"].as_str().unwrap().contains("allowed_origins"), "{problem:#}");
            assert_eq!(answer.header("access-control-allow-origin"), "");
        }
        assert_ne!(call(&server, method, path, &[("Origin", &own)]).status, 403, "{method} {path}");
    }
    let two = format!("Origin: {own}");
    let host = format!("Host: {}", server.socket_address());
    assert_eq!(raw(&server, "GET", "/v1/pool", &[&host, &two, "Origin: http://evil.example"]).0, 403);
}

#[test]
fn a_page_cannot_cancel_what_runs() {
    let server = Server::start();
    let job = server.map("sleep", &json!([60]));
    job.wait_for_running(1);
    let origin = [("Origin", "http://evil.example")];
    call(&server, "POST", &format!("{}/cancel", job.path()), &origin).problem(403, "wrong-origin");
    assert_ne!(job.status()["state"], "cancelling");
    assert_eq!(job.cancel().status, 202);
}

#[test]
fn a_body_that_a_form_can_send_is_refused() {
    let server = Server::start();
    let open = server.submit(&json!({"function": "echo", "open": true}));
    let inputs = format!("{}/inputs", open.path());
    let calls = [
        ("POST", "/v1/jobs", r#"{"function": "echo", "inputs": [1]}"#),
        ("POST", &inputs, r#"{"inputs": [1]}"#),
        ("PATCH", "/v1/pool", r#"{"slots": 3}"#),
    ];
    for (method, path, body) in calls {
        for content_type in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""] {
            let answer = server.client().call(method, path, &[("Content-Type", content_type)], body);
            answer.problem(415, "unsupported-media-type");
        }
    }
    let ndjson = [("Content-Type", "application/x-ndjson")];
    server
        .client()
        .call("PATCH", "/v1/pool", &ndjson, r#"{"slots": 3}"#)
        .problem(415, "unsupported-media-type");
    assert_eq!((&server.pool()["slots"], &open.status()["progress"]["total"]), (&json!(2), &json!(0)));
}

#[test]
fn an_allowed_origin_is_told_so() {
    let board = "https://board.example";
    let server = launch(&["--allowed-origins=https://Board.example"], &[("GRISTMILL_TOKEN", TOKEN)]);
    let ask = [("Origin", board), ("Access-Control-Request-Method", "PATCH")];
    let preflight = call(&server, "OPTIONS", "/v1/pool", &ask).expect(200);
    assert_eq!(preflight.header("access-control-allow-origin"), board);
    assert!(preflight.header("access-control-allow-methods").contains("PATCH"), "{preflight:#?}");
    let headers = preflight.header("access-control-allow-headers");
    assert!(headers.contains("authorization") && headers.contains("idempotency-key"), "{headers}");
    let bearer = format!("Bearer {TOKEN}");
    let answer =
        call(&server, "GET", "/v1/pool", &[("Origin", board), ("Authorization", &bearer)]).expect(200);
    assert_eq!(answer.header("access-control-allow-origin"), board);
    assert!(answer.header("access-control-expose-headers").contains("location"), "{answer:#?}");
    let refused = call(&server, "GET", "/v1/pool", &[("Origin", board)]);
    refused.problem(401, "unauthorized");
    assert_eq!(refused.header("access-control-allow-origin"), board, "the page can read why");
    let evil = call(&server, "OPTIONS", "/v1/pool", &[("Origin", "https://evil.example"), ask[1]]);
    evil.problem(403, "wrong-origin");
    assert_eq!(evil.header("access-control-allow-origin"), "");
}

#[test]
fn nothing_is_said_of_origins_unless_some_are_allowed() {
    let server = Server::start();
    let own = server.client().address.clone();
    let ask = [("Origin", own.as_str()), ("Access-Control-Request-Method", "PATCH")];
    let answers =
        [call(&server, "OPTIONS", "/v1/pool", &ask).expect(405), call(&server, "GET", "/v1/pool", &ask)];
    for answer in answers {
        assert!(
            !answer.headers.keys().any(|name| name.as_str().starts_with("access-control")),
            "{answer:#?}"
        );
    }
}
