//! What is to be accepted, a job or more inputs for one, and what became of it.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use crate::model::{Job, JobId, JobSpec, ResultSegment};
use crate::store::Chunk;

/// A job to be accepted.
#[derive(Clone, Debug)]
pub struct NewJob {
    /// Its identifier, made by the caller.
    pub id: JobId,
    /// What was asked for.
    pub spec: JobSpec,
    /// How many inputs there are, staged ones and those of the last segments.
    pub total: u64,
    /// Whether it takes more inputs later.
    pub intake: Intake,
    /// What makes a repetition of it known as one.
    pub key: Option<IdempotencyKey>,
    /// How much may be queued with it.
    pub limits: QueueLimits,
    /// Who is told of it before it is durable.
    pub notice: Option<Notice>,
}

/// Tells of a new job as soon as it is written: it can be leased then, so its work begins while it is being made durable.
/// Should that fail, it never was, and whoever claims of it is told that it has ended.
#[derive(Clone)]
pub struct Notice {
    /// Hears of it; must not block.
    pub tell: Arc<Tell>,
    /// Whether slots are free or soon will be, if it waits for nothing else: its first task is then leased with it.
    pub room: Option<Arc<AtomicBool>>,
    /// Whether the client waits for its end, so that a job that ends at once may be made durable together with its results.
    pub awaited: bool,
}

/// What hears of a job, and of its first task if that was leased with it.
pub type Tell = dyn Fn(&Job, Option<Chunk>) + Send + Sync;

impl std::fmt::Debug for Notice {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Notice").field("awaited", &self.awaited).finish_non_exhaustive()
    }
}

/// Whether a job takes more inputs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Intake {
    /// It has all that it will have.
    Closed,
    /// It is open until someone closes it.
    Open,
    /// It is open while a connection of this node brings more; after a restart it is closed, as none does.
    Streamed,
}

impl Intake {
    /// Whether it takes more.
    pub fn is_open(self) -> bool {
        self != Self::Closed
    }
}

/// A client's name for a submit, and what it submitted.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct IdempotencyKey {
    /// The name.
    pub key: String,
    /// The SHA-256 of the whole request.
    pub fingerprint: [u8; 32],
}

/// A key is known for as long as its job, and for this long at least.
pub const KEY_LIFETIME: Duration = Duration::from_hours(24);

/// How much may be queued in all.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct QueueLimits {
    /// Tasks of jobs that have not ended, as far as these have no outcome.
    pub tasks: u64,
    /// The inputs of jobs that have not ended, in bytes.
    pub bytes: u64,
}

impl QueueLimits {
    /// Whether with so much queued there is room for this.
    pub(super) fn leave_room(&self, limits: Self, tasks: u64, bytes: u64) -> bool {
        self.tasks.saturating_add(tasks) <= limits.tasks && self.bytes.saturating_add(bytes) <= limits.bytes
    }
}

/// What became of a submit.
#[derive(Clone, PartialEq, Debug)]
pub enum Submitted {
    /// It is a new job.
    New(Job),
    /// It is a new job whose end was awaited, and came before it was durable; with all its results.
    Ended(Job, Box<ResultSegment>),
    /// Its key names this job, which was submitted alike. Nothing was written.
    Same(Job),
    /// Its key names a job that was submitted alike and has been deleted since. Nothing was written.
    Gone(JobId),
    /// Its key names a job that was submitted otherwise. Nothing was written.
    Other,
    /// With it there would be more queued than may be: so much is. Nothing was written.
    QueueFull(QueueLimits),
}

/// More inputs for an open job.
#[derive(Clone, Debug)]
pub struct MoreInputs {
    /// The job.
    pub job: JobId,
    /// Under what some of them are staged.
    pub staged: JobId,
    /// How many there are, staged ones and those of the last segments, both counted from 0.
    pub total: u64,
    /// What makes a repetition of it known as one.
    pub key: Option<IdempotencyKey>,
    /// How much may be queued with them.
    pub limits: QueueLimits,
}

/// What became of more inputs.
#[derive(Clone, PartialEq, Debug)]
pub enum Appended {
    /// They are the job's last ones now; so many of its tasks are neither leased nor done.
    Yes(Job, u64),
    /// They were there already: the key says so. Nothing was written.
    Same(Job),
    /// Their key names another request. Nothing was written.
    Other,
    /// There is no such job.
    Unknown,
    /// It is not open. Nothing was written.
    Closed,
    /// So much is queued that they do not fit. Nothing was written.
    QueueFull(QueueLimits),
}
