//! Who works on what. Slots are shared out among the jobs in the order of their turns, one each round; then idle
//! workers get chunks, claims are made for those that will need some, and workers are started and ended to match.

use std::collections::BTreeMap;
use std::time::Instant;

use super::entry::Entry;
use super::listing::Page;
use super::workers::{WorkerId, WorkerState};
use super::{Command, Lease, Pool, UNSETTLED_PER_SLOT};
use crate::model::{Blocked, JobId};

/// A job with so many unclaimed tasks a slot keeps every worker busy for as long as one of them waits behind another.
const PLENTY: u32 = 4;

/// So many chunks a slot more than its workers need next are claimed of a job that has plenty of short ones; no more than
/// one in so many of those that it has.
const AHEAD: u32 = 4;

/// The last tasks of a job, so many a slot, begin with the very last: inputs are often sorted, and were the longest of
/// them to begin last, one worker would be at it while the others have nothing to do.
const LAST: u32 = 4;

/// What is next for a worker is looked for among so many jobs behind those that have slots.
const NEAR: usize = 8;

/// How many slots each job is to have, in the order of their turns.
type Shares = Vec<(JobId, u32)>;

/// The slots that nobody has yet, and how many workers each function is to have.
struct Room<'a> {
    left: u32,
    by_function: BTreeMap<&'a str, u32>,
    by_lock: BTreeMap<&'a str, u32>,
}

/// What became of a job's wish for one more slot.
enum Given {
    Slot,
    /// It can use no more.
    Enough,
    /// Its function has as many workers as it may have.
    FunctionIsBlocked,
    /// Its lock has as many holders as it may have.
    LockIsBlocked,
}

impl<'a> Room<'a> {
    /// Takes one slot for a job that has this share, if there is one and it can use it.
    fn give(&mut self, entry: &'a Entry, share: u32) -> Given {
        if self.left == 0 || share >= entry.demand() {
            return Given::Enough;
        }
        let workers = self.by_function.entry(&entry.brief.function).or_default();
        if *workers >= entry.brief.rules.workers.unwrap_or(u32::MAX) {
            return Given::FunctionIsBlocked;
        }
        if let Some(lock) = &entry.brief.lock {
            let holders = self.by_lock.entry(&lock.name).or_default();
            if *holders >= lock.permits {
                return Given::LockIsBlocked;
            }
            *holders += 1;
        }
        (*workers, self.left) = (*workers + 1, self.left - 1);
        Given::Slot
    }

