//! Idle costs nothing: a server without work, its guards and its warm workers are not woken.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use common::Server;
use common::events::Events;
use common::procs::wake_ups;
use serde_json::json;
use tempfile::TempDir;

const WINDOW: Duration = Duration::from_secs(3);
/// All threads of all processes together, in the window; threads that have served a request end in it.
const MOST_WAKE_UPS: u64 = 9;

/// The wake-ups of each thread of each process of the server.
fn all_wake_ups(server: &Server) -> BTreeMap<u32, u64> {
    server.processes().iter().flat_map(|process| wake_ups(process.pid)).collect()
}

/// What all threads were woken for in the window together, a second after what there was to do.
fn wake_ups_of(server: &Server) -> u64 {
    // What the last request was about is done when what it opened is closed.
    sleep(Duration::from_secs(1));
    let before = all_wake_ups(server);
    // The server, and for each worker a guard and the worker itself.
    assert!(before.len() >= 5, "{before:?}");
    sleep(WINDOW);
    let woken = |(thread, count): (&u32, u64)| count - before.get(thread).unwrap_or(&0);
    all_wake_ups(server).iter().map(|(thread, count)| woken((thread, *count))).sum()
}

/// Waits until both workers are warm and have nothing to do.
fn wait_for_warm(server: &Server) {
    server.wait_for_pool("warm workers", |pool| {
        let workers = pool["workers"].as_array().unwrap();
        workers.len() == 2 && workers.iter().all(|worker| worker["state"] == "idle")
    });
}

#[test]
fn without_work_nothing_is_woken() {
    let flags = ["--processes=2", "--callback-hosts=hooks.example.com"];
    let secret = [("GRISTMILL_CALLBACK_SECRET", "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=")];
    let server =
        Server::launch(TempDir::new().unwrap(), &flags, &secret).unwrap_or_else(|no| panic!("{no:#?}"));
    server.map("count", &json!([1000, 1000, 1000, 1000])).succeeds();
    wait_for_warm(&server);
    let sum = wake_ups_of(&server);
    assert!(sum <= MOST_WAKE_UPS, "{sum} wake-ups in {WINDOW:?}");
}

#[test]
fn those_who_follow_wake_an_idle_server_only_for_a_sign_of_life() {
    let server = Server::start();
    let open = server.submit(&json!({"function": "count", "inputs": [1000, 1000], "open": true}));
    open.wait_for_done(2);
    wait_for_warm(&server);
    let mut streams: Vec<Events> = ["/v1/events".to_owned(), format!("{}/events", open.path())]
        .iter()
        .flat_map(|path| (0..3).map(|_| server.client().events(path, None)))
        .collect();
    streams.iter_mut().for_each(|events| drop(events.next().unwrap()));
    let sum = wake_ups_of(&server);
    assert!(sum <= MOST_WAKE_UPS, "{sum} wake-ups in {WINDOW:?}");
    for events in &mut streams {
        while events.comments == 0 {
            events.line().unwrap();
        }
    }
}
