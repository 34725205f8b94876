//! The metrics themselves.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::DescriptorEncoder;

use super::encode::{Labels, Page, Samples, one};
use super::{Readings, WORKER_STATES};
use crate::model::{Histogram, JobState, Verdict};
use crate::sys;
use crate::telemetry::metrics::{Endpoint, FunctionCounts, Metrics, RequestCounts, WebhookOutcome};

/// Task times, in powers of two nanoseconds: each doubling from 33 µs to 73 minutes.
const FINE: &[u32] = &[
    15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31, 32, 33, 34, 35, 36, 37, 38, 39, 40,
    41, 42,
];
/// Commits and requests: from 66 µs to 69 s.
const COARSE: &[u32] = &[16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36];

/// All that is told, as it was at one moment.
#[derive(Debug)]
pub(super) struct Told {
    readings: Readings,
    functions: BTreeMap<String, FunctionCounts>,
    requests: BTreeMap<Endpoint, RequestCounts>,
    streams: BTreeMap<Arc<str>, u64>,
    webhooks: BTreeMap<WebhookOutcome, u64>,
    /// By function: the CPU time of all its workers in seconds, and the memory of those there are in bytes.
    used: BTreeMap<String, (f64, u64)>,
}

impl Told {
    pub(super) fn new(metrics: &Metrics, readings: Readings) -> Self {
        let mut functions = metrics.functions();
        for function in readings.functions.iter().chain(readings.unfinished.keys()) {
            functions.entry(function.clone()).or_default();
        }
        let mut used: BTreeMap<String, (f64, u64)> = functions
            .iter()
            .map(|(function, counts)| (function.clone(), (counts.ended_cpu.as_secs_f64(), 0)))
            .collect();
        for (function, _, pid) in &readings.workers {
            let (seconds, bytes) = used.entry(function.clone()).or_default();
            let (cpu, memory) = pid.map_or((0.0, 0), uses);
            *seconds += cpu;
            *bytes += memory;
        }
        for (function, (seconds, _)) in &mut used {
            *seconds = metrics.tell_cpu(function, *seconds);
        }
        let (requests, streams, webhooks) = (metrics.requests(), metrics.streams(), metrics.webhooks());
        Self { readings, functions, requests, streams, webhooks, used }
    }
}

/// The CPU time that a worker and the children that it waited for have used, in seconds, and the memory of all below it.
fn uses(pid: u32) -> (f64, u64) {
    let cpu = sys::proc::cpu_time(pid).unwrap_or_default().as_secs_f64();
    let mut pids = sys::proc::below(pid);
    pids.push(pid);
    (cpu, sys::proc::memory_bytes(&pids))
}

impl Collector for Told {
    fn encode(&self, encoder: DescriptorEncoder<'_>) -> fmt::Result {
        let mut page = Page(encoder);
        self.pool(&mut page)?;
        self.tasks(&mut page)?;
        self.workers(&mut page)?;
        self.store(&mut page)?;
        self.http(&mut page)?;
        self.webhooks(&mut page)?;
        process(&mut page)
    }
}

impl Told {
    fn pool(&self, page: &mut Page<'_>) -> fmt::Result {
        let Readings { slots, jobs, .. } = &self.readings;
        page.gauge(
            "gristmill_build_info",
            "Always 1; the version of the server.",
            vec![(vec![("version", env!("CARGO_PKG_VERSION"))], 1)],
        )?;
        page.gauge("gristmill_slots", "How many tasks run at once at most.", one(u64::from(*slots)))?;
        let by_state =
            |state: &JobState| (vec![("state", state.as_str())], jobs.get(state).copied().unwrap_or(0));
        page.gauge(
            "gristmill_jobs",
            "Jobs that are kept, by state.",
            JobState::ALL.iter().map(by_state).collect(),
        )
    }

