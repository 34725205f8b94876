//! History costs nothing: what has ended makes no start and no request slower, and what is queued costs no idle server CPU.
//!
//! How much SQLite does for each verb of the store is counted in `src/store/sqlite/costs.rs`. Here it is what the server
//! reads; `cargo test --release --test history -- --ignored --nocapture` measures a million jobs.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::fs::File;
use std::path::Path;
use std::thread::sleep;
use std::time::{Duration, Instant, SystemTime};

use common::client::JSON;
use common::job::Job;
use common::procs::{Proc, bytes_read};
use common::{Server, check, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

/// What a request may read, above which it looks through history.
const MOST_READ: u64 = 1 << 20;
/// Hundredths of a second of CPU that a server may use in a second in which nothing happens.
const MOST_IDLE_TICKS: u64 = 10;

/// Each call is made so often.
const CALLS: usize = 101;

/// What is in a database; see `history/fill.sql`.
#[derive(Clone, Copy)]
struct Past {
    ended: i64,
    queued: i64,
    large: i64,
    /// How many segments of 16,384 tasks a large job has.
    segments: i64,
}

fn server_on(data: &Path) -> Server {
    let flags = ["--processes=2", "--data-dir", data.to_str().unwrap()];
    Server::launch(TempDir::new().unwrap(), &flags, &[]).unwrap_or_else(|refused| panic!("{refused:#?}"))
}

fn data_with(past: Past) -> TempDir {
    let dir = TempDir::new().unwrap();
    let server = server_on(dir.path());
    server.terminate();
    assert!(server.ended().success());
    let database = rusqlite::Connection::open(dir.path().join("gristmill.sqlite")).unwrap();
    database.execute_batch("PRAGMA synchronous = OFF; PRAGMA cache_size = -500000").unwrap();
    let now = SystemTime::UNIX_EPOCH.elapsed().unwrap().as_micros() as i64;
    let wanted = "CREATE TEMP TABLE wanted AS SELECT ?1 AS ended, ?2 AS queued, ?3 AS large, ?4 AS segments, ?5 AS now";
    database.execute(wanted, [past.ended, past.queued, past.large, past.segments, now]).unwrap();
    database.execute_batch(&format!("BEGIN; {} COMMIT", include_str!("history/fill.sql"))).unwrap();
    // What is on its way to the disk is not to be waited for by the server.
    File::open(dir.path().join("gristmill.sqlite")).unwrap().sync_all().unwrap();
    dir
}

/// A call, and what it is to the report.
type Call<'a> = (&'a str, Box<dyn Fn(&Server) -> Value + 'a>);

fn get<'a>(name: &'a str, path: impl Fn() -> String + 'a) -> Call<'a> {
    (name, Box::new(move |server: &Server| server.get(&path()).expect(200).json()))
}

/// One task to its end, ahead of what is queued.
fn run_one(server: &Server) -> Value {
    let body =
        json!({"function": "echo", "inputs": [1], "priority": 1, "labels": {"mine": "yes"}}).to_string();
    let headers = [("Content-Type", JSON), ("Prefer", "wait=30")];
    server.client().call("POST", "/v1/jobs", &headers, &body).expect(200).json()
}

/// The first job of a list.
fn first_of(server: &Server, query: &str) -> String {
    let list = server.get(&format!("/v1/jobs?limit=1&{query}")).expect(200).json();
    list["items"][0]["id"].as_str().unwrap().to_owned()
}

fn delete_one(server: &Server) -> Value {
    let id = first_of(server, "state=succeeded&function=sha256");
    assert_eq!(server.delete(&format!("/v1/jobs/{id}")).status, 204);
    json!(id)
}

/// The calls that must not look through history.
fn calls(old: &str) -> Vec<Call<'_>> {
    let list = |query: &'static str| get(query, move || format!("/v1/jobs?limit=10&{query}"));
    vec![
        ("one task to its end", Box::new(run_one)),
        get("status", move || format!("/v1/jobs/{old}")),
        (
            "results",
            Box::new(move |server| json!(server.get(&format!("/v1/jobs/{old}/results")).expect(200).text)),
        ),
        get("pool", || "/v1/pool".into()),
        list(""),
        list("state=failed"),
        list("state=cancelled"),
        list("function=primes"),
        list("function=primes&state=failed"),
        list("label=batch=0"),
        list("label=no=1"),
        list("label=batch=0&state=succeeded"),
        list("label=team=x&state=cancelled"),
        ("delete", Box::new(delete_one)),
    ]
}

