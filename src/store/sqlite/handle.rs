//! The way to the writer's thread.

use std::thread::JoinHandle;

use tokio::sync::{oneshot, watch};

use super::queue::Sender;
use super::writer::{Writer, unless_full};
use crate::store::{StoreError, StoreResult};

/// How soon a write must be durable, and when it is answered.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Urgency {
    /// At once; answered when durable.
    Now,
    /// Within some 25 ms; answered when durable.
    Soon,
    /// Within some 100 ms, and run only then if nothing else wakes the writer: for many small writes it then wakes once.
    Patient,
    /// Within some 100 ms; answered before it is durable.
    Relaxed,
}

/// Tells whoever asked, once it is known what became of the commit.
pub(super) type Answer = Box<dyn FnOnce(StoreResult<()>) + Send>;
/// Runs a request; what is given is to be told after the commit.
pub(super) type Work = Box<dyn FnOnce(&mut Writer) -> Option<Answer> + Send>;

pub(super) struct Request {
    pub(super) urgency: Urgency,
    pub(super) work: Work,
}

/// The way to the writer thread.
#[derive(Debug)]
pub(super) struct WriterHandle {
    /// Unbounded, but every sender waits for its answer before it sends more.
    requests: Option<Sender<Request>>,
    stopped: watch::Receiver<Option<String>>,
    thread: Option<JoinHandle<()>>,
}

impl WriterHandle {
    pub(super) fn new(
        requests: Sender<Request>,
        stopped: watch::Receiver<Option<String>>,
        thread: JoinHandle<()>,
    ) -> Self {
        Self { requests: Some(requests), stopped, thread: Some(thread) }
    }

    pub(super) fn stopped(&self) -> watch::Receiver<Option<String>> {
        self.stopped.clone()
    }

    /// As [`Self::write`], but not while the disk is full.
    pub(super) async fn take_in<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce(&mut Writer) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.write(urgency, unless_full(work)).await
    }

    /// Has `work` run in the writer's next transaction.
    pub(super) async fn write<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce(&mut Writer) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.request(urgency, |writer| writer.run(false, work)).await
    }

    /// As [`Self::write`], for work that knows of jobs by [`Writer::progress`] alone, not by their rows.
    pub(super) async fn write_of_tasks<T: Send + 'static>(
        &self,
        urgency: Urgency,
        work: impl FnOnce(&mut Writer) -> rusqlite::Result<T> + Send + 'static,
    ) -> StoreResult<T> {
        self.request(urgency, |writer| writer.run(true, work)).await
    }

    /// Has `request` made, of one run or several that count each for itself, in the writer's next transaction.
    pub(super) async fn request<T: Send + 'static>(
        &self,
        urgency: Urgency,
        request: impl FnOnce(&mut Writer) -> StoreResult<T> + Send + 'static,
    ) -> StoreResult<T> {
        let (answer, answered) = oneshot::channel();
        let work: Work = Box::new(move |writer| {
            let outcome = request(writer);
            if urgency == Urgency::Relaxed {
                // A caller that went away needs no answer; the same below.
                drop(answer.send(outcome));
                return None;
            }
            Some(Box::new(move |commit| drop(answer.send(commit.and(outcome)))))
        });
        let requests = self.requests.as_ref().expect("taken only on drop");
        // When the writer is gone, so is the other end of `answered`.
        requests.send(Request { urgency, work }, urgency == Urgency::Patient);
        answered.await.unwrap_or_else(|_| Err(self.gone()))
    }

    fn gone(&self) -> StoreError {
        let reason = self.stopped.borrow().clone();
        StoreError::Stopped(reason.unwrap_or_else(|| "it has been closed".into()))
    }
}

impl Drop for WriterHandle {
    fn drop(&mut self) {
        self.requests = None;
        if let Some(thread) = self.thread.take() {
            drop(thread.join());
        }
    }
}
