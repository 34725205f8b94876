//! `POST /v1/jobs` and `POST …/inputs`: a JSON body, or an NDJSON stream with the options in the query.

use std::borrow::Cow;
use std::collections::BTreeMap;

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use serde::Deserialize;

use super::bodies::{MediaType, fit_all, media_type, read_all, read_ndjson};
use super::idempotency::{self, KeyedBody};
use super::inputs::{InputArray, SegmentBuilder, Staging};
use super::jobs::Wait;
use super::options::{LockParam, Options, Time, check, query_options};
use super::query::Named;
use super::{Edge, Problem, jobs, query};
use crate::model::{JobId, JobSpec, OnError};
use crate::nearest::with_nearest;
use crate::store::{
    Appended, IdempotencyKey, Intake, MoreInputs, NewJob, QueueLimits, RunnableJob, Submitted,
};

pub(super) async fn submit(
    State(edge): State<Edge>,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    if *edge.draining.borrow() {
        return Err(Problem::shutting_down());
    }
    let id = JobId(uuid::Uuid::now_v7());
    let mut key = KeyedBody::new(&headers, &uri)?;
    let (spec, intake, inputs, staging) = match media_type(&headers)? {
        MediaType::Json => {
            if let Some(query) = uri.query().filter(|query| !query.is_empty()) {
                let detail =
                    format!("the query is {query:?}; with a JSON body the options stand in the body");
                return Err(Problem::bad_request(detail));
            }
            let (spec, intake, inputs) = read_json(&edge, body, &mut key).await?;
            (spec, intake, inputs, Staging::new(edge.clone(), id))
        }
        MediaType::Ndjson => {
            let options = query_options(uri.query().unwrap_or(""))?;
            let intake = intake(options.open);
            let spec = check(&edge, options)?;
            let (inputs, staging) = read_ndjson(&edge, id, &spec.function, body, &mut key).await?;
            (spec, intake, inputs, staging)
        }
    };
    let time = query::prefer_wait(&headers);
    // Before it is there, so that its end is not missed.
    let wait = time.map(|time| Wait::new(&edge, id, time));
    match accept(&edge, id, (spec, intake), inputs, staging, key.finish()).await? {
        Submitted::New(job) => jobs::accepted(&edge, job, wait).await,
        Submitted::Same(job) => {
            let wait = time.map(|time| Wait::new(&edge, job.id, time));
            // It may have ended since it was looked up.
            let job = edge.store.job(job.id).await?.unwrap_or(job);
            let mut response = jobs::accepted(&edge, job, wait).await?;
            response.headers_mut().insert("idempotent-replayed", HeaderValue::from_static("true"));
            Ok(response)
        }
        Submitted::Gone(job) => Err(idempotency::gone(job)),
        Submitted::Other => Err(idempotency::other()),
        Submitted::QueueFull(queued) => Err(Problem::queue_full(&queued, &edge.limits)),
    }
}

/// Accepts the job in a task of its own, so that a client that goes away leaves nothing half done.
pub(super) async fn accept(
    edge: &Edge,
    id: JobId,
    (spec, intake): (JobSpec, Intake),
    inputs: SegmentBuilder,
    staging: Staging,
    key: Option<IdempotencyKey>,
) -> Result<Submitted, Problem> {
    let edge = edge.clone();
    let accepting = tokio::spawn(async move {
        let (segments, total) = inputs.finish();
        staging.keep();
        let job = NewJob { id, spec, total, intake, key, limits: queue_limits(&edge) };
        let submitted = edge.store.submit(job, segments, (edge.now)()).await?;
        if let Submitted::New(job) = &submitted {
            if !job.state.is_final() {
                let spec = job.spec.clone();
                edge.supervisor.submitted(RunnableJob { id, spec, unclaimed: total }).await;
            }
            tracing::info!(job = %id, function = job.spec.function, tasks = total, "job accepted");
        }
        Ok(submitted)
    });
    accepting.await.unwrap_or_else(|_| Err(Problem::shutting_down()))
}

fn intake(open: bool) -> Intake {
    if open { Intake::Open } else { Intake::Closed }
}

pub(super) fn queue_limits(edge: &Edge) -> QueueLimits {
    QueueLimits { tasks: edge.limits.max_queued_tasks, bytes: edge.limits.max_queued_bytes }
}

