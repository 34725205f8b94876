//! Jobs: status, list, cancel, delete.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::kinds::{BadRequest, NotEnded, Problems, ResultsFreed, UnknownJob, WrongState};
use super::openapi::{JOBS, WaitTime};
use super::query::{self, Named, Params};
use super::views::{JobBody, JobPage, brief_view, ended_view, job_view};
use super::{Edge, Problem, results};
use crate::model::{Job, JobId, JobState, ResultSegment, Timestamp};
use crate::store::{Deleted, JobFilter, JobWatch, Retried, RunnableJob, StoreResult};
use crate::supervisor::PoolView;
use crate::telemetry;

/// A list has so many items unless asked otherwise.
const PAGE: u32 = 100;
const MOST_PAGE: u32 = 1000;
/// A small job that has ended, with its results, is hardly ever larger.
const ENDED_BYTES: usize = 2048;

async fn find(edge: &Edge, id: JobId) -> Result<Job, Problem> {
    edge.store.job(id).await?.ok_or_else(|| Problem::unknown_job(&id.to_string()))
}

async fn view(edge: &Edge, job: &Job) -> Result<JobBody, Problem> {
    if job.state.is_final() {
        return Ok(view_in(edge, job, &edge.supervisor.roster()).await?);
    }
    // A supervisor that has ended has neither slots nor workers.
    let pool = edge.supervisor.view().await.unwrap_or_default();
    Ok(view_in(edge, job, &pool).await?)
}

/// The job with what its workers do now, and how far it is with telling its end.
pub(super) async fn view_in(edge: &Edge, job: &Job, pool: &PoolView) -> StoreResult<JobBody> {
    let body = job_view(job, pool, (edge.now)());
    Ok(match &job.spec.options.callback_url {
        Some(url) => body.with_callback(url, edge.store.callback(job.id).await?),
        None => body,
    })
}

/// What is told of a job that has ended: a JSON object.
pub fn ended_message(edge: &Edge, job: &Job) -> String {
    let message = ended_view(job, edge.supervisor.roster().slots, (edge.now)());
    serde_json::to_string(&message).expect("a job's view always serialises")
}

/// That a request is held until a job has ended.
pub(super) struct Wait {
    until: Instant,
    watch: JobWatch,
}

impl Wait {
    /// From now on; what is known of the job's state must not be older.
    pub(super) fn new(edge: &Edge, id: JobId, time: Duration) -> Self {
        Self { until: Instant::now() + time, watch: edge.store.watch(id) }
    }

    /// Waits until the job has ended, the time is over or the server shuts down; gives the job as it is then.
    async fn for_end(mut self, edge: &Edge, mut job: Job) -> Result<Job, Problem> {
        while !job.state.is_final() {
            let changed = tokio::select! {
                () = self.watch.changed() => true,
                () = edge.shuts_down() => false,
                () = sleep_until(self.until) => false,
            };
            if !changed {
                break;
            }
            job = find(edge, job.id).await?;
        }
        Ok(job)
    }
}

/// The header `Prefer` of a submit.
impl IntoParams for Wait {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "`wait=10` (RFC 7240): answer when the job has ended, with its results, or after ten seconds; 600 at most.";
        let schema = ObjectBuilder::new().schema_type(Type::String).examples(["wait=10"]);
        let header = ParameterBuilder::new().name("Prefer").parameter_in(ParameterIn::Header);
        vec![header.description(Some(description)).schema(Some(schema)).build()]
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct StatusParams {
    /// Hold the answer until the job has ended, so long at most; ten minutes are the most.
    #[serde(default, deserialize_with = "query::wait")]
    #[param(value_type = Option<WaitTime>, inline)]
    wait: Option<Duration>,
}

/// Look at a job.
///
/// Its state, progress, timings, workers and running tasks; with `wait` as soon as it has ended.
#[utoipa::path(
    get, path = "", tag = JOBS, operation_id = "getJob",
    params(JobId, StatusParams),
    responses((status = 200, description = "The job.", body = JobBody), Problems<(BadRequest, UnknownJob)>)
)]
pub(super) async fn status(
    State(edge): State<Edge>,
    Named(id): Named,
    Params(StatusParams { wait }): Params<StatusParams>,
) -> Result<Json<JobBody>, Problem> {
    let id = query::job_id(&id)?;
    let wait = wait.map(|time| Wait::new(&edge, id, time));
    let mut job = find(&edge, id).await?;
    if let Some(wait) = wait {
        job = wait.for_end(&edge, job).await?;
    }
    Ok(Json(view(&edge, &job).await?))
}

/// The answer to a submit: 202 with the job, or 200 with its results if it ended within the time to wait.
pub(super) async fn accepted(edge: &Edge, job: Job, wait: Option<Wait>) -> Result<Response, Problem> {
    let Some(wait) = wait else { return accepted_only(edge, &job).await };
    let job = wait.for_end(edge, job).await?;
    if job.state.is_final() { ended(edge, job, None).await } else { accepted_only(edge, &job).await }
}

