//! Server-sent events: what a dashboard follows, through kills, restarts and shutdowns, and with readers who do not read.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use common::events::{Event, Events};
use common::job::Job;
use common::procs::Proc;
use common::{Server, check, eventually};
use rustix::net::{AddressFamily, SocketType, connect, socket, sockopt};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

fn follow(server: &Server, job: &Job<'_>, last: Option<&str>) -> Events {
    server.client().events(&format!("{}/events", job.path()), last)
}

fn follow_all(server: &Server, last: Option<&str>) -> Events {
    server.client().events("/v1/events", last)
}

fn done(event: &Event) -> u64 {
    event.data["progress"]["done"].as_u64().unwrap()
}

fn items(event: &Event) -> &Vec<Value> {
    event.data["items"].as_array().unwrap()
}

/// The newest that the stream tells of this job, at least so far.
fn until_job(events: &mut Events, id: &str, right: impl Fn(&Value) -> bool) -> Event {
    events.until("the job", |event| {
        event.name == "jobs" && items(event).iter().any(|job| job["id"] == id && right(job))
    })
}

fn ended(job: &Value) -> bool {
    !job["timings"]["finished_at"].is_null()
}

#[test]
fn a_job_is_followed_to_its_end_through_the_death_of_a_worker() {
    let server = Server::start();
    let job = server.map("sleep", &json!([1.5, 1.5, 0.4, 0.4, 0.4]));
    let mut events = follow(&server, &job, None);
    let runs = |event: &Event| event.data["running"][0]["pid"].is_u64();
    let running = events.until("a task that runs", runs).data["running"][0].clone();
    let pid = running["pid"].as_u64().unwrap() as u32;
    common::procs::wait_for_sleep(pid);
    common::procs::signal(pid, Signal::KILL);
    let again = events.until("its second attempt", |event| {
        let tasks = event.data["running"].as_array().unwrap().iter();
        tasks.clone().any(|task| task["index"] == running["index"] && task["attempt"] == 2)
    });
    let rest: Vec<Event> = events.collect();
    let (last, changes) = rest.split_last().unwrap();
    let mut counts: Vec<u64> = vec![done(&again)];
    counts.extend(changes.iter().map(done));
    assert!(counts.is_sorted() && counts.last() == Some(&5), "{counts:?}");
    let end = changes.last().unwrap();
    assert_eq!((end.name.as_str(), &end.data["state"]), ("job", &json!("succeeded")));
    assert_eq!(end.data["workers"], job.status()["workers"]);
    assert_eq!((last.name.as_str(), &last.data), ("end", &json!({"state": "succeeded"})));
    assert_eq!(last.id, end.id);
    let seen: Vec<Event> = follow(&server, &job, Some(&end.id)).collect();
    assert_eq!(seen.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["end"]);
    let anew: Vec<Event> = follow(&server, &job, Some("running-3")).collect();
    assert_eq!(anew.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["job", "end"]);
    server.get("/v1/jobs/1/events").problem(404, "unknown-job");
}

#[test]
fn a_reader_goes_on_behind_a_crash_of_the_server() {
    let server = Server::start();
    let job = server.map("sleep", &json!(vec![0.3; 20]));
    let (mut events, mut all) = (follow(&server, &job, None), follow_all(&server, None));
    let before = events.until("two tasks done", |event| event.name == "job" && done(event) >= 2);
    let place = until_job(&mut all, &job.id, |job| job["progress"]["done"].as_u64() >= Some(2)).id;
    server.kill9();
    assert!(events.all(|event| event.name != "end"), "a stream that is cut does not say that it is over");
    server.restart();
    let mut events = follow(&server, &job, Some(&before.id));
    assert!(done(&events.next().unwrap()) >= done(&before), "what was told is durable");
    let mut all = follow_all(&server, Some(&place));
    // What else changed before the crash is not known any more.
    assert_eq!(all.until("a word", |event| event.name != "pool").name, "reset");
    until_job(&mut all, &job.id, ended);
    let end = events.last().unwrap();
    assert_eq!((end.name.as_str(), &end.data), ("end", &json!({"state": "succeeded"})));
    server.kill9();
    server.restart();
    let seen: Vec<Event> = follow(&server, &job, Some(&end.id)).collect();
    assert_eq!(seen.iter().map(|event| event.name.as_str()).collect::<Vec<_>>(), ["end"]);
}

#[test]
fn the_server_is_followed_and_a_reader_who_comes_back_misses_no_job() {
    let server = Server::start();
    let mut events = follow_all(&server, None);
    let pool = events.next().unwrap();
    assert_eq!((pool.name.as_str(), &pool.data["slots"]), ("pool", &json!(2)));
    let job = server.map("sha256", &json!(vec!["x"; 3000]));
    let (mut tasks, mut over) = (0, Event { data: json!({"items": []}), ..pool });
    while tasks < 3000 || !items(&over).iter().any(ended) {
        let event = events.next().unwrap();
        match event.name.as_str() {
            "tasks" => {
                assert_eq!(event.data["dropped"], 0, "{event:?}");
                tasks += items(&event).iter().map(|chunk| chunk["count"].as_u64().unwrap()).sum::<u64>();
                let fits = |chunk: &Value| {
                    chunk["job"] == job.id && chunk["function"] == "sha256" && chunk["failed"] == 0
                };
                assert!(items(&event).iter().all(fits), "{event:?}");
            }
            "jobs" => over = event,
            other => assert_eq!(other, "pool"),
        }
    }
    assert_eq!(tasks, 3000);
    let (listed, told) = (server.get("/v1/jobs").json()["items"][0].clone(), items(&over)[0].clone());
    assert_eq!(listed, told, "a job is told as it is listed");
    drop(events);
    let others = [server.map("echo", &json!([1])), server.map("echo", &json!([2]))];
    others.iter().for_each(|job| drop(job.succeeds()));
    assert_eq!(server.delete(&job.path()).status, 204);
    let mut events = follow_all(&server, Some(&over.id));
    let missed = events.until("what was missed", |event| event.name != "pool");
    assert_eq!(missed.name, "jobs");
    let ids: Vec<&Value> = items(&missed).iter().map(|job| &job["id"]).collect();
    assert_eq!(ids, others.iter().map(|job| &job.id).collect::<Vec<_>>());
    assert_eq!(events.next().unwrap().data, json!({"ids": [job.id]}));
    for odd in ["gristmill", "1-", "-1", "1-99999999999", "2-1"] {
        let mut events = follow_all(&server, Some(odd));
        assert_eq!(events.until("a word", |event| event.name != "pool").name, "reset", "{odd}");
    }
}

