//! The server dies at any moment, and the history of its clients stays true.
//!
//! The short forms run always; the long ones with `cargo test --test crash -- --ignored --nocapture`.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

mod batch;
#[expect(dead_code, reason = "each test file uses a part of the harness")]
#[path = "../common/mod.rs"]
mod common;
mod faults;
mod history;
mod million;
mod power;
mod random;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// One test at a time: the port of a server that has died may be given to the next one that starts, and the clients of
/// the dead one would take it for theirs.
fn alone() -> MutexGuard<'static, ()> {
    static ALONE: Mutex<()> = Mutex::new(());
    ALONE.lock().unwrap_or_else(PoisonError::into_inner)
}
