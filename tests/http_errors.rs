//! Every error says what was wrong and what would be right, as an RFC 9457 problem.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::io::{Read as _, Write as _};
use std::net::TcpStream;

use common::Server;
use common::client::{Answer, JSON, NDJSON};
use serde_json::{Value, json};

/// A job that does not exist.
const NO_JOB: &str = "/v1/jobs/00000000-0000-7000-8000-000000000000";

#[track_caller]
fn assert_says(problem: &Value, texts: &[&str]) {
    let detail = problem["detail"].as_str().unwrap();
    for text in texts {
        assert!(detail.contains(text), "{text:?} in {detail:?}");
    }
}

/// A submit of `echo` as JSON, with these inputs and further members.
fn echo(server: &Server, inputs: &str, more: &str) -> Answer {
    server.post_json("/v1/jobs", &format!(r#"{{"function": "echo", "inputs": {inputs}{more}}}"#))
}

#[test]
fn an_unknown_function_is_told_the_nearest() {
    let server = Server::start();
    let json = server.post_json("/v1/jobs", r#"{"function": "sha265", "inputs": []}"#);
    let ndjson = server.post_ndjson("/v1/jobs?function=sha265", "");
    for answer in [json, ndjson] {
        let problem = answer.problem(404, "unknown-function");
        assert_eq!(problem["nearest"], "sha256");
        assert_says(&problem, &["sha265", "did you mean \"sha256\"?"]);
    }
    let far = server.post_ndjson("/v1/jobs?function=launch_missiles", "").problem(404, "unknown-function");
    assert_says(&far, &["/v1/functions"]);
    assert_says(
        &server.post_ndjson("/v1/jobs", "").problem(400, "bad-request"),
        &["function is missing", "sha256"],
    );
}

#[test]
fn bad_json_is_told_with_line_and_column() {
    let server = Server::start();
    let body = "{\"function\": \"echo\",\n \"inputs\": [1, nul]}";
    let problem = server.post_json("/v1/jobs", body).problem(400, "bad-json");
    assert_eq!((&problem["line"], &problem["column"]), (&json!(2), &json!(19)), "{problem:#}");
    assert_says(&problem, &["line 2 column 19"]);
    for body in ["", "[]", "{}", "17", r#"{"function": "echo"}"#, r#"{"function": "echo", "inputs": 5}"#] {
        server.post_json("/v1/jobs", body).problem(400, "bad-json");
    }
    assert_says(
        &server.post_json("/v1/jobs", r#"{"function": "echo"}"#).problem(400, "bad-json"),
        &["inputs"],
    );
    echo(&server, "[1] trailing", "").problem(400, "bad-json");
    echo(&server, "[01]", "").problem(400, "bad-json");
    assert_eq!(server.get("/v1/jobs").json()["items"], json!([]), "nothing was accepted");
}

#[test]
fn bad_ndjson_is_told_with_its_line() {
    let server = Server::start();
    let path = "/v1/jobs?function=echo";
    let problem = server.post_ndjson(path, "1\n\n[1, 2}\n3\n").problem(400, "bad-json");
    assert_eq!((&problem["line"], &problem["column"]), (&json!(3), &json!(6)), "{problem:#}");
    assert_says(&problem, &["line 3", "column 6"]);
    let last = server.post_ndjson(path, "1\n2\n\"unfinished").problem(400, "bad-json");
    assert_eq!(last["line"], 3);
    server.post_ndjson(path, "1 2\n").problem(400, "bad-json");
    assert_eq!(server.get("/v1/jobs").json()["items"], json!([]), "all or nothing");
}

#[test]
fn an_unknown_option_is_told_the_nearest() {
    let server = Server::start();
    let json = echo(&server, "[1]", r#", "proceses": 2"#).problem(400, "bad-json");
    assert_says(&json, &["unknown field `proceses`", "did you mean `processes`?"]);
    let query = server.post_ndjson("/v1/jobs?function=echo&proceses=2", "1").problem(400, "bad-request");
    assert_says(&query, &["proceses", "did you mean \"processes\"?"]);
}

#[test]
fn options_out_of_range_are_refused() {
    let server = Server::start();
    let long = format!(r#", "name": "{}""#, "x".repeat(257));
    let refused = [
        r#", "processes": 0"#,
        r#", "max_attempts": 0"#,
        r#", "max_attempts": 100000"#,
        r#", "timeout": "soon""#,
        r#", "timeout": 0"#,
        r#", "timeout": -1"#,
        &long,
    ];
    for more in refused {
        echo(&server, "[1]", more).problem(400, "bad-request");
    }
    for more in
        [r#", "processes": -1"#, r#", "priority": 1.5"#, r#", "labels": {"a": 1}"#, r#", "on_error": "x""#]
    {
        echo(&server, "[1]", more).problem(400, "bad-json");
    }
    for query in [
        "processes=0",
        "processes=x",
        "chunk_size=0",
        "chunk_size=16385",
        "chunk_size=x",
        "priority=x",
        "max_attempts=0",
        "on_error=x",
        "label=x",
        "timeout=x",
        "lock=",
        "lock=%7B",
        "lock=%7B%22name%22:%22disk%22,%22permits%22:0}",
        "lock=%7B%22name%22:%22disk%22,%22permits%22:2,%22wait%22:true}",
    ] {
        let path = format!("/v1/jobs?function=echo&{query}");
        server.post_ndjson(&path, "1").problem(400, "bad-request");
    }
}

#[test]
fn an_option_of_the_wrong_type_is_told_what_it_is() {
    let server = Server::start();
    let duration = r#"a duration is text, such as "30s", or a number of seconds"#;
    let lock = r#"a lock is a name, or {"name": "disk", "permits": 2}"#;
    for (option, what) in [
        (r#""timeout": true"#, duration),
        (r#""retry_backoff": {"s": 1}"#, duration),
        (r#""lock": true"#, lock),
        (r#""lock": {"name": "disk"}"#, lock),
        (r#""lock": {"name": "disk", "permits": 2, "wait": true}"#, lock),
        (r#""lock": ["disk", 2]"#, lock),
    ] {
        let problem = echo(&server, "[1]", &format!(", {option}")).problem(400, "bad-json");
        assert_says(&problem, &[what]);
    }
}

/// Arrays in arrays.
fn nested(depth: usize) -> String {
    "[".repeat(depth) + &"]".repeat(depth)
}

#[test]
fn inputs_may_nest_64_deep() {
    let server = Server::start();
    let path = "/v1/jobs?function=echo";
    echo(&server, &format!("[{}]", nested(64)), "").expect(202);
    server.post_ndjson(path, &nested(64)).expect(202);
    let json = echo(&server, &format!("[0, {}]", nested(65)), "").problem(400, "bad-json");
    assert_says(&json, &["input 1", "64"]);
    let ndjson = server.post_ndjson(path, &format!("0\n{}\n", nested(65))).problem(400, "bad-json");
    assert_says(&ndjson, &["line 2", "64"]);
    for depth in [1_000, 100_000] {
        echo(&server, &format!("[{}]", nested(depth)), "").problem(400, "bad-json");
        server.post_ndjson(path, &nested(depth)).problem(400, "bad-json");
    }
}

#[test]
fn what_is_too_large_is_refused_and_what_just_fits_is_not() {
    let server = Server::with(&["--max-body-bytes=1000", "--max-input-bytes=100"]);
    let path = "/v1/jobs?function=echo";
    // A string of so many bytes, its quotes among them.
    let input = |bytes: usize| format!("\"{}\"", "x".repeat(bytes - 2));
    server.post_ndjson(path, &format!("{0}\n{0}\n", input(100))).expect(202);
    server.post_ndjson(path, &input(100)).expect(202);
    echo(&server, &format!("[{}]", input(100)), "").expect(202);
    for answer in [
        server.post_ndjson(path, &format!("1\n{}\n", input(101))),
        server.post_ndjson(path, &input(101)),
        echo(&server, &format!("[{}]", input(101)), ""),
    ] {
        assert_says(&answer.problem(413, "too-large"), &["100 bytes"]);
    }
    let body = |bytes: usize| {
        let body = r#"{"function": "echo", "inputs": []}"#;
        body.to_owned() + &" ".repeat(bytes - body.len())
    };
    server.post_json("/v1/jobs", &body(1000)).expect(202);
    let problem = server.post_json("/v1/jobs", &body(1001)).problem(413, "too-large");
    assert_says(&problem, &["1000 bytes", "application/x-ndjson"]);
    // A stream has no limit but that of its lines.
    server.post_ndjson(path, &(input(50) + "\n").repeat(100)).expect(202);
}

#[test]
fn an_unknown_job_or_a_malformed_id_is_not_found() {
    let server = Server::start();
    for job in [NO_JOB, "/v1/jobs/7", "/v1/jobs/not-an-id"] {
        for (method, path) in [("GET", ""), ("DELETE", ""), ("GET", "/results"), ("POST", "/cancel")] {
            let answer = server.client().call(method, &format!("{job}{path}"), &[], "");
            answer.problem(404, "unknown-job");
        }
    }
    server.delete("/v1/workers/worker-99").problem(404, "unknown-worker");
    server.delete("/v1/workers/1").problem(404, "unknown-worker");
    // What is no text names nothing.
    server.get("/v1/jobs/%FF").problem(404, "unknown-path");
    server.delete("/v1/workers/%FF").problem(404, "unknown-path");
    server.get("/v1/jbos").problem(404, "unknown-path");
    server.get("/v2/jobs").problem(404, "unknown-path");
}

#[test]
fn a_wrong_method_is_told_the_right_ones() {
    let server = Server::start();
    let calls = [
        ("PUT", "/v1/jobs", "GET,HEAD,POST"),
        ("DELETE", "/v1/jobs", "GET,HEAD,POST"),
        ("POST", NO_JOB, "DELETE,GET,HEAD"),
        ("GET", &format!("{NO_JOB}/cancel"), "POST"),
        ("POST", &format!("{NO_JOB}/results"), "DELETE,GET,HEAD"),
        ("DELETE", "/v1/pool", "GET,HEAD,PATCH"),
        ("GET", "/v1/workers/worker-1", "DELETE"),
        ("POST", "/v1/functions", "GET,HEAD"),
    ];
    for (method, path, allowed) in calls {
        let answer = server.client().call(method, path, &[], "");
        answer.problem(405, "wrong-method");
        let mut allow: Vec<&str> = answer.header("allow").split(',').map(str::trim).collect();
        allow.sort_unstable();
        assert_eq!(allow.join(","), allowed, "{method} {path}");
    }
}

#[test]
fn a_wrong_content_type_is_told_the_right_ones() {
    let server = Server::start();
    let post = |headers: &[(&str, &str)]| {
        let body = r#"{"function": "echo", "inputs": [1]}"#;
        server.client().call("POST", "/v1/jobs", headers, body)
    };
    for content_type in ["text/plain", "application/x-www-form-urlencoded", "application/jsonx"] {
        let problem = post(&[("Content-Type", content_type)]).problem(415, "unsupported-media-type");
        assert_says(&problem, &[content_type, "application/json", "application/x-ndjson"]);
    }
    for content_type in [JSON, NDJSON] {
        let answer = post(&[("Content-Type", content_type), ("Content-Encoding", "gzip")]);
        assert_says(&answer.problem(415, "unsupported-media-type"), &["gzip"]);
    }
    post(&[("Content-Type", "Application/JSON; charset=utf-8")]).expect(202);
    post(&[("Content-Type", JSON), ("Content-Encoding", "identity")]).expect(202);
}

#[test]
fn bad_query_values_are_refused() {
    let server = Server::start();
    let job = server.map("echo", &json!([1]));
    job.succeeds();
    let (job, results) = (job.path(), format!("{}/results", job.path()));
    let calls = [
        (&results, "after=x"),
        (&results, "after=-1"),
        (&results, "limit=x"),
        (&results, "order=backwards"),
        (&results, "fields=index"),
        (&results, "follow=maybe"),
        (&results, "aftr=1"),
        (&job, "wait=soon"),
        (&job, "wait=-1"),
        (&job, "weight=1"),
        (&"/v1/jobs".to_owned(), "state=sleeping"),
        (&"/v1/jobs".to_owned(), "limit=0"),
        (&"/v1/jobs".to_owned(), "limit=1001"),
        (&"/v1/jobs".to_owned(), "after=x"),
        (&"/v1/jobs".to_owned(), "label=x"),
        (&"/v1/jobs".to_owned(), "colour=red"),
    ];
    for (path, query) in calls {
        let answer = server.get(&format!("{path}?{query}"));
        assert_eq!(answer.status, 400, "{query}");
        answer.problem(400, "bad-request");
    }
    assert_says(
        &server.get(&format!("{results}?aftr=1")).problem(400, "bad-request"),
        &["did you mean `after`?"],
    );
    for query in ["limit=0", "limit=100001", "follow=true"] {
        let path = format!("{results}?{query}");
        server.client().call("GET", &path, &[("Accept", JSON)], "").problem(400, "bad-request");
    }
}

#[test]
fn a_bad_resize_is_refused() {
    let server = Server::start();
    for body in [r#"{"slots": 0}"#, r#"{"slots": 100000}"#] {
        server.patch("/v1/pool", body).problem(400, "bad-request");
    }
    for body in ["", "{}", r#"{"slots": -1}"#, r#"{"slots": "x"}"#, r#"{"slot": 2}"#] {
        server.patch("/v1/pool", body).problem(400, "bad-json");
    }
    assert_says(
        &server.patch("/v1/pool", r#"{"slot": 2}"#).problem(400, "bad-json"),
        &["did you mean `slots`?"],
    );
    assert_eq!(server.pool()["slots"], 2);
}

#[test]
fn what_could_be_read_in_two_ways_is_refused() {
    let server = Server::start();
    let array = server.post_json("/v1/jobs", r#"["echo", [1], null, {}, null, 0, null, null, null]"#);
    assert_says(&array.problem(400, "bad-json"), &["is an array"]);
    assert_says(&server.patch("/v1/pool", "[3]").problem(400, "bad-json"), &["is an array"]);
    let both = r#"{"function": "echo", "inputs": [1]}"#;
    let both = server.post_json("/v1/jobs?priority=3", both).problem(400, "bad-request");
    assert_says(&both, &["priority=3", "in the body"]);
    let twice = server.post_ndjson("/v1/jobs?function=echo&function=sha256", "1\n");
    assert_says(&twice.problem(400, "bad-request"), &["function is given twice"]);
    let twice = server.post_ndjson("/v1/jobs?function=echo&label=a=b&label=a=c", "1\n");
    assert_says(&twice.problem(400, "bad-request"), &["label is given twice"]);
    let label = echo(&server, "[1]", r#", "labels": {"a=b": "c"}"#).problem(400, "bad-request");
    assert_says(&label, &["a=b"]);
    server.map("echo", &json!([1])).succeeds();
    server.delete("/v1/workers/worker-01").problem(404, "unknown-worker");
}

#[test]
fn a_refusal_reaches_a_client_that_still_sends() {
    let server = Server::start();
    let body = "1\n".repeat(200_000);
    for _ in 0..20 {
        let plain = [("Content-Type", "text/plain")];
        let answer = server.client().call("POST", "/v1/jobs?function=echo", &plain, &body);
        answer.problem(415, "unsupported-media-type");
        server.post_ndjson("/v1/jobs?function=none", &body).problem(404, "unknown-function");
        server.client().call("POST", "/v1/nowhere", &plain, &body).problem(404, "unknown-path");
    }
}

/// The status of the answer to what is no request that can be read, and its problem.
fn refused(server: &Server, request: &str) -> (String, Value) {
    let mut connection = TcpStream::connect(server.socket_address()).unwrap();
    connection.write_all(request.as_bytes()).unwrap();
    let mut answer = String::new();
    connection.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("content-type: application/problem+json"), "{answer}");
    (head.split(' ').nth(1).unwrap().to_owned(), serde_json::from_str(body).unwrap())
}

#[test]
fn what_cannot_be_read_as_a_request_is_told_so() {
    let server = Server::start();
    let many = "x: y\r\n".repeat(200);
    let calls = [
        ("no request\r\n\r\n".to_owned(), "400", "bad-request"),
        ("GET / HTTP/9.9\r\n\r\n".to_owned(), "400", "bad-request"),
        (format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(66_000)), "414", "uri-too-long"),
        (format!("GET / HTTP/1.1\r\n{many}\r\n"), "431", "headers-too-large"),
    ];
    for (request, status, kind) in calls {
        let (told, problem) = refused(&server, &request);
        assert_eq!(
            (told.as_str(), &problem["type"]),
            (status, &json!(format!("urn:gristmill:problem:{kind}")))
        );
    }
}