async fn accepted_only(edge: &Edge, job: &Job) -> Result<Response, Problem> {
    let body = view(edge, job).await?;
    Ok((StatusCode::ACCEPTED, [(header::LOCATION, location(job))], Json(body)).into_response())
}

/// The answer to a submit of a job that has ended within the time to wait, with its results, unless some are freed; with
/// these, if all are at hand.
pub(super) async fn ended(
    edge: &Edge,
    job: Job,
    results: Option<ResultSegment>,
) -> Result<Response, Problem> {
    let mut body = Vec::with_capacity(ENDED_BYTES);
    let view = view(edge, &job).await?;
    serde_json::to_writer(&mut body, &view).expect("a job's view always serialises");
    if results.is_some() || edge.store.freed_through(job.id).await? == 0 {
        body.pop_if(|last| *last == b'}');
        body.extend_from_slice(br#","results":"#);
        results::first_page(&mut body, edge, &job, results).await?;
        body.push(b'}');
    }
    body.push(b'\n');
    let head = [(header::CONTENT_TYPE, "application/json".into()), (header::LOCATION, location(&job))];
    Ok((StatusCode::OK, head, body).into_response())
}

fn location(job: &Job) -> String {
    format!("/v1/jobs/{}", job.id)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ListParams {
    /// Only jobs in this state.
    #[param(inline)]
    state: Option<JobState>,
    /// Only jobs of this function.
    function: Option<String>,
    /// Only jobs with this label.
    #[param(pattern = "^[^=]*=.*$", example = "team=x")]
    label: Option<String>,
    /// The `next` of the page before.
    #[param(inline)]
    after: Option<JobId>,
    /// So many at most.
    #[param(minimum = 1, maximum = 1000, default = 100)]
    limit: Option<u32>,
}

/// List jobs, the newest first.
#[utoipa::path(
    get, path = "", tag = JOBS, operation_id = "listJobs",
    params(ListParams),
    responses((status = 200, description = "Jobs, without `workers` and `running`.", body = JobPage), Problems<(BadRequest,)>)
)]
pub(super) async fn list(
    State(edge): State<Edge>,
    Params(params): Params<ListParams>,
) -> Result<Json<JobPage>, Problem> {
    let limit = params.limit.unwrap_or(PAGE);
    if !(1..=MOST_PAGE).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is {limit}; it can be 1 to {MOST_PAGE}")));
    }
    let label = params.label.map(|label| match label.split_once('=') {
        Some((key, value)) => Ok((key.to_owned(), value.to_owned())),
        None => Err(Problem::bad_request(format!("label is {label:?}; write it key=value"))),
    });
    let filter = JobFilter { state: params.state, function: params.function, label: label.transpose()? };
    let jobs = edge.store.jobs(filter, params.after, limit).await?;
    let (slots, now) = (edge.supervisor.roster().slots, (edge.now)());
    let next = if jobs.len() == limit as usize { jobs.last().map(|job| job.id) } else { None };
    let items = jobs.iter().map(|job| brief_view(job, slots, now)).collect();
    Ok(Json(JobPage { items, next }))
}

/// Cancel a job.
///
/// Running tasks are killed; what is done stays.
#[utoipa::path(
    post, path = "", tag = JOBS, operation_id = "cancelJob",
    params(JobId),
    responses((status = 200, description = "It has ended.", body = JobBody), (status = 202, description = "Its running tasks are being stopped.", body = JobBody), Problems<(UnknownJob,)>)
)]
pub(super) async fn cancel(State(edge): State<Edge>, Named(id): Named) -> Result<Response, Problem> {
    let (parsed, now) = (query::job_id(&id)?, (edge.now)());
    let Some(job) = edge.store.cancel(parsed, now).await? else {
        return Err(Problem::unknown_job(&id));
    };
    tell_of_end(&edge, &job, now);
    if job.state == JobState::Cancelling {
        tracing::info!(job = %parsed, function = job.spec.function, "job is being cancelled");
    }
    edge.supervisor.cancelled(parsed).await;
    let status = if job.state.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(view(&edge, &job).await?)).into_response())
}

/// Has the log tell of a job's end, if it has ended since then: the supervisor tells of those that end with a task.
pub(super) fn tell_of_end(edge: &Edge, job: &Job, since: Timestamp) {
    if job.finished_at.is_some_and(|at| at >= since) {
        telemetry::job_ended(&edge.metrics.job_lines, job);
    }
}

