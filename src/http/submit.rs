//! `POST /v1/jobs`: a JSON body, or an NDJSON stream with the options in the query.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, Uri, header};
use axum::response::Response;
use futures_util::StreamExt as _;
use serde::Deserialize;

use super::idempotency::{self, KeyedBody};
use super::inputs::{InputArray, SegmentBuilder, Staging};
use super::query::Named;
use super::{Edge, Problem, jobs, query};
use crate::model::limits::{MAX_LABELS, MAX_NAME_BYTES};
use crate::model::{JobId, JobOptions, JobSpec, Lock, OnError};
use crate::nearest::{nearest, with_nearest};
use crate::protocol::json::{self, BadJson};
use crate::protocol::{LineSplitter, LineTooLong};
use crate::schema::Schema;
use crate::store::{Appended, IdempotencyKey, MoreInputs, NewJob, QueueLimits, RunnableJob, Submitted};
use crate::units;

/// More attempts than this are surely a mistake.
const MOST_ATTEMPTS: u32 = 1000;

/// All that a submit can say but its inputs.
#[derive(Deserialize, Debug, Default)]
#[serde(default)]
struct Options<'a> {
    open: bool,
    function: Option<Cow<'a, str>>,
    name: Option<String>,
    labels: BTreeMap<String, String>,
    processes: Option<u32>,
    priority: Option<i32>,
    timeout: Option<String>,
    max_attempts: Option<u32>,
    on_error: Option<OnError>,
    retry_backoff: Option<String>,
    lock: Option<Lock>,
}

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
    let (spec, open, inputs, staging) = match media_type(&headers)? {
        MediaType::Json => {
            if let Some(query) = uri.query().filter(|query| !query.is_empty()) {
                let detail =
                    format!("the query is {query:?}; with a JSON body the options stand in the body");
                return Err(Problem::bad_request(detail));
            }
            let (spec, open, inputs) = read_json(&edge, body, &mut key).await?;
            (spec, open, inputs, Staging::new(edge.clone(), id))
        }
        MediaType::Ndjson => {
            let options = query_options(uri.query().unwrap_or(""))?;
            let open = options.open;
            let spec = check(&edge, options)?;
            let (inputs, staging) = read_ndjson(&edge, id, &spec.function, body, &mut key).await?;
            (spec, open, inputs, staging)
        }
    };
    let wait = query::prefer_wait(&headers);
    match accept(&edge, id, (spec, open), inputs, staging, key.finish()).await? {
        Submitted::New(job) => jobs::accepted(&edge, job, wait).await,
        Submitted::Same(job) => {
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
async fn accept(
    edge: &Edge,
    id: JobId,
    (spec, open): (JobSpec, bool),
    inputs: SegmentBuilder,
    staging: Staging,
    key: Option<IdempotencyKey>,
) -> Result<Submitted, Problem> {
    let edge = edge.clone();
    let accepting = tokio::spawn(async move {
        let (segments, total) = inputs.finish();
        staging.keep();
        let job = NewJob { id, spec, total, open, key, limits: queue_limits(&edge) };
        let submitted = edge.store.submit(job, segments, (edge.now)()).await?;
        if let Submitted::New(job) = &submitted {
            tracing::info!(job = %id, function = job.spec.function, tasks = total, "job accepted");
            if !job.state.is_final() {
                let spec = job.spec.clone();
                edge.supervisor.submitted(RunnableJob { id, spec, unclaimed: total }).await;
            }
        }
        Ok(submitted)
    });
    accepting.await.unwrap_or_else(|_| Err(Problem::shutting_down()))
}

fn queue_limits(edge: &Edge) -> QueueLimits {
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

enum MediaType {
    Json,
    Ndjson,
}

fn media_type(headers: &HeaderMap) -> Result<MediaType, Problem> {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
    let essence = value.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    if let Some(encoding) = headers.get(header::CONTENT_ENCODING).filter(|value| *value != "identity") {
        let detail = format!("the body is encoded as {encoding:?}; send it as it is");
        return Err(unsupported(detail));
    }
    match essence.as_str() {
        "application/json" => Ok(MediaType::Json),
        "application/x-ndjson" | "application/ndjson" | "application/jsonl" | "application/x-jsonlines" => {
            Ok(MediaType::Ndjson)
        }
        _ => Err(unsupported(format!(
            "the content type is {essence:?}; send application/json (curl --json '{{…}}') or \
             application/x-ndjson, one input a line (curl -H 'Content-Type: application/x-ndjson' -T -)"
        ))),
    }
}

fn unsupported(detail: String) -> Problem {
    Problem::new(
        StatusCode::UNSUPPORTED_MEDIA_TYPE,
        "unsupported-media-type",
        "Unsupported media type",
        detail,
    )
}

async fn read_json(
    edge: &Edge,
    body: Body,
    key: &mut KeyedBody,
) -> Result<(JobSpec, bool, SegmentBuilder), Problem> {
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
        lock: request.lock.map(LockParam::into_lock),
    };
    let open = options.open;
    let (spec, inputs) = (check(edge, options)?, request.inputs.unwrap_or_default().0);
    fit_all(edge, &spec.function, &inputs)?;
    Ok((spec, open, inputs))
}

/// A lock in a JSON body: its name, for one permit, or an object.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a lock is a name, or {\"name\": \"disk\", \"permits\": 2}")]
enum LockParam {
    Name(String),
    Lock(Lock),
}

impl LockParam {
    fn into_lock(self) -> Lock {
        match self {
            Self::Name(name) => Lock { name, permits: 1 },
            Self::Lock(lock) => lock,
        }
    }
}

/// A duration in a JSON body: text, or a number of seconds.
#[derive(Deserialize)]
#[serde(untagged)]
enum Time {
    Text(String),
    Seconds(f64),
}

impl Time {
    fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Seconds(seconds) => seconds.to_string(),
        }
    }
}

