//! One worker: a thread that owns the process, its three pipes and its guard, from start to end.
//!
//! Linear code around one `poll`: it never blocks on one pipe while another is full. Decisions of the pool come in as
//! [`Order`]s; what happened goes out as [`Event`]s. Deliberately absent: the store, and which task runs where.

mod ending;
mod launch;
mod work;

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, TryRecvError, channel};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, eventfd, poll};
use tokio::sync::mpsc;

use crate::model::LeaseId;
use crate::model::limits::{MAX_MESSAGE_BYTES, STDERR_TAIL_BYTES};
use crate::pool::WorkerId;
use crate::protocol::{Answer, LineSplitter, PROTOCOL_VERSION, RECORD_SEPARATOR};
use crate::store::{Chunk, Completion, Release};
use crate::sys::guard::{KILL, Report, TERMINATE};
use ending::{Cause, Ending};
pub(super) use launch::Launch;
use work::Work;

const READ_BYTES: usize = 1 << 18;
/// How long the pipes of a worker that has ended are read for what it wrote last.
const DRAIN_FOR: Duration = Duration::from_secs(1);

/// A chunk and the job's options that concern its run.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) chunk: Chunk,
    pub(super) timeout: Option<Duration>,
    pub(super) max_attempts: u32,
}

/// What the pool wants of a worker.
#[derive(Debug)]
pub(super) enum Order {
    /// Run this chunk behind those it has.
    Run(Assignment),
    /// End when all it has is answered.
    Finish,
    /// End now; what it has is not to blame.
    Stop,
}

/// What is to be written about tasks that a worker has answered, or left without an answer.
#[derive(Debug)]
pub(super) enum Settlement {
    /// They have their outcomes.
    Complete(Completion),
    /// They go back to the queue.
    Release(Release),
}

/// What a worker's thread tells.
#[derive(Debug)]
pub(super) enum Event {
    /// The process runs.
    Started { pid: u32 },
    /// It takes work.
    Ready,
    /// It answered the next tasks of its first chunk, after so long at work on them.
    Answered { settlement: Settlement, count: u32, elapsed: Duration },
    /// It has ended; this is to become of what it had, and if it never was ready, why.
    Gone { settlements: Vec<Settlement>, not_ready: Option<String> },
}

/// The way to a worker's thread.
#[derive(Debug)]
pub(super) struct Handle {
    orders: Sender<Order>,
    wake: Arc<OwnedFd>,
}

impl Handle {
    /// Passes an order on. A worker that has just ended does not need it: what it had is given back.
    pub(super) fn order(&self, order: Order) {
        drop(self.orders.send(order));
        // The counter of an eventfd is full only after 2^64 wake-ups that nobody took.
        let _ = rustix::io::write(&self.wake, &1_u64.to_ne_bytes());
    }
}

/// Starts a worker and the thread that owns it.
pub(super) fn spawn(
    id: WorkerId,
    launch: Launch,
    events: mpsc::Sender<(WorkerId, Event)>,
) -> io::Result<Handle> {
    let (orders, incoming) = channel();
    let wake =
        Arc::new(eventfd(0, rustix::event::EventfdFlags::CLOEXEC | rustix::event::EventfdFlags::NONBLOCK)?);
    let handle = Handle { orders, wake: Arc::clone(&wake) };
    let run = move || {
        let tell = Tell { id, events };
        match Child::start(launch, incoming, wake, &tell) {
            Ok(mut child) => child.run(),
            Err(error) => {
                tell.say(Event::Gone { settlements: Vec::new(), not_ready: Some(error.to_string()) })
            }
        }
    };
    std::thread::Builder::new().name(format!("child-{id}")).spawn(run)?;
    Ok(handle)
}

#[derive(Debug)]
struct Tell {
    id: WorkerId,
    events: mpsc::Sender<(WorkerId, Event)>,
}

