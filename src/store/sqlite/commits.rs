//! The one writer: a thread that runs what waits in one transaction, commits it, and only then answers.
//!
//! Group commit: while a commit is being synced, requests gather and share the next one. A request says how soon
//! its commit must come; without haste, commits are some time apart under load and at once after idleness: a few may
//! follow each other closely, as one input and its result do (the generic cell rate algorithm, ITU-T I.371).

use std::time::{Duration, Instant};

use rusqlite::{Transaction, TransactionBehavior};
use tokio::sync::watch;

use super::handle::{Answer, Request, Urgency, WriterHandle};
use super::queue::{MANY, Nothing, Receiver, queue};
use super::submit::SegmentCache;
use super::writer::{Writer, full, is_full};
use crate::store::StoreError;

/// Under load, writes that come soon share a commit every so often …
const SOON: Duration = Duration::from_millis(25);
/// … and those that are patient, if there are no others.
const PATIENCE: Duration = Duration::from_millis(100);
/// After idleness, so many commits need not be apart.
const COMMIT_BURST: u32 = 4;
/// A commit in haste waits for no more than this.
const MOST_LINGER: Duration = Duration::from_millis(5);
/// A transaction takes no more requests than this, so that the first of them is not kept waiting.
const MAX_GROUP: usize = 4096;
/// While the disk is full, garbage is removed a little at a time, so that there is room to note it.
const GARBAGE_PAUSE: Duration = Duration::from_millis(20);
/// Under load, garbage waits for so long and no longer.
const GARBAGE_PATIENCE: Duration = Duration::from_millis(20);

/// Starts the thread, which is ended by the drop of what is given.
pub(super) fn start(writer: Writer) -> WriterHandle {
    let (requests, incoming) = queue();
    let (stop, stopped) = watch::channel(None);
    let thread = std::thread::Builder::new()
        .name("store-writer".into())
        .spawn(move || {
            let now = Instant::now();
            let (soon, patient) = (Pace { interval: SOON, due: now }, Pace { interval: PATIENCE, due: now });
            let commit_time = Duration::ZERO;
            Loop { writer, incoming, soon, patient, commit_time, garbage_due: now, stop }.run();
        })
        .expect("a thread can be started while the server starts");
    WriterHandle::new(requests, stopped, thread)
}

/// How far commits without haste are to be apart.
#[derive(Debug)]
struct Pace {
    interval: Duration,
    /// Were all commits so far apart, the next would be due then.
    due: Instant,
}

impl Pace {
    /// Notes a commit. One in haste does not wait, so it must not have others wait for longer than one interval.
    fn committed(&mut self, now: Instant) {
        self.due = (self.due.max(now) + self.interval).min(now + self.interval * COMMIT_BURST);
    }

    /// How long until a commit without haste.
    fn wait(&self, now: Instant) -> Duration {
        self.due.saturating_duration_since(now + self.interval * (COMMIT_BURST - 1))
    }
}

struct Loop {
    writer: Writer,
    incoming: Receiver<Request>,
    soon: Pace,
    patient: Pace,
    /// How long the last commit took.
    commit_time: Duration,
    /// When some more garbage is to be removed, if there is any.
    garbage_due: Instant,
    stop: watch::Sender<Option<String>>,
}

impl Loop {
    fn run(mut self) {
        loop {
            // Requests go before garbage, but do not keep it waiting for ever.
            let until_garbage = || self.garbage_due.saturating_duration_since(Instant::now());
            let outcome = match self.incoming.wait(self.writer.garbage.then(until_garbage)) {
                Ok(first) => self.transaction(first),
                Err(Nothing::Yet) => self.collect_garbage(),
                Err(Nothing::Ever) => return,
            };
            let overdue = self.writer.garbage && self.garbage_due + GARBAGE_PATIENCE <= Instant::now();
            let outcome = outcome.and_then(|()| if overdue { self.collect_garbage() } else { Ok(()) });
            if let Err(error) = outcome {
                tracing::error!(%error, "a commit failed: its fate is unknown, so the store stops");
                self.stop.send_replace(Some(error.to_string()));
                return;
            }
        }
    }

    fn transaction(&mut self, first: Request) -> rusqlite::Result<()> {
        self.writer.conn.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
        self.writer.is_first = true;
        let answers = self.gather(first);
        let start = Instant::now();
        let outcome = self.commit();
        self.commit_time = start.elapsed();
        let took = outcome.is_ok().then_some(self.commit_time);
        let now = Instant::now();
        self.soon.committed(now);
        self.patient.committed(now);
        let (word, outcome) = match outcome {
            Ok(()) => (Ok(()), Ok(())),
            Err(error) if is_full(&error) => {
                self.undo()?;
                (Err(StoreError::Full), Ok(()))
            }
            Err(error) => (Err(StoreError::Stopped(error.to_string())), Err(error)),
        };
        // Before the answers, so that whoever has one finds it counted.
        let is_full = self.writer.space.was_full();
        let outcome = outcome.and_then(|()| self.writer.counts.publish(&self.writer.conn, is_full, took));
        for answer in answers {
            answer(word.clone());
        }
        for job in std::mem::take(&mut self.writer.changed) {
            self.writer.watches.wake(job);
        }
        if std::mem::take(&mut self.writer.to_be_told) > 0 {
            self.writer.watches.wake_outbox();
        }
        outcome
    }