async fn read_all(body: Body, limit: usize) -> Result<Bytes, Problem> {
    let mut whole = Vec::new();
    let mut pieces = body.into_data_stream();
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| cut(&error))?;
        if whole.len() + piece.len() > limit {
            return Err(Problem::too_large(format!(
                "a JSON body may have {limit} bytes; send more inputs as application/x-ndjson, which is streamed"
            )));
        }
        whole.extend_from_slice(&piece);
    }
    Ok(whole.into())
}

fn cut(error: &axum::Error) -> Problem {
    Problem::bad_request(format!("the body ended before its end: {error}"))
}

async fn read_ndjson(
    edge: &Edge,
    id: JobId,
    function: &str,
    body: Body,
    key: &mut KeyedBody,
) -> Result<(SegmentBuilder, Staging), Problem> {
    let (mut inputs, mut staging) = (SegmentBuilder::default(), Staging::new(edge.clone(), id));
    let mut splitter = LineSplitter::new(edge.limits.max_input_bytes);
    let (mut line_number, mut pieces) = (0, body.into_data_stream());
    let schema = input_schema(edge, function);
    let mut take = |line: &[u8], inputs: &mut SegmentBuilder| {
        line_number += 1;
        take_line(line, line_number, schema.as_ref(), inputs)
    };
    while let Some(piece) = pieces.next().await {
        let piece = piece.map_err(|error| cut(&error))?;
        key.update(&piece);
        splitter.feed(&piece, |line| take(line, &mut inputs)).map_err(BadLine::into_problem)?;
        if let Some(surplus) = inputs.take_surplus() {
            staging.stage(surplus).await?;
        }
    }
    if let Some(last) = splitter.finish() {
        take(&last, &mut inputs).map_err(BadLine::into_problem)?;
    }
    Ok((inputs, staging))
}

/// Sees that the inputs of a JSON body are what they may be.
fn fit_all(edge: &Edge, function: &str, inputs: &SegmentBuilder) -> Result<(), Problem> {
    let max = edge.limits.max_input_bytes;
    if inputs.longest() > max {
        return Err(BadLine::from(LineTooLong { max }).into_problem());
    }
    match input_schema(edge, function) {
        Some(schema) => (0..).zip(inputs.lines()).try_for_each(|(index, line)| fit(&schema, index, line)),
        None => Ok(()),
    }
}

/// The schema of a function's inputs, if it has one.
fn input_schema(edge: &Edge, function: &str) -> Option<Schema> {
    edge.functions().iter().find(|known| known.name == function)?.input_schema.clone()
}

