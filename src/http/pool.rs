//! The pool's routes: slots and workers, resize, end a worker; and what may be called.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::Deserialize;

use super::bodies::must_be_json;
use super::query::{Named, must_be_object};
use super::views::{Page, PoolBody, pool_view};
use super::{Edge, FunctionView, Problem};
use crate::nearest::with_nearest;
use crate::supervisor::WorkerSelector;

/// More slots than this are surely a mistake.
const MOST_SLOTS: u32 = 4096;

pub(super) async fn status(State(edge): State<Edge>) -> Result<Json<PoolBody>, Problem> {
    Ok(Json(pool_view(&edge.supervisor.view().await?)))
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Resize {
    slots: u32,
}

pub(super) async fn resize(
    State(edge): State<Edge>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<PoolBody>, Problem> {
    must_be_json(&headers)?;
    must_be_object(&body)?;
    let Resize { slots } = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("{}; what is wanted is {{\"slots\": 4}}", with_nearest(&error.to_string()));
        Problem::bad_json(detail, error.line(), error.column())
    })?;
    if !(1..=MOST_SLOTS).contains(&slots) {
        return Err(Problem::bad_request(format!("slots is {slots}; it can be 1 to {MOST_SLOTS}")));
    }
    Ok(Json(pool_view(&edge.supervisor.resize(slots).await?)))
}

pub(super) async fn end_worker(State(edge): State<Edge>, Named(who): Named) -> Result<StatusCode, Problem> {
    let by_name = who.parse().map(WorkerSelector::Name).ok();
    let selector = by_name.or_else(|| who.parse().map(WorkerSelector::Pid).ok());
    if let Some(selector) = selector
        && edge.supervisor.end_worker(selector).await?
    {
        return Ok(StatusCode::ACCEPTED);
    }
    let detail = format!("there is no worker {who:?}; GET /v1/pool lists names (worker-1) and process ids");
    Err(Problem::new(StatusCode::NOT_FOUND, "unknown-worker", "Unknown worker", detail))
}

pub(super) async fn functions(State(edge): State<Edge>) -> Json<Page<FunctionView>> {
    Json(Page { items: edge.functions().to_vec(), next: None })
}
