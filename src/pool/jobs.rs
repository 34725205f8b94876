//! The jobs that a pool knows: what is left of each, and whose turn it is.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::Lease;
use super::entry::{Entry, JobBrief, Stopped, TURN, Turn};
use crate::model::JobId;

/// A pool knows so many jobs at most; the store lists the others when there is room.
const MOST_JOBS: usize = 8192;

/// Which runnable jobs of the store may not be here.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Unlisted {
    None,
    All,
    /// Those behind this one, in the store's order: by priority, then by id.
    Behind(i32, JobId),
}

/// The jobs, by id and by whose turn it is.
#[derive(Debug)]
pub(super) struct Jobs {
    by_id: BTreeMap<JobId, Entry>,
    turns: BTreeSet<Turn>,
    /// How many workers hold each lock.
    locks: BTreeMap<String, u32>,
    /// Those with tasks that are to be tried again only later.
    delayed: BTreeMap<JobId, Instant>,
    /// Those that have stopped or ended, as doubtful news says.
    over: BTreeSet<JobId>,
    unlisted: Unlisted,
    listing: bool,
}

impl Default for Jobs {
    /// No jobs, but those that the store may have.
    fn default() -> Self {
        Self {
            by_id: BTreeMap::new(),
            turns: BTreeSet::new(),
            locks: BTreeMap::new(),
            delayed: BTreeMap::new(),
            over: BTreeSet::new(),
            unlisted: Unlisted::All,
            listing: false,
        }
    }
}

impl Jobs {
    /// Adds a job, or tasks to a job that is known. A new job is ahead of those that have had turns.
    pub(super) fn add(&mut self, brief: JobBrief) {
        if let Some(entry) = self.by_id.get_mut(&brief.id) {
            entry.stopped.take_if(|stopped| *stopped == Stopped::Paused);
            entry.doubtful = true;
            if entry.is_over() {
                self.over.insert(brief.id);
            } else {
                entry.brief.unclaimed = entry.brief.unclaimed.max(brief.unclaimed);
                // The answer to a claim under way may not know of them.
                if entry.claiming {
                    entry.requeued = entry.requeued.max(brief.unclaimed);
                }
            }
            return;
        }
        if self.by_id.len() >= MOST_JOBS {
            self.unlisted = Unlisted::All;
            return;
        }
        let peers = self.turns.range((Reverse(brief.priority), 0, JobId::from_bytes([0; 16]))..).next();
        let turns =
            peers.filter(|(priority, ..)| priority.0 == brief.priority).map_or(1, |(_, turns, _)| *turns);
        let used_ns = turns.saturating_sub(1) * TURN.as_nanos() as u64;
        let entry = Entry::new(brief, used_ns);
        self.turns.insert(entry.key());
        self.by_id.insert(entry.brief.id, entry);
    }

    /// A list from the store has come in; it has others behind `last`, if there is one.
    pub(super) fn listed(&mut self, last: Option<(i32, JobId)>) {
        self.listing = false;
        if let (Some((priority, id)), Unlisted::None) = (last, self.unlisted) {
            self.unlisted = Unlisted::Behind(priority, id);
        }
    }

    /// Which jobs the store is to be asked for: those that may not be here, if there is room.
    pub(super) fn wants_list(&mut self) -> Unlisted {
        if self.listing || self.by_id.len() >= MOST_JOBS / 2 {
            return Unlisted::None;
        }
        let wanted = std::mem::replace(&mut self.unlisted, Unlisted::None);
        self.listing = wanted != Unlisted::None;
        wanted
    }

    /// Gives the jobs whose end is doubtful, once the store has answered all about them: it says what is true when it
    /// is asked for a task.
    pub(super) fn reconsider(&mut self) -> Vec<JobId> {
        let mut asked = Vec::new();
        let by_id = &mut self.by_id;
        self.over.retain(|job| {
            let Some(entry) = by_id.get_mut(job) else { return false };
            let quiet = entry.busy == 0 && entry.is_settled();
            if quiet {
                (entry.stopped, entry.ended, entry.doubtful) = (None, false, false);
                entry.claiming = true;
                asked.push(*job);
            }
            !quiet
        });
        asked
    }

    /// Notes that a write about it was sent.
    pub(super) fn writes(&mut self, job: JobId, count: usize) {
        if let Some(entry) = self.by_id.get_mut(&job) {
            entry.unsettled += count;
        }
    }

    /// Notes that a write about it was answered.
    pub(super) fn written(&mut self, job: JobId) {
        if let Some(entry) = self.by_id.get_mut(&job) {
            entry.unsettled = entry.unsettled.saturating_sub(1);
        }
    }

    /// Notes the answer to a claim; gives how many tasks may be claimed now.
    pub(super) fn claimed(&mut self, job: JobId, unclaimed: u64) -> Option<u64> {
        let entry = self.by_id.get_mut(&job)?;
        entry.claiming = false;
        let requeued = std::mem::take(&mut entry.requeued);
        entry.brief.unclaimed = if entry.is_over() { 0 } else { unclaimed + requeued };
        Some(entry.brief.unclaimed)
    }

