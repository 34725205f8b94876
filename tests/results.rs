//! Results as readers get them: values byte for byte, cursors, formats, a stream that follows the job.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use common::Server;
use common::job::{Job, indices, seqs};
use serde_json::{Value, json};

/// Values that a careless parser would change.
const ODD_VALUES: [&str; 14] = [
    "9007199254740993",
    "123456789012345678901234567890",
    "1e400",
    "-0.0",
    "1.10",
    r#""\ud800""#,
    r#""\u0000""#,
    r#""\u00e9\/é😀""#,
    r#"{"b": 1, "a": {"b": [1, [2, {"c": null}]]}, "b": 2}"#,
    "null",
    "false",
    r#""""#,
    "[]",
    "\"a \\n b\"",
];

#[test]
fn odd_values_come_back_byte_for_byte() {
    let server = Server::start();
    let expected = ODD_VALUES.join("\n") + "\n";
    let body = format!(r#"{{"function": "echo", "inputs": [{}]}}"#, ODD_VALUES.join(", "));
    let by_json = Job::of(&server, &server.post_json("/v1/jobs", &body).expect(202));
    let by_ndjson = Job::of(&server, &server.post_ndjson("/v1/jobs?function=echo", &expected).expect(202));
    for job in [by_json, by_ndjson] {
        job.succeeds();
        assert_eq!(job.results_text("order=input&fields=output"), expected);
    }
}

#[test]
fn a_value_over_many_lines_becomes_one() {
    let server = Server::start();
    let body =
        "{\"function\": \"echo\",\r\n \"inputs\": [\r\n  {\r\n    \"a\": 1,\n    \"b\": \"x\\ny\"\n  }\n]}";
    let job = Job::of(&server, &server.post_json("/v1/jobs", body).expect(202));
    job.succeeds();
    assert_eq!(job.results_text("fields=output"), "{      \"a\": 1,     \"b\": \"x\\ny\"   }\n");
    assert_eq!(job.results()[0]["output"], json!({"a": 1, "b": "x\ny"}));
}

/// A job of many chunks, so that pages end in the middle of them.
fn finished_echo_job(server: &Server, count: u64) -> Job<'_> {
    let job = server.map("echo", &json!((0..count).collect::<Vec<_>>()));
    job.succeeds();
    job
}

#[test]
fn a_cursor_gives_each_result_once_in_every_order_and_format() {
    let server = Server::start();
    let job = finished_echo_job(&server, 2500);
    for order in ["completion", "input"] {
        let whole = job.results_by(&format!("order={order}"));
        let (mut lines, mut items, mut after) = (Vec::new(), Vec::new(), 0);
        while lines.len() < whole.len() {
            lines.extend(job.results_by(&format!("order={order}&after={}&limit=333", lines.len())));
            assert!(lines.len() == whole.len() || lines.len() % 333 == 0);
        }
        for _ in 0..whole.len() {
            let page = job.page(&format!("order={order}&after={after}&limit=123"));
            items.extend(page["items"].as_array().unwrap().clone());
            let Some(next) = page["next"].as_u64() else { break };
            after = next;
        }
        assert!(lines == whole && items == whole, "{order}");
    }
    job.has_each_result_once(2500);
    assert_eq!(job.results_text("after=2500"), "");
    assert_eq!(job.page("after=9999"), json!({"items": [], "next": null}));
    assert_eq!(job.page("")["items"].as_array().unwrap().len(), 1000, "a page unless asked otherwise");
}

#[test]
fn the_cursor_of_an_unfinished_job_goes_on_where_it_was() {
    let server = Server::start();
    let job = server.map("sleep", &json!([0, 0, 60, 60]));
    job.wait_for_done(2);
    let page = job.page("");
    assert_eq!(seqs(page["items"].as_array().unwrap()), [1, 2]);
    assert_eq!(page["next"], 2, "there will be more");
    assert_eq!(job.page("after=2"), json!({"items": [], "next": 2}));
    job.cancel();
    job.wait();
    let rest = job.page("after=2");
    assert_eq!((seqs(rest["items"].as_array().unwrap()), &rest["next"]), (vec![3, 4], &Value::Null));
}

