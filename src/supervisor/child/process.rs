//! A worker's process as bytes: its guard, the socket to that, and three pipes that never block this thread.

use std::io::{self, Read, Write as _};
use std::os::fd::BorrowedFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::protocol::{LineSplitter, LineTooLong};
use crate::sys::guard::Report;

/// A guard's report is short.
const REPORT_BYTES: usize = 4096;

#[derive(Debug)]
pub(super) struct Process {
    guard: Child,
    control: Option<UnixStream>,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    reports: LineSplitter,
    /// Messages that the worker has not taken, from `written` on.
    pub(super) outgoing: Vec<u8>,
    written: usize,
    /// How many bytes stdin has taken in all.
    accepted: u64,
    /// How many of them were read when the worker closed its stdin.
    read_at_close: Option<u64>,
    /// Whether it has closed its stdin.
    is_deaf: bool,
    /// Whether there was something that it could not be told for that.
    has_undelivered: bool,
}

/// What has happened, one or more of these.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[expect(clippy::struct_excessive_bools, reason = "one for each descriptor")]
pub(super) struct Happened {
    /// There may be orders.
    pub(super) wake: bool,
    /// The guard has said something, or has ended.
    pub(super) control: bool,
    /// There is room in stdin for what is outgoing, or nobody reads it any more.
    pub(super) stdin: bool,
    /// There is something on stdout, or it has ended.
    pub(super) stdout: bool,
    /// The same for stderr.
    pub(super) stderr: bool,
}

impl Process {
    pub(super) fn new((mut guard, control): (Child, UnixStream)) -> io::Result<Self> {
        control.set_nonblocking(true)?;
        Ok(Self {
            control: Some(control),
            stdin: guard.stdin.take(),
            stdout: guard.stdout.take(),
            stderr: guard.stderr.take(),
            guard,
            reports: LineSplitter::new(REPORT_BYTES),
            outgoing: Vec::new(),
            written: 0,
            accepted: 0,
            read_at_close: None,
            is_deaf: false,
            has_undelivered: false,
        })
    }

    /// Whether there may be something to read.
    pub(super) fn is_open(&self) -> bool {
        self.stdout.is_some() || self.stderr.is_some()
    }

    /// Whether the worker can still answer.
    pub(super) fn has_stdout(&self) -> bool {
        self.stdout.is_some()
    }

    /// Whether it has closed its stdin.
    pub(super) fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    /// Whether there was something that it could not be told, as it had closed its stdin.
    pub(super) fn has_undelivered(&self) -> bool {
        self.has_undelivered
    }

    pub(super) fn guard_pid(&self) -> u32 {
        self.guard.id()
    }

    /// Reads no more.
    pub(super) fn leave(&mut self) {
        (self.stdout, self.stderr) = (None, None);
    }

    pub(super) fn close_stdin(&mut self) {
        self.stdin = None;
    }

    /// Kills the guard, and with it the worker; what the worker started is left to the server.
    pub(super) fn kill_guard(&mut self) {
        // It may have ended meanwhile.
        drop(self.guard.kill());
    }

    pub(super) fn close_stdout(&mut self) {
        self.stdout = None;
    }

