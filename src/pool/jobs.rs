//! The jobs that a pool knows: what is left of each, and whose turn it is.

use std::collections::btree_map::Entry::Vacant;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::{Duration, Instant};

use super::delays::Delays;
use super::entry::{Entry, JobBrief, Stopped};
use super::listing::{Listing, MANY, Page};
use super::queues::{Queues, Walk};
use super::{Lease, WorkerId};
use crate::model::{Blocked, JobId};

/// The jobs, by id and by whose turn it is.
#[derive(Debug, Default)]
pub(super) struct Jobs {
    by_id: BTreeMap<JobId, Entry>,
    queues: Queues,
    /// Those that could use no worker.
    resting: BTreeSet<JobId>,
    /// How many workers hold each lock.
    locks: BTreeMap<String, u32>,
    /// Those with tasks that are to be tried again only later.
    delayed: Delays,
    /// Those that have stopped or ended, as doubtful news says.
    over: BTreeSet<JobId>,
    listing: Listing,
    /// Those that are not here any more, until someone is told.
    forgotten: Vec<JobId>,
}

impl Jobs {
    /// Changes a job, and puts it where it stands then.
    fn change<T>(&mut self, job: JobId, change: impl FnOnce(&mut Entry) -> T) -> Option<T> {
        let entry = self.by_id.get_mut(&job)?;
        let changed = change(entry);
        self.queues.place(entry);
        if entry.placed.is_some() {
            self.resting.remove(&job);
        } else {
            self.resting.insert(job);
        }
        Some(changed)
    }

    fn forget(&mut self, job: JobId) {
        if let Some(mut entry) = self.by_id.remove(&job) {
            entry.brief.unclaimed = 0;
            self.queues.place(&mut entry);
            self.resting.remove(&job);
            self.delayed.remove(job);
            self.forgotten.push(job);
        }
    }

    /// The jobs that are not here any more since this was asked last.
    pub(super) fn take_forgotten(&mut self) -> Vec<JobId> {
        std::mem::take(&mut self.forgotten)
    }

    /// Whether there is room for a further job of this priority. Those are forgotten for it of which nothing is to run
    /// now, and the last one of a lower priority, which the store lists again.
    pub(super) fn make_room(&mut self, priority: i32) -> bool {
        if self.count() < MANY {
            return true;
        }
        let forgettable = |job: &JobId| self.by_id.get(job).is_some_and(Entry::is_forgettable);
        let is_useless = |job: &&JobId| !self.delayed.contains(**job) && forgettable(job);
        let mut useless: Vec<JobId> = self.resting.iter().filter(is_useless).copied().collect();
        let last = self.queues.last().filter(|(its, job)| *its < priority && forgettable(job));
        if let (true, Some((_, job))) = (useless.is_empty(), last) {
            useless.push(job);
            self.listing.missed();
        }
        useless.into_iter().for_each(|job| self.forget(job));
        self.count() < MANY
    }

    /// How many jobs there are, but for those that are to be tried again later: the store cannot tell them from others.
    fn count(&self) -> usize {
        self.by_id.len() - self.delayed.len()
    }

    /// Does not take a new job in, which the store will list.
    pub(super) fn refuse(&mut self, job: JobId) {
        self.listing.missed();
        self.forgotten.push(job);
    }

    /// Adds a job, or tasks to a job that is known.
    pub(super) fn add(&mut self, brief: JobBrief) {
        let job = brief.id;
        if let Vacant(new) = self.by_id.entry(job) {
            new.insert(Entry::new(brief));
            self.change(job, |_| ());
            return;
        }
        let is_over = self.change(job, |entry| {
            entry.stopped.take_if(|stopped| *stopped == Stopped::Paused);
            entry.doubtful = true;
            if !entry.is_over() {
                entry.brief.unclaimed = entry.brief.unclaimed.max(brief.unclaimed);
                // The answer to a claim under way may not know of them.
                if entry.claiming {
                    entry.requeued = entry.requeued.max(brief.unclaimed);
                }
            }
            entry.is_over()
        });
        if is_over == Some(true) {
            self.over.insert(job);
        }
    }

    /// A page from the store has come, with others behind its last job if there are `more`.
    pub(super) fn listed(&mut self, last: Option<(i32, JobId)>, more: bool) {
        self.listing.came(last, more);
    }

    /// The jobs that the store is to be asked for, if so many slots are free for others than the blocked.
    pub(super) fn wants_list(&mut self, free: u32, blocked: &Blocked) -> Option<Page> {
        self.listing.wanted(self.count(), free, blocked)
    }