#[test]
fn a_reader_that_follows_gets_results_as_they_come_and_ends_with_the_job() {
    let server = Server::start();
    for order in ["completion", "input"] {
        let job = server.map("sleep", &json!([0, 0, 60]));
        let mut lines = server
            .client()
            .lines(&format!("{}/results?follow=true&order={order}", job.path()))
            .map(Result::unwrap);
        let first: Vec<Value> =
            lines.by_ref().take(2).map(|line| serde_json::from_str(&line).unwrap()).collect();
        let mut seen = indices(&first);
        seen.sort_unstable();
        assert_eq!(seen, [0, 1]);
        assert_eq!(job.status()["state"], "running", "the results were there before the end");
        job.cancel();
        let rest: Vec<Value> = lines.map(|line| serde_json::from_str(&line).unwrap()).collect();
        assert_eq!((rest.len(), &rest[0]["status"]), (1, &json!("cancelled")));
    }
}

#[test]
fn in_input_order_a_result_waits_for_those_before_it() {
    let server = Server::start();
    let job = server.map("sleep", &json!([60, 0]));
    job.wait_for_done(1);
    assert_eq!(job.results_text("order=input"), "");
    assert_eq!(indices(&job.results()), [1]);
    job.cancel();
    job.wait();
    assert_eq!(indices(&job.by_input()), [0, 1]);
}

#[test]
fn bare_outputs_are_null_where_there_is_none() {
    let server = Server::start();
    let job = server.map("sha256", &json!(["abc", 1]));
    assert_eq!(job.wait()["state"], "failed");
    let outputs = job.results_text("order=input&fields=output");
    assert_eq!(outputs.lines().nth(1), Some("null"));
}

#[test]
fn the_results_of_a_job_that_is_deleted_under_its_reader_are_cut_short() {
    let server = Server::start();
    let inputs = "1\n".repeat(300_000);
    let job = Job::of(&server, &server.post_ndjson("/v1/jobs?function=echo", &inputs).expect(202));
    job.succeeds();
    // More than what fits into the buffers between the two.
    let mut lines = server.client().lines(&format!("{}/results", job.path()));
    lines.next().unwrap().unwrap();
    server.delete(&job.path()).expect(204);
    assert!(lines.any(|line| line.is_err()), "nobody takes them for whole");
}

#[test]
fn pages_go_on_to_the_results_of_tasks_that_were_run_again() {
    let server = Server::start();
    let job = server.map("sha256", &json!(["a", 1, "b", 2]));
    assert_eq!(job.wait()["state"], "failed");
    server.client().call("POST", &format!("{}/retry", job.path()), &[], "").expect(202);
    job.wait_for("the second run", |job| job["state"] == "failed");
    let (mut seqs, mut after) = (Vec::new(), json!(0));
    while !after.is_null() {
        let page = job.page(&format!("order=completion&limit=2&after={after}"));
        seqs.extend(page["items"].as_array().unwrap().iter().map(|item| item["seq"].as_u64().unwrap()));
        after = page["next"].clone();
    }
    let by_stream: Vec<u64> = job.results().iter().map(|result| result["seq"].as_u64().unwrap()).collect();
    assert_eq!(seqs, by_stream);
    assert_eq!(seqs.last(), Some(&6));
    assert_eq!(job.page("order=input")["next"], Value::Null);
}

#[test]
fn failures_are_read_without_the_rest() {
    let server = Server::start();
    let fails = json!({"mode": "exception", "retryable": false});
    let input = |n| if n % 100 == 7 { fails.clone() } else { json!({"mode": "stdout"}) };
    let inputs: Vec<Value> = (0..1000).map(input).collect();
    let job = server.map("fail", &json!(inputs));
    let status = job.wait();
    assert_eq!(status["progress"]["failed"], 10, "{status:#}");
    let expected: Vec<u64> = (0..10).map(|n| n * 100 + 7).collect();
    let all: Vec<Value> = job.results().into_iter().filter(|result| result["status"] == "failed").collect();
    let failed = job.results_by("failed=true");
    assert_eq!(failed, all);
    let mut found = indices(&failed);
    found.sort_unstable();
    assert_eq!(found, expected);
    let (mut after, mut paged) = (0, Vec::new());
    while let Some(next) = {
        let page = job.page(&format!("failed=true&limit=3&after={after}"));
        paged.extend(page["items"].as_array().unwrap().clone());
        page["next"].as_u64()
    } {
        after = next;
    }
    assert_eq!(paged, all);
    let path = format!("{}/results?failed=true&order=input", job.path());
    server.get(&path).problem(400, "bad-request");
}

