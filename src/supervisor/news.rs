//! What the supervisor tells those who follow it: that its view has changed, and which tasks have ended. Without
//! followers nothing of it is made.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, watch};

use crate::model::{JobId, Timestamp, TraceParent};
use crate::store::Completion;

/// So many chunks are kept for a follower who is behind.
const KEPT_CHUNKS: usize = 256;

/// Consecutive tasks of a job that a worker has ended, as they went to the store together.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct EndedTasks {
    /// The worker's name.
    pub worker: String,
    /// Its process id.
    pub pid: u32,
    /// The job.
    pub job: JobId,
    /// Its function.
    pub function: String,
    /// The span that it was submitted in.
    pub trace: Option<TraceParent>,
    /// The index of the first.
    pub index: u64,
    /// How many.
    pub count: u32,
    /// Which attempt at them it was.
    pub attempt: u32,
    /// How many of them failed.
    pub failed: u32,
    /// When the first began.
    pub started_at: Timestamp,
    /// From there to the end of the last.
    pub duration: Duration,
}

/// The ways to those who follow.
#[derive(Clone, Debug)]
pub(super) struct News {
    changed: watch::Sender<()>,
    ended: broadcast::Sender<Arc<EndedTasks>>,
}

impl News {
    pub(super) fn new() -> Self {
        Self { changed: watch::Sender::new(()), ended: broadcast::Sender::new(KEPT_CHUNKS) }
    }

    /// Wakes who follows the view.
    pub(super) fn changed(&self) {
        if self.changed.receiver_count() > 0 {
            self.changed.send_replace(());
        }
    }

    /// Tells of tasks whose outcomes are durable, of a job with this function and trace.
    pub(super) fn ended(
        &self,
        done: &Completion,
        of: impl FnOnce() -> Option<(String, Option<TraceParent>)>,
    ) {
        if self.ended.receiver_count() == 0 {
            return;
        }
        let Some((function, trace)) = of() else { return };
        let ended = EndedTasks {
            worker: done.worker.clone(),
            pid: done.pid,
            job: done.job,
            function,
            trace,
            index: done.first,
            count: done.outcomes.count(),
            attempt: done.attempt,
            failed: done.outcomes.failed(),
            started_at: done.span.start,
            duration: done.span.duration(),
        };
        // The last follower may have gone meanwhile.
        drop(self.ended.send(Arc::new(ended)));
    }

    pub(super) fn follow_view(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    pub(super) fn follow_tasks(&self) -> broadcast::Receiver<Arc<EndedTasks>> {
        self.ended.subscribe()
    }
}
