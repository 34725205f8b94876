//! The guard: a small single-threaded process between the server and one worker, so that nothing outlives either.
//!
//! A death signal alone follows the *thread* that spawned, and a process group misses a grandchild that called
//! `setsid`. The guard closes both holes: it is a subreaper, so every orphan below it becomes its child, and it holds
//! a socket whose other end only the server has. When that end closes, or when the worker ends, the guard kills all
//! that is below it. It also holds the lock on the data directory, so the next server waits until it is gone.
//!
//! Descriptors: 0, 1, 2 go to the worker; 3 is the control socket; 4 is the lock. On the socket the server writes
//! [`TERMINATE`] or [`KILL`]; the guard writes one [`Report`] a line.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::process::{Child, Command, ExitCode};
use std::time::Duration;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::io::{FdFlags, fcntl_setfd};
use rustix::process::Signal;

use super::raw::ExitReport;
use super::{Family, before_worker_exec, ignore_termination, inherited_fd};

/// The first argument that makes this binary a guard; the worker's argv follows.
pub const ARGUMENT: &str = "__guard";
/// Ask the worker and all below it to end.
pub const TERMINATE: u8 = b'T';
/// Kill the worker and all below it.
pub const KILL: u8 = b'K';
/// Workers are preferred when the kernel must kill something for want of memory: by so much more than the server …
const OOM_SCORE_ADJ_ABOVE: i32 = 500;
/// … up to the most there is.
const MOST_OOM_SCORE_ADJ: i32 = 1000;
/// How long the guard tries to kill what is below it before it leaves the rest to the server, its own subreaper.
const KILL_FOR: Duration = Duration::from_secs(10);

/// What the guard tells the server.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Report {
    /// The worker runs as this process.
    Started(u32),
    /// The worker could not be started.
    NotStarted(String),
    /// The worker has ended, and nothing of it is left.
    Ended {
        /// Its exit code, or `None` if a signal ended it.
        code: Option<i32>,
        /// The signal that ended it.
        signal: Option<i32>,
        /// The CPU time of it and all below it, in microseconds.
        cpu_us: u64,
        /// The most memory that any one of them held, in bytes.
        max_rss_bytes: u64,
    },
    /// Nothing: the guard is gone. Never written; what the server makes of the socket's end.
    Lost,
}

impl Report {
    fn encode(&self) -> String {
        let or_minus = |number: &Option<i32>| number.unwrap_or(-1);
        match self {
            Self::Started(pid) => format!("started {pid}\n"),
            Self::Lost => String::new(),
            Self::NotStarted(why) => format!("not-started {}\n", why.replace('\n', " ")),
            Self::Ended { code, signal, cpu_us, max_rss_bytes } => {
                format!("ended {} {} {cpu_us} {max_rss_bytes}\n", or_minus(code), or_minus(signal))
            }
        }
    }

    /// Reads a report from its line.
    pub fn decode(line: &str) -> Option<Self> {
        let (kind, rest) = line.trim_end().split_once(' ')?;
        let mut fields = rest.split(' ');
        let mut optional = || Some(fields.next()?.parse::<i32>().ok()?).map(|n| (n >= 0).then_some(n));
        match kind {
            "started" => rest.parse().ok().map(Self::Started),
            "not-started" => Some(Self::NotStarted(rest.to_owned())),
            "ended" => {
                let (code, signal) = (optional()?, optional()?);
                let (cpu_us, max_rss_bytes) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
                Some(Self::Ended { code, signal, cpu_us, max_rss_bytes })
            }
            _ => None,
        }
    }
}