impl Tell {
    /// Waits while the one loop has more to do than it can; once it is gone, the server ends and needs no word.
    fn say(&self, event: Event) {
        drop(self.events.blocking_send((self.id, event)));
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Not ready yet.
    Starting,
    /// Takes work.
    Up,
    /// Its stdin is closed as soon as all it has is written; it is to end by itself.
    Finishing,
}

#[derive(Debug)]
struct Child<'a> {
    tell: &'a Tell,
    incoming: Receiver<Order>,
    wake: Arc<OwnedFd>,
    control: UnixStream,
    stdin: Option<std::process::ChildStdin>,
    stdout: Option<std::process::ChildStdout>,
    stderr: Option<std::process::ChildStderr>,
    guard: std::process::Child,
    reports: LineSplitter,
    answers: LineSplitter,
    stderr_tail: VecDeque<u8>,
    /// Messages that the worker has not taken, from `written` on.
    outgoing: Vec<u8>,
    written: usize,
    work: Work,
    phase: Phase,
    ready_until: Option<Instant>,
    grace: Duration,
    /// Why it was told to end, and when it is killed if it has not.
    ending: Option<(Cause, Option<Instant>)>,
    /// How it ended.
    ended: Option<Ending>,
    /// When its pipes are left even if someone else still holds their other ends.
    drained_by: Option<Instant>,
}

impl Settlement {
    /// The lease that it is about.
    pub(super) fn lease(&self) -> LeaseId {
        match self {
            Self::Complete(done) => done.lease,
            Self::Release(release) => release.lease,
        }
    }
}

impl<'a> Child<'a> {
    fn start(
        launch: Launch,
        incoming: Receiver<Order>,
        wake: Arc<OwnedFd>,
        tell: &'a Tell,
    ) -> io::Result<Self> {
        let (mut guard, control) = launch.start()?;
        control.set_nonblocking(true)?;
        Ok(Self {
            tell,
            incoming,
            wake,
            control,
            stdin: guard.stdin.take(),
            stdout: guard.stdout.take(),
            stderr: guard.stderr.take(),
            guard,
            reports: LineSplitter::new(4096),
            answers: LineSplitter::new(MAX_MESSAGE_BYTES),
            stderr_tail: VecDeque::new(),
            outgoing: Vec::new(),
            written: 0,
            work: Work::new(launch.name.to_string()),
            phase: Phase::Starting,
            ready_until: Some(Instant::now() + launch.start_timeout),
            grace: launch.grace,
            ending: None,
            ended: None,
            drained_by: None,
        })
    }

    fn run(&mut self) {
        let mut buffer = vec![0; READ_BYTES];
        while self.ended.is_none() || self.stdout.is_some() || self.stderr.is_some() {
            if let Err(error) = self.turn(&mut buffer) {
                tracing::error!(worker = %self.work.worker, %error, "lost touch with a worker");
                self.ended.get_or_insert(Ending::Lost);
                (self.stdout, self.stderr) = (None, None);
            }
        }
        self.conclude();
    }

    /// Waits for something to happen and deals with all that did.
    fn turn(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let [wake, control, stdin, stdout, stderr] = self.wait()?;
        if stdout {
            self.read_answers(buffer)?;
        }
        if stderr {
            self.read_stderr(buffer)?;
        }
        if control {
            self.read_reports(buffer)?;
        }
        if wake {
            self.take_orders();
        }
        if stdin || wake {
            self.write_messages()?;
        }
        self.keep_time()
    }

