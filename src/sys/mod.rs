//! The system calls that need `unsafe`, each behind a safe function, and the guard process built on them.
//!
//! Imports nothing of the crate. Deliberately absent: `unsafe` anywhere else. Linux only: death signals,
//! subreapers, signal descriptors and process CPU clocks have no portable form.

pub mod cpus;
pub mod guard;
pub mod orphans;
pub mod proc;

#[expect(unsafe_code, reason = "the one place for system calls that no safe crate wraps")]
mod raw;

pub use raw::{
    ExitReport, before_worker_exec, child_signals, ignore_termination, inherited_fd, pass_fds,
    process_cpu_ns, reap,
};