    fn tasks(&self, page: &mut Page<'_>) -> fmt::Result {
        let running = |function: &str| {
            self.readings.workers.iter().filter(|(its, state, _)| its == function && *state == "busy").count()
                as u64
        };
        let unfinished = |function: &str| self.readings.unfinished.get(function).copied().unwrap_or(0);
        page.gauge(
            "gristmill_tasks_queued",
            "Tasks of accepted jobs that have no outcome and do not run.",
            self.by_function(|function, _| unfinished(function).saturating_sub(running(function))),
        )?;
        page.gauge(
            "gristmill_tasks_running",
            "Tasks that run now.",
            self.by_function(|function, _| running(function)),
        )?;
        page.counter(
            "gristmill_tasks",
            "Tasks that got their outcome, by the verdict of the last attempt; a task that is retried on request counts again.",
            self.outcomes(),
        )?;
        let retries = self.functions.iter().flat_map(|(function, counts)| {
            counts.retries.iter().map(move |(verdict, n)| (of_verdict(function, *verdict), *n))
        });
        page.counter(
            "gristmill_task_retries",
            "Attempts that failed and were followed by another, by their verdict.",
            retries.collect(),
        )?;
        page.histogram(
            "gristmill_task_duration_seconds",
            "How long tasks ran, each at its last attempt.",
            FINE,
            self.histograms(|counts| &counts.task_times),
        )?;
        page.histogram(
            "gristmill_job_queue_duration_seconds",
            "How long jobs waited from their acceptance to their first task.",
            FINE,
            self.histograms(|counts| &counts.queue_times),
        )
    }