    /// Tasks of the job may be claimed from then on.
    pub(super) fn delay(&mut self, job: JobId, until: Instant) {
        let Some(entry) = self.by_id.get(&job) else {
            self.unlisted = Unlisted::All;
            return;
        };
        if !entry.is_over() {
            let next = self.delayed.entry(job).or_insert(until);
            *next = until.min(*next);
        }
    }

    /// When tasks that wait may be claimed next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.delayed.values().min().copied()
    }

    /// Has the jobs claimed whose tasks have waited long enough; the store knows how many those are.
    pub(super) fn wake_due(&mut self, now: Instant) {
        let by_id = &mut self.by_id;
        self.delayed.retain(|job, until| {
            let due = *until <= now;
            if let Some(entry) = by_id.get_mut(job).filter(|_| due) {
                entry.brief.unclaimed += 1;
                entry.requeued += u64::from(entry.claiming);
            }
            !due
        });
    }

    pub(super) fn hold(&mut self, job: JobId, leases: impl IntoIterator<Item = Lease>) {
        if let Some(entry) = self.by_id.get_mut(&job) {
            entry.held.extend(leases);
        }
    }

    pub(super) fn observe(&mut self, job: JobId, count: u32, elapsed: Duration) {
        let Some(entry) = self.by_id.get_mut(&job) else { return };
        entry.time.observe(count, elapsed);
        let before = entry.key();
        entry.used_ns += elapsed.as_nanos() as u64;
        let after = entry.key();
        if before != after {
            self.turns.remove(&before);
            self.turns.insert(after);
        }
    }

    /// A worker has nothing of this job any more.
    pub(super) fn leave(&mut self, job: JobId) {
        if let Some(entry) = self.by_id.get_mut(&job) {
            entry.busy = entry.busy.saturating_sub(1);
            if let Some(lock) = &entry.brief.lock {
                self.locks.entry(lock.name.clone()).and_modify(|held| *held = held.saturating_sub(1));
            }
        }
    }

    /// A worker takes this job up, unless its lock is held by as many as may hold it.
    pub(super) fn enter(&mut self, job: JobId) -> Option<&mut Entry> {
        let entry = self.by_id.get_mut(&job)?;
        if let Some(lock) = &entry.brief.lock {
            let held = self.locks.entry(lock.name.clone()).or_default();
            if *held >= lock.permits {
                return None;
            }
            *held += 1;
        }
        entry.busy += 1;
        Some(entry)
    }

    /// Tasks of the job are back in the queue; the store lists a job that is not known here.
    pub(super) fn requeued(&mut self, job: JobId, count: u32) {
        let Some(entry) = self.by_id.get_mut(&job) else {
            if count > 0 {
                self.unlisted = Unlisted::All;
            }
            return;
        };
        if !entry.is_over() {
            entry.brief.unclaimed += u64::from(count);
            entry.requeued += if entry.claiming { u64::from(count) } else { 0 };
        }
    }

    /// Takes no more of this job; gives the leases that no worker has.
    pub(super) fn stop(&mut self, job: JobId, why: Stopped) -> Vec<Lease> {
        self.delayed.remove(&job);
        let Some(entry) = self.by_id.get_mut(&job) else { return Vec::new() };
        entry.stopped = Some(why);
        entry.brief.unclaimed = 0;
        // A cancel may come late, when the job has ended by it and begun once more.
        entry.doubtful |= why == Stopped::Cancelled;
        if entry.doubtful {
            self.over.insert(job);
        }
        entry.held.drain(..).collect()
    }

    /// Forgets a job that has ended, once no worker is at it and the store has answered all about it; gives the leases that no worker has.
    pub(super) fn end(&mut self, job: JobId) -> VecDeque<Lease> {
        self.delayed.remove(&job);
        let Some(entry) = self.by_id.get_mut(&job) else { return VecDeque::new() };
        (entry.ended, entry.brief.unclaimed) = (true, 0);
        let held = std::mem::take(&mut entry.held);
        if entry.doubtful {
            self.over.insert(job);
        } else if held.is_empty() && entry.busy == 0 && entry.is_settled() {
            self.turns.remove(&entry.key());
            self.by_id.remove(&job);
        }
        held
    }

    /// All leases that no worker has.
    pub(super) fn take_held(&mut self) -> Vec<(JobId, Lease)> {
        let entries = self.by_id.iter_mut();
        entries.flat_map(|(job, entry)| entry.held.drain(..).map(|lease| (*job, lease))).collect()
    }

    pub(super) fn get_mut(&mut self, job: JobId) -> Option<&mut Entry> {
        self.by_id.get_mut(&job)
    }

    pub(super) fn get(&self, job: JobId) -> Option<&Entry> {
        self.by_id.get(&job)
    }

    /// The jobs of this function that are not being stopped.
    pub(super) fn of_function(&self, function: &str) -> Vec<JobId> {
        let its =
            self.by_id.values().filter(|entry| entry.stopped.is_none() && entry.brief.function == function);
        its.map(|entry| entry.brief.id).collect()
    }

    /// The jobs that could use a worker, in the order of their turns.
    pub(super) fn in_turn(&self) -> impl Iterator<Item = (JobId, &Entry)> {
        let entries = self.turns.iter().filter_map(|(.., id)| Some((*id, self.by_id.get(id)?)));
        entries.filter(|(_, entry)| entry.demand() > 0)
    }
}
