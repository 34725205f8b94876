//! A worker's process as bytes: three pipes, none of which ever blocks, and its end.

use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt as _;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::Settings;
use crate::protocol::Tail;
use crate::sys::{self, ExitReport, Family};

const READ_BYTES: usize = 1 << 16;
const LAST_WORDS_BYTES: usize = 1024;
/// So many reads empty the pipe of a worker that has ended, unless something that it left behind fills it.
const LAST_READS: usize = 64;
const KILL_FOR: Duration = Duration::from_secs(5);

pub(super) struct Process<'a> {
    family: &'a Family,
    pid: u32,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    outgoing: Vec<u8>,
    written: usize,
    closes: bool,
    pub(super) last_words: Tail,
    pub(super) ended: Option<ExitReport>,
}

impl<'a> Process<'a> {
    /// Starts the worker as a server does, but for the guard: all below this process is the worker's.
    pub(super) fn start(settings: &Settings, family: &'a Family) -> io::Result<Self> {
        let (program, arguments) = settings.argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).env_clear().envs(&settings.env).process_group(0);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        sys::before_worker_exec(&mut command, std::process::id());
        let mut child = command.spawn()?;
        let (stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        stdin.as_ref().map_or(Ok(()), unblock)?;
        stdout.as_ref().map_or(Ok(()), unblock)?;
        stderr.as_ref().map_or(Ok(()), unblock)?;
        let (pid, last_words) = (child.id(), Tail::new(LAST_WORDS_BYTES));
        let (outgoing, written, closes, ended) = (Vec::new(), 0, false, None);
        Ok(Self { family, pid, stdin, stdout, stderr, outgoing, written, closes, last_words, ended })
    }

    /// Writes this to its stdin, as it takes it.
    pub(super) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.outgoing.extend_from_slice(bytes);
        self.write()
    }

    /// Ends its stdin once all is written.
    pub(super) fn close_stdin(&mut self) -> io::Result<()> {
        self.closes = true;
        self.write()
    }

    /// Waits until something happens, at most until then, and moves what can be moved; gives what stdout said.
    pub(super) fn turn(&mut self, until: Instant) -> io::Result<Vec<u8>> {
        let left = until.saturating_duration_since(Instant::now());
        let timeout = Timespec { tv_sec: left.as_secs() as i64, tv_nsec: left.subsec_nanos().into() };
        let unwatched = || PollFd::new(self.family, PollFlags::empty());
        let stdin = self.stdin.as_ref().filter(|_| !self.outgoing.is_empty());
        let mut fds = [
            PollFd::new(self.family, PollFlags::IN),
            stdin.map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::OUT)),
            self.stdout.as_ref().map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::IN)),
            self.stderr.as_ref().map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::IN)),
        ];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [signal, stdin, stdout, stderr] = fds.map(|fd| !fd.revents().is_empty());
        let mut said = Vec::new();
        if stdin {
            self.write()?;
        }
        if stdout {
            read(&mut self.stdout, &mut said)?;
        }
        if stderr {
            self.read_stderr()?;
        }
        if signal {
            self.hear(&mut said)?;
        }
        Ok(said)
    }

    fn hear(&mut self, said: &mut Vec<u8>) -> io::Result<()> {
        self.family.notices();
        let (pid, ended) = (self.pid, &mut self.ended);
        self.family.reap(|report| {
            if report.pid as u32 == pid {
                *ended = Some(report);
            }
        })?;
        if self.ended.is_some() {
            for _ in 0..LAST_READS {
                read(&mut self.stdout, said)?;
                self.read_stderr()?;
            }
        }
        Ok(())
    }

    fn read_stderr(&mut self) -> io::Result<()> {
        let mut words = Vec::new();
        read(&mut self.stderr, &mut words)?;
        self.last_words.push(&words);
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some(stdin) = self.stdin.as_mut().filter(|_| self.written < self.outgoing.len()) {
            match stdin.write(&self.outgoing[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It has closed its stdin, and what it does not answer will be missed.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.stdin = None,
                Err(error) => return Err(error),
            }
        }
        (self.outgoing, self.written) = (Vec::new(), 0);
        if self.closes {
            self.stdin = None;
        }
        Ok(())
    }
}

impl Drop for Process<'_> {
    /// Ends it and all that it started.
    fn drop(&mut self) {
        (self.stdin, self.stdout, self.stderr) = (None, None, None);
        drop(self.family.kill(KILL_FOR, |_| {}));
    }
}

fn unblock(pipe: &impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?)
}

/// Appends what is there; closes the pipe at its end.
fn read<R: Read>(pipe: &mut Option<R>, said: &mut Vec<u8>) -> io::Result<()> {
    let Some(reader) = pipe.as_mut() else { return Ok(()) };
    let start = said.len();
    said.resize(start + READ_BYTES, 0);
    let outcome = reader.read(&mut said[start..]);
    said.truncate(start + outcome.as_ref().map_or(0, |count| *count));
    match outcome {
        Ok(0) => *pipe = None,
        Ok(_) => {}
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
        Err(error) => return Err(error),
    }
    Ok(())
}
