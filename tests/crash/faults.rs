//! The faults: killed, told to end, and struck at a sync of the disk.

use std::time::{Duration, Instant};

use crate::alone;
use crate::common::Server;
use crate::common::tracer::Tracer;
use crate::history::survives;

const MOST_PAUSE: Duration = Duration::from_millis(400);
/// One life in so many is this much longer, so that a slow machine as well takes in a large batch in some of them.
const LONG_LIFE: (u64, u32) = (16, 8);

fn killed(times: u64) {
    let _alone = alone();
    let start = Instant::now();
    let figures = survives(&Server::start(), times, |server, random, _| {
        let (one_in, longer) = LONG_LIFE;
        let is_long = random.below(one_in) == 0;
        random.pause(if is_long { MOST_PAUSE * longer } else { MOST_PAUSE });
        server.kill9();
    });
    eprintln!("{times} kills, {:.1?}: {figures:?}", start.elapsed());
}

#[test]
fn kill_9_at_any_moment() {
    killed(8);
}

#[test]
#[ignore = "long: 200 kills"]
fn kill_9_at_any_moment_200_times() {
    killed(200);
}

fn terminated(times: u64) {
    let _alone = alone();
    let start = Instant::now();
    let figures = survives(&Server::start(), times, |server, random, _| {
        random.pause(MOST_PAUSE);
        server.terminate();
        assert!(server.ended().success());
    });
    eprintln!("{times} drains, {:.1?}: {figures:?}", start.elapsed());
}

#[test]
fn sigterm_at_any_moment() {
    terminated(5);
}

#[test]
#[ignore = "long: 100 drains"]
fn sigterm_at_any_moment_100_times() {
    terminated(100);
}

pub(crate) fn may_trace() -> bool {
    let server = Server::start();
    Tracer::inject(&server, "fsync,fdatasync", "error=EIO").is_some()
}

/// Has the server struck at the nth of these calls, n being each of `moments` in turn.
fn struck(calls: &str, fault: &str, moments: &[u64]) {
    let _alone = alone();
    if !may_trace() {
        return;
    }
    let start = Instant::now();
    let figures = survives(&Server::start(), moments.len() as u64, |server, _, round| {
        let fault = format!("{fault}:when={}", moments[round as usize - 1]);
        let tracer = Tracer::inject(server, calls, &fault).unwrap();
        assert!(!server.ended().success());
        drop(tracer);
    });
    eprintln!("{calls}, {fault}, {} times, {:.1?}: {figures:?}", moments.len(), start.elapsed());
}

#[test]
fn an_error_at_the_nth_sync() {
    struck("fsync,fdatasync", "error=EIO", &[1, 2, 5, 17]);
}

#[test]
#[ignore = "long: each of the first 50 syncs"]
fn an_error_at_each_of_the_first_50_syncs() {
    struck("fsync,fdatasync", "error=EIO", &(1..=50).collect::<Vec<_>>());
}

#[test]
fn kill_9_at_the_nth_sync_or_write() {
    struck("fsync,fdatasync", "signal=KILL", &[1, 7]);
    struck("pwrite64", "signal=KILL", &[1, 2, 11]);
}

#[test]
#[ignore = "long: each of the first 50 syncs and writes"]
fn kill_9_at_each_of_the_first_50_syncs_and_writes() {
    let moments: Vec<u64> = (1..=50).collect();
    struck("fsync,fdatasync", "signal=KILL", &moments);
    struck("pwrite64", "signal=KILL", &moments);
}
