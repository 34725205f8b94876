//! What goes wrong: workers and the server killed, poison among the inputs, uploads cut off. Nothing is lost.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::io::Write as _;
use std::net::TcpStream;
use std::time::Duration;

use common::client::JSON;
use common::job::Job;
use common::procs::{Proc, alive, signal, wait_for_sleep};
use common::{Server, check, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};

fn pid(value: &Value) -> u32 {
    value["pid"].as_u64().unwrap() as u32
}

/// The attempt of each task, in the order of the inputs.
fn attempts(job: &Job<'_>) -> Vec<u64> {
    job.by_input().iter().map(|result| result["attempt"].as_u64().unwrap()).collect()
}

/// The task of this index, once it runs.
fn running_task(job: &Job<'_>, index: u64) -> Value {
    eventually("the task to run", || {
        let status = job.status();
        let mut tasks = status["running"].as_array().unwrap().iter();
        let found = tasks.find(|task| task["index"] == index && task["pid"].is_u64()).cloned();
        found.ok_or(status)
    })
}

#[test]
fn a_worker_killed_in_mid_task_costs_that_task_one_attempt() {
    let server = Server::start();
    let job = server.map("sleep", &json!([2, 0, 0, 0, 0, 0, 0, 0]));
    let victim = running_task(&job, 0);
    wait_for_sleep(pid(&victim));
    signal(pid(&victim), Signal::KILL);
    job.succeeds();
    assert_eq!(attempts(&job), [2, 1, 1, 1, 1, 1, 1, 1]);
    job.has_each_result_once(8);
    assert_ne!(job.by_input()[0]["pid"], victim["pid"]);
}

#[test]
fn a_worker_killed_in_a_chunk_of_many_harms_none_but_the_task_at_work() {
    let server = Server::with(&["--processes=1"]);
    let job = server.map("sleep", &json!(vec![0.002; 1000]));
    job.wait_for_done(100);
    signal(pid(&job.wait_for_running(1)[0]), Signal::KILL);
    job.succeeds();
    let charged = attempts(&job).into_iter().filter(|attempt| *attempt > 1).count();
    assert!(charged <= 1, "{charged} tasks were charged");
    job.has_each_result_once(1000);
}

#[test]
fn an_idle_worker_that_dies_is_replaced() {
    let server = Server::with(&["--processes=1"]);
    let pid_of = |job: &Job<'_>| pid(&job.results()[0]);
    let first = server.map("echo", &json!([1]));
    first.succeeds();
    let victim = pid_of(&first);
    signal(victim, Signal::KILL);
    // Until then it may be given the task, which is charged if nobody can say that it had not begun.
    server.wait_for_pool("the end of the worker", |pool| {
        pool["workers"].as_array().unwrap().iter().all(|worker| worker["pid"] != victim)
    });
    let second = server.map("echo", &json!([2]));
    second.succeeds();
    assert_ne!(pid_of(&first), pid_of(&second));
    assert_eq!(attempts(&second), [1]);
}

#[test]
fn poison_fails_alone() {
    let server = Server::start();
    let poison = [(40, "abort", "SIGABRT"), (41, "segfault", "SIGSEGV"), (250, "exit", "code 1")];
    let mut inputs = vec![json!({"mode": "stdout"}); 300];
    for (index, mode, _) in poison {
        inputs[index] = json!({"mode": mode});
    }
    let job = server.map("fail", &json!(inputs));
    let status = job.wait();
    assert_eq!((&status["progress"]["succeeded"], &status["progress"]["failed"]), (&json!(297), &json!(3)));
    let results = job.by_input();
    for (index, mode, cause) in poison {
        let (error, attempt) = (&results[index]["error"], &results[index]["attempt"]);
        assert_eq!((&error["verdict"], attempt), (&json!("crash"), &json!(3)), "{mode}");
        assert!(error["message"].as_str().unwrap().contains(cause), "{mode}: {error:#}");
    }
    let charged: Vec<usize> = (0..300).filter(|index| results[*index]["attempt"] != 1).collect();
    assert_eq!(charged, poison.map(|(index, ..)| index), "the others ran at their first attempt");
    job.has_each_result_once(300);
}

#[test]
fn a_worker_that_writes_where_it_should_not_harms_nobody() {
    let server = Server::start();
    let noise = json!([{"mode": "stdout"}, {"mode": "stderr", "bytes": 10_000_000}, {"mode": "stdout"}]);
    let job = server.map("fail", &noise);
    job.succeeds();
    assert_eq!(job.results_text("order=input&fields=output"), "null\nnull\nnull\n");
    assert_eq!(attempts(&job), [1, 1, 1]);
}

#[test]
fn what_a_task_printed_is_there_as_soon_as_its_job_has_ended() {
    let server = Server::start();
    let body = json!({"function": "fail", "inputs": [{"mode": "stderr", "bytes": 60}]}).to_string();
    let headers = [("Content-Type", JSON), ("Prefer", "wait=60")];
    for _ in 0..40 {
        let ended = server.client().call("POST", "/v1/jobs", &headers, &body).expect(200).json();
        let logs = server.get(ended["links"]["logs"].as_str().unwrap()).expect(200).text;
        assert_eq!(logs.lines().count(), 1, "{logs:?} of {ended:#}");
    }
}

#[test]
fn last_words_are_told_with_the_crash() {
    let server = Server::start();
    let job = server.submit(&json!({"function": "fail", "inputs": [{"mode": "panic"}], "max_attempts": 1}));
    job.wait();
    let error = &job.results()[0]["error"];
    assert!(error["message"].as_str().unwrap().contains("fail was asked for this panic"), "{error:#}");
}

