//! A worker's life: the loop that waits on its pipes, its guard, orders and deadlines, from start to end.

mod answers;
mod due;

use std::io;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use super::ending::{Cause, Ending};
use super::logs::{Logs, Pieces};
use super::orders::Incoming;
use super::process::Process;
use super::watch::Watch;
use super::work::Work;
use super::{Departure, Event, Launch, Order, Tell};
use crate::model::Timestamp;
use crate::model::limits::{MAX_MESSAGE_BYTES, STDERR_TAIL_BYTES};
use crate::protocol::frames::Progress as TaskProgress;
use crate::protocol::{LineSplitter, Tail};
use crate::sys;
use crate::sys::guard::{Report, TERMINATE};
use crate::telemetry::metrics::WorkerEnd;

const READ_BYTES: usize = 1 << 18;
/// How long the pipes of a worker that has ended are read for what it wrote last.
const DRAIN_FOR: Duration = Duration::from_secs(1);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Not ready; ended if it is not by then.
    Starting { until: Instant },
    /// Takes work.
    Up,
    /// Its stdin is closed as soon as all it has is written; it is to end by itself.
    Finishing,
    /// Told to end; killed at this time if it has not, and after that its guard, if that does not do it.
    Ending { kill_at: Instant, told: bool },
    /// It has ended; its pipes are left at this time even if someone else holds their other ends.
    Ended { leave_at: Instant },
}

pub(super) struct Child<'a> {
    tell: &'a Tell,
    incoming: Incoming,
    process: Process,
    answers: LineSplitter,
    last_words: Tail,
    stderr: Pieces,
    stray: Pieces,
    logs: Logs,
    progress: Option<TaskProgress>,
    watch: Watch,
    now: fn() -> Timestamp,
    /// How often the kernel had killed for want of memory when it started.
    oom_kills: Option<u64>,
    /// When it was found that it had closed its stdin or its stdout.
    cut_off_since: Option<Instant>,
    work: Work,
    phase: Phase,
    grace: Duration,
    was_ready: bool,
    /// Whether the tasks at work have printed something.
    has_printed: bool,
    /// Whether it was to end when all it had was answered.
    is_finished: bool,
    /// Why it was told to end.
    cause: Option<Cause>,
    /// How it ended.
    ending: Option<Ending>,
}

impl<'a> Child<'a> {
    pub(super) fn start(launch: &Launch, incoming: Incoming, tell: &'a Tell) -> io::Result<Self> {
        let process = Process::new(launch.start()?)?;
        Ok(Self {
            tell,
            incoming,
            watch: Watch::new(launch.limits, process.guard_pid(), Instant::now()),
            process,
            stderr: Pieces::default(),
            stray: Pieces::default(),
            logs: Logs::default(),
            progress: None,
            now: launch.now,
            oom_kills: sys::proc::oom_kills(),
            cut_off_since: None,
            answers: LineSplitter::new(MAX_MESSAGE_BYTES),
            last_words: Tail::new(STDERR_TAIL_BYTES),
            work: Work::new(launch),
            phase: Phase::Starting { until: Instant::now() + launch.start_timeout },
            grace: launch.grace,
            was_ready: false,
            has_printed: false,
            is_finished: false,
            cause: None,
            ending: None,
        })
    }

    pub(super) fn run(&mut self) {
        let mut buffer = vec![0; 2 * READ_BYTES];
        while self.ending.is_none() || self.process.is_open() {
            if let Err(error) = self.turn(&mut buffer) {
                tracing::error!(worker = %self.work.worker, %error, "lost touch with a worker");
                self.ending.get_or_insert(Ending::Lost);
                self.process.leave();
            }
        }
        self.conclude();
    }

    /// Waits for something to happen and deals with all that did.
    fn turn(&mut self, buffer: &mut [u8]) -> io::Result<()> {
        let timeout = self.deadline().map(|at| at.saturating_duration_since(Instant::now()));
        // Until the guard has said which process it is, its answers wait: a result names the process.
        let reads_stdout = self.work.pid != 0 || self.ending.is_some();
        let happened = self.process.wait(self.incoming.bell(), timeout, reads_stdout)?;
        self.incoming.look(happened.wake);
        let (answers, words) = buffer.split_at_mut(READ_BYTES);
        let answered = if happened.stdout { self.process.read_stdout(answers)? } else { None };
        // What a task printed was there before its answer: so it is looked for behind that, and taken in before it.
        if (happened.stderr || answered.is_some())
            && let Some(count) = self.process.read_stderr(words)?
        {
            self.last_words.push(&words[..count]);
            let (text, dropped) = self.stderr.feed(&words[..count]);
            self.print("stderr", &text, dropped);
        }
        if let Some(count) = answered {
            self.take_answers(&answers[..count]);
        }
        self.take_orders();
        self.work.send_next(self.process.queued(), &mut self.process.outgoing);
        // The worker has its next task before others are woken to hear of the last one.
        let written = self.process.write();
        self.settle();
        written?;
        if happened.control {
            self.process.read_reports()?.into_iter().for_each(|report| self.take_report(report));
        }
        self.finish_when_written();
        let now = Instant::now();
        if self.logs.due().is_some_and(|at| at <= now) {
            self.pass_on_logs();
        }
        self.mind_silence(now);
        self.look_after(now);
        self.keep_time(now)?;
        if self.work.rests_until().is_some_and(|at| at > now) {
            self.incoming.rest();
        }
        Ok(())
    }

