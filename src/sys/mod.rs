//! The system calls that need `unsafe`, each behind a safe function, the file that is SQLite's log, and the guard process.
//!
//! Imports nothing of the crate. Deliberately absent: `unsafe` anywhere else. Linux only: death signals,
//! subreapers, signal descriptors and process CPU clocks have no portable form.

mod cgroups;
pub mod cpus;
pub mod family;
pub mod guard;
pub mod init;
pub mod memory;
pub mod orphans;
pub mod proc;

#[expect(unsafe_code, reason = "SQLite calls this by C's conventions")]
mod log_file;
#[expect(unsafe_code, reason = "the one place for system calls that no safe crate wraps")]
mod raw;

pub use family::Family;
pub use log_file::gather_log_writes;
pub use raw::{
    ExitReport, before_worker_exec, ignore_termination, inherited_fd, pass_fds, process_cpu_ns, reap,
    unblock_signals,
};

/// The name of a signal, as people know it.
pub fn signal_name(signal: i32) -> String {
    let name = match signal {
        libc::SIGABRT => "SIGABRT",
        libc::SIGALRM => "SIGALRM",
        libc::SIGBUS => "SIGBUS",
        libc::SIGFPE => "SIGFPE",
        libc::SIGHUP => "SIGHUP",
        libc::SIGILL => "SIGILL",
        libc::SIGINT => "SIGINT",
        libc::SIGKILL => "SIGKILL",
        libc::SIGPIPE => "SIGPIPE",
        libc::SIGQUIT => "SIGQUIT",
        libc::SIGSEGV => "SIGSEGV",
        libc::SIGSYS => "SIGSYS",
        libc::SIGTERM => "SIGTERM",
        libc::SIGTRAP => "SIGTRAP",
        libc::SIGUSR1 => "SIGUSR1",
        libc::SIGUSR2 => "SIGUSR2",
        libc::SIGXCPU => "SIGXCPU",
        libc::SIGXFSZ => "SIGXFSZ",
        other => return format!("signal {other}"),
    };
    name.to_owned()
}