    fn commit(&mut self) -> rusqlite::Result<()> {
        if self.writer.conn.is_autocommit() {
            return Err(full());
        }
        self.writer.write_running()?;
        self.writer.payloads.sync()?;
        self.writer.conn.prepare_cached("COMMIT")?.execute([])?;
        self.writer.payloads.committed();
        Ok(())
    }

    /// The disk is full, which is known before anything of the transaction counts: all of it is undone.
    fn undo(&mut self) -> rusqlite::Result<()> {
        if !self.writer.conn.is_autocommit() {
            self.writer.conn.execute_batch("ROLLBACK")?;
        }
        self.writer.segments = SegmentCache::default();
        self.writer.running.forget();
        self.writer.payloads.undone();
        self.writer.queued_at_most = None;
        self.writer.space.ran_out();
        self.shorten_log();
        Ok(())
    }

    /// Moves the log into the database, where its pages take less room. Readers may keep it from that.
    fn shorten_log(&self) {
        let shortened = self.writer.conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()));
        if let Err(error) = shortened {
            tracing::debug!(%error, "the log could not be moved into the database");
        }
    }

    /// Runs `first` and all that comes until the commit is due; gives what is to be answered after it.
    fn gather(&mut self, first: Request) -> Vec<Answer> {
        let (mut answers, mut hurry, mut pace, mut lingers_until) = (Vec::new(), false, &self.patient, None);
        let mut next = Some(first);
        for _ in 0..MAX_GROUP {
            let Some(request) = next.take() else { break };
            match request.urgency {
                Urgency::Now => hurry = true,
                Urgency::Soon => pace = &self.soon,
                Urgency::Patient | Urgency::Relaxed => {}
            }
            answers.extend((request.work)(&mut self.writer));
            hurry |= std::mem::take(&mut self.writer.hurry);
            let now = Instant::now();
            let wait = match hurry {
                true => self.linger(&mut lingers_until, now),
                // The pool hands out no more work while too much of what was answered is not durable.
                false if answers.len() >= MANY => Duration::ZERO,
                false => pace.wait(now),
            };
            next = if wait.is_zero() { self.incoming.take() } else { self.incoming.rest(wait) }.ok();
        }
        // Only the bound of the loop leaves a request over; it joins this transaction rather than be lost.
        answers.extend(next.and_then(|request| (request.work)(&mut self.writer)));
        self.writer.awaited.clear();
        answers
    }

    /// How long a commit in haste may wait for the end of jobs that it takes in and whose clients wait for it: as long
    /// as a commit of its own would take that end at most, so that at worst both take twice as long as they must.
    fn linger(&self, until: &mut Option<Instant>, now: Instant) -> Duration {
        if self.writer.awaited.is_empty() {
            return Duration::ZERO;
        }
        let left = until.get_or_insert(now + MOST_LINGER).saturating_duration_since(now);
        left.min(self.commit_time)
    }

    fn collect_garbage(&mut self) -> rusqlite::Result<()> {
        let pause = if self.writer.space.was_full() { GARBAGE_PAUSE } else { Duration::ZERO };
        self.garbage_due = Instant::now() + pause;
        // One that began by reading could not wait for a reader that holds the lock for a moment, as one does that finds
        // the log's index half written.
        let Writer { conn, payloads, .. } = &mut self.writer;
        let transaction = Transaction::new_unchecked(conn, TransactionBehavior::Immediate)?;
        let outcome = super::control::collect_garbage(&transaction, payloads).and_then(|more| {
            transaction.commit()?;
            payloads.committed();
            payloads.remove_strays(conn)?;
            Ok(more)
        });
        match outcome {
            Ok(more) => self.writer.garbage = more,
            Err(error) if is_full(&error) => return self.undo(),
            Err(error) => return Err(error),
        }
        if self.writer.space.was_full() {
            self.shorten_log();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_commits_follow_each_other_and_more_are_an_interval_apart() {
        let now = Instant::now();
        let mut pace = Pace { interval: SOON, due: now };
        for _ in 1..COMMIT_BURST {
            assert_eq!(pace.wait(now), Duration::ZERO);
            pace.committed(now);
        }
        assert_eq!(pace.wait(now), Duration::ZERO);
        pace.committed(now);
        assert_eq!(pace.wait(now), SOON);
        assert_eq!(pace.wait(now + SOON), Duration::ZERO);
    }

    #[test]
    fn commits_in_haste_never_have_others_wait_for_longer_than_an_interval() {
        let now = Instant::now();
        let mut pace = Pace { interval: SOON, due: now };
        (0..1000).for_each(|_| pace.committed(now));
        assert_eq!(pace.wait(now), SOON);
    }
}