    /// Outcomes by function and verdict, of workers and without them.
    fn outcomes(&self) -> Samples<'_, u64> {
        let mut all: BTreeMap<(&str, Verdict), u64> = BTreeMap::new();
        for (function, counts) in &self.functions {
            // So that the first of them is seen as an increase.
            all.insert((function, Verdict::Ok), 0);
            all.extend(counts.tasks.iter().map(|(verdict, n)| ((function.as_str(), *verdict), *n)));
        }
        for (function, more) in &self.readings.unanswered {
            for (verdict, n) in more {
                *all.entry((function, *verdict)).or_default() += n;
            }
        }
        all.into_iter().map(|((function, verdict), n)| (of_verdict(function, verdict), n)).collect()
    }

    fn workers(&self, page: &mut Page<'_>) -> fmt::Result {
        let mut states = Vec::new();
        for function in self.functions.keys() {
            for state in WORKER_STATES {
                let is_it =
                    |worker: &&(String, &str, Option<u32>)| worker.0 == *function && worker.1 == state;
                let count = self.readings.workers.iter().filter(is_it).count() as u64;
                states.push((vec![("function", function.as_str()), ("state", state)], count));
            }
        }
        page.gauge("gristmill_workers", "Worker processes, by what they do.", states)?;
        page.counter(
            "gristmill_worker_starts",
            "Worker processes that became ready.",
            self.by_function(|_, counts| counts.worker_starts),
        )?;
        let ends = self.functions.iter().flat_map(|(function, counts)| {
            let labels =
                move |reason: &'static str| vec![("function", function.as_str()), ("reason", reason)];
            counts.worker_ends.iter().map(move |(end, n)| (labels(end.as_str()), *n))
        });
        page.counter(
            "gristmill_worker_ends",
            "Worker processes that ended, by why; one that is still needed is replaced.",
            ends.collect(),
        )?;
        page.gauge(
            "gristmill_worker_failed_starts",
            "How often in a row the workers of a function have not started; 0 when the last one did.",
            self.by_function(|function, _| {
                self.readings.failed_starts.get(function).copied().map_or(0, u64::from)
            }),
        )?;
        page.counter(
            "gristmill_worker_cpu_seconds",
            "CPU time that workers have used.",
            self.by_used(|(seconds, _)| seconds),
        )?;
        page.gauge(
            "gristmill_worker_resident_memory_bytes",
            "Memory that the workers of a function and what they started hold now.",
            self.by_used(|(_, bytes)| bytes),
        )
    }

    fn store(&self, page: &mut Page<'_>) -> fmt::Result {
        let Readings { commits, database_bytes, log_bytes, free_bytes, is_full, .. } = &self.readings;
        page.histogram(
            "gristmill_commit_duration_seconds",
            "How long commits took until they were durable.",
            COARSE,
            vec![(Vec::new(), commits)],
        )?;
        page.gauge("gristmill_store_database_bytes", "The size of the database.", one(*database_bytes))?;
        page.gauge("gristmill_store_log_bytes", "The size of the write-ahead log.", one(*log_bytes))?;
        page.gauge(
            "gristmill_store_free_bytes",
            "The room that the disk of the data directory has left.",
            one(*free_bytes),
        )?;
        page.gauge(
            "gristmill_store_full",
            "1 while nothing new is taken in for want of room on the disk.",
            one(u64::from(*is_full)),
        )
    }

    fn http(&self, page: &mut Page<'_>) -> fmt::Result {
        let statuses: Vec<(Labels<'_>, String, u64)> = self
            .requests
            .iter()
            .flat_map(|((route, method), counts)| {
                let labels = vec![("route", &**route), ("method", *method)];
                counts.answers.iter().map(move |(status, n)| (labels.clone(), status.to_string(), *n))
            })
            .collect();
        let answers = statuses
            .iter()
            .map(|(labels, status, n)| ([labels.as_slice(), &[("status", status.as_str())]].concat(), *n));
        page.counter(
            "gristmill_http_requests",
            "Requests that were answered, by the template of their route.",
            answers.collect(),
        )?;
        let times = self
            .requests
            .iter()
            .map(|((route, method), counts)| (vec![("route", &**route), ("method", *method)], &counts.times));
        page.histogram(
            "gristmill_http_request_duration_seconds",
            "How long it took until the head of the answer.",
            COARSE,
            times.collect(),
        )?;
        page.gauge(
            "gristmill_http_streams_open",
            "Answers that stream now.",
            self.streams.iter().map(|(route, open)| (vec![("route", &**route)], *open)).collect(),
        )
    }

    fn webhooks(&self, page: &mut Page<'_>) -> fmt::Result {
        let tries = WebhookOutcome::ALL.map(|outcome| {
            (vec![("outcome", outcome.as_str())], self.webhooks.get(&outcome).copied().unwrap_or(0))
        });
        page.counter(
            "gristmill_webhook_tries",
            "Tries to tell the end of a job, by what became of them.",
            tries.into(),
        )?;
        page.gauge(
            "gristmill_webhooks_pending",
            "Ends of jobs that are still to be told.",
            one(self.readings.callbacks),
        )
    }

    fn by_function<T>(&self, value: impl Fn(&str, &FunctionCounts) -> T) -> Samples<'_, T> {
        let functions = self.functions.iter();
        functions.map(|(function, counts)| (of(function), value(function, counts))).collect()
    }

    fn by_used<T>(&self, value: impl Fn((f64, u64)) -> T) -> Samples<'_, T> {
        self.used.iter().map(|(function, used)| (of(function), value(*used))).collect()
    }

    /// The histograms of functions that have something in them.
    fn histograms(&self, of_counts: impl Fn(&FunctionCounts) -> &Histogram) -> Samples<'_, &Histogram> {
        let all = self.functions.iter().map(|(function, counts)| (of(function), of_counts(counts)));
        all.filter(|(_, histogram)| histogram.count > 0).collect()
    }
}

/// The server's own process, under the names that all exporters use.
fn process(page: &mut Page<'_>) -> fmt::Result {
    let usage = sys::proc::own_usage();
    page.counter(
        "process_cpu_seconds",
        "CPU time of the server, without its workers.",
        one(usage.cpu_seconds),
    )?;
    page.gauge(
        "process_resident_memory_bytes",
        "Memory that the server holds, without its workers.",
        one(usage.resident_bytes),
    )?;
    page.gauge("process_open_fds", "Descriptors that the server has open.", one(usage.open_fds))?;
    page.gauge("process_max_fds", "How many descriptors it may have open.", one(usage.max_fds))?;
    page.gauge(
        "process_start_time_seconds",
        "When the server started, in seconds since 1970.",
        one(usage.started_at_seconds),
    )
}

fn of(function: &str) -> Labels<'_> {
    vec![("function", function)]
}

fn of_verdict(function: &str, verdict: Verdict) -> Labels<'_> {
    vec![("function", function), ("verdict", verdict.as_str())]
}