fn fit(schema: &Schema, index: u64, input: &[u8]) -> Result<(), Problem> {
    schema.check(input).map_err(|mismatch| {
        let detail = format!("input {index} does not fit the function's schema: {mismatch}");
        let title = "An input does not fit the function's schema";
        let problem = Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "input-mismatch", title, detail);
        problem.with("index", index.into()).with("path", mismatch.path.into())
    })
}

enum BadLine {
    TooLong(LineTooLong),
    Json(usize, BadJson),
    Unfit(Problem),
}

impl From<LineTooLong> for BadLine {
    fn from(error: LineTooLong) -> Self {
        Self::TooLong(error)
    }
}

impl BadLine {
    fn into_problem(self) -> Problem {
        match self {
            Self::TooLong(LineTooLong { max }) => {
                Problem::too_large(format!("an input may have {max} bytes"))
            }
            Self::Unfit(problem) => problem,
            Self::Json(line, BadJson::Syntax(error)) => {
                let what = error.to_string();
                let what = what.split(" at line ").next().unwrap_or_default();
                let detail =
                    format!("line {line}, column {}: {what}; each line is one JSON value", error.column());
                Problem::bad_json(detail, line, error.column())
            }
            Self::Json(line, error @ BadJson::TooDeep) => {
                Problem::bad_json(format!("line {line}: {error}"), line, 1)
            }
        }
    }
}

/// Blank lines, such as one at the end, are no inputs.
fn take_line(
    line: &[u8],
    number: usize,
    schema: Option<&Schema>,
    inputs: &mut SegmentBuilder,
) -> Result<(), BadLine> {
    let line = line.trim_ascii();
    if line.is_empty() {
        return Ok(());
    }
    json::check(line).map_err(|error| BadLine::Json(number, error))?;
    schema.map_or(Ok(()), |schema| fit(schema, inputs.total(), line)).map_err(BadLine::Unfit)?;
    inputs.push(line);
    Ok(())
}

/// The options of a query string; `label=team=x` may be given more than once.
fn query_options(text: &str) -> Result<Options<'static>, Problem> {
    let wrong = |key: &str, value: &str, want: &str| {
        Problem::bad_request(format!("{key} is {value:?} in the query; it can be {want}"))
    };
    let mut options = Options::default();
    let pairs: Vec<(String, String)> = axum::extract::Query::try_from_uri(
        &format!("/?{text}").parse::<Uri>().map_err(|error| Problem::bad_request(error.to_string()))?,
    )
    .map(|axum::extract::Query(pairs)| pairs)
    .map_err(|error| Problem::bad_request(error.to_string()))?;
    let mut seen = BTreeSet::new();
    for (key, value) in pairs {
        let once = if key == "label" {
            format!("label={}", value.split('=').next().unwrap_or(""))
        } else {
            key.clone()
        };
        if !seen.insert(once) {
            return Err(Problem::bad_request(format!("{key} is given twice in the query")));
        }
        match key.as_str() {
            "function" => options.function = Some(value.into()),
            "name" => options.name = Some(value),
            "processes" => {
                options.processes = Some(value.parse().map_err(|_| wrong(&key, &value, "1, 2, 3 …"))?)
            }
            "priority" => {
                options.priority = Some(value.parse().map_err(|_| wrong(&key, &value, "a whole number"))?)
            }
            "timeout" => options.timeout = Some(value),
            "retry_backoff" => options.retry_backoff = Some(value),
            "open" => {
                options.open = value.parse().map_err(|_| wrong(&key, &value, "true or false"))?;
            }
            "lock" => options.lock = Some(Lock { name: value, permits: 1 }),
            "max_attempts" => {
                options.max_attempts = Some(value.parse().map_err(|_| wrong(&key, &value, "1, 2, 3 …"))?);
            }
            "on_error" => {
                let quoted = serde_json::Value::String(value.clone());
                let parsed = serde_json::from_value(quoted);
                options.on_error = Some(parsed.map_err(|_| wrong(&key, &value, "continue or stop"))?);
            }
            "label" => {
                let (label, value) =
                    value.split_once('=').ok_or_else(|| wrong(&key, &value, "written key=value"))?;
                options.labels.insert(label.to_owned(), value.to_owned());
            }
            _ => return Err(unknown_option(&key)),
        }
    }
    Ok(options)
}

