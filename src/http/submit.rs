//! `POST /v1/jobs` and `POST …/inputs`: a JSON body, or an NDJSON stream with the options in the query.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Uri};
use axum::response::Response;
use serde::Deserialize;
use serde_json::json;
use utoipa::openapi::schema::{AllOfBuilder, AnyOfBuilder, ObjectBuilder, Type};
use utoipa::openapi::{RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

use super::bodies::{MediaType, fit_all, media_type, read_all, read_ndjson};
use super::idempotency::{self, KeyedBody};
use super::inputs::{InputArray, SegmentBuilder, Staging};
use super::jobs::Wait;
use super::kinds::{
    BadJson, BadRequest, CallbackRefused, InputMismatch, JobDeleted, KeyReused, NotOpen, Problems, QueueFull,
    TooLarge, UnknownFunction, UnknownJob, UnsupportedMediaType,
};
use super::openapi::{InputLines, JOBS, labels, timeout};
use super::options::{LockParam, Options, Time, check, query_options};
use super::query::{Named, TraceHeader};
use super::results::EndedJob;
use super::views::JobBody;
use super::{Edge, Problem, jobs, query};
use crate::model::{Job, JobId, JobSpec, OnError};
use crate::nearest::with_nearest;
use crate::protocol::json;
use crate::store::{
    Appended, Chunk, IdempotencyKey, Intake, MoreInputs, NewJob, Notice, QueueLimits, RunnableJob, Submitted,
};
use crate::telemetry::{job_ended, tell_sparingly};

/// A job to be run: one function over a batch of inputs.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct SubmitBody<'a> {
    /// Which function; `GET /v1/functions` lists them.
    #[serde(borrow)]
    #[schema(value_type = String, examples("sha256"))]
    function: Cow<'a, str>,
    /// The inputs, each any JSON value that nests at most 64 deep. Only an open job can do without.
    #[serde(default)]
    #[schema(value_type = Option<Vec<serde_json::Value>>)]
    inputs: Option<InputArray>,
    /// Whether the job takes more inputs until it is closed.
    #[serde(default)]
    open: bool,
    /// A name for people.
    #[schema(max_length = 256, examples("nightly"))]
    name: Option<String>,
    #[serde(default)]
    #[schema(schema_with = labels)]
    labels: BTreeMap<String, String>,
    /// At most so many of its tasks run at once; capped by the slots. Default: all slots.
    #[schema(minimum = 1, maximum = 4_294_967_295_u32, format = Int64, examples(4))]
    #[serde(default, deserialize_with = "query::whole")]
    processes: Option<u32>,
    /// Jobs of a higher priority go first; those of one priority share the slots fairly. Default: 0.
    #[schema(minimum = -2_147_483_648, maximum = 2_147_483_647)]
    #[serde(default, deserialize_with = "query::whole")]
    priority: Option<i32>,
    #[schema(schema_with = timeout)]
    timeout: Option<Time>,
    /// How often a task is tried in all. Default: 3, or as its function says.
    #[schema(minimum = 1, maximum = 1000)]
    #[serde(default, deserialize_with = "query::whole")]
    max_attempts: Option<u32>,
    /// What a failed task does to the rest: nothing (`continue`), or it cancels them (`stop`). Default: `continue`.
    #[schema(inline)]
    on_error: Option<OnError>,
    /// How long a failed task waits for its second attempt; for each later one twice as long, less up to half by chance,
    /// an hour at most. Default: 0.
    #[schema(inline)]
    retry_backoff: Option<Time>,
    /// Chunks of so many tasks, instead of a size that follows the measured task time; hardly ever needed.
    #[schema(minimum = 1, maximum = 16384)]
    #[serde(default, deserialize_with = "query::whole")]
    chunk_size: Option<u32>,
    /// A named lock: never two tasks at once of all the jobs that name it; or `{"name": "disk", "permits": 2}`, for two.
    #[schema(inline)]
    lock: Option<LockParam>,
    /// Where the job's end is told, by a signed POST; its host must be one that the operator allows.
    #[schema(max_length = 2048)]
    callback_url: Option<String>,
}

