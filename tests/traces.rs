//! Distributed traces: the caller's span reaches the workers, across restarts.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::fs;

use common::client::{JSON, NDJSON};
use common::job::Job;
use common::{Server, skip};
use serde_json::{Value, json};
use tempfile::TempDir;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

/// A server with functions that tell which span they run in: by the environment, by the line, and by the shim.
fn server() -> Server {
    let home = TempDir::new().unwrap();
    let shim = concat!(env!("CARGO_MANIFEST_DIR"), "/workers/python");
    let worker = "import gristmill\n@gristmill.function\ndef f(x):\n    return gristmill.task().traceparent\ngristmill.run()\n";
    fs::write(home.path().join("worker.py"), worker).unwrap();
    let config = format!(
        "[functions.env]\ncommand = [\"sh\", \"-c\", 'printf \"\\\"%s\\\"\" \"$TRACEPARENT\"']\nmode = \"exec\"\n\
         [functions.lot]\ncommand = [\"awk\", '{{ print \"\\\"\" ENVIRON[\"TRACEPARENT\"] \"\\\"\" }}']\nmode = \"batch\"\n\
         [functions.warm]\ncommand = [\"jq\", \"-c\", \"--unbuffered\", \".traceparent\"]\nmode = \"lines\"\ninput = \"task\"\n\
         [functions.shim]\ncommand = [\"/usr/bin/python3\", \"worker.py\"]\nmode = \"frames\"\nenv = {{ PYTHONPATH = \"{shim}\" }}\n"
    );
    let path = home.path().join("gristmill.toml");
    fs::write(&path, config).unwrap();
    let flags = ["--processes=1", "--config", path.to_str().unwrap()];
    Server::launch(home, &flags, &[]).unwrap_or_else(|refused| panic!("{refused:#?}"))
}

fn submit<'s>(server: &'s Server, body: &Value, traceparent: &str) -> Job<'s> {
    let headers = [("Content-Type", JSON), ("traceparent", traceparent)];
    Job::of(server, &server.client().call("POST", "/v1/jobs", &headers, &body.to_string()).expect(202))
}

fn outputs(job: &Job<'_>) -> Vec<Value> {
    job.succeeds();
    job.by_input().iter().map(|result| result["output"].clone()).collect()
}

#[test]
fn workers_hear_of_the_span_that_a_job_was_submitted_in() {
    if !std::path::Path::new("/usr/bin/python3").exists() {
        return skip("python3 is not installed");
    }
    let server = server();
    let functions = [("env", json!("")), ("lot", json!("")), ("warm", Value::Null), ("shim", Value::Null)];
    for (function, none) in functions {
        let body = json!({"function": function, "inputs": [1, 2]});
        assert_eq!(outputs(&submit(&server, &body, PARENT)), [PARENT, PARENT], "{function}");
        assert_eq!(outputs(&server.submit(&body)), [none.clone(), none.clone()], "{function}");
        // One that is not valid is as none; so it is of no harm either.
        let wrong = "00-00000000000000000000000000000000-00f067aa0ba902b7-01";
        assert_eq!(outputs(&submit(&server, &body, wrong)), [none.clone(), none], "{function}");
    }
    let headers = [("Content-Type", NDJSON), ("traceparent", PARENT)];
    let map = server.client().call("POST", "/v1/map/env?fields=output", &headers, "1\n2\n").expect(200);
    assert_eq!(map.text, format!("\"{PARENT}\"\n\"{PARENT}\"\n"));
}

/// Where the document says that it may be sent, and only there.
#[test]
fn the_document_tells_of_the_header() {
    let document = Server::start().get("/openapi.json").expect(200).json();
    let mut found = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let mut parameters = operation["parameters"].as_array().into_iter().flatten();
            if let Some(header) = parameters.find(|parameter| parameter["name"] == "traceparent") {
                assert_eq!((&header["in"], &header["required"]), (&json!("header"), &json!(false)));
                assert_eq!(header["schema"]["examples"], json!([PARENT]));
                found.push(format!("{method} {path}"));
            }
        }
    }
    assert_eq!(found, ["post /v1/jobs", "post /v1/map/{function}", "put /v1/map/{function}"]);
}

#[test]
fn the_span_outlives_the_server() {
    let server = server();
    server.map("sleep", &json!([60]));
    let job = submit(&server, &json!({"function": "env", "inputs": [1], "priority": -1}), PARENT);
    server.kill9();
    server.restart();
    server.resize(2);
    assert_eq!(outputs(&Job::with_id(&server, &job.id)), [PARENT]);
}
