//! The faults: killed, told to end, and struck at a sync of the disk.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::alone;
use crate::common::{self, Server};
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

/// A tracer of the thread that writes the store.
pub(crate) struct Tracer(Child);

impl Tracer {
    /// Injects a fault (as `strace` spells it) from now on; `None` where this user may not trace.
    pub(crate) fn inject(server: &Server, calls: &str, fault: &str) -> Option<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")]);
        strace.args(["-p", &writer_thread(server.pid())]).stderr(Stdio::piped()).stdout(Stdio::null());
        let Ok(mut child) = strace.spawn() else {
            common::skip("strace is not installed");
            return None;
        };
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        if !line.contains("attached") {
            // That takes a right that no package gives.
            eprintln!("skipped: {line}");
            return None;
        }
        // What it tells must go somewhere, or it waits.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Some(Self(child))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The number of the thread; `strace` counts the calls of each thread by themselves.
fn writer_thread(pid: u32) -> String {
    let is_writer = |thread: &fs::DirEntry| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim_end() == "store-writer")
    };
    // A thread that has just started has no name yet.
    let writer = common::eventually("the writer thread", || {
        let mut threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|thread| thread.unwrap());
        threads.find(is_writer).ok_or("no thread of that name")
    });
    writer.file_name().into_string().unwrap()
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
