//! One run of a program: its pipes, which never block each other, and its end.

use std::io::{self, Read, Write as _};
use std::os::fd::AsFd;
use std::process::{ChildStderr, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use super::Host;
use crate::model::Verdict;
use crate::protocol::frames::{Log, Usage};
use crate::protocol::{Run, Tail};
use crate::sys::family::Notice;
use crate::sys::proc::max_rss_bytes;
use crate::sys::{ExitReport, process_cpu_ns, signal_name, unblock_signals};
use crate::worker::{Answers, Failure};

const READ_BYTES: usize = 1 << 14;
/// How much of its stderr is kept between two log messages.
const STDERR_BYTES: usize = 64 * 1024;
/// How much of its stderr goes into an error.
const LAST_WORDS_BYTES: usize = 4096;
const LOG_EVERY: Duration = Duration::from_millis(100);
/// How long what a program leaves behind has to die.
const KILL_FOR: Duration = Duration::from_secs(5);
/// The exit code of an adapter that was asked to end, as a shell would give it for `SIGTERM`.
const TERMINATED: i32 = 128 + 15;

/// A variable that tells a program what it is started for.
pub(super) type Told = (&'static str, String);

/// In which span of a distributed trace it runs, if the job is in one.
pub(super) fn trace_of(run: &Run<'_>) -> Option<Told> {
    run.traceparent.map(|parent| ("TRACEPARENT", parent.to_owned()))
}

/// A program that has been started.
#[derive(Debug)]
pub(super) struct Program {
    pub(super) pid: u32,
    stdin: Option<ChildStdin>,
    stdout: Option<ChildStdout>,
    stderr: Option<ChildStderr>,
    outgoing: Vec<u8>,
    written: usize,
    /// How many bytes it could not be given, as it had closed its stdin.
    refused: usize,
    /// Whether stdin is closed when all is written.
    closes: bool,
    /// What it has written on stdout and nobody has taken.
    pub(super) output: Vec<u8>,
    most: usize,
    errors: Tail,
    last_words: Tail,
    logged_at: Instant,
    /// When its memory was last looked up.
    looked_at: Option<Instant>,
    ended: Option<ExitReport>,
    terminated: bool,
}

impl Program {
    /// Starts the program with these arguments, and with this in its environment.
    pub(super) fn start(
        host: &Host,
        argv: &[String],
        told: impl IntoIterator<Item = Told>,
    ) -> Result<Self, Failure> {
        Self::spawn(host, argv, told).map_err(|error| {
            let program = argv.first().map_or("", String::as_str);
            failure(Verdict::Crash, format!("{program:?} could not be started: {error}"))
        })
    }

    fn spawn(host: &Host, argv: &[String], told: impl IntoIterator<Item = Told>) -> io::Result<Self> {
        let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        let mut command = Command::new(program);
        command.args(arguments).envs(told);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        unblock_signals(&mut command);
        let mut child = command.spawn()?;
        let program = Self {
            pid: child.id(),
            stdin: child.stdin.take(),
            stdout: child.stdout.take(),
            stderr: child.stderr.take(),
            outgoing: Vec::new(),
            written: 0,
            refused: 0,
            closes: false,
            output: Vec::new(),
            most: host.max_output,
            errors: Tail::new(STDERR_BYTES),
            last_words: Tail::new(LAST_WORDS_BYTES),
            logged_at: Instant::now(),
            looked_at: None,
            ended: None,
            terminated: false,
        };
        program.stdin.as_ref().map_or(Ok(()), unblock)?;
        program.stdout.as_ref().map_or(Ok(()), unblock)?;
        program.stderr.as_ref().map_or(Ok(()), unblock)?;
        Ok(program)
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

    /// Whether it has ended and all that it wrote has been read.
    pub(super) fn has_ended(&self) -> bool {
        self.ended.is_some()
    }

    /// Whether it has taken all of its input and waits for more.
    pub(super) fn waits_for_input(&self) -> bool {
        let Some(stdin) = self.stdin.as_ref().filter(|_| self.outgoing.is_empty()) else { return false };
        rustix::io::ioctl_fionread(stdin).is_ok_and(|unread| unread == 0)
            && crate::sys::proc::reads_stdin(self.pid)
    }

    /// Whether it has closed its stdout, and can answer no more.
    pub(super) fn has_closed_stdout(&self) -> bool {
        self.stdout.is_none()
    }

    /// Whether it has closed its stdin, and can read no more.
    pub(super) fn has_closed_stdin(&self) -> bool {
        let Some(stdin) = &self.stdin else { return true };
        // A pipe that nobody reads is in error.
        let mut fds = [PollFd::new(stdin, PollFlags::empty())];
        poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 })).is_ok_and(|count| count > 0)
    }

    /// How many bytes of its input it has not read.
    pub(super) fn unread(&self) -> usize {
        let stdin = self.stdin.as_ref();
        let in_pipe = stdin.and_then(|stdin| rustix::io::ioctl_fionread(stdin).ok()).unwrap_or(0) as usize;
        in_pipe + self.outgoing.len() - self.written + self.refused
    }

    /// What it has said so far is not about what comes.
    pub(super) fn forget_last_words(&mut self) {
        self.last_words.take();
    }

    /// Waits until something happens, at most for this long, and moves what can be moved.
    pub(super) fn turn(&mut self, host: &Host, most: Duration) -> io::Result<()> {
        let timeout = Timespec { tv_sec: most.as_secs() as i64, tv_nsec: most.subsec_nanos().into() };
        let unwatched = || PollFd::new(&host.family, PollFlags::empty());
        let stdin = self.stdin.as_ref().filter(|_| !self.outgoing.is_empty());
        let mut fds = [
            PollFd::new(&host.family, PollFlags::IN),
            stdin.map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::OUT)),
            self.stdout.as_ref().map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::IN)),
            self.stderr.as_ref().map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::IN)),
        ];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) | Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        let [signal, stdin, stdout, stderr] = fds.map(|fd| !fd.revents().is_empty());
        if stdin {
            self.write()?;
        }
        if stdout {
            self.read_output()?;
        }
        if stderr {
            self.read_errors()?;
        }
        if signal {
            self.hear(host)?;
        }
        Ok(())
    }

    fn hear(&mut self, host: &Host) -> io::Result<()> {
        self.terminated |= host.family.notices().contains(&Notice::Terminate);
        let (pid, ended) = (self.pid, &mut self.ended);
        host.family.reap(|report| {
            if report.pid as u32 == pid {
                *ended = Some(report);
            }
        })?;
        if self.ended.is_some() {
            // All that it wrote is in the pipes; what others still hold open is not waited for.
            while self.read_output()? {}
            while self.read_errors()? {}
        }
        if self.ended.is_some() && self.terminated {
            std::process::exit(TERMINATED);
        }
        Ok(())
    }

    fn write(&mut self) -> io::Result<()> {
        while let Some(stdin) = self.stdin.as_mut().filter(|_| self.written < self.outgoing.len()) {
            match stdin.write(&self.outgoing[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It wants no more of its input, which is its own affair.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                    self.refused = self.outgoing.len() - self.written;
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        (self.outgoing, self.written) = (Vec::new(), 0);
        if self.closes {
            self.stdin = None;
        }
        Ok(())
    }

    /// Whether there was something.
    fn read_output(&mut self) -> io::Result<bool> {
        // What is over the limit is not kept.
        let room = (self.most + 1).saturating_sub(self.output.len()).min(READ_BYTES);
        let mut piece = [0; READ_BYTES];
        let count = read(&mut self.stdout, &mut piece)?;
        self.output.extend_from_slice(&piece[..count.min(room)]);
        Ok(count > 0)
    }

    fn read_errors(&mut self) -> io::Result<bool> {
        let mut piece = [0; READ_BYTES];
        let count = read(&mut self.stderr, &mut piece)?;
        self.errors.push(&piece[..count]);
        self.last_words.push(&piece[..count]);
        Ok(count > 0)
    }

    /// Whether it has written more than it may.
    pub(super) fn is_over_limit(&self) -> bool {
        self.output.len() > self.most
    }

    /// Passes on what it wrote on stderr for this task, every so often or at once.
    pub(super) fn log(&mut self, index: u64, answers: &mut Answers<'_>, at_once: bool) -> io::Result<()> {
        if self.errors.is_empty() || !at_once && self.logged_at.elapsed() < LOG_EVERY {
            return Ok(());
        }
        self.logged_at = Instant::now();
        let (text, dropped_bytes) = self.errors.take();
        answers.log(&Log { index: Some(index), stream: "stderr".into(), text: text.into(), dropped_bytes })
    }

    /// Why it ended, unless that was with exit code 0.
    pub(super) fn check_end(&mut self) -> Result<(), Failure> {
        match self.ended {
            Some(ExitReport { code: Some(0), .. }) => Ok(()),
            Some(ExitReport { code: Some(code), .. }) => {
                Err(self.fail(Verdict::Crash, format!("exited with code {code}")))
            }
            Some(ExitReport { signal, .. }) => {
                let signal = signal_name(signal.unwrap_or_default());
                Err(self.fail(Verdict::Crash, format!("killed by {signal}")))
            }
            None => Err(self.fail(Verdict::Crash, "it has not ended")),
        }
    }

    /// What it used, once it has ended.
    pub(super) fn usage(&self) -> Usage {
        let used = self.ended;
        Usage {
            cpu_ns: used.map(|report| report.cpu_us * 1000),
            max_rss_bytes: used.map(|report| report.max_rss_bytes),
        }
    }

    /// The CPU time that it has used so far, in nanoseconds.
    pub(super) fn cpu_ns(&self) -> u64 {
        let ended = self.ended.map(|report| report.cpu_us * 1000);
        ended.or_else(|| process_cpu_ns(self.pid)).unwrap_or(0)
    }

    /// The most memory that it has held, in bytes; looked up now and then.
    pub(super) fn max_rss_bytes(&mut self) -> Option<u64> {
        if let Some(report) = self.ended {
            return Some(report.max_rss_bytes);
        }
        if self.looked_at.is_some_and(|at| at.elapsed() < LOG_EVERY) {
            return None;
        }
        self.looked_at = Some(Instant::now());
        max_rss_bytes(self.pid)
    }

    /// A failure with its last words.
    pub(super) fn fail(&mut self, verdict: Verdict, message: impl Into<String>) -> Failure {
        let words = self.last_words.text().trim().to_owned();
        Failure { stack: Some(words).filter(|words| !words.is_empty()), ..failure(verdict, message) }
    }

    /// The failure of one that has written more than it may.
    pub(super) fn too_much(&mut self) -> Failure {
        let message = format!("its output is larger than {} bytes", self.most);
        Failure { retryable: false, ..self.fail(Verdict::OutputTooLarge, message) }
    }

    /// Ends it and all that it started.
    pub(super) fn kill(self, host: &Host) -> io::Result<()> {
        drop((self.stdin, self.stdout, self.stderr));
        host.family.kill(KILL_FOR, |_| {})
    }
}

/// A failure without last words.
pub(super) fn failure(verdict: Verdict, message: impl Into<String>) -> Failure {
    Failure { verdict, kind: None, message: message.into(), stack: None, retryable: true }
}

/// The input is at fault, so another attempt would not help.
pub(super) fn bad_input(message: String) -> Failure {
    Failure { kind: Some("BadInput".into()), retryable: false, ..failure(Verdict::Exception, message) }
}

fn unblock(pipe: &impl AsFd) -> io::Result<()> {
    Ok(fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?)
}

/// Reads what is there; closes the pipe at its end. How many bytes there were.
fn read<R: Read>(pipe: &mut Option<R>, piece: &mut [u8]) -> io::Result<usize> {
    let Some(reader) = pipe.as_mut() else { return Ok(0) };
    match reader.read(piece) {
        Ok(0) => {
            *pipe = None;
            Ok(0)
        }
        Ok(count) => Ok(count),
        Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => Ok(0),
        Err(error) => Err(error),
    }
}