    /// Shares out among jobs that have one slot each what they can use besides, one a round.
    fn share_rest(&mut self, group: &mut [(&'a Entry, u32)]) {
        let mut given = true;
        while given {
            given = false;
            for (entry, share) in &mut *group {
                if let Given::Slot = self.give(entry, *share) {
                    (*share, given) = (*share + 1, true);
                }
            }
        }
    }
}

impl Pool {
    pub(super) fn schedule(&mut self, now: Instant) {
        let forgotten = self.jobs.take_forgotten();
        self.commands.extend(forgotten.into_iter().map(Command::Forget));
        self.end_surplus();
        if self.draining {
            return;
        }
        for job in self.jobs.reconsider() {
            self.commands.push(Command::Claim { job, chunks: 1, max_tasks: 1, backwards: false });
        }
        let shares;
        (shares, self.blocked) = self.share_out();
        self.room = self.slots.saturating_sub(shares.iter().map(|(_, share)| share).sum());
        if let Some(Page { after, without }) = self.jobs.wants_list(self.room, &self.blocked) {
            self.commands.push(Command::ListJobs { after, without });
        }
        if self.unsettled <= UNSETTLED_PER_SLOT * (self.slots as usize + 1) {
            self.dispatch(&shares);
            self.pipeline(&shares);
            self.line_up(&shares);
        }
        self.claim(&shares);
        self.staff(&shares, now);
    }

    /// Ends idle workers that are to get no more work, and those above the slots; all of them when draining. Busy
    /// ones end here when they become idle.
    fn end_surplus(&mut self) {
        let retired = self.workers.idle().filter(|(_, worker)| worker.retired).map(|(id, _)| id);
        retired.collect::<Vec<_>>().into_iter().for_each(|id| self.finish(id));
        let most = if self.draining { 0 } else { self.slots as usize };
        let ending = self.workers.iter().filter(|(_, worker)| worker.is_ending()).count();
        let surplus = (self.workers.len() - ending).saturating_sub(most);
        let idle: Vec<WorkerId> = self.workers.idle().map(|(id, _)| id).rev().take(surplus).collect();
        idle.into_iter().for_each(|id| self.finish(id));
    }

    fn finish(&mut self, id: WorkerId) {
        if self.workers.get_mut(id).is_some_and(super::Worker::end) {
            self.commands.push(Command::Finish(id));
        }
    }

    /// Shares the slots out: a priority takes all it can use before the next one, one slot a round to each of its jobs.
    /// Gives also what could use no more, whatever is left.
    fn share_out(&self) -> (Shares, Blocked) {
        let (mut shares, mut group) = (Shares::new(), Vec::<(&Entry, u32)>::new());
        let mut room = Room { left: self.slots, by_function: BTreeMap::new(), by_lock: BTreeMap::new() };
        let mut jobs = self.jobs.in_turn();
        while room.left > 0
            && let Some(entry) = jobs.next().and_then(|job| self.jobs.get(job))
        {
            if group.last().is_some_and(|(last, _)| last.brief.priority != entry.brief.priority) {
                room.share_rest(&mut group);
                shares.extend(group.drain(..).map(|(entry, share)| (entry.brief.id, share)));
            }
            match room.give(entry, 0) {
                Given::Slot => group.push((entry, 1)),
                Given::Enough => {}
                Given::FunctionIsBlocked => jobs.function_is_blocked(),
                Given::LockIsBlocked => jobs.lock_is_blocked(),
            }
        }
        room.share_rest(&mut group);
        shares.extend(group.into_iter().map(|(entry, share)| (entry.brief.id, share)));
        (shares, jobs.into_blocked())
    }

    /// Gives held chunks to idle workers, to the jobs below their share.
    fn dispatch(&mut self, shares: &Shares) {
        for (job, share) in shares {
            while let Some((worker, lease)) = self.next_dispatch(*job, *share) {
                self.send(worker, *job, lease);
            }
        }
    }

    fn next_dispatch(&mut self, job: JobId, share: u32) -> Option<(WorkerId, Lease)> {
        loop {
            let entry = self.jobs.get_mut(job).filter(|entry| entry.busy < share)?;
            let (lease, most) = (*entry.held.front()?, entry.brief.rules.max_tasks_per_worker);
            let function = entry.brief.function.as_str();
            let (id, worker) = self.workers.idle().find(|(_, worker)| worker.function == function)?;
            if worker.has_room(&lease, most) {
                let lease = self.jobs.enter(job)?.held.pop_front()?;
                return Some((id, lease));
            }
            // It has run as many tasks as it may; another one takes its place.
            self.finish(id);
        }
    }

    fn send(&mut self, worker: WorkerId, job: JobId, lease: Lease) {
        let Some(entry) = self.workers.get_mut(worker) else { return };
        entry.send(job, lease);
        self.commands.push(Command::Send { worker, lease: lease.id });
    }

    /// Gives workers whose tasks are short a second chunk, so that they need not wait for it. Behind a single task it
    /// waits outside of the worker, which hears nothing until it is done; and only while there is plenty left, so that
    /// nobody idles while it waits there. Not for a job above its share: its workers would never be idle, and others
    /// would wait for ever. Nor what has failed before: what it prints last could not be told from what the task before it
    /// prints.
    fn pipeline(&mut self, shares: &Shares) {
        let has_one = |(id, worker): (&WorkerId, &super::Worker)| match &worker.state {
            WorkerState::Busy { job, leases }
                if leases.len() == 1 && !worker.is_slow && worker.next().is_none() =>
            {
                Some((*id, *job, leases[0].count == 1))
            }
            _ => None,
        };
        let candidates: Vec<(WorkerId, JobId, bool)> = self.workers.iter().filter_map(has_one).collect();
        for (worker, job, is_single) in candidates {
            let share = shares.iter().find(|(id, _)| *id == job).map_or(0, |(_, share)| *share);
            let Some(entry) = self.jobs.get_mut(job).filter(|entry| entry.busy <= share) else { continue };
            let most = entry.brief.rules.max_tasks_per_worker;
            let fits = |lease: &Lease| self.workers.get(worker).is_some_and(|its| its.has_room(lease, most));
            let is_plenty = entry.brief.unclaimed >= u64::from(PLENTY * share);
            let wanted =
                if is_single { is_plenty && entry.time.prefetches() } else { entry.time.pipelines() };
            if wanted && let Some(lease) = entry.held.pop_front_if(|lease| lease.attempt == 1 && fits(lease))
            {
                self.send(worker, job, lease);
            }
        }
    }

    /// Gives workers that are at a short task the one task of a job that waits behind all those that have a slot, so that they
    /// need not wait for it. Only while all that have one use it: who waits for a slot is to have the next one that is free.
    fn line_up(&mut self, shares: &Shares) {
        let could_go_on = self.workers.iter().filter(|(_, worker)| worker.could_go_on()).count();
        let uses =
            |(job, share): &(JobId, u32)| self.jobs.get(*job).is_some_and(|entry| entry.busy >= *share);
        if could_go_on == 0 || self.workers.len() > self.slots as usize || !shares.iter().all(uses) {
            return;
        }
        let is_single = |job: &JobId| self.jobs.get(*job).is_some_and(Entry::is_single);
        let near = self.jobs.in_turn().take(shares.len() + NEAR * could_go_on);
        for job in near.filter(is_single).collect::<Vec<_>>() {
            if let Some(id) = self.worker_before(job)
                && let Some(worker) = self.workers.get_mut(id)
                && let Some(lease) = self.jobs.line_up(job, id)
            {
                worker.line_up(job, lease);
                self.commands.push(Command::Send { worker: id, lease: lease.id });
            }
        }
    }

    /// A worker that could go on with the lease that is held of this job.
    fn worker_before(&self, job: JobId) -> Option<WorkerId> {
        let entry = self.jobs.get(job)?;
        let (lease, most) = (entry.held.front()?, entry.brief.rules.max_tasks_per_worker);
        let fits = |worker: &super::Worker| {
            worker.could_go_on() && worker.function == entry.brief.function && worker.has_room(lease, most)
        };
        self.workers.iter().find(|(_, worker)| fits(worker)).map(|(id, _)| *id)
    }

    /// Claims as many chunks as the job's workers will need next once half of them are gone, and some more if it has plenty.
    fn claim(&mut self, shares: &Shares) {
        for (job, share) in shares {
            let Some(entry) = self.jobs.get_mut(*job) else { continue };
            let idle = share.saturating_sub(entry.busy);
            let depth = if entry.time.pipelines() { 2 } else { 1 };
            let (wanted, held) = (idle + depth * (*share).min(entry.busy + idle), entry.held.len() as u32);
            if held > wanted / 2 || entry.claiming || entry.brief.unclaimed == 0 {
                continue;
            }
            entry.claiming = true;
            let most = entry.brief.rules.max_tasks_per_worker.unwrap_or(u32::MAX);
            let adapted = entry.time.next_chunk(entry.brief.unclaimed, *share);
            let max_tasks = entry.brief.chunk_size.unwrap_or(adapted).min(most);
            let plenty = entry.brief.unclaimed / (u64::from(PLENTY) * u64::from(max_tasks));
            let ahead = if entry.time.claims_ahead(max_tasks) { AHEAD * share } else { 0 };
            let chunks = u64::from(wanted + ahead - held).min(plenty).max(u64::from(wanted - held)) as u32;
            let is_last = entry.brief.unclaimed <= u64::from(LAST * share);
            let backwards = is_last && entry.brief.chunk_size.is_none() && entry.time.are_long();
            let max_tasks = if backwards { 1 } else { max_tasks };
            self.commands.push(Command::Claim { job: *job, chunks, max_tasks, backwards });
        }
    }

    /// Starts and ends workers so that each function has as many as its jobs have slots.
    fn staff(&mut self, shares: &Shares, now: Instant) {
        let mut wanted: BTreeMap<String, i64> = BTreeMap::new();
        for (job, share) in shares {
            let Some(entry) = self.jobs.get(*job) else { continue };
            *wanted.entry(entry.brief.function.clone()).or_default() += i64::from(*share);
        }
        let mut freeing = 0;
        for (_, worker) in self.workers.iter() {
            freeing += usize::from(worker.is_ending());
            // One that ends still has its share until what it was at work on is settled.
            if worker.state != (WorkerState::Ending { last: None }) {
                *wanted.entry(worker.function.clone()).or_default() -= 1;
            }
        }
        for (function, missing) in &wanted {
            let again_at = self.failed_starts.get(function).and_then(|failed| failed.again_at);
            for _ in 0..if again_at.is_some_and(|at| at > now) { 0 } else { *missing } {
                if self.workers.len() < self.slots as usize {
                    self.spawn(function.clone());
                } else if freeing > 0 {
                    freeing -= 1;
                } else if !self.evict(&wanted) {
                    return;
                }
            }
        }
    }

    fn spawn(&mut self, function: String) {
        let (worker, name) = self.workers.add(function.clone());
        self.commands.push(Command::Spawn { worker, name, function });
    }

    /// Ends an idle worker of a function that has more than it needs; its slot is free once it is gone.
    fn evict(&mut self, wanted: &BTreeMap<String, i64>) -> bool {
        let surplus = |function: &String| wanted.get(function).is_some_and(|missing| *missing < 0);
        let idle = self.workers.idle().find(|(_, worker)| surplus(&worker.function)).map(|(id, _)| id);
        idle.map(|id| self.finish(id)).is_some()
    }
}