#[test]
fn live_tasks_are_told_with_their_times_and_failures() {
    let server = Server::start();
    let mut events = follow_all(&server, None);
    let job = server.map("sleep", &json!([0.3, "no number"]));
    job.wait();
    let status = job.status();
    let started: jiff::Timestamp = status["timings"]["started_at"].as_str().unwrap().parse().unwrap();
    let mut chunks = Vec::new();
    while chunks.len() < 2 {
        chunks.extend(items(&events.named("tasks")).clone());
    }
    chunks.sort_by_key(|chunk| chunk["index"].as_u64());
    let number = |at: usize, name: &str| chunks[at][name].as_f64().unwrap();
    let after_ms = number(0, "started_ms") - started.as_millisecond() as f64;
    assert!((0.0..5000.0).contains(&after_ms), "{chunks:#?}");
    assert!((300.0..3000.0).contains(&number(0, "duration_ms")), "{chunks:#?}");
    assert_eq!((number(0, "failed"), number(1, "failed")), (0.0, 1.0));
}

#[test]
fn a_shutdown_lets_readers_go() {
    let server = Server::with(&["--processes=2", "--grace=300ms"]);
    let job = server.map("sleep", &json!([60]));
    let (mut events, mut all) = (follow(&server, &job, None), follow_all(&server, None));
    events.until("its start", |event| event.data["running"][0]["pid"].is_u64());
    all.next().unwrap();
    server.terminate();
    assert!(events.all(|event| event.name == "job"), "that is not the job's end");
    assert!(all.all(|event| event.name != "reset"));
    assert_eq!(server.ended().code(), Some(0));
}

/// A reader who has asked for all events and reads none, with as little room for them as the kernel gives.
fn stalled_reader(server: &Server) -> TcpStream {
    let address: SocketAddr = server.socket_address().parse().unwrap();
    let socket = socket(AddressFamily::INET, SocketType::STREAM, None).unwrap();
    sockopt::set_socket_recv_buffer_size(&socket, 4096).unwrap();
    connect(&socket, &address).unwrap();
    let mut connection = TcpStream::from(socket);
    connection.write_all(b"GET /v1/events HTTP/1.0\r\nHost: localhost\r\n\r\n").unwrap();
    let mut head = [0; 64];
    assert!(connection.read(&mut head).unwrap() > 0);
    connection
}

#[test]
fn readers_who_do_not_read_cost_no_memory_and_get_the_newest() {
    let server = Server::start();
    let memory = || Proc::most_memory(server.pid());
    let readers: Vec<TcpStream> = (0..8).map(|_| stalled_reader(&server)).collect();
    let labels: BTreeMap<String, String> = (0..64).map(|n| (n.to_string(), "x".repeat(256))).collect();
    let submit = |n: u32| {
        server.submit(&json!({"function": "echo", "inputs": [n], "labels": labels, "name": n.to_string()}))
    };
    let warm_up: Vec<Job<'_>> = (0..20).map(submit).collect();
    warm_up.iter().for_each(|job| drop(job.succeeds()));
    let before = memory();
    // Each is told at some 20 kB, queued and at its end.
    let last = (20..200).map(submit).last().unwrap();
    last.succeeds();
    let grown = memory().saturating_sub(before);
    assert!(grown < 40 << 20, "8 readers cost {grown} bytes");
    let mut reader = readers.into_iter().next().unwrap();
    reader.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    sockopt::set_socket_recv_buffer_size(&reader, 1 << 20).unwrap();
    let (mut text, mut piece) = (String::new(), vec![0; 1 << 16]);
    let of_last = format!("\"id\":\"{}\"", last.id);
    eventually("the newest", || {
        let count = reader.read(&mut piece).unwrap();
        text.push_str(&String::from_utf8_lossy(&piece[..count]));
        let told = text.rfind(&of_last).and_then(|at| text[at..].split("\"state\":\"").nth(1));
        check(text.len(), |_| told.is_some_and(|state| state.starts_with("succeeded")))
    });
}

#[test]
fn events_need_a_token_as_all_else_and_come_from_no_other_page() {
    let token = "0123456789abcdef";
    let server = Server::launch(TempDir::new().unwrap(), &[], &[("GRISTMILL_TOKEN", token)]).unwrap();
    server.get("/v1/events").problem(401, "unauthorized");
    let bearer = format!("Bearer {token}");
    let headers = [("Authorization", bearer.as_str()), ("Origin", "http://evil.example")];
    server.client().call("GET", "/v1/events", &headers, "").problem(403, "wrong-origin");
}
