//! The shell around the pool: one loop that carries events to it and its commands to the store and the workers.
//!
//! Imports `model`, `protocol`, `pool`, `store`, `sys`, `telemetry`. Deliberately absent: decisions (the pool's) and HTTP. The
//! loop alone owns the pool, the workers and the payload of leased chunks; others talk to it through [`Handle`].

mod child;
mod chunks;
mod commands;
mod handle;
mod memory;
mod news;
mod run;
mod view;
mod writes;

use std::collections::{BTreeMap, VecDeque};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use tokio::runtime::Builder;
use tokio::sync::{mpsc, oneshot, watch};

use crate::protocol::frames::Progress as TaskProgress;
use chunks::Chunks;
pub use handle::{Ended, Handle, WorkerSelector};
pub use news::EndedTasks;
pub use view::{PoolView, RunningTask, StartFailure, WorkerActivity, WorkerView};

use crate::model::{Epoch, JobId, Timestamp, TraceParent, WorkerName};
use crate::pool::{Event as PoolEvent, Pool, Rules, WorkerId};
use crate::schema::Schema;
use crate::store::Store;
use crate::telemetry::Metrics;

/// Events wait in a queue of this length; worker threads wait when it is full.
const QUEUE: usize = 1024;
/// So many jobs are listed from the store at a time.
const LIST_JOBS: u32 = 1024;

/// How to start the workers of a function.
#[derive(Clone, PartialEq, Debug)]
pub struct WorkerCommand {
    /// The program and its arguments.
    pub argv: Vec<OsString>,
    /// The whole environment.
    pub env: BTreeMap<String, OsString>,
    /// The directory it runs in.
    pub cwd: PathBuf,
    /// How long a worker may take until it is ready.
    pub start_timeout: Duration,
    /// How long a worker has from being asked to end to being killed.
    pub grace: Duration,
    /// What a worker and all below it may use.
    pub limits: WorkerLimits,
    /// How its tasks and workers are dealt with.
    pub rules: Rules,
    /// What its outputs must be.
    pub output_schema: Option<Schema>,
}

/// What a worker and all below it may use.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct WorkerLimits {
    /// With more memory, in bytes, it gets no more work.
    pub memory_soft: Option<u64>,
    /// With more memory, in bytes, it is killed.
    pub memory_hard: Option<u64>,
    /// A worker that uses no CPU time for so long while it has a task is killed.
    pub hang_after: Option<Duration>,
    /// It gets no more work when it is so old.
    pub max_age: Option<Duration>,
    /// The largest output of a task, in bytes.
    pub max_output_bytes: u64,
}

/// What a supervisor needs.
#[derive(Debug)]
pub struct Settings {
    /// This node's name.
    pub node: String,
    /// How many slots, and why so many.
    pub slots: u32,
    /// Where the number of slots comes from, for people.
    pub slots_reason: String,
    /// For each function, how its workers are started.
    pub functions: BTreeMap<String, WorkerCommand>,
    /// The lock on the data directory, held by every guard as well.
    pub lock: OwnedFd,
    /// Where is counted what happens.
    pub metrics: Arc<Metrics>,
}

/// Starts the supervisor, on a thread of its own, so that no connection keeps it waiting; it runs until it has drained.
pub fn start(settings: Settings, store: Arc<dyn Store>, now: fn() -> Timestamp) -> (Handle, Running) {
    let (asks, incoming) = mpsc::channel(QUEUE);
    let mut supervisor = Supervisor::new(settings, store, now);
    supervisor.publish_roster();
    let (news, room, roster) =
        (supervisor.news.clone(), supervisor.room.clone(), supervisor.roster.subscribe());
    let handle = Handle::new(asks, news, room, roster);
    let (runs, running) = oneshot::channel();
    let run = move || {
        let runtime = Builder::new_current_thread().enable_time().build();
        runtime.expect("a runtime can be made while the server starts").block_on(supervisor.run(incoming));
        drop(runs);
    };
    let thread = std::thread::Builder::new().name("supervisor".into()).spawn(run);
    thread.expect("a thread can be started while the server starts");
    (handle, running)
}

/// Closed when the supervisor has drained or the store has stopped.
pub type Running = oneshot::Receiver<()>;

/// What the workers must know of a job.
#[derive(Clone, Copy, Debug)]
struct TaskLimits {
    timeout: Option<Duration>,
    max_attempts: u32,
    retry_backoff: Duration,
    trace: Option<TraceParent>,
    /// When it was accepted, until its first task starts.
    queued_since: Option<Timestamp>,
}

/// A worker as the loop knows it.
#[derive(Debug)]
struct Member {
    child: child::Handle,
    name: WorkerName,
    function: String,
    pid: Option<u32>,
    /// Since when it has been at its next task, or idle.
    since: Instant,
    tasks: u64,
    busy: Duration,
    /// How far its task says that it is, and which task that is.
    progress: Option<TaskProgress>,
}

struct Supervisor {
    settings: Settings,
    store: Arc<dyn Store>,
    now: fn() -> Timestamp,
    epoch: Epoch,
    pool: Pool,
    members: BTreeMap<WorkerId, Member>,
    chunks: Chunks,
    limits: BTreeMap<JobId, TaskLimits>,
    /// Why the last worker of a function did not start.
    start_failures: BTreeMap<String, String>,
    /// What the pool is to hear of workers that could not be started, once all that it wants is done, in its order.
    not_started: VecDeque<PoolEvent>,
    pending: run::Pending,
    writes: writes::Writes,
    news: news::News,
    /// Whether the first task of a further job is to be leased with it, for those who submit one.
    room: Arc<AtomicBool>,
    /// Who is there, for those who need not know what they do …
    roster: watch::Sender<Arc<PoolView>>,
    /// … and whether that has changed.
    roster_is_old: bool,
    memory: memory::Memory,
    /// For the threads of workers to tell …
    tell: mpsc::Sender<(WorkerId, child::Event)>,
    /// … what happened.
    told: mpsc::Receiver<(WorkerId, child::Event)>,
}
