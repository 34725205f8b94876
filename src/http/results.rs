//! `GET /v1/jobs/{id}/results`: NDJSON, streamed from the store a piece at a time, or a JSON page.

use std::collections::VecDeque;

use axum::Json;
use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

use super::kinds::{BadRequest, Problems, ResultsFreed, UnknownJob};
use super::openapi::{RESULTS, lines};
use super::query::{self, Named, Params};
use super::render::{Fields, Rendering};
use super::views::JobBody;
use super::{Edge, Problem};
use crate::model::{Job, JobId, ResultSegment, Verdict};
use crate::store::{JobWatch, Order};

/// A JSON page has so many items unless asked otherwise.
const PAGE: u64 = 1000;
const MOST_PAGE: u64 = 100_000;
/// A page that holds so many bytes ends, whatever its limit.
const MOST_PAGE_BYTES: usize = 8 << 20;
/// So many bytes are rendered at a time: what a slow reader holds in memory, besides a segment.
const PIECE_BYTES: usize = 1 << 16;

#[derive(Deserialize, Default, Clone, Copy, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum OrderParam {
    #[default]
    Completion,
    Input,
}

#[derive(Deserialize, Default, Clone, Copy, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum FieldsParam {
    #[default]
    All,
    Output,
}

impl From<OrderParam> for Order {
    fn from(order: OrderParam) -> Self {
        match order {
            OrderParam::Completion => Self::Completion,
            OrderParam::Input => Self::Input,
        }
    }
}

impl From<FieldsParam> for Fields {
    fn from(fields: FieldsParam) -> Self {
        match fields {
            FieldsParam::All => Self::All,
            FieldsParam::Output => Self::Output,
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ResultParams {
    /// `completion`: the first-in-first-out queue, by `seq`; `input`: by index, as far as all before have ended.
    #[serde(default)]
    #[param(inline)]
    order: OrderParam,
    /// `all`: whole results; `output`: the bare output, `null` where there is none.
    #[serde(default)]
    #[param(inline)]
    fields: FieldsParam,
    /// Skip so many of this order: the last `seq` you have, or how many results you have in the order of the inputs.
    #[serde(default)]
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    after: u64,
    /// So many at most. Default: all; 1,000 for a JSON page, which can have 100,000.
    #[param(minimum = 1, maximum = 18_446_744_073_709_551_615_u64)]
    limit: Option<u64>,
    /// Go on as results come, until the job has ended; only as lines.
    #[serde(default)]
    follow: bool,
    /// Only those that failed and have not been run again, in the order of completion.
    #[serde(default)]
    failed: bool,
}

impl ResultParams {
    fn order(&self) -> Result<Order, Problem> {
        match (self.order, self.failed) {
            (order, false) => Ok(order.into()),
            (OrderParam::Completion, true) => Ok(Order::Failed),
            (OrderParam::Input, true) => Err(Problem::bad_request(
                "failed=true goes by the order of completion: leave out order=input",
            )),
        }
    }
}

/// What came of a task.
#[derive(ToSchema)]
#[expect(dead_code, reason = "results are rendered from stored bytes; this is what they look like")]
#[schema(examples(
    json!({"seq": 1, "index": 0, "status": "succeeded", "output": "ca978", "attempt": 1, "worker": "worker-1", "pid": 4242,
        "duration_ms": 0.02, "cpu_ms": 0.02}),
    json!({"seq": 2, "index": 7, "status": "failed", "error": {"verdict": "crash", "type": null, "message": "killed by SIGSEGV",
        "stack": null}, "attempt": 3, "worker": "worker-2", "pid": 4250, "duration_ms": 3.1, "cpu_ms": 2.8})
))]
pub(super) struct TaskResult {
    /// Its place in the queue of the job's results: 1, 2, 3 … without a gap.
    #[schema(minimum = 1)]
    seq: u64,
    /// The task's place among the inputs, from 0.
    index: u64,
    #[schema(inline)]
    status: TaskStatus,
    /// What the function made of the input; there if it succeeded.
    #[schema(required = false)]
    output: Value,
    /// There if it did not.
    #[schema(nullable = false)]
    error: Option<ErrorBody>,
    /// Which try it was; absent, as all below, if it was not run.
    #[schema(nullable = false)]
    attempt: Option<u32>,
    #[schema(nullable = false)]
    worker: Option<String>,
    /// The worker's process id.
    #[schema(nullable = false)]
    pid: Option<u32>,
    /// How long it took, in milliseconds.
    #[schema(nullable = false)]
    duration_ms: Option<f64>,
    /// Its CPU time, in milliseconds; an estimate for tasks below some milliseconds.
    #[schema(nullable = false)]
    cpu_ms: Option<f64>,
}

#[derive(ToSchema)]
#[serde(rename_all = "snake_case")]
#[expect(dead_code, reason = "as above")]
enum TaskStatus {
    Succeeded,
    Failed,
    Cancelled,
}

