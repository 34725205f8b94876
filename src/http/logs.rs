//! `GET /v1/jobs/{id}/logs`: what the job's tasks printed, as NDJSON or a JSON page.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

use super::kinds::{BadRequest, Problems, UnknownJob};
use super::openapi::{RESULTS, lines};
use super::query::{self, Named, Params};
use super::results::wants_page;
use super::views::rfc3339;
use super::{Edge, Problem};
use crate::model::JobId;
use crate::store::{LogEntry, LogFilter, LogPage};

/// An answer has so many entries unless asked otherwise.
const PAGE: u32 = 1000;
const MOST_PAGE: u32 = 10_000;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct LogParams {
    /// Only what this task printed.
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    index: Option<u64>,
    /// The last `seq` that you have.
    #[serde(default)]
    #[param(maximum = 18_446_744_073_709_551_615_u64)]
    after: u64,
    /// So many entries at most.
    #[param(minimum = 1, maximum = 10_000, default = 1000)]
    limit: Option<u32>,
}

/// Something that a task printed; may be several lines.
#[derive(Serialize, ToSchema)]
#[schema(as = LogEntry, example = json!({"seq": 1, "at": "2026-01-02T03:04:05.678901Z", "index": 2, "attempt": 1,
    "worker": "worker-1", "pid": 4242, "stream": "stderr", "text": "line 1\nline 2"}))]
struct EntryBody<'a> {
    /// Its place in the job's log, from 1.
    seq: u64,
    #[schema(format = DateTime)]
    at: String,
    /// The task.
    index: u64,
    /// Which try of it.
    attempt: u32,
    worker: &'a str,
    /// The worker's process id.
    pid: u32,
    /// `stderr`, `stdout`, or `log` if the worker sent it as such.
    stream: &'a str,
    text: &'a str,
    /// How many bytes are missing before it.
    #[serde(skip_serializing_if = "is_zero")]
    #[schema(required = false)]
    dropped_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

lines! {
    /// Log entries, one a line.
    LogLines of EntryBody<'_>
}

#[derive(Serialize, ToSchema)]
#[schema(as = LogPage)]
struct PageBody<'a> {
    items: Vec<EntryBody<'a>>,
    /// What goes into `after` for the next page; `null` at the end.
    next: Option<u64>,
    /// How many bytes of its oldest entries the job has lost.
    dropped_bytes: u64,
}

/// Read what the tasks printed.
///
/// stderr, stray lines on stdout, and what workers send as `log`; as lines, or as one JSON page with `Accept: application/json`.
#[utoipa::path(
    get, path = "", tag = RESULTS, operation_id = "getLogs",
    params(JobId, LogParams),
    responses(
        (status = 200, description = "Log entries.",
            content((inline(LogLines) = "application/x-ndjson"), (PageBody<'_> = "application/json")),
            headers(("Gristmill-Dropped-Bytes" = Option<u64>,
                description = "With lines: how many bytes of its oldest entries the job has lost."))),
        Problems<(BadRequest, UnknownJob)>
    )
)]
pub(super) async fn logs(
    State(edge): State<Edge>,
    Named(id): Named,
    headers: HeaderMap,
    Params(LogParams { index, after, limit }): Params<LogParams>,
) -> Result<Response, Problem> {
    let job = query::job_id(&id)?;
    let limit = limit.unwrap_or(PAGE);
    if !(1..=MOST_PAGE).contains(&limit) {
        return Err(Problem::bad_request(format!("limit is {limit}; it can be 1 to {MOST_PAGE}")));
    }
    if edge.store.job(job).await?.is_none() {
        return Err(Problem::unknown_job(&id));
    }
    let page = edge.store.logs(job, LogFilter { after, index, limit }).await?;
    Ok(if wants_page(&headers) { as_page(&page, limit) } else { as_lines(&page) })
}

fn as_page(page: &LogPage, limit: u32) -> Response {
    let is_full = page.entries.len() == limit as usize;
    let next = page.entries.last().filter(|_| is_full).map(|last| last.seq);
    let items = page.entries.iter().map(body).collect();
    axum::Json(PageBody { items, next, dropped_bytes: page.dropped_bytes }).into_response()
}

/// A line an entry; a header tells how many bytes of the oldest are gone.
fn as_lines(page: &LogPage) -> Response {
    let line =
        |entry| serde_json::to_string(&body(entry)).expect("texts and numbers always serialise") + "\n";
    let lines: String = page.entries.iter().map(line).collect();
    let mut response = ([(header::CONTENT_TYPE, "application/x-ndjson")], lines).into_response();
    response.headers_mut().insert("gristmill-dropped-bytes", HeaderValue::from(page.dropped_bytes));
    response
}

fn body(entry: &LogEntry) -> EntryBody<'_> {
    let LogEntry { seq, at, index, attempt, worker, pid, stream, text, dropped_bytes } = entry;
    let (seq, index, attempt, pid, dropped_bytes) = (*seq, *index, *attempt, *pid, *dropped_bytes);
    let text = text.strip_suffix('\n').unwrap_or(text);
    EntryBody { seq, at: rfc3339(*at), index, attempt, worker, pid, stream, text, dropped_bytes }
}