/// A submit is such a body with inputs, or of an open job.
struct Submit;

impl PartialSchema for Submit {
    fn schema() -> RefOr<Schema> {
        let with =
            |name: &str, schema: RefOr<Schema>| ObjectBuilder::new().property(name, schema).required(name);
        let open = ObjectBuilder::new().schema_type(Type::Boolean).enum_values(Some([true]));
        let either = AnyOfBuilder::new()
            .item(with("inputs", InputArray::schema()))
            .item(with("open", open.into()))
            .description(Some("Only an open job can do without inputs."));
        let example =
            json!({"function": "sha256", "inputs": ["a", "b"], "name": "nightly", "labels": {"team": "x"}});
        AllOfBuilder::new().item(SubmitBody::schema()).item(either).examples([example]).into()
    }
}

impl ToSchema for Submit {}

/// More inputs for an open job.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = MoreInputs, example = json!({"inputs": ["c", "d"]}))]
struct MoreBody {
    /// The inputs, each any JSON value that nests at most 64 deep.
    #[schema(value_type = Vec<serde_json::Value>)]
    inputs: InputArray,
}

/// Submit a job.
///
/// As JSON, or as a stream of lines with the options in the query; a JSON body goes without a query. The answer comes when the job
/// and all its inputs are on disk. Nothing of a stream that is cut before its end is ever run.
#[utoipa::path(
    post, path = "", tag = JOBS, operation_id = "submitJob",
    params(Options<'_>, KeyedBody, Wait, TraceHeader),
    request_body(content(
        (Submit = "application/json"),
        (inline(InputLines) = "application/x-ndjson", example = json!("\"a\"\n\"b\"\n"))
    )),
    responses(
        (status = 202, description = "The job is accepted.", body = JobBody,
            headers(("Location" = String, description = "The job's path."),
                ("Idempotent-Replayed" = Option<String>, description = "`true` if the request had been accepted before."))),
        (status = 200, description = "It has ended within the time of `Prefer: wait`.", body = EndedJob,
            headers(("Location" = String, description = "The job's path."),
                ("Idempotent-Replayed" = Option<String>, description = "`true` if the request had been accepted before."))),
        Problems<(BadRequest, BadJson, UnknownFunction, JobDeleted, TooLarge, UnsupportedMediaType, InputMismatch, KeyReused,
            CallbackRefused, QueueFull)>
    )
)]
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
    let (mut spec, intake, inputs, staging) = match media_type(&headers)? {
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
    spec.options.trace = query::trace_parent(&headers);
    let time = query::prefer_wait(&headers);
    // Before it is there, so that its end is not missed.
    let wait = time.map(|time| Wait::new(&edge, id, time));
    match accept(&edge, id, (spec, intake), inputs, staging, key.finish(), wait.is_some()).await? {
        Submitted::New(job) => jobs::accepted(&edge, job, wait).await,
        Submitted::Ended(job, results) => jobs::ended(&edge, job, Some(*results)).await,
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

/// Accepts the job in a task of its own, so that a client that goes away leaves nothing half done. `awaited`: whether the
/// client waits for its end.
pub(super) async fn accept(
    edge: &Edge,
    id: JobId,
    (spec, intake): (JobSpec, Intake),
    inputs: SegmentBuilder,
    staging: Staging,
    key: Option<IdempotencyKey>,
    awaited: bool,
) -> Result<Submitted, Problem> {
    let edge = edge.clone();
    let accepting = tokio::spawn(async move {
        let (segments, total) = inputs.finish();
        staging.keep();
        let untold = Arc::new(Mutex::new(None));
        let tell = {
            let (supervisor, untold) = (edge.supervisor.clone(), untold.clone());
            move |job: &Job, leased: Option<Chunk>| {
                let unclaimed = total - leased.as_ref().map_or(0, |chunk| u64::from(chunk.count));
                let job = RunnableJob { leased, ..RunnableJob::new(job, unclaimed) };
                *untold.lock().unwrap_or_else(PoisonError::into_inner) = supervisor.announced(job);
            }
        };
        let room = needs_slots_only(&edge, &spec).then(|| edge.supervisor.room());
        let notice = Some(Notice { tell: Arc::new(tell), room, awaited });
        let job = NewJob { id, spec, total, intake, key, limits: queue_limits(&edge), notice };
        let submitted = edge.store.submit(job, segments, (edge.now)()).await?;
        let untold = untold.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(job) = untold {
            edge.supervisor.submitted(job).await;
        }
        if let Submitted::New(job) | Submitted::Ended(job, _) = &submitted {
            let lines = &edge.metrics.job_lines;
            tell_sparingly!(lines, job = %id, function = job.spec.function, tasks = total, "job accepted");
            // Of one that ends with a task the supervisor tells.
            if total == 0 && job.state.is_final() {
                job_ended(lines, job);
            }
        }
        Ok(submitted)
    });
    accepting.await.unwrap_or_else(|_| Err(Problem::shutting_down()))
}

/// Whether its first chunk, of one task, waits for a slot and nothing else: for neither a lock nor one of a few workers.
fn needs_slots_only(edge: &Edge, spec: &JobSpec) -> bool {
    let functions = edge.functions();
    let function = functions.iter().find(|known| known.name == spec.function);
    let any_worker = function.is_some_and(|function| function.options.processes.is_none());
    any_worker && spec.options.lock.is_none() && spec.options.chunk_size.is_none()
}

fn intake(open: bool) -> Intake {
    if open { Intake::Open } else { Intake::Closed }
}

pub(super) fn queue_limits(edge: &Edge) -> QueueLimits {
    QueueLimits { tasks: edge.limits.max_queued_tasks, bytes: edge.limits.max_queued_bytes }
}

/// Give an open job more inputs.
///
/// As JSON or as a stream of lines. 409 if the job takes no more.
#[utoipa::path(
    post, path = "", tag = JOBS, operation_id = "addInputs",
    params(JobId, KeyedBody),
    request_body(content(
        (MoreBody = "application/json"),
        (inline(InputLines) = "application/x-ndjson", example = json!("\"c\"\n\"d\"\n"))
    )),
    responses(
        (status = 202, description = "They are accepted.", body = JobBody,
            headers(("Location" = String, description = "The job's path."))),
        Problems<(BadRequest, BadJson, UnknownJob, NotOpen, TooLarge, UnsupportedMediaType, InputMismatch, KeyReused, QueueFull)>
    )
)]
pub(super) async fn more_inputs(
    State(edge): State<Edge>,
    Named(name): Named,
    uri: Uri,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let id = query::job_id(&name)?;
    let job = edge.store.job(id).await?.ok_or_else(|| Problem::unknown_job(&name))?;
    let (staged, function) = (JobId(uuid::Uuid::now_v7()), job.spec.function);
    let mut key = KeyedBody::new(&headers, &uri)?;
    let (inputs, staging) = match media_type(&headers)? {
        MediaType::Json => {
            let body = read_all(body, edge.limits.max_body_bytes).await?;
            key.update(&body);
            query::must_be_object(&body)?;
            let MoreBody { inputs: InputArray(inputs) } = json::parse(&body).map_err(|error| {
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
            edge.supervisor.submitted(RunnableJob::new(job, *unclaimed)).await;
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
    let body = read_all(body, edge.limits.max_body_bytes).await?;
    key.update(&body);
    query::must_be_object(&body)?;
    let parsed: Result<SubmitBody<'_>, _> = json::parse(&body);
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
        callback_url: request.callback_url,
    };
    let intake = intake(options.open);
    let (spec, inputs) = (check(edge, options)?, request.inputs.unwrap_or_default().0);
    fit_all(edge, &spec.function, &inputs)?;
    Ok((spec, intake, inputs))
}
