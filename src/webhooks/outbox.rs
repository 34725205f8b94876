//! The loop that empties the outbox: it sleeps until the end of a job comes, or until one is to be tried again.
//!
//! The store has all that must last. What is under way is known here only: after a crash it is sent again.

use std::collections::BTreeMap;
use std::future::pending;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::sleep;

use super::Settings;
use super::post::{Signed, post};
use super::rules::{Answer, MOST_WAIT, judge};
use crate::model::{Job, JobId, Timestamp};
use crate::store::{CallbackTry, DueCallback, Store, StoreError, StoreResult, TryOutcome};
use crate::telemetry::Metrics;
use crate::telemetry::metrics::WebhookOutcome;

/// So many messages are under way at once …
const MOST_UNDER_WAY: usize = 64;
/// … and so many of them to one receiver, so that one that does not answer does not hold up the others.
const MOST_PER_RECEIVER: u32 = 8;
/// What the store could not do, as its disk is full or for another reason, is asked of it again after so long.
const PAUSE: Duration = Duration::from_secs(1);

/// What is said of a job that has ended.
pub type Message = Arc<dyn Fn(&Job) -> String + Send + Sync>;

/// Tells the ends of jobs from now on, as far as the settings allow it; they may change.
pub fn start(
    store: Arc<dyn Store>,
    settings: watch::Receiver<Option<Arc<Settings>>>,
    message: Message,
    metrics: Arc<Metrics>,
    now: fn() -> Timestamp,
) {
    let teller = Teller { store, message, metrics, now };
    let outbox = Outbox { teller, settings, tries: JoinSet::new(), under_way: BTreeMap::new() };
    tokio::spawn(outbox.run());
}

struct Outbox {
    teller: Teller,
    settings: watch::Receiver<Option<Arc<Settings>>>,
    tries: JoinSet<JobId>,
    /// The jobs whose end is being told, and to whom.
    under_way: BTreeMap<JobId, String>,
}

impl Outbox {
    async fn run(mut self) {
        let mut ends = self.teller.store.outbox();
        loop {
            // Should the store have stopped, the server ends.
            let Ok(next) = self.begin_due().await else {
                sleep(PAUSE).await;
                continue;
            };
            let is_full = self.under_way.len() >= MOST_UNDER_WAY;
            tokio::select! {
                Some(ended) = self.tries.join_next() => self.ended(ended),
                Ok(()) = ends.changed(), if !is_full => {}
                Ok(()) = self.settings.changed(), if !is_full => {}
                () = sleep(next.unwrap_or_default()), if !is_full && next.is_some() => {}
                else => return,
            }
            while let Some(ended) = self.tries.try_join_next() {
                self.ended(ended);
            }
        }
    }

    /// Begins what is due and has room; gives how long it is until the next is.
    async fn begin_due(&mut self) -> StoreResult<Option<Duration>> {
        let Some(settings) = self.settings.borrow_and_update().clone() else { return Ok(None) };
        if self.under_way.len() >= MOST_UNDER_WAY {
            return Ok(None);
        }
        let now = (self.teller.now)();
        let found = self.teller.store.due_callbacks(MOST_PER_RECEIVER, now).await?;
        for due in found.due {
            if self.has_room_for(&due) {
                self.under_way.insert(due.job, due.receiver.clone());
                self.tries.spawn(self.teller.clone().tell(settings.clone(), due));
            }
        }
        // A day at most, as the clock may be set.
        Ok(found.next_at.map(|at| at.since(now).min(MOST_WAIT)))
    }

    fn has_room_for(&self, due: &DueCallback) -> bool {
        let to_it = self.under_way.values().filter(|receiver| **receiver == due.receiver).count();
        self.under_way.len() < MOST_UNDER_WAY
            && to_it < MOST_PER_RECEIVER as usize
            && !self.under_way.contains_key(&due.job)
    }

    /// A try that panicked stays under way: it would only do so again.
    fn ended(&mut self, ended: Result<JobId, JoinError>) {
        match ended {
            Ok(job) => drop(self.under_way.remove(&job)),
            Err(error) => tracing::error!(%error, "a webhook's task ended before its end"),
        }
    }
}

#[derive(Clone)]
struct Teller {
    store: Arc<dyn Store>,
    message: Message,
    metrics: Arc<Metrics>,
    now: fn() -> Timestamp,
}

impl Teller {
    /// Makes one try, and keeps what became of it.
    async fn tell(self, settings: Arc<Settings>, due: DueCallback) -> JobId {
        let DueCallback { job, end, attempts, .. } = due;
        let answer = match self.store.job(job).await {
            Ok(Some(ended)) if ended.state.is_final() => self.send(&settings, ended, end).await,
            // Since it was due it goes on, or is gone; or the store does not answer.
            Ok(_) | Err(_) => {
                sleep(PAUSE).await;
                return job;
            }
        };
        let (_, seed) = job.0.as_u64_pair();
        let outcome = judge(answer, attempts, seed, (self.now)());
        log(job, attempts + 1, &outcome);
        self.metrics.webhook(counted_as(&outcome));
        self.keep(CallbackTry { job, end, outcome }).await;
        job
    }

    /// Keeps what became of a try. If the store has stopped, the try stays under way: it is made again after the restart.
    async fn keep(&self, made: CallbackTry) {
        loop {
            match self.store.note_try_if_due(made.clone()).await {
                Ok(()) => return,
                Err(StoreError::Full) => sleep(PAUSE).await,
                Err(StoreError::Stopped(_)) => pending().await,
            }
        }
    }

    async fn send(&self, settings: &Settings, job: Job, end: u32) -> Answer {
        let url = job.spec.options.callback_url.as_deref().unwrap_or_default();
        // What was allowed at the submit may not be any more.
        let url = match settings.rules.receivers.check(url) {
            Ok(url) => url,
            Err(why) => return Answer::None(why),
        };
        let id = format!("{}-{end}", job.id);
        let timestamp_s = (self.now)().0.div_euclid(1_000_000);
        let body = (self.message)(&job);
        let signature = settings.rules.secrets.sign(&id, timestamp_s, body.as_bytes());
        post(settings, &url, Signed { id, timestamp_s, signature, body: body.into() }).await
    }
}

fn counted_as(outcome: &TryOutcome) -> WebhookOutcome {
    match outcome {
        TryOutcome::Delivered => WebhookOutcome::Delivered,
        TryOutcome::Again { .. } => WebhookOutcome::Retried,
        TryOutcome::GivenUp { .. } => WebhookOutcome::Failed,
    }
}

fn log(job: JobId, attempt: u32, outcome: &TryOutcome) {
    match outcome {
        TryOutcome::Delivered => tracing::info!(%job, attempt, "the job's end is told to its callback_url"),
        TryOutcome::Again { error, .. } => {
            tracing::info!(%job, attempt, error, "the job's end could not be told; it is tried again");
        }
        TryOutcome::GivenUp { error } => {
            tracing::warn!(%job, attempt, error, "the job's end could not be told; it is not tried again");
        }
    }
}