#[test]
fn a_killed_guard_takes_its_worker_along_and_the_job_goes_on() {
    let server = Server::start();
    let job = server.map("sleep", &json!([1.5]));
    let worker = pid(&job.wait_for_running(1)[0]);
    wait_for_sleep(worker);
    signal(Proc::find(worker).unwrap().parent, Signal::KILL);
    eventually("the worker's end", || check(worker, |worker| !alive(*worker)));
    job.succeeds();
    assert_eq!(attempts(&job), [2], "as if the worker had been killed: the task may have done it");
}

#[test]
fn a_guard_that_is_stopped_is_killed_with_its_worker() {
    let server = Server::with(&["--processes=1", "--grace=300ms"]);
    let job = server.map("fail", &json!([{"mode": "hang"}]));
    let worker = pid(&job.wait_for_running(1)[0]);
    signal(Proc::find(worker).unwrap().parent, Signal::STOP);
    job.cancel();
    assert_eq!(job.wait()["state"], "cancelled");
    assert!(!alive(worker));
    server.map("echo", &json!([1])).succeeds();
}

#[test]
fn few_descriptors_are_enough() {
    let server = Server::start();
    server.limit_descriptors(64);
    server.map("echo", &json!([1, 2, 3])).succeeds();
}

#[test]
fn a_killed_server_goes_on_where_it_was() {
    let server = Server::start();
    let job = server.map("sleep", &json!(vec![0.02; 200]));
    job.wait_for_done(40);
    let read = job.results();
    let epoch = server.pool()["epoch"].as_u64().unwrap();
    server.kill9();
    server.leaves_nothing_running();
    server.restart();
    assert!(server.pool()["epoch"].as_u64().unwrap() > epoch);
    job.succeeds();
    assert!(read.len() >= 40 && job.results()[..read.len()] == read, "results that were read have changed");
    job.has_each_result_once(200);
    assert!(attempts(&job).iter().all(|attempt| *attempt == 1), "the server's death costs no attempt");
}

#[test]
fn a_server_waits_until_the_workers_of_the_one_before_are_gone() {
    let server = Server::start();
    let job = server.map("sleep", &json!([60]));
    let worker = pid(&job.wait_for_running(1)[0]);
    let guard = Proc::find(worker).unwrap().parent;
    signal(guard, Signal::STOP);
    server.kill9();
    assert!(alive(worker), "nobody is there to end it");
    std::thread::scope(|scope| {
        scope.spawn(|| {
            std::thread::sleep(Duration::from_millis(500));
            signal(guard, Signal::CONT);
        });
        server.restart();
        assert!(!alive(worker));
    });
    job.wait_for_running(1);
}

#[test]
fn no_grandchild_outlives_a_killed_server() {
    let server = Server::start();
    let job = server.map("fail", &json!([{"mode": "orphan"}, {"mode": "hang"}]));
    job.wait_for_done(1);
    let orphan = job.by_input()[0]["output"].as_u64().unwrap() as u32;
    job.wait_for_running(1);
    assert!(alive(orphan), "the worker that it belongs to is still warm");
    server.kill9();
    server.leaves_nothing_running();
    assert!(!alive(orphan));
}

#[test]
fn a_server_killed_again_and_again_loses_nothing() {
    let server = Server::start();
    let job = server.map("sleep", &json!(vec![0.01; 200]));
    for done in [20, 60, 100, 140] {
        job.wait_for_done(done);
        server.kill9();
        server.restart();
    }
    job.succeeds();
    job.has_each_result_once(200);
}

#[test]
fn a_cancel_that_the_server_did_not_survive_is_finished_after_the_restart() {
    let server = Server::start();
    let job = server.map("sleep", &json!(vec![60; 10]));
    job.wait_for_running(2);
    job.cancel();
    server.kill9();
    server.restart();
    assert_eq!(job.wait()["state"], "cancelled");
    job.has_each_result_once(10);
}

#[test]
fn a_second_server_on_the_same_directory_is_refused_and_the_first_unharmed() {
    let server = Server::start();
    let job = server.map("sleep", &json!([0.3]));
    let refused = server.second();
    assert!(!refused.status.success());
    assert!(
        refused.log.contains("in use") && refused.log.contains(&server.pid().to_string()),
        "{refused:#?}"
    );
    job.succeeds();
    server.map("echo", &json!([1])).succeeds();
}

/// Sends a part of a submit and hangs up.
fn upload_and_hang_up(server: &Server, head: &str, pieces: &[&str]) {
    let mut connection = TcpStream::connect(server.socket_address()).unwrap();
    let path = "/v1/jobs?function=echo";
    write!(
        connection,
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/x-ndjson\r\n{head}\r\n\r\n"
    )
    .unwrap();
    for piece in pieces {
        connection.write_all(piece.as_bytes()).unwrap();
    }
}

#[test]
fn a_cut_upload_leaves_no_job() {
    let server = Server::start();
    upload_and_hang_up(&server, "Content-Length: 100", &["1\n2\n3\n"]);
    upload_and_hang_up(&server, "Transfer-Encoding: chunked", &["4\r\n1\n2\n\r\n"]);
    // Long enough that a part of it is in the store before the rest is missing.
    let lines = format!("\"{}\"\n", "x".repeat(1000)).repeat(10_000);
    let chunk = format!("{:x}\r\n{lines}\r\n", lines.len());
    upload_and_hang_up(&server, "Transfer-Encoding: chunked", &[&chunk]);
    let whole = server.map("echo", &json!([1]));
    whole.succeeds();
    let only_the_whole_one = || {
        let jobs = server.get("/v1/jobs").json();
        assert_eq!(jobs["items"].as_array().unwrap().len(), 1, "{jobs:#}");
        assert_eq!(jobs["items"][0]["id"], whole.id.as_str());
    };
    only_the_whole_one();
    server.kill9();
    server.restart();
    only_the_whole_one();
}
