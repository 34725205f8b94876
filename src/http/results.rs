//! `GET /v1/jobs/{id}/results`: NDJSON, streamed from the store a megabyte at a time, or a JSON page.

use axum::body::Body;
use axum::extract::State;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse as _, Response};
use bytes::Bytes;
use futures_util::stream;
use serde::Deserialize;

use super::query::{self, Named, Params};
use super::render::{Fields, render};
use super::{Edge, Problem};
use crate::model::{Job, JobId};
use crate::store::{JobWatch, Order};

/// A JSON page has so many items unless asked otherwise.
const PAGE: u64 = 1000;
const MOST_PAGE: u64 = 100_000;

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum OrderParam {
    #[default]
    Completion,
    Input,
}

#[derive(Deserialize, Default, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum FieldsParam {
    #[default]
    All,
    Output,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ResultParams {
    #[serde(default)]
    order: OrderParam,
    #[serde(default)]
    fields: FieldsParam,
    #[serde(default)]
    after: u64,
    limit: Option<u64>,
    #[serde(default)]
    follow: bool,
}

/// A reader's place in a job's results.
struct Cursor {
    edge: Edge,
    job: JobId,
    order: Order,
    fields: Fields,
    after: u64,
    left: u64,
}

pub(super) async fn results(
    State(edge): State<Edge>,
    Named(id): Named,
    headers: HeaderMap,
    Params(params): Params<ResultParams>,
) -> Result<Response, Problem> {
    let job = query::job_id(&id)?;
    if edge.store.job(job).await?.is_none() {
        return Err(Problem::unknown_job(&id));
    }
    let order = match params.order {
        OrderParam::Completion => Order::Completion,
        OrderParam::Input => Order::Input,
    };
    let fields = match params.fields {
        FieldsParam::All => Fields::All,
        FieldsParam::Output => Fields::Output,
    };
    let left = params.limit.unwrap_or(u64::MAX);
    let cursor = Cursor { edge, job, order, fields, after: params.after, left };
    if wants_page(&headers) {
        if params.follow {
            return Err(Problem::bad_request("follow=true needs NDJSON: leave out Accept: application/json"));
        }
        let limit = params.limit.unwrap_or(PAGE);
        if !(1..=MOST_PAGE).contains(&limit) {
            return Err(Problem::bad_request(format!(
                "limit is {limit}; a JSON page can have 1 to {MOST_PAGE}"
            )));
        }
        let page = Cursor { left: limit, ..cursor }.page().await?;
        return Ok(([(header::CONTENT_TYPE, "application/json")], page + "\n").into_response());
    }
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], cursor.stream(params.follow)).into_response())
}

/// NDJSON unless JSON is asked for by name.
fn wants_page(headers: &HeaderMap) -> bool {
    let accepts = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    accepts.flat_map(|value| value.split(',')).any(|range| {
        range.split(';').next().is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"))
    })
}

/// The first results in the order of the inputs, as a page.
pub(super) async fn first_page(edge: &Edge, job: &Job) -> Result<String, Problem> {
    let (edge, job, order, fields) = (edge.clone(), job.id, Order::Input, Fields::All);
    Cursor { edge, job, order, fields, after: 0, left: PAGE }.page().await
}

impl Cursor {
    /// The next lines, about a megabyte; none if there are none yet.
    async fn next(&mut self) -> Result<Vec<u8>, Problem> {
        let mut lines = Vec::new();
        if self.left == 0 {
            return Ok(lines);
        }
        for segment in self.edge.store.results(self.job, self.order, self.after, self.left).await? {
            let count = render(&mut lines, &segment, self.order, self.after, self.left, self.fields);
            self.after += count;
            self.left -= count;
        }
        Ok(lines)
    }

    async fn has_ended(&self) -> Result<bool, Problem> {
        Ok(self.edge.store.job(self.job).await?.is_none_or(|job| job.state.is_final()))
    }

    /// `{"items": […], "next": …}`; `next` is null when the job has ended and all its results have been read.
    async fn page(mut self) -> Result<String, Problem> {
        let ended = self.has_ended().await?;
        let mut items = String::from("{\"items\":[");
        loop {
            let lines = self.next().await?;
            if lines.is_empty() {
                break;
            }
            items.push_str(&String::from_utf8_lossy(&lines).replace('\n', ","));
        }
        items.truncate(items.trim_end_matches(',').len());
        let next = if ended && self.left > 0 { "null".to_owned() } else { self.after.to_string() };
        Ok(format!("{items}],\"next\":{next}}}"))
    }

    fn stream(self, follow: bool) -> Body {
        let watch = follow.then(|| self.edge.store.watch(self.job));
        Body::from_stream(stream::unfold(Some((self, watch)), |state| async {
            let (mut cursor, mut watch) = state?;
            match cursor.next_or_end(watch.as_mut()).await {
                Ok(None) => None,
                Ok(Some(lines)) => Some((Ok(Bytes::from(lines)), Some((cursor, watch)))),
                // The head of the answer is gone already: a cut stream says that something is wrong.
                Err(_) => Some((Err(std::io::Error::other("the store does not answer")), None)),
            }
        }))
    }

    /// The next lines; `None` at the end. Where the job is followed, waits for more until it has ended.
    async fn next_or_end(&mut self, mut watch: Option<&mut JobWatch>) -> Result<Option<Vec<u8>>, Problem> {
        loop {
            // Asked before the results are read, so that the last of them are not missed.
            let ended = watch.is_none() || self.has_ended().await?;
            let lines = self.next().await?;
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            if ended || self.left == 0 || *self.edge.draining.borrow() {
                return Ok(None);
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
