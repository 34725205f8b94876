//! The way to the supervisor, for HTTP and the composition root.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use tokio::sync::{broadcast, mpsc, oneshot, watch};

use super::news::{EndedTasks, News};
use super::{PoolView, WorkerCommand};
use crate::model::{JobId, WorkerName};
use crate::store::RunnableJob;

/// Which worker is meant.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum WorkerSelector {
    /// By its name.
    Name(WorkerName),
    /// By its process id.
    Pid(u32),
}

/// What is asked of the supervisor.
#[derive(Debug)]
pub(super) enum Ask {
    Submitted(Box<RunnableJob>),
    Cancelled(JobId),
    Paused(JobId),
    View(oneshot::Sender<PoolView>),
    Resize(u32, oneshot::Sender<PoolView>),
    End(WorkerSelector, oneshot::Sender<bool>),
    Functions(BTreeMap<String, WorkerCommand>),
    Drain,
    Interrupt,
}

/// The supervisor has ended; the server is shutting down.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("the server is shutting down")]
pub struct Ended;

/// A handle on the running supervisor; cheap to clone.
#[derive(Clone, Debug)]
pub struct Handle {
    asks: mpsc::Sender<Ask>,
    news: News,
    room: Arc<AtomicBool>,
    roster: watch::Receiver<Arc<PoolView>>,
}

impl Handle {
    pub(super) fn new(
        asks: mpsc::Sender<Ask>,
        news: News,
        room: Arc<AtomicBool>,
        roster: watch::Receiver<Arc<PoolView>>,
    ) -> Self {
        Self { asks, news, room, roster }
    }

    /// Whether a further job would begin at once or soon, as of now: its first task is then to be leased with it.
    pub fn room(&self) -> Arc<AtomicBool> {
        self.room.clone()
    }

    /// There is a new job, or more to do for one; durable already. If the supervisor has ended, the next start finds it.
    pub async fn submitted(&self, job: RunnableJob) {
        drop(self.asks.send(Ask::Submitted(job.into())).await);
    }

    /// As [`Self::submitted`], of a job that is not durable yet; given back if that must be told again, as too much else is.
    pub fn announced(&self, job: RunnableJob) -> Option<RunnableJob> {
        match self.asks.try_send(Ask::Submitted(Box::new(job))).err()?.into_inner() {
            Ask::Submitted(job) => Some(*job),
            _ => None,
        }
    }

    /// A job is being cancelled, as the store says: end what it runs.
    pub async fn cancelled(&self, job: JobId) {
        drop(self.asks.send(Ask::Cancelled(job)).await);
    }

    /// A job is paused, as the store says: begin no more of it.
    pub async fn paused(&self, job: JobId) {
        drop(self.asks.send(Ask::Paused(job)).await);
    }

    /// The slots and the workers as they are now.
    pub async fn view(&self) -> Result<PoolView, Ended> {
        self.glance().await.map(PoolView::measured)
    }

    /// As [`Self::view`], but what each worker uses is not measured for it, and given as 0.
    pub async fn glance(&self) -> Result<PoolView, Ended> {
        self.ask(Ask::View).await
    }

    /// As [`Self::glance`], but without asking: the slots and the workers as they are, and what each of these did when last
    /// one of them came, went, or was told to go. Enough for jobs that have ended.
    pub fn roster(&self) -> Arc<PoolView> {
        self.roster.borrow().clone()
    }

    /// Wakes when what [`Self::view`] gives may have changed, but for times and what workers use.
    pub fn follow_view(&self) -> watch::Receiver<()> {
        self.news.follow_view()
    }

    /// The tasks that end from now on, once their outcomes are durable. Who reads too slowly loses the oldest.
    pub fn follow_tasks(&self) -> broadcast::Receiver<Arc<EndedTasks>> {
        self.news.follow_tasks()
    }

    /// So many slots from now on; running tasks go on to their end.
    pub async fn resize(&self, slots: u32) -> Result<PoolView, Ended> {
        self.ask(|answer| Ask::Resize(slots, answer)).await.map(PoolView::measured)
    }

    /// Ends a worker; `false` if there is none like it. Its task is run again free of charge.
    pub async fn end_worker(&self, worker: WorkerSelector) -> Result<bool, Ended> {
        self.ask(|answer| Ask::End(worker, answer)).await
    }

    /// These functions from now on. Workers of those that have changed are replaced between tasks.
    pub async fn set_functions(&self, functions: BTreeMap<String, WorkerCommand>) {
        drop(self.asks.send(Ask::Functions(functions)).await);
    }

    /// Takes no more work and ends each worker when its chunk is done.
    pub async fn drain(&self) {
        drop(self.asks.send(Ask::Drain).await);
    }

    /// Ends each worker now.
    pub async fn interrupt(&self) {
        drop(self.asks.send(Ask::Interrupt).await);
    }

    async fn ask<T>(&self, ask: impl FnOnce(oneshot::Sender<T>) -> Ask) -> Result<T, Ended> {
        let (answer, answered) = oneshot::channel();
        self.asks.send(ask(answer)).await.map_err(|_| Ended)?;
        answered.await.map_err(|_| Ended)
    }
}
