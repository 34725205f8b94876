//! What a store has, in numbers: kept as it changes, so that to ask costs nothing however much there is.

use std::collections::BTreeMap;

use crate::model::{Histogram, JobState};

/// What a store has, as of its last commit.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Counts {
    /// How many jobs are in each state that has any.
    pub jobs: BTreeMap<JobState, u64>,
    /// By function; those of which there is nothing to say are left out.
    pub tasks: BTreeMap<String, TaskCounts>,
    /// Ends of jobs that are still to be told at the URL that the job names.
    pub callbacks: u64,
    /// How it keeps all that.
    pub storage: Storage,
}

/// The tasks of a function that no worker has answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct TaskCounts {
    /// Tasks that have no outcome yet.
    pub unfinished: u64,
    /// Tasks that a cancel has ended since the start.
    pub cancelled: u64,
    /// Tasks that have failed since the start without having run, as no worker of their function started.
    pub not_run: u64,
}

/// How a store keeps what it has; one in memory has nothing to say.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Storage {
    /// How long each commit since the start took, from its order to when it was durable.
    pub commits: Histogram,
    /// The size of the database, in bytes.
    pub database_bytes: u64,
    /// The size of what is not moved into the database yet, in bytes.
    pub log_bytes: u64,
    /// The room that the disk has left, in bytes.
    pub free_bytes: u64,
    /// Whether nothing new is taken in for want of room.
    pub is_full: bool,
}
