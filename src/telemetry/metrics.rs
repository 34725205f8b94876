//! What is counted as it happens: once for each chunk, worker and request, never for each task.
//!
//! Label values are bounded: functions are declared by the operator, routes are templates, the rest are closed sets.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::Budget;
use crate::model::{Histogram, Verdict};

/// Why a worker has ended.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum WorkerEnd {
    /// It had no more to do: there were too many, its slot was needed, or it was old or large enough.
    Finished,
    /// It was told to: by a cancel, an operator or the end of the server.
    Stopped,
    /// It was of no use from the start.
    FailedStart,
    /// A task ended it, or was ended with it.
    Failed(Verdict),
}

impl WorkerEnd {
    /// The word on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Finished => "finished",
            Self::Stopped => "stopped",
            Self::FailedStart => "failed_start",
            Self::Failed(verdict) => verdict.as_str(),
        }
    }
}

/// What was counted of one function since the start.
#[derive(Clone, Debug, Default)]
pub struct FunctionCounts {
    /// Tasks with an outcome of a worker, by their last attempt's verdict.
    pub tasks: BTreeMap<Verdict, u64>,
    /// Attempts that failed and were followed by another, by their verdict.
    pub retries: BTreeMap<Verdict, u64>,
    /// How long tasks took.
    pub task_times: Histogram,
    /// How long jobs waited from their acceptance to their first task.
    pub queue_times: Histogram,
    /// CPU time that workers used which have ended.
    pub ended_cpu: Duration,
    /// Workers that became ready.
    pub worker_starts: u64,
    /// Workers that ended, by why.
    pub worker_ends: BTreeMap<WorkerEnd, u64>,
}

/// What became of a try to tell the end of a job.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum WebhookOutcome {
    /// The receiver has taken it.
    Delivered,
    /// It failed, and is made again.
    Retried,
    /// It failed, and was the last.
    Failed,
}

impl WebhookOutcome {
    /// Every outcome.
    pub const ALL: [Self; 3] = [Self::Delivered, Self::Retried, Self::Failed];

    /// The word on the page.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Delivered => "delivered",
            Self::Retried => "retried",
            Self::Failed => "failed",
        }
    }
}

/// A route's template and a method.
pub type Endpoint = (Arc<str>, &'static str);

/// What was counted of the requests for an endpoint.
#[derive(Clone, Debug, Default)]
pub struct RequestCounts {
    /// Answers by status.
    pub answers: BTreeMap<u16, u64>,
    /// How long it took until the head of the answer.
    pub times: Histogram,
}

/// The counts since the start; shared.
#[derive(Debug, Default)]
pub struct Metrics {
    functions: Mutex<BTreeMap<String, FunctionCounts>>,
    requests: Mutex<BTreeMap<Endpoint, RequestCounts>>,
    streams: Mutex<BTreeMap<Arc<str>, u64>>,
    webhooks: Mutex<BTreeMap<WebhookOutcome, u64>>,
    /// The lines of the log about jobs.
    pub job_lines: Budget,
    /// Those about workers.
    pub worker_lines: Budget,
    /// The CPU time that was last told of the workers of each function, in seconds.
    cpu_told: Mutex<BTreeMap<String, f64>>,
}

impl Metrics {
    /// Has something noted of a function.
    pub fn of_function(&self, function: &str, note: impl FnOnce(&mut FunctionCounts)) {
        let mut functions = lock(&self.functions);
        match functions.get_mut(function) {
            Some(counts) => note(counts),
            None => note(functions.entry(function.to_owned()).or_default()),
        }
    }

    /// What was counted, by function.
    pub fn functions(&self) -> BTreeMap<String, FunctionCounts> {
        lock(&self.functions).clone()
    }

    /// Notes a request and the head of its answer.
    pub fn answered(&self, endpoint: Endpoint, status: u16, since: Instant) {
        let mut requests = lock(&self.requests);
        let counts = requests.entry(endpoint).or_default();
        *counts.answers.entry(status).or_default() += 1;
        counts.times.record(since.elapsed().as_nanos() as u64);
    }

    /// What was counted, by endpoint.
    pub fn requests(&self) -> BTreeMap<Endpoint, RequestCounts> {
        lock(&self.requests).clone()
    }

    /// Notes that an answer streams, until the guard is dropped.
    pub fn stream(self: &Arc<Self>, route: Arc<str>) -> StreamGuard {
        *lock(&self.streams).entry(route.clone()).or_default() += 1;
        StreamGuard { metrics: Arc::clone(self), route }
    }

    /// How many answers stream, by route; 0 for those that have streamed.
    pub fn streams(&self) -> BTreeMap<Arc<str>, u64> {
        lock(&self.streams).clone()
    }

    /// Notes what became of a try to tell the end of a job.
    pub fn webhook(&self, outcome: WebhookOutcome) {
        *lock(&self.webhooks).entry(outcome).or_default() += 1;
    }

    /// What was counted of webhooks; those outcomes that there were.
    pub fn webhooks(&self) -> BTreeMap<WebhookOutcome, u64> {
        lock(&self.webhooks).clone()
    }

    /// The CPU time of the workers of a function, which was measured one after another: one that ends meanwhile is
    /// missed for a moment, and what was told already is not taken back.
    pub(super) fn tell_cpu(&self, function: &str, seconds: f64) -> f64 {
        let mut told = lock(&self.cpu_told);
        let told = told.entry(function.to_owned()).or_default();
        *told = told.max(seconds);
        *told
    }
}

/// An answer that streams.
#[derive(Debug)]
pub struct StreamGuard {
    metrics: Arc<Metrics>,
    route: Arc<str>,
}

impl Drop for StreamGuard {
    fn drop(&mut self) {
        lock(&self.metrics.streams).entry(self.route.clone()).and_modify(|open| *open -= 1);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
