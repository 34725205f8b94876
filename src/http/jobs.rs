//! Jobs: status, list, cancel, delete.

use std::time::Duration;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use serde::Deserialize;
use tokio::time::{Instant, sleep_until};

use super::query::{self, Named, Params};
use super::views::{JobBody, Page, brief_view, job_view};
use super::{Edge, Problem, results};
use crate::model::{Job, JobId, JobState};
use crate::store::{Deleted, JobFilter, JobWatch, Retried, RunnableJob};

/// A list has so many items unless asked otherwise.
const PAGE: u32 = 100;
const MOST_PAGE: u32 = 1000;

async fn find(edge: &Edge, id: JobId) -> Result<Job, Problem> {
    edge.store.job(id).await?.ok_or_else(|| Problem::unknown_job(&id.to_string()))
}

async fn view(edge: &Edge, job: &Job) -> Result<JobBody, Problem> {
    // A supervisor that has ended has neither slots nor workers.
    let pool =
        if job.state.is_final() { edge.supervisor.glance().await } else { edge.supervisor.view().await };
    let pool = pool.unwrap_or_default();
    Ok(job_view(job, &pool, (edge.now)()))
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
        let mut draining = edge.draining.clone();
        while !job.state.is_final() {
            let changed = tokio::select! {
                () = self.watch.changed() => true,
                _ = draining.wait_for(|draining| *draining) => false,
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

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StatusParams {
    #[serde(default, deserialize_with = "query::wait")]
    wait: Option<Duration>,
}

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
    let location = format!("/v1/jobs/{}", job.id);
    let is_held = wait.is_some();
    let job = match wait {
        Some(wait) => wait.for_end(edge, job).await?,
        None => job,
    };
    let body = view(edge, &job).await?;
    let mut response = if is_held && job.state.is_final() {
        let page = results::first_page(edge, &job).await?;
        let body = serde_json::to_string(&body).expect("a job's view always serialises");
        let body = format!("{},\"results\":{page}}}\n", body.strip_suffix('}').unwrap_or(&body));
        (StatusCode::OK, [(header::CONTENT_TYPE, "application/json")], body).into_response()
    } else {
        (StatusCode::ACCEPTED, Json(body)).into_response()
    };
    let location = HeaderValue::try_from(location).expect("a path of a UUID is a valid header");
    response.headers_mut().insert(header::LOCATION, location);
    Ok(response)
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ListParams {
    state: Option<JobState>,
    function: Option<String>,
    label: Option<String>,
    after: Option<JobId>,
    limit: Option<u32>,
}

pub(super) async fn list(
    State(edge): State<Edge>,
    Params(params): Params<ListParams>,
) -> Result<Json<Page<JobBody>>, Problem> {
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
    let (slots, now) = (edge.supervisor.glance().await.unwrap_or_default().slots, (edge.now)());
    let next = if jobs.len() == limit as usize { jobs.last().map(|job| job.id) } else { None };
    let items = jobs.iter().map(|job| brief_view(job, slots, now)).collect();
    Ok(Json(Page { items, next }))
}

pub(super) async fn cancel(State(edge): State<Edge>, Named(id): Named) -> Result<Response, Problem> {
    let parsed = query::job_id(&id)?;
    let Some(job) = edge.store.cancel(parsed, (edge.now)()).await? else {
        return Err(Problem::unknown_job(&id));
    };
    if job.state == JobState::Cancelling {
        tracing::info!(job = %parsed, "job is being cancelled");
    }
    edge.supervisor.cancelled(parsed).await;
    let status = if job.state.is_final() { StatusCode::OK } else { StatusCode::ACCEPTED };
    Ok((status, Json(view(&edge, &job).await?)).into_response())
}

/// No more inputs will come: an open job ends when all its tasks have.
pub(super) async fn close(State(edge): State<Edge>, Named(id): Named) -> Result<Response, Problem> {
    let Some(job) = edge.store.close(query::job_id(&id)?, (edge.now)()).await? else {
        return Err(Problem::unknown_job(&id));
    };
    if job.state.is_final() {
        // The pool, which waits for more of it, is to forget it.
        edge.supervisor.cancelled(job.id).await;
    }
    Ok(Json(view(&edge, &job).await?).into_response())
}

/// No more tasks of the job begin until it is resumed; those that run go on.
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

pub(super) async fn resume(State(edge): State<Edge>, Named(id): Named) -> Result<Response, Problem> {
    let Some((job, unclaimed)) = edge.store.resume(query::job_id(&id)?).await? else {
        return Err(Problem::unknown_job(&id));
    };
    if !job.state.is_runnable() {
        return Err(not_possible(&job, "resumed"));
    }
    edge.supervisor.submitted(RunnableJob { id: job.id, spec: job.spec.clone(), unclaimed }).await;
    Ok(Json(view(&edge, &job).await?).into_response())
}

fn not_possible(job: &Job, what: &str) -> Problem {
    let detail = format!("the job is {}; it cannot be {what}", job.state);
    Problem::new(StatusCode::CONFLICT, "wrong-state", "The job's state does not allow it", detail)
}

/// The failed tasks of a job that has ended run again: 202 with the job; 200 if none has failed.
pub(super) async fn retry(State(edge): State<Edge>, Named(id): Named) -> Result<Response, Problem> {
    match edge.store.retry_failed(query::job_id(&id)?).await? {
        Retried::Yes(job, 0) => Ok(Json(view(&edge, &job).await?).into_response()),
        Retried::Yes(job, count) => {
            tracing::info!(job = %job.id, tasks = count, "failed tasks are run again");
            let spec = job.spec.clone();
            edge.supervisor.submitted(RunnableJob { id: job.id, spec, unclaimed: count }).await;
            Ok((StatusCode::ACCEPTED, Json(view(&edge, &job).await?)).into_response())
        }
        Retried::Unknown => Err(Problem::unknown_job(&id)),
        Retried::NotEnded(state) => {
            let detail = format!("the job is {state}; its failed tasks can be run again when it has ended");
            Err(Problem::new(StatusCode::CONFLICT, "not-ended", "The job has not ended", detail))
        }
    }
}

pub(super) async fn forget(State(edge): State<Edge>, Named(id): Named) -> Result<StatusCode, Problem> {
    match edge.store.delete(query::job_id(&id)?).await? {
        Deleted::Yes => Ok(StatusCode::NO_CONTENT),
        Deleted::Unknown => Err(Problem::unknown_job(&id)),
        Deleted::NotEnded(state) => {
            let detail = format!("the job is {state}; cancel it first: POST /v1/jobs/{id}/cancel");
            Err(Problem::new(StatusCode::CONFLICT, "not-ended", "The job has not ended", detail))
        }
    }
}
