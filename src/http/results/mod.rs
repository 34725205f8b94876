//! `GET /v1/jobs/{id}/results`: NDJSON, streamed from the store a piece at a time, or a JSON page.

mod cursor;

use axum::Json;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use utoipa::openapi::schema::AnyOfBuilder;
use utoipa::openapi::{Ref, RefOr, Schema};
use utoipa::{IntoParams, PartialSchema, ToSchema};

pub(super) use cursor::Cursor;

use super::kinds::{BadRequest, Problems, ResultsFreed, UnknownJob};
use super::openapi::{RESULTS, lines};
use super::query::{self, Named, Params};
use super::render::Fields;
use super::views::JobBody;
use super::{Edge, Problem};
use crate::model::{Job, JobId, ResultSegment, Verdict};
use crate::store::Order;

/// A JSON page has so many items unless asked otherwise.
const PAGE: u64 = 1000;
const MOST_PAGE: u64 = 100_000;

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

/// A job that has ended, with the first page of its results in the order of the inputs, unless some have been freed.
#[derive(ToSchema)]
#[expect(dead_code, reason = "as above")]
pub(super) struct EndedJob {
    #[serde(flatten)]
    job: JobBody,
    /// Absent if results of the job have been freed.
    #[schema(nullable = false)]
    results: Option<ResultPage>,
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
        let mut page = Vec::new();
        cursor.page(&mut page, limit, &job).await?;
        page.push(b'\n');
        return Ok(([(header::CONTENT_TYPE, "application/json")], page).into_response());
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

/// Appends the first results in the order of the inputs, as a page; these, if they are at hand.
pub(super) async fn first_page(
    page: &mut Vec<u8>,
    edge: &Edge,
    job: &Job,
    results: Option<ResultSegment>,
) -> Result<(), Problem> {
    let cursor = Cursor::new(edge.clone(), job.id, Order::Input, Fields::All, 0, PAGE);
    cursor.with(results).page(page, PAGE, job).await
}