    /// Waits until something happens or the time is over; stdout is left alone unless `reads_stdout`.
    pub(super) fn wait(
        &mut self,
        wake: BorrowedFd<'_>,
        timeout: Option<Duration>,
        reads_stdout: bool,
    ) -> io::Result<Happened> {
        let timeout = timeout
            .map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() });
        let unwatched = || PollFd::from_borrowed_fd(wake, PollFlags::empty());
        let room = if self.outgoing.is_empty() { PollFlags::empty() } else { PollFlags::OUT };
        let mut fds = [
            PollFd::from_borrowed_fd(wake, PollFlags::IN),
            self.control.as_ref().map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::IN)),
            self.stdin.as_ref().map_or_else(unwatched, |fd| PollFd::new(fd, room)),
            self.stdout
                .as_ref()
                .filter(|_| reads_stdout)
                .map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::IN)),
            self.stderr.as_ref().map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::IN)),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {
                self.is_deaf |= fds[2].revents().contains(PollFlags::ERR);
                let [wake, control, stdin, stdout, stderr] = fds.map(|fd| !fd.revents().is_empty());
                Ok(Happened { wake, control, stdin, stdout, stderr })
            }
            Err(rustix::io::Errno::INTR) => Ok(Happened::default()),
            Err(error) => Err(error.into()),
        }
    }

    /// Notes what the worker has had, and writes no more.
    fn shut_stdin(&mut self) {
        if self.stdin.is_some() {
            self.read_at_close = Some(self.read_by_worker());
            self.stdin = None;
        }
    }

    /// Writes what is outgoing, as far as there is room.
    pub(super) fn write(&mut self) -> io::Result<()> {
        if self.is_deaf {
            // What it has not taken is given back when it ends.
            self.shut_stdin();
            self.has_undelivered |= self.written < self.outgoing.len();
        }
        while let Some(stdin) = self.stdin.as_mut().filter(|_| self.written < self.outgoing.len()) {
            match stdin.write(&self.outgoing[self.written..]) {
                Ok(count) => {
                    self.written += count;
                    self.accepted += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.shut_stdin();
                    (self.is_deaf, self.has_undelivered) = (true, true);
                }
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        Ok(())
    }

    /// How many bytes there are for the worker in all, with those that it has had.
    pub(super) fn queued(&self) -> u64 {
        self.accepted + (self.outgoing.len() - self.written) as u64
    }

    /// How many bytes the worker may have read. What lies in the pipe it has not; once we have closed that, nobody knows.
    pub(super) fn read_by_worker(&self) -> u64 {
        let unread = |stdin| rustix::io::ioctl_fionread(stdin).unwrap_or(0);
        let now = self.stdin.as_ref().map(|stdin| self.accepted.saturating_sub(unread(stdin)));
        now.or(self.read_at_close).unwrap_or(self.accepted)
    }

    /// How many bytes stdout gave; `None` at its end, and when there are none.
    pub(super) fn read_stdout(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        read_some(&mut self.stdout, buffer)
    }

    /// The same for stderr.
    pub(super) fn read_stderr(&mut self, buffer: &mut [u8]) -> io::Result<Option<usize>> {
        read_some(&mut self.stderr, buffer)
    }

    /// What the guard has said; [`Report::Lost`] behind the last report.
    pub(super) fn read_reports(&mut self) -> io::Result<Vec<Report>> {
        let mut buffer = [0; REPORT_BYTES];
        let was_open = self.control.is_some();
        let count = match read_some(&mut self.control, &mut buffer) {
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => {
                self.control = None;
                None
            }
            outcome => outcome?,
        };
        let mut reports = Vec::new();
        let fed = self.reports.feed(&buffer[..count.unwrap_or(0)], |line| {
            reports.push(Report::decode(&String::from_utf8_lossy(line)));
            Ok::<(), LineTooLong>(())
        });
        fed.map_err(io::Error::other)?;
        if was_open && self.control.is_none() {
            reports.push(Some(Report::Lost));
        }
        let known: Option<Vec<Report>> = reports.into_iter().collect();
        known.ok_or_else(|| io::Error::other("the guard says what is no report"))
    }

    /// Tells the guard what to do.
    pub(super) fn order(&mut self, order: u8) -> io::Result<()> {
        match self.control.as_mut().map(|control| control.write_all(&[order])) {
            // It has ended, and says so behind its last report.
            Some(Err(error)) if error.kind() != io::ErrorKind::BrokenPipe => Err(error),
            _ => Ok(()),
        }
    }

    /// Takes the guard, which ends by itself right behind its last report, off the process table.
    pub(super) fn reap(&mut self) {
        drop(self.guard.wait());
    }
}

/// Reads what is there; `None` at the end, which closes the pipe, and when there is nothing.
fn read_some(pipe: &mut Option<impl Read>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
    let Some(open) = pipe else { return Ok(None) };
    match open.read(buffer) {
        Ok(0) => {
            *pipe = None;
            Ok(None)
        }
        Ok(count) => Ok(Some(count)),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
            Ok(None)
        }
        Err(error) => Err(error),
    }
}
