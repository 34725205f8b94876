//! The first process of a container: the kernel makes every orphan of the container its child, and ends all when it ends.
//!
//! So that is a process of its own, which does nothing else: it starts the command as its child, passes signals on to it,
//! reaps whatever it inherits, and ends as the command did. The command can then wait for its own children in peace.

use std::ffi::OsString;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt as _;
use std::process::{Command, ExitCode};

use rustix::event::{PollFd, PollFlags, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::raw::{self, ExitReport, SignalInfo};

/// The signals that are passed on.
const PASSED_ON: [Signal; 6] =
    [Signal::TERM, Signal::INT, Signal::HUP, Signal::QUIT, Signal::USR1, Signal::USR2];
/// A shell adds this to the number of the signal that ended a command.
const KILLED: u8 = 128;

/// Whether this process is the first one.
pub fn is_needed() -> bool {
    std::process::id() == 1
}

/// Runs this binary once more with these arguments, until that ends.
pub fn main(arguments: &[OsString]) -> ExitCode {
    run(arguments).unwrap_or_else(|error| {
        eprintln!("gristmill, as the first process: {error}");
        ExitCode::FAILURE
    })
}

fn run(arguments: &[OsString]) -> io::Result<ExitCode> {
    let signals = raw::signal_fd(&[&PASSED_ON[..], &[Signal::CHILD]].concat())?;
    let mut command = Command::new("/proc/self/exe");
    raw::before_worker_exec(command.arg0("gristmill").args(arguments), std::process::id());
    let child = command
        .spawn()
        .map_err(|error| io::Error::new(error.kind(), format!("/proc/self/exe: {error}")))?
        .id();
    loop {
        poll(&mut [PollFd::new(&signals, PollFlags::IN)], None)?;
        pass_on(&signals, child);
        if let Some(ended) = reap(child)? {
            return Ok(exit_code(ended));
        }
    }
}

fn pass_on(signals: &OwnedFd, child: u32) {
    let received = std::iter::from_fn(|| raw::next_signal(signals));
    for SignalInfo { number, from_kernel } in received {
        // A terminal sends its signals to the child as well.
        let signal = PASSED_ON.into_iter().find(|signal| signal.as_raw() == number && !from_kernel);
        if let (Some(signal), Some(pid)) = (signal, Pid::from_raw(child as i32)) {
            // It may be a zombie, whose end is seen next.
            let _ = kill_process(pid, signal);
        }
    }
}

/// Reaps all that have ended; how the child did, if it is among them.
fn reap(child: u32) -> io::Result<Option<ExitReport>> {
    let mut ended = None;
    while let Some(report) = raw::reap()? {
        if report.pid as u32 == child {
            ended = Some(report);
            break;
        }
    }
    Ok(ended)
}

fn exit_code(ended: ExitReport) -> ExitCode {
    let by_signal = ended.signal.map(|signal| KILLED.wrapping_add(signal as u8));
    ExitCode::from(by_signal.or(ended.code.map(|code| code as u8)).unwrap_or(1))
}
