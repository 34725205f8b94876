//! One worker: a thread that owns the process, its three pipes and its guard, from start to end.
//!
//! Linear code around one `poll`: it never blocks on one pipe while another is full. Decisions of the pool come in as
//! [`Order`]s; what happened goes out as [`Event`]s. An answer that a client may be waiting for goes to the store from here, as
//! the loop would only pass it on. Deliberately absent: which task runs where.

mod chunk;
mod ending;
mod launch;
mod life;
mod logs;
mod measure;
mod orders;
mod process;
mod watch;
mod work;

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, ready};
use tokio::sync::mpsc;

use crate::model::{JobId, LeaseId, Timestamp, TraceParent, Verdict};
use crate::pool::WorkerId;
use crate::protocol::frames::Progress as TaskProgress;
use crate::store::{Chunk, Completion, Haste, LogEntry, Receipt, Release, Store, StoreResult};
use crate::telemetry::metrics::WorkerEnd;
pub(super) use launch::Launch;
use life::Child;
pub(super) use orders::Handle;
use work::Answered;

/// Any pipe takes so much at once.
const SMALL_BYTES: usize = 4096;

/// A chunk and the job's options that concern its run.
#[derive(Debug)]
pub(super) struct Assignment {
    pub(super) chunk: Chunk,
    pub(super) timeout: Option<Duration>,
    pub(super) max_attempts: u32,
    /// How long a failed task waits for its second attempt; for later ones, longer.
    pub(super) retry_backoff: Duration,
    /// The span of a distributed trace that it runs in.
    pub(super) trace: Option<TraceParent>,
    /// Whether nothing else of its job is under way.
    pub(super) is_last: bool,
}

impl Assignment {
    /// Whether it is written in no time, so that it may wait until the worker is free.
    fn is_small(&self) -> bool {
        self.chunk.inputs.len() <= SMALL_BYTES
    }
}

/// What the pool wants of a worker.
#[derive(Debug)]
pub(super) enum Order {
    /// Run this chunk behind those it has.
    Run(Assignment),
    /// End when all it has is answered.
    Finish,
    /// End now; what it has is not to blame.
    Stop,
    /// End now: it and all below it hold more than any other worker, and the container's memory is nearly full. In bytes.
    MakeRoom { held: u64, limit: u64 },
}

/// What is to be written about tasks that a worker has answered, or left without an answer.
#[derive(Debug)]
pub(super) enum Settlement {
    /// They have their outcomes; so many of them failed with these verdicts.
    Complete(Arc<Completion>, Failures),
    /// They go back to the queue; a single one that is tried again has failed with this verdict.
    Release(Release, Option<Verdict>),
}

/// How many tasks failed with which verdict.
pub(super) type Failures = BTreeMap<Verdict, u64>;

/// How a worker ended, for those who count.
#[derive(Clone, Copy, Debug)]
pub(super) struct Departure {
    pub(super) why: WorkerEnd,
    /// The CPU time that it and the children that it waited for used.
    pub(super) cpu: Duration,
}

/// A write that the store has and has not answered.
pub(super) type Begun = BoxFuture<'static, StoreResult<Receipt>>;

/// What a worker's thread tells.
pub(super) enum Event {
    /// The process runs, below the guard.
    Started { pid: u32, guard: u32 },
    /// It takes work.
    Ready,
    /// It answered the next tasks of its first chunk, after so long at work on them; the write of it, if that has begun.
    Answered { settlement: Settlement, count: u32, elapsed: Duration, begun: Option<Begun> },
    /// Its tasks have printed this.
    Printed { job: JobId, entries: Vec<LogEntry> },
    /// Its task is so far.
    Progress(TaskProgress),
    /// It should get no more work: it is old, or holds much memory.
    Worn,
    /// It returned the last tasks of its first chunk unstarted.
    Returned { release: Release },
    /// It has ended; this is to become of what it had, and if it never was of use, why.
    Gone { settlements: Vec<Settlement>, failed_start: Option<String>, departure: Departure },
}

/// Starts a worker and the thread that owns it.
pub(super) fn spawn(
    id: WorkerId,
    launch: Launch,
    store: Arc<dyn Store>,
    events: mpsc::Sender<(WorkerId, Event)>,
) -> io::Result<Handle> {
    let (handle, incoming) = orders::orders()?;
    let run = move || {
        let tell = Tell { id, store, events };
        match Child::start(&launch, incoming, &tell) {
            Ok(mut child) => child.run(),
            Err(error) => {
                let departure = Departure { why: WorkerEnd::FailedStart, cpu: Duration::ZERO };
                let (settlements, failed_start) = (Vec::new(), Some(error.to_string()));
                tell.say(Event::Gone { settlements, failed_start, departure });
            }
        }
    };
    std::thread::Builder::new().name(format!("child-{id}")).spawn(run)?;
    Ok(handle)
}

struct Tell {
    id: WorkerId,
    store: Arc<dyn Store>,
    events: mpsc::Sender<(WorkerId, Event)>,
}

impl Tell {
    /// Waits while the one loop has more to do than it can; once it is gone, the server ends and needs no word.
    fn say(&self, event: Event) {
        drop(self.events.blocking_send((self.id, event)));
    }

    /// Tells of an answer. The last one of its job is on its way to the store before anyone hears of it.
    fn answered(&self, Answered { settlement, count, elapsed, is_last }: Answered, now: Timestamp) {
        let begun = match &settlement {
            Settlement::Complete(done, _) if is_last => Some(self.begin(done.clone(), now)),
            Settlement::Complete(..) | Settlement::Release(..) => None,
        };
        self.say(Event::Answered { settlement, count, elapsed, begun });
    }

    fn begin(&self, done: Arc<Completion>, now: Timestamp) -> Begun {
        let store = self.store.clone();
        let mut write = async move { store.complete_if_leased(done, Haste::Now, now).await }.boxed();
        // The store has it once it has been looked at; the loop waits for what becomes of it.
        match (&mut write).now_or_never() {
            Some(receipt) => ready(receipt).boxed(),
            None => write,
        }
    }
}

impl Settlement {
    /// The job that it is about.
    pub(super) fn job(&self) -> JobId {
        match self {
            Self::Complete(done, _) => done.job,
            Self::Release(release, _) => release.job,
        }
    }

    /// The lease that it is about.
    pub(super) fn lease(&self) -> LeaseId {
        match self {
            Self::Complete(done, _) => done.lease,
            Self::Release(release, _) => release.lease,
        }
    }
}
