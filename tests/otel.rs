//! The spans of jobs and chunks, as a collector gets them. Needs the feature `otel`.

#![cfg(feature = "otel")]
#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;
#[expect(dead_code, reason = "webhooks use more of it")]
#[path = "webhooks/receiver.rs"]
mod receiver;

use std::thread::sleep;
use std::time::{Duration, Instant};

use common::client::JSON;
use common::job::Job;
use common::procs::wake_ups;
use common::server::Refused;
use common::{Server, check, eventually};
use receiver::{Answers, OK, Receiver};
use serde_json::{Value, json};
use tempfile::TempDir;

const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
const UNAVAILABLE: &str = "HTTP/1.1 503 Service Unavailable\r\ncontent-length: 0\r\n\r\n";
const PARTLY: &str =
    "HTTP/1.1 200 OK\r\ncontent-length: 41\r\n\r\n{\"partialSuccess\":{\"rejectedSpans\":\"7\"}} ";

fn try_server(environment: &[(&str, &str)]) -> Result<Server, Refused> {
    Server::launch(TempDir::new().unwrap(), &["--processes=1"], environment)
}

fn server(endpoint: &str) -> Server {
    try_server(&[("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint), ("OTEL_SERVICE_NAME", "mill")])
        .unwrap_or_else(|refused| panic!("{refused:#?}"))
}

/// A server, and the collector that it tells.
fn told(answers: Answers) -> (Server, Receiver) {
    let collector = Receiver::start(answers);
    (server(&format!("http://127.0.0.1:{}", collector.port)), collector)
}

fn submit<'s>(server: &'s Server, body: &Value, traceparent: &str) -> Job<'s> {
    let headers = [("Content-Type", JSON), ("traceparent", traceparent)];
    Job::of(server, &server.client().call("POST", "/v1/jobs", &headers, &body.to_string()).expect(202))
}

/// All spans that have come, in their order; the requests around them must be right.
fn spans(collector: &Receiver) -> Vec<Value> {
    let mut spans = Vec::new();
    for got in collector.got() {
        assert_eq!((&*got.line, got.header("content-type")), ("POST /v1/traces HTTP/1.1", JSON));
        let body = got.json();
        let about = &body["resourceSpans"][0];
        assert_eq!(attribute(&about["resource"], "service.name"), "mill");
        spans.extend(about["scopeSpans"][0]["spans"].as_array().unwrap().clone());
    }
    spans
}

/// Those of one job and its chunks.
fn of_job(spans: &[Value], job: &Job<'_>) -> Vec<Value> {
    spans.iter().filter(|span| attribute(span, "gristmill.job.id") == job.id.as_str()).cloned().collect()
}

/// The span of a job itself, once it has come, and those of its chunks.
fn wait_for(collector: &Receiver, job: &Job<'_>) -> (Value, Vec<Value>) {
    eventually("the span of the job", || {
        let all = of_job(&spans(collector), job);
        let (mut jobs, chunks): (Vec<_>, Vec<_>) = all.into_iter().partition(is_a_job);
        assert!(jobs.len() <= 1, "{jobs:#?}");
        jobs.pop().map(|job| (job, chunks)).ok_or_else(|| spans(collector))
    })
}

fn is_a_job(span: &Value) -> bool {
    span["kind"] == 5
}

/// An attribute, without its type; null if there is none.
fn attribute(of: &Value, key: &str) -> Value {
    let all = of["attributes"].as_array().unwrap();
    let found = all.iter().find(|attribute| attribute["key"] == key).map(|found| &found["value"]);
    found.and_then(|value| value.as_object()?.values().next().cloned()).unwrap_or_default()
}

fn ns(span: &Value, key: &str) -> u64 {
    span[key].as_str().unwrap().parse().unwrap()
}

#[test]
fn a_job_is_a_span_in_the_trace_of_its_caller_and_its_chunks_are_below() {
    let (server, collector) = told(&[Some(OK)]);
    let body = json!({"function": "count", "inputs": [1000, 1000, "no number"], "chunk_size": 2,
        "name": "mixed", "max_attempts": 1});
    let job = submit(&server, &body, PARENT);
    let worker = job.wait()["workers"][0].clone();
    let (span, mut chunks) = wait_for(&collector, &job);
    assert_eq!(span["traceId"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!((&span["parentSpanId"], &span["name"]), (&json!("00f067aa0ba902b7"), &json!("job count")));
    assert_eq!(span["status"], json!({"code": 2, "message": "1 of 3 tasks failed"}));
    for (key, value) in [("state", "failed"), ("name", "mixed")] {
        assert_eq!(attribute(&span, &format!("gristmill.job.{key}")), value);
    }
    assert_eq!(attribute(&span, "gristmill.function"), "count");
    for (key, count) in [("total", "3"), ("succeeded", "2"), ("failed", "1"), ("cancelled", "0")] {
        assert_eq!(attribute(&span, &format!("gristmill.tasks.{key}")), count, "{key}");
    }
    chunks.sort_by_key(|chunk| ns(chunk, "startTimeUnixNano"));
    // What a worker answers of a chunk at once is a span.
    let told = chunks.iter().flat_map(|chunk| {
        let [index, count, attempt, failed] = ["index", "count", "attempt", "failed"].map(|key| {
            let number = attribute(chunk, &format!("gristmill.chunk.{key}"));
            number.as_str().unwrap().parse::<u64>().unwrap()
        });
        (index..index + count).map(move |index| [index, attempt, failed])
    });
    assert_eq!(told.collect::<Vec<_>>(), [[0, 1, 0], [1, 1, 0], [2, 1, 1]]);
    let last = chunks.last().unwrap();
    assert_eq!((&chunks[0]["status"], &last["status"]["code"]), (&Value::Null, &json!(2)));
    for chunk in &chunks {
        assert_eq!((&chunk["traceId"], &chunk["parentSpanId"]), (&span["traceId"], &span["spanId"]));
        assert_eq!((&chunk["name"], &chunk["kind"]), (&json!("chunk count"), &json!(1)));
        assert_eq!(attribute(chunk, "gristmill.worker"), worker["name"]);
        assert_eq!(attribute(chunk, "process.pid"), worker["pid"].to_string());
        let times = [
            (&span, "startTimeUnixNano"),
            (chunk, "startTimeUnixNano"),
            (chunk, "endTimeUnixNano"),
            (&span, "endTimeUnixNano"),
        ];
        assert!(times.map(|(span, key)| ns(span, key)).is_sorted(), "{chunk:#} in {span:#}");
    }
    assert_ne!(chunks[0]["spanId"], last["spanId"]);
}

#[test]
fn a_trace_that_the_caller_does_not_record_is_not_told_and_a_job_without_a_caller_has_one_of_its_own() {
    let (server, collector) = told(&[Some(OK)]);
    let body = json!({"function": "echo", "inputs": [1]});
    let hidden = submit(&server, &body, NOT_SAMPLED);
    hidden.succeeds();
    let job = server.submit(&body);
    let (span, chunks) = wait_for(&collector, &job);
    assert_eq!(span["traceId"], job.id.replace('-', ""));
    assert_eq!((&span["parentSpanId"], &span["status"], chunks.len()), (&Value::Null, &Value::Null, 1));
    // The end of the server sends what there is.
    server.terminate();
    assert!(server.ended().success());
    assert_eq!(of_job(&spans(&collector), &hidden), Vec::<Value>::new());
}

#[test]
fn a_job_that_outlives_the_server_is_told_once_in_the_same_trace() {
    let (server, collector) = told(&[Some(OK)]);
    let job = server.submit(&json!({"function": "sleep", "inputs": [0, 5], "chunk_size": 1}));
    eventually("the first chunk", || check(spans(&collector), |spans| spans.len() == 1));
    server.kill9();
    server.restart();
    job.succeeds();
    let (span, chunks) = wait_for(&collector, &job);
    assert_eq!((span["traceId"].as_str(), chunks.len()), (Some(&*job.id.replace('-', "")), 2));
    assert!(chunks.iter().all(|chunk| chunk["parentSpanId"] == span["spanId"]), "{chunks:#?} of {span:#}");
    // Those who follow look at it again, in this life of the server and in the next one.
    server.post_json(&format!("{}/pause", job.path()), "");
    wait_for(&collector, &server.map("echo", &json!([1])));
    wait_for(&collector, &job);
    server.kill9();
    server.restart();
    server.post_json(&format!("{}/pause", job.path()), "");
    let last = server.map("echo", &json!([1]));
    wait_for(&collector, &last);
    server.terminate();
    assert!(server.ended().success());
    wait_for(&collector, &job);
}

#[test]
fn what_ends_just_before_the_server_is_told() {
    let (server, collector) = told(&[Some(OK)]);
    let job = server.map("echo", &json!([1]));
    job.succeeds();
    server.terminate();
    assert!(server.ended().success());
    let all = spans(&collector);
    assert_eq!((all.len(), of_job(&all, &job).len()), (2, 2), "{all:#?}");
}

#[test]
fn a_collector_that_is_busy_is_told_again() {
    let (server, collector) = told(&[Some(UNAVAILABLE), Some(PARTLY), Some(OK)]);
    server.map("echo", &json!([1])).succeeds();
    let got = collector.wait_for(2);
    assert_eq!(got[0].body, got[1].body);
    server.wait_for_log("the collector takes only a part");
    assert!(server.log().iter().any(|line| line.contains("\"in_all\":7")), "{:#?}", server.log());
}

/// Jobs go on, and the end of the server does not wait.
fn is_not_waited_for(server: &Server) {
    for _ in 0..20 {
        server.map("count", &json!([1000, 1000])).succeeds();
    }
    server.terminate();
    let start = Instant::now();
    assert!(server.ended().success());
    assert!(start.elapsed() < Duration::from_secs(6), "{:?}", start.elapsed());
    server.wait_for_log("the collector has not taken all spans in time");
}

#[test]
fn nobody_waits_for_a_collector_that_is_not_there() {
    is_not_waited_for(&server("http://127.0.0.1:1"));
}

#[test]
fn nobody_waits_for_a_collector_that_says_nothing() {
    let (server, _collector) = told(&[None]);
    is_not_waited_for(&server);
}

#[test]
fn more_spans_than_the_queue_holds_are_lost_counted_and_harm_nobody() {
    let (server, collector) = told(&[None]);
    let numbers: Vec<u32> = (0..6000).collect();
    let job = server.submit(&json!({"function": "echo", "inputs": numbers, "chunk_size": 1}));
    job.succeeds();
    // The first may have been lost for another reason; the end of the server tells of all.
    server.terminate();
    assert!(server.ended().success());
    let is_told = |line: &String| line.contains("spans are lost") && line.contains("the queue is full");
    eventually("how many spans are lost", || check(server.log(), |log| log.iter().any(is_told)));
    // It is sent again if the collector has said nothing for ten seconds.
    let got = collector.got();
    assert!(got.iter().all(|request| request.body == got[0].body), "one batch is under way");
}

#[test]
fn a_server_without_work_is_not_woken_for_spans() {
    let (server, collector) = told(&[Some(OK)]);
    let job = server.map("echo", &json!([1]));
    wait_for(&collector, &job);
    let woken = || wake_ups(server.pid()).values().sum::<u64>();
    // What the last request was about may go on for a moment, and what sweeps old jobs may be among them.
    eventually("three seconds without work", || {
        let before = woken();
        sleep(Duration::from_secs(3));
        check(woken(), |now| *now <= before + 6)
    });
}

#[test]
fn a_collector_gets_the_headers_that_the_environment_names() {
    let collector = Receiver::start(&[Some(OK)]);
    let endpoint = format!("http://127.0.0.1:{}", collector.port);
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &*endpoint),
        ("OTEL_SERVICE_NAME", "mill"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=top%20secret%3D,tenant=x"),
    ];
    let server = try_server(&environment).unwrap_or_else(|refused| panic!("{refused:#?}"));
    let job = server.map("echo", &json!([1]));
    wait_for(&collector, &job);
    let got = &collector.got()[0];
    assert_eq!((got.header("api-key"), got.header("tenant")), ("top secret=", "x"));
    assert!(!server.log().iter().any(|line| line.contains("secret")), "{:#?}", server.log());
    let environment = [environment[0], ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "no header: secret")];
    let refused = try_server(&environment).err().unwrap().log;
    assert!(
        refused.contains("OTEL_EXPORTER_OTLP_TRACES_HEADERS") && !refused.contains("secret"),
        "{refused}"
    );
}

#[test]
fn a_collector_that_cannot_be_spoken_to_is_refused() {
    for wrong in ["https://localhost:4318", "localhost:4318"] {
        let refused = try_server(&[("OTEL_EXPORTER_OTLP_ENDPOINT", wrong)]).err().unwrap();
        assert!(refused.log.contains(wrong), "{}", refused.log);
    }
}
