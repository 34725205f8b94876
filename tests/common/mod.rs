//! The harness of the front-door tests: the real binary on a free port, driven over HTTP, with real processes.
//!
//! Verbs read as the scenario. A test waits for a state with a deadline and says what it saw; it never sleeps for
//! luck. Deliberately absent: anything of the crate itself. The tests know what a user knows.

pub(crate) mod browser;
pub(crate) mod client;
pub(crate) mod events;
pub(crate) mod job;
pub(crate) mod procs;
pub(crate) mod server;
pub(crate) mod tracer;

use std::fmt::Debug;
use std::io::Write as _;
use std::time::{Duration, Instant};

pub(crate) use server::Server;

/// Far longer than anything takes, so that only what never happens fails.
const DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(10);

/// Looks again and again until there is what the test waits for; `Err` is what was seen instead.
pub(crate) fn eventually<T, S: Debug>(what: &str, look: impl FnMut() -> Result<T, S>) -> T {
    within(DEADLINE, what, look)
}

/// As [`eventually`], with a deadline that is part of what is promised.
pub(crate) fn within<T, S: Debug>(
    deadline: Duration,
    what: &str,
    mut look: impl FnMut() -> Result<T, S>,
) -> T {
    let start = Instant::now();
    loop {
        match look() {
            Ok(found) => return found,
            Err(seen) if start.elapsed() > deadline => {
                panic!("waited {deadline:?} for {what}; last seen: {seen:#?}")
            }
            Err(_) => std::thread::sleep(POLL),
        }
    }
}

/// What is seen is right, or it is what was seen.
pub(crate) fn check<T>(seen: T, right: impl FnOnce(&T) -> bool) -> Result<T, T> {
    if right(&seen) { Ok(seen) } else { Err(seen) }
}

/// Says that a test did nothing, and why. On CI, where everything is installed, that is a failure.
pub(crate) fn skip(why: &str) {
    assert!(std::env::var_os("CI").is_none_or(|ci| ci != "true"), "on CI nothing is skipped: {why}");
    // Past the capture of what a test prints, which is not shown when it succeeds.
    drop(writeln!(std::io::stderr(), "skipped: {why}"));
}
