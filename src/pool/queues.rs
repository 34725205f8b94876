//! Whose turn it is. Jobs that the same bounds hold back are a lane: those of one function with one lock. Thousands of
//! them behind one that is at work are passed over at once.

use std::cmp::Reverse;
use std::collections::btree_set::Iter;
use std::collections::{BTreeMap, BTreeSet};

use super::entry::{Entry, JobBrief, TURN, Turn};
use crate::model::{Blocked, JobId, Lock};

/// The jobs that could use a worker.
#[derive(Debug, Default)]
pub(super) struct Queues {
    /// All of them, in the order of their turns.
    all: BTreeSet<Turn>,
    by_function: BTreeMap<String, Lanes>,
}

/// The jobs of one function.
#[derive(Debug, Default)]
struct Lanes {
    by_lock: BTreeMap<Option<Lock>, BTreeSet<Turn>>,
    /// The first of each lane.
    firsts: BTreeSet<(Turn, Option<Lock>)>,
}

impl Lanes {
    /// Adds a job to a lane, or takes one from it.
    fn change(&mut self, job: &JobBrief, change: impl FnOnce(&mut BTreeSet<Turn>) -> bool) {
        let lock = &job.lock;
        let lane = self.by_lock.entry(lock.clone()).or_default();
        let before = lane.first().copied();
        change(lane);
        let after = lane.first().copied();
        if after.is_none() {
            self.by_lock.remove(lock);
        }
        if before != after {
            before.map(|first| self.firsts.remove(&(first, lock.clone())));
            after.map(|first| self.firsts.insert((first, lock.clone())));
        }
    }
}

impl Queues {
    /// Puts a job where it stands now: nowhere if it could use no worker. One that comes, or comes back, is ahead of those
    /// of its priority that have had turns, but not by more than one turn.
    pub(super) fn place(&mut self, entry: &mut Entry) {
        let could_work = entry.demand() > 0;
        if could_work && entry.placed.is_none() {
            let turns = self.first_turns(entry.brief.priority).saturating_sub(1);
            entry.used_ns = entry.used_ns.max(turns * TURN.as_nanos() as u64);
        }
        let place = could_work.then(|| entry.key());
        if entry.placed == place {
            return;
        }
        if let Some(old) = entry.placed {
            self.all.remove(&old);
            if let Some(lanes) = self.by_function.get_mut(&entry.brief.function) {
                lanes.change(&entry.brief, |lane| lane.remove(&old));
            }
        }
        if let Some(new) = place {
            self.all.insert(new);
            let lanes = match self.by_function.get_mut(&entry.brief.function) {
                Some(lanes) => lanes,
                None => self.by_function.entry(entry.brief.function.clone()).or_default(),
            };
            lanes.change(&entry.brief, |lane| lane.insert(new));
        }
        entry.placed = place;
    }

    /// How many turns the job of this priority has had whose turn it is.
    fn first_turns(&self, priority: i32) -> u64 {
        let first = self.all.range((Reverse(priority), 0, JobId::from_bytes([0; 16]))..).next();
        first.filter(|(its, ..)| its.0 == priority).map_or(1, |(_, turns, _)| *turns)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    /// The priority of the job whose turn is last, and its id.
    pub(super) fn last(&self) -> Option<(i32, JobId)> {
        self.all.last().map(|(priority, _, job)| (priority.0, *job))
    }

    /// The jobs in the order of their turns.
    pub(super) fn walk(&self) -> Walk<'_> {
        let mut walk = Walk { next: BTreeMap::new(), blocked: Blocked::default(), at: None };
        for (function, lanes) in &self.by_function {
            walk.go_on(function, Ahead::Lanes(lanes, lanes.firsts.iter()));
        }
        walk
    }
}

/// A walk over the jobs in the order of their turns, which passes over lanes that are said to be blocked.
pub(super) struct Walk<'a> {
    next: BTreeMap<Turn, (&'a str, &'a Option<Lock>, Ahead<'a>)>,
    blocked: Blocked,
    /// Where the walk is: the lane of the last job.
    at: Option<(&'a str, &'a Option<Lock>)>,
}

/// Where a walk goes on.
enum Ahead<'a> {
    /// With the next lane of a function.
    Lanes(&'a Lanes, Iter<'a, (Turn, Option<Lock>)>),
    /// With the next job of a lane.
    Jobs(&'a Option<Lock>, Iter<'a, Turn>),
}

impl<'a> Walk<'a> {
    fn go_on(&mut self, function: &'a str, mut ahead: Ahead<'a>) {
        let next = match &mut ahead {
            Ahead::Lanes(_, firsts) => firsts.next().map(|(turn, lock)| (turn, lock)),
            Ahead::Jobs(lock, turns) => turns.next().map(|turn| (turn, *lock)),
        };
        if let Some((turn, lock)) = next {
            self.next.insert(*turn, (function, lock, ahead));
        }
    }

    /// No worker is to be had for more jobs of the last one's function.
    pub(super) fn function_is_blocked(&mut self) {
        self.blocked.functions.extend(self.at.map(|(function, _)| function.to_owned()));
    }

    /// The last job's lock is not to be had for more jobs.
    pub(super) fn lock_is_blocked(&mut self) {
        self.blocked.locks.extend(self.at.and_then(|(_, lock)| lock.clone()));
    }

    /// What has been passed over.
    pub(super) fn into_blocked(self) -> Blocked {
        self.blocked
    }
}

impl Iterator for Walk<'_> {
    type Item = JobId;

    fn next(&mut self) -> Option<JobId> {
        while let Some(((.., job), (function, lock, ahead))) = self.next.pop_first() {
            if self.blocked.functions.contains(function) {
                continue;
            }
            let is_blocked = lock.as_ref().is_some_and(|lock| self.blocked.locks.contains(lock));
            match ahead {
                Ahead::Lanes(lanes, firsts) => {
                    self.go_on(function, Ahead::Lanes(lanes, firsts));
                    if let Some(lane) = lanes.by_lock.get(lock).filter(|_| !is_blocked) {
                        let mut turns = lane.iter();
                        turns.next();
                        self.go_on(function, Ahead::Jobs(lock, turns));
                    }
                }
                jobs @ Ahead::Jobs(..) if !is_blocked => self.go_on(function, jobs),
                Ahead::Jobs(..) => {}
            }
            if !is_blocked {
                self.at = Some((function, lock));
                return Some(job);
            }
        }
        None
    }
}