/// Runs the guard until its worker has ended. `argv` is the worker's.
pub fn main(argv: &[OsString]) -> ExitCode {
    match run(argv) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("gristmill guard: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(argv: &[OsString]) -> io::Result<()> {
    let (control, _lock) = inherit()?;
    ignore_termination();
    rustix::process::setsid()?;
    let family = Family::found(false)?;
    let worker = match start(argv) {
        Ok(worker) => worker,
        Err(error) => return tell(&control, &Report::NotStarted(error.to_string())),
    };
    release_standard_fds()?;
    let mut guard = Guard { control, family, ends: Ends::new(worker.id()) };
    tell(&guard.control, &Report::Started(worker.id()))?;
    guard.watch()?;
    guard.kill_all()?;
    let Ends { of_worker: Some((code, signal)), cpu_us, max_rss_bytes, .. } = guard.ends else {
        return Ok(());
    };
    tell(&guard.control, &Report::Ended { code, signal, cpu_us, max_rss_bytes })
}

/// A server that is gone needs no report.
fn tell(mut control: &UnixStream, report: &Report) -> io::Result<()> {
    match control.write_all(report.encode().as_bytes()) {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        outcome => outcome,
    }
}

fn inherit() -> io::Result<(UnixStream, OwnedFd)> {
    let (control, lock) = (inherited_fd(3)?, inherited_fd(4)?);
    fcntl_setfd(&control, FdFlags::CLOEXEC)?;
    fcntl_setfd(&lock, FdFlags::CLOEXEC)?;
    Ok((UnixStream::from(control), lock))
}

fn start(argv: &[OsString]) -> io::Result<Child> {
    let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
    let mut command = Command::new(program);
    command.args(arguments).process_group(0);
    if program == "/proc/self/exe" {
        command.arg0("gristmill");
    }
    before_worker_exec(&mut command, std::process::id());
    let worker = command.spawn()?;
    // A wish: where it is refused, the kernel's own choice stands.
    drop(std::fs::write(format!("/proc/{}/oom_score_adj", worker.id()), oom_score_adj().to_string()));
    Ok(worker)
}

/// A container may have given the server one that is high already.
fn oom_score_adj() -> i32 {
    let own = std::fs::read_to_string("/proc/self/oom_score_adj").unwrap_or_default();
    (own.trim().parse().unwrap_or(0) + OOM_SCORE_ADJ_ABOVE).min(MOST_OOM_SCORE_ADJ)
}

/// So that the ends of the worker's pipes close with the worker.
fn release_standard_fds() -> io::Result<()> {
    let null = File::options().read(true).write(true).open("/dev/null")?;
    rustix::stdio::dup2_stdin(&null)?;
    rustix::stdio::dup2_stdout(&null)?;
    rustix::stdio::dup2_stderr(&null)?;
    Ok(())
}

struct Guard {
    control: UnixStream,
    family: Family,
    ends: Ends,
}

/// What is known of those that have ended.
struct Ends {
    worker: i32,
    /// The worker's exit code, or the signal that ended it.
    of_worker: Option<(Option<i32>, Option<i32>)>,
    /// The CPU time of all, in microseconds.
    cpu_us: u64,
    /// The most memory that any one of them held, in bytes.
    max_rss_bytes: u64,
}

impl Ends {
    fn new(worker: u32) -> Self {
        Self { worker: worker as i32, of_worker: None, cpu_us: 0, max_rss_bytes: 0 }
    }

    fn add(&mut self, report: ExitReport) {
        if report.pid == self.worker {
            self.of_worker = Some((report.code, report.signal));
        }
        self.cpu_us += report.cpu_us;
        self.max_rss_bytes = self.max_rss_bytes.max(report.max_rss_bytes);
    }
}

impl Guard {
    /// Waits until the worker has ended or all is to be killed.
    fn watch(&mut self) -> io::Result<()> {
        loop {
            let mut fds =
                [PollFd::new(&self.control, PollFlags::IN), PollFd::new(&self.family, PollFlags::IN)];
            poll(&mut fds, None)?;
            let (order, signal) = (!fds[0].revents().is_empty(), !fds[1].revents().is_empty());
            if signal {
                self.family.notices();
                self.reap()?;
            }
            if self.ends.of_worker.is_some() || order && self.obey()? {
                return Ok(());
            }
        }
    }

    /// Does what the server orders; whether that is to kill.
    fn obey(&mut self) -> io::Result<bool> {
        let mut order = [0];
        match self.control.read(&mut order) {
            Ok(1) if order[0] == TERMINATE => {
                self.family.signal(Signal::TERM);
                Ok(false)
            }
            // KILL, or the server is gone.
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => Ok(true),
            Err(error) => Err(error),
        }
    }

    fn reap(&mut self) -> io::Result<()> {
        self.family.reap(|report| self.ends.add(report)).map(drop)
    }

    fn kill_all(&mut self) -> io::Result<()> {
        self.family.kill(KILL_FOR, |report| self.ends.add(report))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reports_read_back() {
        let ended = Report::Ended { code: None, signal: Some(9), cpu_us: 1_000, max_rss_bytes: 4096 };
        for report in [Report::Started(42), Report::NotStarted("no such file: /bin/x y".into()), ended] {
            assert_eq!(Report::decode(&report.encode()), Some(report));
        }
        assert_eq!(Report::decode("dance 1"), None);
        assert_eq!(Report::decode("ended 1"), None);
    }
}
