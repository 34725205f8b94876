//! All that descends from this process: it is a subreaper, so that orphans below it become its children.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::process::{Pid, Signal, kill_process};

use super::raw::{self, ExitReport};
use super::{proc, reap};

/// A signal that a [`Family`] waits for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Notice {
    /// A child may have ended.
    Child,
    /// This process is asked to end.
    Terminate,
}

/// The processes below this one.
#[derive(Debug)]
pub struct Family {
    signals: OwnedFd,
}

impl Family {
    /// Makes this process their subreaper. To be called once, before there are other threads: `SIGCHLD` is blocked,
    /// and so is `SIGTERM` with `hears_terminate`.
    pub fn found(hears_terminate: bool) -> io::Result<Self> {
        let terminate: &[Signal] = if hears_terminate { &[Signal::TERM] } else { &[] };
        let signals = raw::signal_fd(&[&[Signal::CHILD], terminate].concat())?;
        rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
        Ok(Self { signals })
    }

    /// The signals since the last look.
    pub fn notices(&self) -> Vec<Notice> {
        let notice = |signal: raw::SignalInfo| {
            if signal.number == Signal::TERM.as_raw() { Notice::Terminate } else { Notice::Child }
        };
        std::iter::from_fn(|| raw::next_signal(&self.signals)).map(notice).collect()
    }

    /// Reaps all children that have ended; whether any are left.
    pub fn reap(&self, mut each: impl FnMut(ExitReport)) -> io::Result<bool> {
        loop {
            match reap() {
                Ok(Some(report)) => each(report),
                Ok(None) => return Ok(true),
                Err(error) if error.raw_os_error() == Some(libc::ECHILD) => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends all of them a signal.
    pub fn signal(&self, signal: Signal) {
        for pid in proc::descendants(std::process::id()) {
            if let Some(pid) = Pid::from_raw(pid as i32) {
                // It may have ended meanwhile; its number is not given away again before this process reaps it.
                let _ = kill_process(pid, signal);
            }
        }
    }

    /// Kills until there is nothing left to kill or the time is over: what a dying process forked is found in the
    /// next round.
    pub fn kill(&self, time: Duration, mut each: impl FnMut(ExitReport)) -> io::Result<()> {
        let until = Instant::now() + time;
        while self.reap(&mut each)? && Instant::now() < until {
            self.signal(Signal::KILL);
            let wait = Timespec { tv_sec: 0, tv_nsec: 20_000_000 };
            poll(&mut [PollFd::new(&self.signals, PollFlags::IN)], Some(&wait))?;
            self.notices();
        }
        Ok(())
    }
}

impl AsFd for Family {
    /// Readable when there are [`Family::notices`].
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.signals.as_fd()
    }
}