    /// Waits for any of: an order, word from the guard, room in stdin, bytes on stdout, bytes on stderr, a deadline.
    fn wait(&self) -> io::Result<[bool; 5]> {
        let timeout = self.next_deadline().map(|at| at.saturating_duration_since(Instant::now()));
        let timeout = timeout
            .map(|time| Timespec { tv_sec: time.as_secs() as i64, tv_nsec: time.subsec_nanos().into() });
        let unwatched = || PollFd::new(&self.wake, PollFlags::empty());
        let stdin = self.stdin.as_ref().filter(|_| !self.outgoing.is_empty());
        let control = Some(&self.control).filter(|_| self.ended.is_none());
        let mut fds = [
            PollFd::new(&self.wake, PollFlags::IN),
            control.map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::IN)),
            stdin.map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::OUT)),
            self.stdout.as_ref().map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::IN)),
            self.stderr.as_ref().map_or_else(unwatched, |fd| PollFd::new(fd, PollFlags::IN)),
        ];
        match poll(&mut fds, timeout.as_ref()) {
            Err(rustix::io::Errno::INTR) => Ok([false; 5]),
            outcome => outcome.map(|_| fds.map(|fd| !fd.revents().is_empty())).map_err(io::Error::from),
        }
    }

    fn next_deadline(&self) -> Option<Instant> {
        let kill_at = self.ending.as_ref().and_then(|(_, kill_at)| *kill_at);
        let task = if self.ending.is_none() { self.work.deadline() } else { None };
        [kill_at, task, self.ready_until, self.drained_by].into_iter().flatten().min()
    }

    fn keep_time(&mut self) -> io::Result<()> {
        let now = Instant::now();
        if self.ready_until.is_some_and(|at| at <= now) {
            self.ready_until = None;
            self.terminate(Cause::NotReady);
        }
        if self.ending.is_none() && self.work.deadline().is_some_and(|at| at <= now) {
            self.terminate(Cause::Timeout(self.work.timeout()));
        }
        if self.drained_by.is_some_and(|at| at <= now) {
            (self.stdout, self.stderr) = (None, None);
        }
        if let Some((_, kill_at)) = &mut self.ending
            && kill_at.take_if(|at| *at <= now).is_some()
        {
            self.control.write_all(&[KILL])?;
        }
        Ok(())
    }

    fn take_orders(&mut self) {
        let _ = rustix::io::read(&self.wake, &mut [0; 8]);
        loop {
            match self.incoming.try_recv() {
                Ok(Order::Run(assignment)) => self.work.add(assignment, &mut self.outgoing),
                Ok(Order::Finish) => self.phase = Phase::Finishing,
                // The loop is gone: the server ends at once.
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return self.terminate(Cause::Asked),
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    /// Asks the worker to end, and has it killed after the grace.
    fn terminate(&mut self, cause: Cause) {
        if self.ending.is_some() || self.ended.is_some() {
            return;
        }
        self.ending = Some((cause, Some(Instant::now() + self.grace)));
        // A guard that cannot be written to has ended; that is seen when it is read.
        drop(self.control.write_all(&[TERMINATE]));
    }

    fn kill(&mut self, cause: Cause) {
        self.terminate(cause);
        if let Some((_, kill_at)) = &mut self.ending {
            *kill_at = Some(Instant::now());
        }
    }

    fn write_messages(&mut self) -> io::Result<()> {
        while let Some(stdin) = self.stdin.as_mut().filter(|_| self.written < self.outgoing.len()) {
            match stdin.write(&self.outgoing[self.written..]) {
                Ok(count) => self.written += count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // It has closed its stdin; what it has not taken is given back when it ends.
                Err(error) if error.kind() == io::ErrorKind::BrokenPipe => self.stdin = None,
                Err(error) => return Err(error),
            }
        }
        self.outgoing.clear();
        self.written = 0;
        if self.phase == Phase::Finishing {
            self.stdin = None;
        }
        Ok(())
    }

    fn read_stderr(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let Some(count) = read_some(&mut self.stderr, buffer)? else { return Ok(()) };
        self.keep_tail(&buffer[..count]);
        Ok(())
    }

    fn keep_tail(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(STDERR_TAIL_BYTES)..];
        let surplus = (self.stderr_tail.len() + bytes.len()).saturating_sub(STDERR_TAIL_BYTES);
        self.stderr_tail.drain(..surplus.min(self.stderr_tail.len()));
        self.stderr_tail.extend(bytes);
    }

    fn read_answers(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let Some(count) = read_some(&mut self.stdout, buffer)? else { return Ok(()) };
        let mut answers = std::mem::replace(&mut self.answers, LineSplitter::new(MAX_MESSAGE_BYTES));
        let outcome = answers.feed(&buffer[..count], |line| self.take_line(line));
        self.answers = answers;
        if let Err(cause) = outcome {
            self.kill(cause);
            self.stdout = None;
        }
        self.settle();
        Ok(())
    }

    /// A line of stdout: what stands before a record separator is a stray print, what follows is a message.
    fn take_line(&mut self, line: &[u8]) -> Result<(), Cause> {
        let Some(at) = memchr::memchr(RECORD_SEPARATOR, line) else {
            self.keep_tail(line);
            self.keep_tail(b"\n");
            return Ok(());
        };
        if at > 0 {
            self.keep_tail(&line[..at]);
        }
        match Answer::decode(&line[at + 1..]).map_err(|error| Cause::BadOutput(error.to_string()))? {
            Answer::Ready { protocol: PROTOCOL_VERSION } => self.become_ready(),
            Answer::Ready { protocol } => Err(Cause::BadOutput(format!(
                "it speaks version {protocol} of the frames protocol; this server speaks {PROTOCOL_VERSION}"
            ))),
            Answer::Done(done) => self.work.done(&done).map_err(Cause::BadOutput),
            Answer::Failed(failed) => self.work.failed(&failed).map_err(Cause::BadOutput),
        }
    }

    fn become_ready(&mut self) -> Result<(), Cause> {
        if self.ready_until.take().is_some() && self.phase == Phase::Starting {
            self.phase = Phase::Up;
            self.tell.say(Event::Ready);
        }
        Ok(())
    }

    /// Passes on what the answers so far come to.
    fn settle(&mut self) {
        for (settlement, count, elapsed) in self.work.settlements() {
            self.tell.say(Event::Answered { settlement, count, elapsed });
        }
    }

    fn read_reports(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let count = match self.control.read(&mut buffer[..4096]) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => 0,
            Err(error) => return Err(error),
        };
        if count == 0 {
            self.has_ended(Ending::Lost);
            return Ok(());
        }
        let mut reports = Vec::new();
        let fed = self.reports.feed(&buffer[..count], |line| {
            reports.push(String::from_utf8_lossy(line).into_owned());
            Ok::<(), crate::protocol::LineTooLong>(())
        });
        fed.map_err(io::Error::other)?;
        for line in reports {
            match Report::decode(&line).ok_or_else(|| io::Error::other(format!("the guard says {line:?}")))? {
                Report::Started(pid) => {
                    self.work.pid = pid;
                    self.tell.say(Event::Started { pid });
                }
                Report::NotStarted(why) => self.has_ended(Ending::NotStarted(why)),
                Report::Ended { code, signal, .. } => self.has_ended(Ending::of(code, signal)),
            }
        }
        Ok(())
    }

    fn has_ended(&mut self, ending: Ending) {
        self.ended = Some(ending);
        self.drained_by = Some(Instant::now() + DRAIN_FOR);
    }

    /// The process is gone, and its pipes are empty: what it left unanswered is judged.
    fn conclude(&mut self) {
        // The guard ends by itself right behind its last report; this only takes it off the process table.
        drop(self.guard.wait());
        self.settle();
        let (cause, _) = self.ending.take().unzip();
        let ending = self.ended.take().unwrap_or(Ending::Lost);
        let (head, tail) = self.stderr_tail.as_slices();
        let tail = String::from_utf8_lossy(&[head, tail].concat()).into_owned();
        let settlements = self.work.abandon(cause.as_ref(), &ending, &tail);
        let not_ready = (self.phase == Phase::Starting).then(|| ending.describe(cause.as_ref(), &tail));
        self.tell.say(Event::Gone { settlements, not_ready });
    }
}

/// Reads what is there; `None` at the end, which closes the pipe, and when there is nothing.
fn read_some(pipe: &mut Option<impl io::Read>, buffer: &mut [u8]) -> io::Result<Option<usize>> {
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
