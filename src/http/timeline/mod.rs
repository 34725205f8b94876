//! `GET /v1/jobs/{id}/timeline`: who ran what when, as a trace that Perfetto and Chrome open.
//!
//! Streamed from what the store keeps of each chunk, without payload. Deliberately absent: attempts that were not the last
//! one, as nothing is kept of them.

mod events;
mod lanes;
mod shapes;
mod slices;

use std::collections::VecDeque;

use axum::body::Body;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;
use utoipa::IntoParams;

use super::kinds::{BadRequest, Problems, UnknownJob};
use super::openapi::RESULTS;
use super::query::{self, Named, Params};
use super::views::rfc3339;
use super::{Edge, Problem};
use crate::model::{Job, JobId, Timestamp};
use crate::store::{Run, StoreResult};
use events::Events;
use lanes::Lanes;
use shapes::{AboutBody, TraceBody};
use slices::{Detail, RunningTask};

/// A trace has about so many events unless asked otherwise.
const EVENTS: u64 = 50_000;
const MOST_EVENTS: u64 = 1_000_000;
/// So many bytes are made at a time, and what the last chunk of them comes to.
const PIECE_BYTES: usize = 1 << 16;

#[derive(Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
#[serde(deny_unknown_fields)]
pub(super) struct TimelineParams {
    /// So many events at most, about: of a job with more tasks, chunks are shown.
    #[param(minimum = 1, maximum = 1_000_000, default = 50_000)]
    limit: Option<u64>,
}

/// Read who ran what when.
///
/// A trace that Perfetto and Chrome open: a process for each node, a thread for each worker, an event for each task of a job
/// that has at most `limit`; for chunks of a larger one, put together so that there are about so many.
#[utoipa::path(
    get, path = "", tag = RESULTS, operation_id = "getTimeline",
    params(JobId, TimelineParams),
    responses(
        (status = 200, description = "A trace.", body = TraceBody),
        Problems<(BadRequest, UnknownJob)>
    )
)]
pub(super) async fn timeline(
    State(edge): State<Edge>,
    Named(id): Named,
    Params(TimelineParams { limit }): Params<TimelineParams>,
) -> Result<Response, Problem> {
    let limit = limit.unwrap_or(EVENTS);
    if !(1..=MOST_EVENTS).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is {limit}; it can be 1 to {MOST_EVENTS}")));
    }
    let id = query::job_id(&id)?;
    // First of all, so that what ends meanwhile is told as ended.
    let pool = edge.supervisor.glance().await.unwrap_or_default();
    let job = edge.store.job(id).await?.ok_or_else(|| Problem::unknown_job(&id.to_string()))?;
    let asked_at = (edge.now)();
    let trace = Trace {
        events: Events::default(),
        running: RunningTask::all(&job, &pool, asked_at),
        lanes: Lanes::new(&job, &pool.node),
        detail: Detail::of(&job, limit, asked_at),
        after: 0,
        read: VecDeque::new(),
        tasks: 0,
        asked_at,
        job,
        edge,
    };
    let body = Body::from_stream(stream::unfold(Some(trace), |trace| async {
        let mut trace = trace?;
        let piece = trace.next().await;
        // The head of the answer is gone already: a cut stream says that something is wrong.
        let cut = |_| std::io::Error::other("there is more, but not from this server now");
        Some(match piece {
            Ok((piece, Next::Goes)) => (Ok(piece), Some(trace)),
            Ok((piece, Next::Ends)) => (Ok(piece), None),
            Err(error) => (Err(cut(error)), None),
        })
    }));
    Ok(([(header::CONTENT_TYPE, "application/json")], body).into_response())
}

/// A trace that is being made.
struct Trace {
    edge: Edge,
    job: Job,
    asked_at: Timestamp,
    detail: Detail,
    events: Events,
    lanes: Lanes,
    /// What ran when it was asked for, and has not been seen to have ended.
    running: Vec<RunningTask>,
    /// The first seq of the last run that was read.
    after: u64,
    read: VecDeque<Run>,
    /// How many tasks are in it, ended ones.
    tasks: u64,
}

/// Whether there is more behind a piece.
enum Next {
    Goes,
    Ends,
}

impl Trace {
    async fn next(&mut self) -> StoreResult<(Bytes, Next)> {
        let mut events = std::mem::take(&mut self.events);
        if events.is_empty() {
            self.lanes.announce(&self.job, &mut events);
        }
        while events.waiting() < PIECE_BYTES {
            let Some(run) = self.next_run().await? else {
                let text = self.finish(events);
                return Ok((text.into(), Next::Ends));
            };
            self.tasks += u64::from(run.outcomes.count());
            self.running.retain(|task| !task.is_of(&run));
            self.detail.tell(&run, &mut self.lanes, &mut events);
        }
        let piece = events.take();
        self.events = events;
        Ok((piece.into(), Next::Goes))
    }

    /// The next run that had begun when the trace was asked for.
    async fn next_run(&mut self) -> StoreResult<Option<Run>> {
        if self.read.is_empty() {
            self.read = self.edge.store.runs(self.job.id, self.after).await?.into();
            self.after = self.read.back().map_or(self.after, |run| run.first_seq);
        }
        Ok(self.read.pop_front().filter(|run| run.span.start <= self.asked_at))
    }

    /// What is left of the text.
    fn finish(&mut self, mut events: Events) -> String {
        self.lanes.finish(&mut events);
        for task in &self.running {
            task.tell(&mut self.lanes, &mut events);
        }
        let Job { id, spec, state, created_at, .. } = &self.job;
        let about = AboutBody {
            job: *id,
            function: spec.function.clone(),
            state: *state,
            origin: rfc3339(*created_at),
            tasks: self.tasks,
            running: self.running.len(),
            detail: self.detail.as_str(),
            resolution_ms: self.detail.resolution_ms(),
        };
        let about = serde_json::to_string(&about).expect("texts and numbers always serialise");
        format!("{}\n],\"otherData\":{about}}}\n", events.take())
    }
}

#[cfg(test)]
mod testing {
    use super::events::{Slice, SliceKind};
    use crate::model::{Histogram, Job, JobId, JobOptions, JobSpec, JobState, Tally, Timestamp};

    pub(super) fn job() -> Job {
        let (name, labels, options) = (None, std::collections::BTreeMap::new(), JobOptions::default());
        Job {
            id: JobId(uuid::Uuid::from_u128(1)),
            spec: JobSpec { function: "echo".into(), name, labels, options },
            state: JobState::Running,
            open: false,
            tally: Tally::default(),
            created_at: Timestamp(0),
            started_at: Some(Timestamp(0)),
            finished_at: None,
            cpu_ns: 0,
            task_times: Histogram::default(),
            workers: Vec::new(),
        }
    }

    /// One task, in nanoseconds.
    pub(super) fn slice(start_ns: i64, end_ns: i64) -> Slice {
        let busy_ns = (end_ns - start_ns) as u64;
        let (index, count, failed, attempt, pid) = (0, 1, 0, 1, 42);
        Slice { start_ns, end_ns, index, count, failed, attempt, pid, busy_ns, kind: SliceKind::Ended }
    }
}
