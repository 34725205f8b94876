//! The queue of spans with a limit, and the count of those that were lost.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::spans::Span;

/// So many spans wait at most; some hundreds of bytes each.
const MOST_QUEUED: usize = 4096;
/// Losses are told no more often.
const TELL_EVERY: Duration = Duration::from_mins(1);

/// Where spans wait until they are sent.
pub(super) struct Queue {
    spans: mpsc::Sender<Span>,
    lost: Arc<Lost>,
}

pub(super) fn new(lost: Arc<Lost>) -> (Queue, mpsc::Receiver<Span>) {
    let (spans, queued) = mpsc::channel(MOST_QUEUED);
    (Queue { spans, lost }, queued)
}

impl Queue {
    /// Never waits: without room the span is lost.
    pub(super) fn push(&self, span: Span) {
        if self.spans.try_send(span).is_err() {
            self.lost.add(1, "the queue is full");
        }
    }

    /// So many were never made.
    pub(super) fn missed(&self, spans: u64, why: &str) {
        self.lost.add(spans, why);
    }
}

/// How many spans were lost, and what was told of that.
#[derive(Debug, Default)]
pub(super) struct Lost(Mutex<Losses>);

#[derive(Debug, Default)]
struct Losses {
    spans: u64,
    /// How many of them were told, and when.
    told: u64,
    told_at: Option<Instant>,
    /// Why the last of them were lost.
    why: String,
}

impl Lost {
    pub(super) fn add(&self, spans: u64, why: &str) {
        let mut losses = self.lock();
        losses.spans += spans;
        why.clone_into(&mut losses.why);
        losses.tell_if_due();
    }

    /// Tells of those that are not told yet, if the last time was long enough ago.
    pub(super) fn tell_if_due(&self) {
        self.lock().tell_if_due();
    }

    /// Tells of those that are not told yet.
    pub(super) fn tell(&self) {
        self.lock().tell();
    }

    fn lock(&self) -> MutexGuard<'_, Losses> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Losses {
    fn tell_if_due(&mut self) {
        if self.told_at.is_none_or(|at| at.elapsed() >= TELL_EVERY) {
            self.tell();
        }
    }

    fn tell(&mut self) {
        let Self { spans, told, why, .. } = self;
        if spans > told {
            tracing::warn!(spans = *spans - *told, in_all = *spans, why, "spans are lost");
            (self.told, self.told_at) = (*spans, Some(Instant::now()));
        }
    }
}