/// Why a task has no output.
#[derive(ToSchema)]
#[schema(as = TaskError)]
#[expect(dead_code, reason = "as above")]
struct ErrorBody {
    /// How its last attempt ended.
    verdict: Verdict,
    /// The error's type in the function's language, such as `ValueError`.
    r#type: Option<String>,
    /// What went wrong, with figures.
    message: String,
    /// The stack, or the last lines on stderr.
    stack: Option<String>,
}

lines! {
    /// Results, one a line.
    ResultLines of TaskResult
}

/// Results, whole or bare.
#[derive(ToSchema)]
#[expect(dead_code, reason = "as above")]
pub(super) struct ResultPage {
    /// Whole results, or with `fields=output` bare outputs.
    items: Vec<ResultItem>,
    /// What goes into `after` for the next page; `null` once the job has ended and all has been read.
    next: Option<u64>,
}

/// A bare output may look like a whole result.
struct ResultItem;

impl PartialSchema for ResultItem {
    fn schema() -> RefOr<Schema> {
        AnyOfBuilder::new().item(Ref::from_schema_name(TaskResult::name())).item(Value::schema()).into()
    }
}

impl ToSchema for ResultItem {
    fn schemas(schemas: &mut Vec<(String, RefOr<Schema>)>) {
        <ResultLines as ToSchema>::schemas(schemas);
    }
}

/// A job that has ended, with the first page of its results in the order of the inputs.
#[derive(ToSchema)]
#[expect(dead_code, reason = "as above")]
pub(super) struct EndedJob {
    #[serde(flatten)]
    job: JobBody,
    results: ResultPage,
}

/// A reader's place in a job's results.
pub(super) struct Cursor {
    edge: Edge,
    job: JobId,
    order: Order,
    fields: Fields,
    after: u64,
    left: u64,
    /// What has been read from the store and is not rendered.
    read: VecDeque<ResultSegment>,
    rendering: Option<Rendering>,
}

/// Read the results.
///
/// As lines, streamed; or as one JSON page with `Accept: application/json`. `after` goes on where the last answer ended.
#[utoipa::path(
    get, path = "", tag = RESULTS, operation_id = "getResults",
    params(JobId, ResultParams),
    responses(
        (status = 200, description = "Results.",
            content((inline(ResultLines) = "application/x-ndjson"), (ResultPage = "application/json"))),
        Problems<(BadRequest, UnknownJob, ResultsFreed)>
    )
)]
pub(super) async fn results(
    State(edge): State<Edge>,
    Named(id): Named,
    headers: HeaderMap,
    Params(params): Params<ResultParams>,
) -> Result<Response, Problem> {
    let job = edge.store.job(query::job_id(&id)?).await?.ok_or_else(|| Problem::unknown_job(&id))?;
    let (order, fields) = (params.order()?, params.fields.into());
    let freed = edge.store.freed_through(job.id).await?;
    if freed > 0 && (order == Order::Input || params.after < freed) {
        return Err(Problem::results_freed(freed));
    }
    let left = params.limit.unwrap_or(u64::MAX);
    if left == 0 {
        return Err(Problem::bad_request("limit is 0; it can be 1 and more"));
    }
    let cursor = Cursor::new(edge, job.id, order, fields, params.after, left);
    if wants_page(&headers) {
        if params.follow {
            return Err(Problem::bad_request("follow=true needs NDJSON: leave out Accept: application/json"));
        }
        let limit = params.limit.unwrap_or(PAGE);
        if limit > MOST_PAGE {
            return Err(Problem::bad_request(format!(
                "limit is {limit}; a JSON page can have 1 to {MOST_PAGE}"
            )));
        }
        let page = cursor.page(limit, &job).await?;
        return Ok(([(header::CONTENT_TYPE, "application/json")], page + "\n").into_response());
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], cursor.stream(params.follow)).into_response())
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct FreeParams {
    /// The last `seq` that is not needed any more.
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    through: u64,
}

/// How far results are freed.
#[derive(Serialize, ToSchema)]
pub(super) struct Freed {
    /// The last `seq` that can be read no more; at most what was asked for, as whole segments are freed.
    freed_through: u64,
}

/// Free results.
///
/// The reader is done with those up to a `seq`; they can be read no more, also in the order of the inputs.
#[utoipa::path(
    delete, path = "", tag = RESULTS, operation_id = "freeResults",
    params(JobId, FreeParams),
    responses((status = 200, description = "They are freed.", body = Freed), Problems<(BadRequest, UnknownJob)>)
)]
pub(super) async fn free(
    State(edge): State<Edge>,
    Named(id): Named,
    Params(FreeParams { through }): Params<FreeParams>,
) -> Result<Json<Freed>, Problem> {
    let freed = edge.store.free_results(query::job_id(&id)?, through).await?;
    let freed_through = freed.ok_or_else(|| Problem::unknown_job(&id))?;
    Ok(Json(Freed { freed_through }))
}

/// NDJSON unless JSON is asked for by name.
pub(super) fn wants_page(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|range| {
        range.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    })
}

/// The first results in the order of the inputs, as a page.
pub(super) async fn first_page(edge: &Edge, job: &Job) -> Result<String, Problem> {
    Cursor::new(edge.clone(), job.id, Order::Input, Fields::All, 0, PAGE).page(PAGE, job).await
}