fn unknown_option(key: &str) -> Problem {
    let known = [
        "function",
        "name",
        "processes",
        "priority",
        "timeout",
        "max_attempts",
        "on_error",
        "retry_backoff",
        "lock",
        "open",
        "label",
    ];
    let meant = nearest(key, known).map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
    Problem::bad_request(format!(
        "unknown option {key:?} in the query{meant}; known are {}",
        known.join(", ")
    ))
}

/// Makes a valid job of what was said.
fn check(edge: &Edge, options: Options<'_>) -> Result<JobSpec, Problem> {
    let function = known_function(edge, options.function.as_deref())?;
    let in_range = |what: &str, value: u32, most: u32| match value {
        value if (1..=most).contains(&value) => Ok(value),
        value => Err(Problem::bad_request(format!("{what} is {value}; it can be 1 to {most}"))),
    };
    let too_long = |text: &&str| text.len() > MAX_NAME_BYTES;
    let names = options.name.iter().chain(options.labels.keys()).chain(options.labels.values());
    if let Some(long) = names.map(String::as_str).find(too_long) {
        let bytes = long.len();
        return Err(Problem::bad_request(format!(
            "names and labels may have {MAX_NAME_BYTES} bytes; one has {bytes}"
        )));
    }
    if let Some(key) = options.labels.keys().find(|key| key.contains('=')) {
        return Err(Problem::bad_request(format!(
            "the label {key:?} has a = in its name, which separates it from its value"
        )));
    }
    if options.labels.len() > MAX_LABELS {
        return Err(Problem::bad_request(format!("a job may have {MAX_LABELS} labels")));
    }
    let declared = edge.functions().iter().find(|known| known.name == function).map(|known| known.options);
    let declared = declared.unwrap_or_default();
    let defaults = JobOptions::default();
    let max_attempts = options.max_attempts.or(declared.max_attempts).unwrap_or(defaults.max_attempts);
    Ok(JobSpec {
        function,
        name: options.name,
        labels: options.labels,
        options: JobOptions {
            processes: options.processes.map(|n| in_range("processes", n, u32::MAX)).transpose()?,
            priority: options.priority.unwrap_or(defaults.priority),
            timeout: options.timeout.as_deref().map(timeout).transpose()?.or(declared.timeout()),
            max_attempts: in_range("max_attempts", max_attempts, MOST_ATTEMPTS)?,
            on_error: options.on_error.unwrap_or_default(),
            retry_backoff: options
                .retry_backoff
                .as_deref()
                .map(backoff)
                .transpose()?
                .unwrap_or(declared.retry_backoff()),
            lock: options.lock.map(lock).transpose()?,
        },
    })
}

fn lock(lock: Lock) -> Result<Lock, Problem> {
    if lock.permits == 0 || lock.name.is_empty() || lock.name.len() > MAX_NAME_BYTES {
        let detail = format!("a lock has a name of 1 to {MAX_NAME_BYTES} bytes and at least 1 permit");
        return Err(Problem::bad_request(detail));
    }
    Ok(lock)
}

fn backoff(text: &str) -> Result<Duration, Problem> {
    units::duration(text).map_err(|why| Problem::bad_request(format!("retry_backoff: {why}")))
}

fn timeout(text: &str) -> Result<Duration, Problem> {
    let timeout = units::duration(text).map_err(|why| Problem::bad_request(format!("timeout: {why}")))?;
    if timeout.is_zero() {
        Err(Problem::bad_request("timeout is zero; it must be longer"))
    } else {
        Ok(timeout)
    }
}

fn known_function(edge: &Edge, name: Option<&str>) -> Result<String, Problem> {
    let functions = edge.functions();
    let names = || functions.iter().map(|function| function.name.as_str());
    let Some(name) = name else {
        let detail = format!("function is missing; it can be {}", names().collect::<Vec<_>>().join(", "));
        return Err(Problem::bad_request(detail));
    };
    if names().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let meant = nearest(name, names());
    let hint = meant.map_or_else(
        || "GET /v1/functions lists those there are".into(),
        |meant| format!("did you mean {meant:?}?"),
    );
    let detail = format!("there is no function {name:?}; {hint}");
    let problem = Problem::new(StatusCode::NOT_FOUND, "unknown-function", "Unknown function", detail);
    Err(match meant {
        Some(meant) => problem.with("nearest", meant.into()),
        None => problem,
    })
}