    fn is_ending(&self) -> bool {
        matches!(self.phase, Phase::Ending { .. } | Phase::Ended { .. })
    }

    fn take_orders(&mut self) {
        loop {
            match self.incoming.next() {
                Ok(Order::Run(assignment)) => {
                    let from = self.process.queued();
                    self.work.add(assignment, from, &mut self.process.outgoing);
                }
                Ok(Order::Finish) if self.is_ending() => {}
                Ok(Order::Finish) => {
                    self.give_back();
                    (self.phase, self.is_finished) = (Phase::Finishing, true);
                }
                // The loop is gone: the server ends at once.
                Ok(Order::Stop) | Err(TryRecvError::Disconnected) => return self.terminate(Cause::Asked),
                Ok(Order::MakeRoom { held, limit }) => {
                    self.end(Cause::NoRoom { held, limit }, Duration::ZERO)
                }
                Err(TryRecvError::Empty) => return,
            }
        }
    }

    /// Gives the chunk back that waits here, if one does; whether it did.
    fn give_back(&mut self) -> bool {
        let release = self.work.give_back();
        if let Some(release) = release {
            self.settle();
            self.tell.say(Event::Returned { release });
        }
        release.is_some()
    }

    /// Asks the worker to end, and has it killed after the grace.
    fn terminate(&mut self, cause: Cause) {
        self.end(cause, self.grace);
    }

    fn end(&mut self, cause: Cause, grace: Duration) {
        if self.is_ending() {
            return;
        }
        self.cause = Some(cause);
        self.phase = Phase::Ending { kill_at: Instant::now() + grace, told: false };
        // A guard that cannot be written to has ended; that is seen when it is read.
        drop(self.process.order(TERMINATE));
        // A worker that waits for work hears no signal that it ignores, but it sees the end of its stdin.
        self.process.close_stdin();
    }

    /// The end of stdin asks a worker to end; one that has nothing more to do has the grace for it.
    fn finish_when_written(&mut self) {
        if self.phase == Phase::Finishing && self.process.outgoing.is_empty() {
            self.process.close_stdin();
            if self.work.is_empty() {
                self.cause = Some(Cause::Asked);
                self.phase = Phase::Ending { kill_at: Instant::now() + self.grace, told: false };
            }
        }
    }

    fn take_report(&mut self, report: Report) {
        let ending = match report {
            Report::Started(pid) => {
                self.work.pid = pid;
                return self.tell.say(Event::Started { pid, guard: self.process.guard_pid() });
            }
            Report::NotStarted(why) => Ending::NotStarted(why),
            Report::Ended { code, signal, cpu_us, max_rss_bytes } => {
                self.work.ended(Duration::from_micros(cpu_us), max_rss_bytes);
                Ending::of(code, signal)
            }
            Report::Lost => Ending::Lost,
        };
        self.ending.get_or_insert(ending);
        self.phase = Phase::Ended { leave_at: Instant::now() + DRAIN_FOR };
    }

    /// A worker that the kernel killed for want of memory is told from one that someone else killed.
    fn blame_the_kernel(&mut self) {
        let killed = self.ending == Some(Ending::Killed(libc::SIGKILL)) && self.cause.is_none();
        if killed && sys::proc::oom_kills() > self.oom_kills {
            let held = self.work.max_rss_bytes().max(self.watch.most_held);
            self.cause = Some(Cause::Oom { held, limit: None });
        }
    }

    /// The process is gone, and its pipes are empty: what it left unanswered is judged.
    fn conclude(&mut self) {
        self.process.reap();
        let rest = self.stderr.finish();
        self.print("stderr", &rest, 0);
        self.settle();
        self.pass_on_logs();
        self.blame_the_kernel();
        let cause = self.cause.take();
        let ending = self.ending.take().unwrap_or(Ending::Lost);
        if ending == Ending::Lost {
            sys::orphans::kill();
        }
        let words = self.last_words.text();
        let read = self.process.read_by_worker();
        let settlements = self.work.abandon(cause.as_ref(), &ending, &words, read);
        let asked = cause == Some(Cause::Asked);
        // One that has said that it is ready and ends before it reads any work is no better.
        let useless = !self.was_ready || read == 0;
        let failed_start = (useless && !asked).then(|| ending.describe(cause.as_ref(), &words));
        let why = match (asked, self.is_finished) {
            _ if failed_start.is_some() => WorkerEnd::FailedStart,
            (true, true) => WorkerEnd::Finished,
            (true, false) => WorkerEnd::Stopped,
            (false, _) => WorkerEnd::Failed(ending.error(cause.as_ref(), "").verdict),
        };
        let departure = Departure { why, cpu: self.work.life_cpu() };
        self.tell.say(Event::Gone { settlements, failed_start, departure });
    }
}