impl Cursor {
    pub(super) fn new(edge: Edge, job: JobId, order: Order, fields: Fields, after: u64, left: u64) -> Self {
        Self { edge, job, order, fields, after, left, read: VecDeque::new(), rendering: None }
    }

    /// How many results it has given.
    pub(super) fn given(&self) -> u64 {
        self.after
    }

    /// The next lines; none if there are none yet.
    async fn next(&mut self) -> Result<Vec<u8>, Problem> {
        let mut lines = Vec::new();
        while self.left > 0 && lines.len() < PIECE_BYTES && self.has_more(lines.is_empty()).await? {
            let Some(rendering) = &mut self.rendering else { continue };
            if lines.is_empty() {
                lines.reserve(PIECE_BYTES + PIECE_BYTES / 8);
            }
            let count = rendering.render(&mut lines, self.left, PIECE_BYTES, self.fields);
            self.after = rendering.after();
            self.left -= count;
            if rendering.is_done() {
                self.rendering = None;
            }
        }
        Ok(lines)
    }

    /// Sees to it that there is something to render; asks the store only if it `may_read`.
    async fn has_more(&mut self, may_read: bool) -> Result<bool, Problem> {
        if self.rendering.is_none() && self.read.is_empty() && may_read {
            self.read = self.edge.store.results(self.job, self.order, self.after, self.left).await?.into();
        }
        if self.rendering.is_none() {
            let next = self.read.pop_front();
            self.rendering = next.map(|segment| Rendering::new(segment, self.order, self.after));
        }
        Ok(self.rendering.is_some())
    }

    async fn has_ended(&self) -> Result<bool, Problem> {
        Ok(self.edge.store.job(self.job).await?.is_none_or(|job| job.state.is_final()))
    }

    /// `{"items": […], "next": …}`; `next` is null when the job has ended and all its results have been read.
    async fn page(mut self, limit: u64, job: &Job) -> Result<String, Problem> {
        let ended = job.state.is_final();
        // In the order of the inputs, their number is the end; a task that was run again has another seq.
        let end = (ended && self.order == Order::Input).then_some(job.tally.done());
        self.left = end.map_or(limit, |end| limit.min(end.saturating_sub(self.after)));
        let mut items = String::from("{\"items\":[");
        while self.left > 0 && items.len() < MOST_PAGE_BYTES {
            let lines = self.next().await?;
            if lines.is_empty() {
                break;
            }
            items.push_str(&String::from_utf8_lossy(&lines).replace('\n', ","));
        }
        items.truncate(items.trim_end_matches(',').len());
        let at_end = match end {
            Some(end) => self.after >= end,
            None => ended && !self.has_more(true).await?,
        };
        let next = if at_end { "null".to_owned() } else { self.after.to_string() };
        Ok(format!("{items}],\"next\":{next}}}"))
    }

    /// Results that were freed under their reader are no end.
    async fn see_that_none_was_freed(&self, job: &Job) -> Result<(), Problem> {
        let freed = self.edge.store.freed_through(self.job).await?;
        let missed = match self.order {
            Order::Input => freed > 0 && self.after < job.tally.done(),
            Order::Completion | Order::Failed => self.after < freed,
        };
        if missed { Err(Problem::results_freed(freed)) } else { Ok(()) }
    }

    fn stream(self, follow: bool) -> Body {
        let watch = follow.then(|| self.edge.store.watch(self.job));
        Body::from_stream(stream::unfold(Some((self, watch)), |state| async {
            let (mut cursor, mut watch) = state?;
            match cursor.next_or_end(watch.as_mut()).await {
                Ok(None) => None,
                Ok(Some(lines)) => Some((Ok(Bytes::from(lines)), Some((cursor, watch)))),
                // The head of the answer is gone already: a cut stream says that something is wrong.
                Err(_) => {
                    Some((Err(std::io::Error::other("there is more, but not from this server now")), None))
                }
            }
        }))
    }

    /// The next lines; `None` at the end. Where the job is followed, waits for more until it has ended.
    pub(super) async fn next_or_end(
        &mut self,
        mut watch: Option<&mut JobWatch>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        loop {
            // Asked before the results are read, so that the last of them are not missed.
            let ended = watch.is_none() || self.has_ended().await?;
            let lines = self.next().await?;
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            if self.left == 0 {
                return Ok(None);
            }
            if ended {
                // One that was deleted under its reader has no end.
                let job = self.edge.store.job(self.job).await?;
                let job = job.ok_or_else(|| Problem::unknown_job(&self.job.to_string()))?;
                return self.see_that_none_was_freed(&job).await.map(|()| None);
            }
            if *self.edge.draining.borrow() {
                return Err(Problem::shutting_down());
            }
            if let Some(watch) = &mut watch {
                let mut draining = self.edge.draining.clone();
                tokio::select! {
                    () = watch.changed() => {}
                    _ = draining.wait_for(|draining| *draining) => {}
                }
            }
        }
    }
}