#[test]
fn a_long_past_makes_no_request_read_more() {
    let dir = data_with(Past { ended: 20_000, queued: 1, large: 0, segments: 0 });
    let server = server_on(dir.path());
    let old = first_of(&server, "function=primes");
    for (name, call) in calls(&old) {
        let before = bytes_read(server.pid());
        call(&server);
        let read = bytes_read(server.pid()) - before;
        assert!(read < MOST_READ, "{name:?} read {read} bytes");
    }
    let batch = server.get("/v1/jobs?label=batch=0&limit=1000").expect(200).json();
    assert_eq!(batch["items"].as_array().unwrap().len(), 999);
    let failed = server.get("/v1/jobs?label=batch=0&state=failed").expect(200).json();
    assert_eq!(failed["items"].as_array().unwrap().len(), 9);
}

#[test]
fn many_queued_jobs_cost_no_cpu_while_they_wait() {
    let dir = data_with(Past { ended: 10, queued: 3000, large: 0, segments: 0 });
    let server = server_on(dir.path());
    eventually("the one queued job that may run", || {
        check(server.get("/v1/jobs?state=running").expect(200).json(), |jobs| !jobs["items"][0].is_null())
    });
    run_one(&server);
    let ticks = || Proc::find(server.pid()).unwrap().cpu_ticks;
    // It may still be listing them.
    eventually("a second without work", || {
        let before = ticks();
        sleep(Duration::from_secs(1));
        check(ticks() - before, |used| *used <= MOST_IDLE_TICKS)
    });
}

#[test]
fn a_job_that_can_run_does_not_wait_behind_ten_thousand_that_cannot() {
    let dir = data_with(Past { ended: 10, queued: 10_000, large: 0, segments: 0 });
    // Behind all of them in the order of the store.
    let database = rusqlite::Connection::open(dir.path().join("gristmill.sqlite")).unwrap();
    let last = "INSERT INTO jobs (id, function, labels, options, priority, state, total, created_at, input_bytes)
                SELECT zeroblob(16), 'echo', labels, replace(options, 'one', 'two'), -1, state, 1, created_at, 2
                FROM jobs WHERE state = 'queued' LIMIT 1;
                INSERT INTO inputs (job, first, count, lines) VALUES (zeroblob(16), 0, 1, x'310a')";
    database.execute_batch(last).unwrap();
    drop(database);
    let server = server_on(dir.path());
    Job::with_id(&server, "00000000-0000-0000-0000-000000000000").succeeds();
    server.map("echo", &json!([1])).succeeds();
    server.submit(&json!({"function": "sleep", "inputs": [3600], "lock": "one"}));
    server.submit(&json!({"function": "echo", "inputs": [1], "lock": "two"})).succeeds();
}

/// How long calls take that are made in turns, in milliseconds: the medians.
fn medians(short: (&Server, &Call<'_>), long: (&Server, &Call<'_>)) -> [f64; 2] {
    let time = |(server, call): (&Server, &Call<'_>)| {
        let start = Instant::now();
        call.1(server);
        start.elapsed().as_secs_f64() * 1e3
    };
    let mut times: [Vec<f64>; 2] = (0..CALLS).map(|_| (time(short), time(long))).unzip().into();
    times.each_mut().map(|times| {
        times.sort_by(f64::total_cmp);
        times[CALLS / 2]
    })
}

/// From the start of the process to the first 200 of `/readyz`, in milliseconds.
fn start_time(server: &Server) -> f64 {
    server.kill9();
    let start = Instant::now();
    server.restart();
    server.get("/readyz").expect(200);
    start.elapsed().as_secs_f64() * 1e3
}

#[test]
#[ignore = "some minutes, and six gigabytes of disk"]
fn a_million_jobs() {
    let short = data_with(Past { ended: 2_000, queued: 0, large: 0, segments: 0 });
    let long = data_with(Past { ended: 1_000_000, queued: 10_000, large: 3, segments: 611 });
    let (short, long) = (server_on(short.path()), server_on(long.path()));
    let olds = [first_of(&short, "function=primes"), first_of(&long, "function=primes")];
    let row = |name: &str, a: f64, b: f64| println!("{name:40} {a:9.2} ms {b:9.2} ms {:6.2}", b / a);
    println!("{:40} {:>12} {:>12} {:>6}", "", "short", "long", "ratio");
    for (a, b) in calls(&olds[0]).iter().zip(&calls(&olds[1])) {
        let [few, many] = medians((&short, a), (&long, b));
        row(a.0, few, many);
    }
    row("start", start_time(&short), start_time(&long));
}
