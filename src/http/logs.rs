//! `GET /v1/jobs/{id}/logs`: what the job's tasks printed, as NDJSON or a JSON page.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::{IntoResponse as _, Response};
use serde::{Deserialize, Serialize};

use super::query::{self, Named, Params};
use super::results::wants_page;
use super::views::rfc3339;
use super::{Edge, Problem};
use crate::store::{LogEntry, LogFilter, LogPage};

/// An answer has so many entries unless asked otherwise.
const PAGE: u32 = 1000;
const MOST_PAGE: u32 = 10_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct LogParams {
    index: Option<u64>,
    #[serde(default)]
    after: u64,
    limit: Option<u32>,
}

#[derive(Serialize)]
struct EntryBody<'a> {
    seq: u64,
    at: String,
    index: u64,
    attempt: u32,
    worker: &'a str,
    pid: u32,
    stream: &'a str,
    text: &'a str,
    #[serde(skip_serializing_if = "is_zero")]
    dropped_bytes: u64,
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
fn is_zero(number: &u64) -> bool {
    *number == 0
}

#[derive(Serialize)]
struct PageBody<'a> {
    items: Vec<EntryBody<'a>>,
    next: Option<u64>,
    dropped_bytes: u64,
}

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
