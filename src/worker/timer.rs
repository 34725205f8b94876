//! A timer that is set anew for each chunk, and wakes nobody unless it runs out.

use std::io;
use std::os::fd::OwnedFd;
use std::time::Duration;

use rustix::time::{
    Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime,
};

pub(super) struct Timer(OwnedFd);

impl Timer {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self(timerfd_create(TimerfdClockId::Monotonic, TimerfdFlags::CLOEXEC)?))
    }

    /// Runs out after this time, and again and again.
    pub(super) fn start(&self, every: Duration) -> io::Result<()> {
        let time = Timespec { tv_sec: every.as_secs() as i64, tv_nsec: every.subsec_nanos().into() };
        self.set(&Itimerspec { it_interval: time, it_value: time })
    }

    /// Does not run out any more.
    pub(super) fn stop(&self) -> io::Result<()> {
        let never = Timespec { tv_sec: 0, tv_nsec: 0 };
        self.set(&Itimerspec { it_interval: never, it_value: never })
    }

    /// Waits until it runs out.
    pub(super) fn wait(&self) -> io::Result<()> {
        rustix::io::retry_on_intr(|| rustix::io::read(&self.0, &mut [0; 8]))?;
        Ok(())
    }

    fn set(&self, time: &Itimerspec) -> io::Result<()> {
        timerfd_settime(&self.0, TimerfdTimerFlags::empty(), time)?;
        Ok(())
    }
}