#[test]
fn the_status_has_the_histogram_of_the_task_times() {
    let server = Server::start();
    let job = finished_echo_job(&server, 500);
    let times = job.status()["timings"]["task_ms"].clone();
    let buckets = times["histogram"].as_array().unwrap();
    assert_eq!(buckets.iter().map(|bucket| bucket[2].as_u64().unwrap()).sum::<u64>(), 500, "{times:#}");
    let edge = |at: usize, end: usize| buckets[at][end].as_f64().unwrap();
    for at in 1..buckets.len() {
        assert!(edge(at - 1, 1) <= edge(at, 0), "{times:#}");
    }
    let within = |time: &str, at: usize| {
        let ms = times[time].as_f64().unwrap();
        assert!(edge(at, 0) - 0.001 <= ms && ms <= edge(at, 1) + 0.001, "{time}: {times:#}");
    };
    within("min", 0);
    within("max", buckets.len() - 1);
    let listed = server.get("/v1/jobs").json()["items"][0]["timings"]["task_ms"].clone();
    assert!(listed["p50"].is_f64() && listed.get("histogram").is_none(), "{listed:#}");
}

#[test]
fn results_that_are_done_with_are_freed() {
    let server = Server::with(&["--processes=1"]);
    let job = server.map("sleep", &json!(vec![0.01; 20]));
    job.succeeds();
    let all = job.results();
    let freed = server.delete(&format!("{}/results?through=10", job.path())).expect(200).json();
    let freed = freed["freed_through"].as_u64().unwrap();
    assert!(freed > 0 && freed <= 10, "{freed}");
    let gone = server.get(&format!("{}/results", job.path())).problem(410, "results-freed");
    assert_eq!(gone["through"], freed);
    server.get(&format!("{}/results?order=input", job.path())).problem(410, "results-freed");
    assert_eq!(job.results_by(&format!("after={freed}")), all[freed as usize..]);
    assert_eq!(job.status()["progress"]["done"], 20);
}

#[test]
fn the_same_key_gives_no_results_that_were_freed() {
    let server = Server::start();
    let submit = || {
        let headers =
            [("Content-Type", common::client::JSON), ("Prefer", "wait=30"), ("Idempotency-Key", "order-8")];
        server.client().call("POST", "/v1/jobs", &headers, r#"{"function": "echo", "inputs": [1, 2]}"#)
    };
    let first = submit().expect(200);
    let again = submit().expect(200);
    assert_eq!(again.json()["results"], first.json()["results"]);
    assert_eq!(again.json()["results"]["items"][1]["output"], 2);
    let job = Job::of(&server, &first);
    server.delete(&format!("{}/results?through=2", job.path())).expect(200);
    let freed = submit().expect(200);
    assert_eq!(freed.header("idempotent-replayed"), "true");
    assert_eq!(freed.json(), job.status());
}

#[test]
fn failed_tasks_whose_results_are_freed_are_not_run_again() {
    let server = Server::with(&["--processes=1"]);
    let job = server.submit(&json!({"function": "sha256", "inputs": [1, 2, "a"], "chunk_size": 1}));
    assert_eq!(job.wait()["progress"]["failed"], 2);
    let free = |through| server.delete(&format!("{}/results?through={through}", job.path())).expect(200);
    let retry = || server.post_json(&format!("{}/retry", job.path()), "");
    assert_eq!(free(1).json()["freed_through"], 1);
    let again = retry().expect(202).json();
    assert_eq!(again["progress"]["failed"], 1, "the one whose result is freed: {again:#}");
    assert_eq!(job.wait()["progress"]["failed"], 2);
    assert_eq!(free(4).json()["freed_through"], 4);
    let gone = retry().problem(410, "results-freed");
    assert_eq!(gone["through"], 4);
    assert_eq!(job.status()["progress"]["failed"], 2);
}