/// Close an open job.
///
/// No more inputs will come, and it ends when all its tasks have.
#[utoipa::path(
    post, path = "", tag = JOBS, operation_id = "closeJob",
    params(JobId),
    responses((status = 200, description = "The job.", body = JobBody), Problems<(UnknownJob,)>)
)]
pub(super) async fn close(State(edge): State<Edge>, Named(id): Named) -> Result<Response, Problem> {
    let now = (edge.now)();
    let Some(job) = edge.store.close(query::job_id(&id)?, now).await? else {
        return Err(Problem::unknown_job(&id));
    };
    tell_of_end(&edge, &job, now);
    if job.state.is_final() {
        // The pool, which waits for more of it, is to forget it.
        edge.supervisor.cancelled(job.id).await;
    }
    Ok(Json(view(&edge, &job).await?).into_response())
}

/// Pause a job.
///
/// No more of its tasks begin until it is resumed; those that run go on.
#[utoipa::path(
    post, path = "", tag = JOBS, operation_id = "pauseJob",
    params(JobId),
    responses((status = 200, description = "The job.", body = JobBody), Problems<(UnknownJob, WrongState)>)
)]
pub(super) async fn pause(State(edge): State<Edge>, Named(id): Named) -> Result<Response, Problem> {
    let Some(job) = edge.store.pause(query::job_id(&id)?).await? else {
        return Err(Problem::unknown_job(&id));
    };
    if job.state != JobState::Paused {
        return Err(not_possible(&job, "paused"));
    }
    edge.supervisor.paused(job.id).await;
    Ok(Json(view(&edge, &job).await?).into_response())
}

/// Resume a paused job.
#[utoipa::path(
    post, path = "", tag = JOBS, operation_id = "resumeJob",
    params(JobId),
    responses((status = 200, description = "The job.", body = JobBody), Problems<(UnknownJob, WrongState)>)
)]
pub(super) async fn resume(State(edge): State<Edge>, Named(id): Named) -> Result<Response, Problem> {
    let Some((job, unclaimed)) = edge.store.resume(query::job_id(&id)?).await? else {
        return Err(Problem::unknown_job(&id));
    };
    if !job.state.is_runnable() {
        return Err(not_possible(&job, "resumed"));
    }
    edge.supervisor.submitted(RunnableJob::new(&job, unclaimed)).await;
    Ok(Json(view(&edge, &job).await?).into_response())
}

fn not_possible(job: &Job, what: &str) -> Problem {
    let detail = format!("the job is {}; it cannot be {what}", job.state);
    Problem::new(WrongState, detail)
}

/// Run the failed tasks of a job again.
///
/// The job must have ended. A task that is run again has a further result. One whose result has been freed is not run again, and
/// still counts as failed.
#[utoipa::path(
    post, path = "", tag = JOBS, operation_id = "retryJob",
    params(JobId),
    responses((status = 200, description = "None has failed.", body = JobBody), (status = 202, description = "They run again.", body = JobBody), Problems<(UnknownJob, NotEnded, ResultsFreed)>)
)]
pub(super) async fn retry(State(edge): State<Edge>, Named(id): Named) -> Result<Response, Problem> {
    match edge.store.retry_failed(query::job_id(&id)?).await? {
        // Which tasks have failed is known by their results.
        Retried::Yes(job, 0) if job.tally.failed > 0 => {
            let freed = edge.store.freed_through(job.id).await?;
            Err(Problem::failures_freed(job.tally.failed, freed))
        }
        Retried::Yes(job, 0) => Ok(Json(view(&edge, &job).await?).into_response()),
        Retried::Yes(job, count) => {
            tracing::info!(job = %job.id, function = job.spec.function, tasks = count, "failed tasks are run again");
            edge.supervisor.submitted(RunnableJob::new(&job, count)).await;
            Ok((StatusCode::ACCEPTED, Json(view(&edge, &job).await?)).into_response())
        }
        Retried::Unknown => Err(Problem::unknown_job(&id)),
        Retried::NotEnded(state) => {
            let detail = format!("the job is {state}; its failed tasks can be run again when it has ended");
            Err(Problem::new(NotEnded, detail))
        }
    }
}

/// Forget a job that has ended.
#[utoipa::path(
    delete, path = "", tag = JOBS, operation_id = "deleteJob",
    params(JobId),
    responses((status = 204, description = "The job and its results are forgotten."), Problems<(UnknownJob, NotEnded)>)
)]
pub(super) async fn forget(State(edge): State<Edge>, Named(id): Named) -> Result<StatusCode, Problem> {
    match edge.store.delete(query::job_id(&id)?).await? {
        Deleted::Yes => Ok(StatusCode::NO_CONTENT),
        Deleted::Unknown => Err(Problem::unknown_job(&id)),
        Deleted::NotEnded(state) => {
            let detail = format!("the job is {state}; cancel it first: POST /v1/jobs/{id}/cancel");
            Err(Problem::new(NotEnded, detail))
        }
    }
}