/// `POST …/inputs`: more inputs for an open job, as JSON or as a stream.
pub(super) async fn more_inputs(
    State(edge): State<Edge>,
    Named(name): Named,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Request {
        inputs: InputArray,
    }
    let id = query::job_id(&name)?;
    let job = edge.store.job(id).await?.ok_or_else(|| Problem::unknown_job(&name))?;
    let (staged, function) = (JobId(uuid::Uuid::now_v7()), job.spec.function);
    let mut key = KeyedBody::new(&headers, &uri)?;
    let (inputs, staging) = match media_type(&headers)? {
        MediaType::Json => {
            let body = read_all(body, edge.limits.max_body_bytes).await?;
            key.update(&body);
            query::must_be_object(&body)?;
            let Request { inputs: InputArray(inputs) } = serde_json::from_slice(&body).map_err(|error| {
                Problem::bad_json(with_nearest(&error.to_string()), error.line(), error.column())
            })?;
            fit_all(&edge, &function, &inputs)?;
            (inputs, Staging::new(edge.clone(), staged))
        }
        MediaType::Ndjson => read_ndjson(&edge, staged, &function, body, &mut key).await?,
    };
    let key = key.finish();
    // In a task of its own, so that a client that goes away leaves nothing half done.
    let appending = tokio::spawn(async move {
        let (segments, total) = inputs.finish();
        staging.keep();
        let more = MoreInputs { job: id, staged, total, key, limits: queue_limits(&edge) };
        let appended = edge.store.append(more, segments, (edge.now)()).await?;
        if let Appended::Yes(job, unclaimed) = &appended
            && job.state.is_runnable()
        {
            let (spec, unclaimed) = (job.spec.clone(), *unclaimed);
            edge.supervisor.submitted(RunnableJob { id, spec, unclaimed }).await;
        }
        Ok((edge, appended))
    });
    let (edge, appended) = appending.await.unwrap_or_else(|_| Err(Problem::shutting_down()))?;
    match appended {
        Appended::Yes(job, _) | Appended::Same(job) => jobs::accepted(&edge, job, None).await,
        Appended::Other => Err(idempotency::other()),
        Appended::Unknown => Err(Problem::unknown_job(&name)),
        Appended::Closed => Err(Problem::not_open()),
        Appended::QueueFull(queued) => Err(Problem::queue_full(&queued, &edge.limits)),
    }
}

async fn read_json(
    edge: &Edge,
    body: Body,
    key: &mut KeyedBody,
) -> Result<(JobSpec, Intake, SegmentBuilder), Problem> {
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Request<'a> {
        #[serde(borrow)]
        function: Cow<'a, str>,
        #[serde(default)]
        inputs: Option<InputArray>,
        #[serde(default)]
        open: bool,
        name: Option<String>,
        #[serde(default)]
        labels: BTreeMap<String, String>,
        processes: Option<u32>,
        priority: Option<i32>,
        timeout: Option<Time>,
        max_attempts: Option<u32>,
        on_error: Option<OnError>,
        retry_backoff: Option<Time>,
        chunk_size: Option<u32>,
        lock: Option<LockParam>,
    }
    let body = read_all(body, edge.limits.max_body_bytes).await?;
    key.update(&body);
    query::must_be_object(&body)?;
    let parsed: Result<Request<'_>, _> = serde_json::from_slice(&body);
    let request = parsed
        .map_err(|error| Problem::bad_json(with_nearest(&error.to_string()), error.line(), error.column()))?;
    if request.inputs.is_none() && !request.open {
        let detail = "inputs is missing; only an open job can do without";
        return Err(Problem::bad_json(detail, 1, 1));
    }
    let options = Options {
        open: request.open,
        function: Some(request.function),
        name: request.name,
        labels: request.labels,
        processes: request.processes,
        priority: request.priority,
        timeout: request.timeout.map(Time::into_text),
        max_attempts: request.max_attempts,
        on_error: request.on_error,
        retry_backoff: request.retry_backoff.map(Time::into_text),
        chunk_size: request.chunk_size,
        lock: request.lock.map(LockParam::into_lock),
    };
    let intake = intake(options.open);
    let (spec, inputs) = (check(edge, options)?, request.inputs.unwrap_or_default().0);
    fit_all(edge, &spec.function, &inputs)?;
    Ok((spec, intake, inputs))
}