    /// Gives the jobs whose end is doubtful, once the store has answered all about them: it says what is true when it
    /// is asked for a task.
    pub(super) fn reconsider(&mut self) -> Vec<JobId> {
        let mut asked = Vec::new();
        let by_id = &mut self.by_id;
        self.over.retain(|job| {
            let Some(entry) = by_id.get_mut(job) else { return false };
            let quiet = entry.is_forgettable();
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
        self.change(job, |entry| {
            entry.claiming = false;
            let requeued = std::mem::take(&mut entry.requeued);
            entry.brief.unclaimed = if entry.is_over() { 0 } else { unclaimed + requeued };
            entry.brief.unclaimed
        })
    }

    /// Tasks of the job may be claimed from then on.
    pub(super) fn delay(&mut self, job: JobId, until: Instant) {
        match self.by_id.get(&job) {
            Some(entry) if entry.is_over() => {}
            Some(_) => self.delayed.add(job, until),
            None => self.listing.missed(),
        }
    }

    /// When tasks that wait may be claimed next.
    pub(super) fn next_due(&self) -> Option<Instant> {
        self.delayed.next()
    }

    /// Has the jobs claimed whose tasks have waited long enough; the store knows how many those are.
    pub(super) fn wake_due(&mut self, now: Instant) {
        while let Some(job) = self.delayed.take_due(now) {
            self.change(job, |entry| {
                entry.brief.unclaimed += 1;
                entry.requeued += u64::from(entry.claiming);
            });
        }
    }

    pub(super) fn hold(&mut self, job: JobId, leases: impl IntoIterator<Item = Lease>) {
        self.change(job, |entry| entry.held.extend(leases));
    }

    pub(super) fn observe(&mut self, job: JobId, count: u32, elapsed: Duration) {
        self.change(job, |entry| {
            entry.time.observe(count, elapsed);
            entry.used_ns += elapsed.as_nanos() as u64;
        });
    }

    /// A worker has nothing of this job any more.
    pub(super) fn leave(&mut self, job: JobId) {
        let lock = self.change(job, |entry| {
            entry.busy = entry.busy.saturating_sub(1);
            entry.brief.lock.as_ref().map(|lock| lock.name.clone())
        });
        if let Some(held) = lock.flatten().and_then(|lock| self.locks.get_mut(&lock)) {
            *held = held.saturating_sub(1);
        }
    }

    /// A worker takes up this job, of which there are leases, unless its lock is held by as many as may hold it.
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

    /// The only task of this job is to be next for a worker that is at another one.
    pub(super) fn line_up(&mut self, job: JobId, worker: WorkerId) -> Option<Lease> {
        self.change(job, |entry| {
            entry.next_for = Some(worker);
            entry.held.pop_front()
        })?
    }

    /// The worker that it was next for has taken it up; whether it should not have, as the job is being cancelled.
    pub(super) fn take_up(&mut self, job: JobId) -> bool {
        let take_up = |entry: &mut Entry| {
            (entry.next_for, entry.busy) = (None, entry.busy + 1);
            entry.stopped == Some(Stopped::Cancelled)
        };
        self.change(job, take_up) == Some(true)
    }

    /// The worker that it was next for has not taken it up.
    pub(super) fn give_back(&mut self, job: JobId) {
        self.change(job, |entry| entry.next_for = None);
    }

    /// Tasks of the job are back in the queue; the store lists a job that is not known here.
    pub(super) fn requeued(&mut self, job: JobId, count: u32) {
        let known = self.change(job, |entry| {
            if !entry.is_over() {
                entry.brief.unclaimed += u64::from(count);
                entry.requeued += if entry.claiming { u64::from(count) } else { 0 };
            }
        });
        if known.is_none() && count > 0 {
            self.listing.missed();
        }
    }

    /// Takes no more of this job; gives the leases that no worker has.
    pub(super) fn stop(&mut self, job: JobId, why: Stopped) -> Vec<Lease> {
        self.delayed.remove(job);
        let stopped = self.change(job, |entry| {
            entry.stopped = Some(why);
            entry.brief.unclaimed = 0;
            // A cancel may come late, when the job has ended by it and begun once more.
            entry.doubtful |= why == Stopped::Cancelled;
            (entry.doubtful, entry.held.drain(..).collect())
        });
        let Some((doubtful, held)) = stopped else { return Vec::new() };
        if doubtful {
            self.over.insert(job);
        }
        held
    }

    /// Forgets a job that has ended, once no worker is at it and the store has answered all about it; gives the leases
    /// that no worker has.
    pub(super) fn end(&mut self, job: JobId) -> VecDeque<Lease> {
        self.delayed.remove(job);
        let ended = self.change(job, |entry| {
            (entry.ended, entry.brief.unclaimed) = (true, 0);
            let held = std::mem::take(&mut entry.held);
            (held, entry.doubtful, entry.is_forgettable())
        });
        let Some((held, doubtful, forgettable)) = ended else { return VecDeque::new() };
        if doubtful {
            self.over.insert(job);
        } else if held.is_empty() && forgettable {
            self.forget(job);
        }
        held
    }

    /// All leases that no worker has.
    pub(super) fn take_held(&mut self) -> Vec<(JobId, Lease)> {
        let holders = self.by_id.iter().filter(|(_, entry)| !entry.held.is_empty());
        let mut all = Vec::new();
        for job in holders.map(|(job, _)| *job).collect::<Vec<_>>() {
            self.change(job, |entry| all.extend(entry.held.drain(..).map(|lease| (job, lease))));
        }
        all
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

    /// How many jobs could use a worker, or have one.
    pub(super) fn that_could_work(&self) -> u32 {
        self.queues.len() as u32
    }

    /// The jobs that could use a worker, in the order of their turns.
    pub(super) fn in_turn(&self) -> Walk<'_> {
        self.queues.walk()
    }

    /// Whether every job stands where it should.
    #[cfg(test)]
    pub(super) fn are_in_place(&self) -> bool {
        let stands = |entry: &Entry| entry.placed == (entry.demand() > 0).then(|| entry.key());
        let rests = |entry: &Entry| self.resting.contains(&entry.brief.id) == entry.placed.is_none();
        self.by_id.values().all(|entry| stands(entry) && rests(entry))
    }
}
