//! What keeps jobs from running while slots are free.

use std::collections::BTreeSet;

use super::Lock;

/// The jobs that cannot run, whatever slots are free: those of some functions, and those with some locks.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Blocked {
    /// Functions with as many workers as they may have.
    pub functions: BTreeSet<String>,
    /// Locks with as many holders as they may have.
    pub locks: BTreeSet<Lock>,
}

impl Blocked {
    /// Whether nothing is blocked.
    pub fn is_empty(&self) -> bool {
        self.functions.is_empty() && self.locks.is_empty()
    }

    /// Whether a job of this function with this lock is among them.
    pub fn holds_back(&self, function: &str, lock: Option<&Lock>) -> bool {
        self.functions.contains(function) || lock.is_some_and(|lock| self.locks.contains(lock))
    }

    /// Whether all that it blocks is blocked by `other`.
    pub fn is_within(&self, other: &Self) -> bool {
        self.functions.is_subset(&other.functions) && self.locks.is_subset(&other.locks)
    }

    /// Blocks what `other` blocks as well.
    pub fn join(&mut self, other: &Self) {
        self.functions.extend(other.functions.iter().cloned());
        self.locks.extend(other.locks.iter().cloned());
    }
}
