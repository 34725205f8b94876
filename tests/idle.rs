//! Idle costs nothing: a server without work, its guards and its warm workers are not woken.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::collections::BTreeMap;
use std::thread::sleep;
use std::time::Duration;

use common::Server;
use common::procs::wake_ups;
use serde_json::json;

const WINDOW: Duration = Duration::from_secs(3);
/// All threads of all processes together, in the window; threads that have served a request end in it.
const MOST_WAKE_UPS: u64 = 9;

/// The wake-ups of each thread of each process of the server.
fn all_wake_ups(server: &Server) -> BTreeMap<u32, u64> {
    server.processes().iter().flat_map(|process| wake_ups(process.pid)).collect()
}

#[test]
fn without_work_nothing_is_woken() {
    let server = Server::start();
    server.map("count", &json!([1000, 1000, 1000, 1000])).succeeds();
    assert_eq!(server.pool()["workers"].as_array().unwrap().len(), 2, "there are warm workers");
    // What the last request was about is done when what it opened is closed.
    sleep(Duration::from_secs(1));
    let before = all_wake_ups(&server);
    // The server, and for each worker a guard and the worker itself.
    assert!(before.len() >= 5, "{before:?}");
    sleep(WINDOW);
    let woken = |(thread, count): (&u32, u64)| count - before.get(thread).unwrap_or(&0);
    let after = all_wake_ups(&server);
    let sum: u64 = after.iter().map(|(thread, count)| woken((thread, *count))).sum();
    assert!(sum <= MOST_WAKE_UPS, "{sum} wake-ups in {WINDOW:?}: {before:?} became {after:?}");
}
