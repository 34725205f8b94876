//! The pool's routes: slots and workers, resize, end a worker; and what may be called.

use axum::Json;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::bodies::must_be_json;
use super::kinds::{BadJson, BadRequest, Problems, TooLarge, UnknownWorker, UnsupportedMediaType};
use super::openapi::POOL;
use super::query::{Named, Whole, must_be_object};
use super::views::{PoolBody, pool_view};
use super::{Edge, FunctionView, Problem};
use crate::nearest::with_nearest;
use crate::supervisor::WorkerSelector;

/// More slots than this are surely a mistake.
const MOST_SLOTS: u32 = 4096;

/// Look at the slots and workers.
#[utoipa::path(
    get, path = "", tag = POOL, operation_id = "getPool",
    responses((status = 200, description = "The pool.", body = PoolBody))
)]
pub(super) async fn status(State(edge): State<Edge>) -> Result<Json<PoolBody>, Problem> {
    Ok(Json(pool_view(&edge.supervisor.view().await?)))
}

/// A size of the pool.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(example = json!({"slots": 4}))]
struct Resize {
    /// How many tasks run at once.
    #[schema(minimum = 1, maximum = 4096, value_type = u32)]
    slots: Whole<u32>,
}

/// Resize the pool.
///
/// Running tasks go on to their end.
#[utoipa::path(
    patch, path = "", tag = POOL, operation_id = "resizePool",
    request_body(content((Resize = "application/json"))),
    responses((status = 200, description = "The pool.", body = PoolBody), Problems<(BadRequest, BadJson, TooLarge, UnsupportedMediaType)>)
)]
pub(super) async fn resize(
    State(edge): State<Edge>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Json<PoolBody>, Problem> {
    must_be_json(&headers)?;
    must_be_object(&body)?;
    let Resize { slots: Whole(slots) } = serde_json::from_slice(&body).map_err(|error| {
        let detail = format!("{}; what is wanted is {{\"slots\": 4}}", with_nearest(&error.to_string()));
        Problem::bad_json(detail, error.line(), error.column())
    })?;
    if !(1..=MOST_SLOTS).contains(&slots) {
        return Err(Problem::bad_request(format!("slots is {slots}; it can be 1 to {MOST_SLOTS}")));
    }
    Ok(Json(pool_view(&edge.supervisor.resize(slots).await?)))
}

/// End a worker.
///
/// It is replaced, and its task runs again free of charge.
#[utoipa::path(
    delete, path = "", tag = POOL, operation_id = "endWorker",
    params(("name_or_pid" = String, Path, description = "`worker-1`, or its process id.", example = "worker-1")),
    responses((status = 202, description = "It is being ended."), Problems<(UnknownWorker,)>)
)]
pub(super) async fn end_worker(State(edge): State<Edge>, Named(who): Named) -> Result<StatusCode, Problem> {
    let by_name = who.parse().map(WorkerSelector::Name).ok();
    let selector = by_name.or_else(|| who.parse().map(WorkerSelector::Pid).ok());
    if let Some(selector) = selector
        && edge.supervisor.end_worker(selector).await?
    {
        return Ok(StatusCode::ACCEPTED);
    }
    let detail = format!("there is no worker {who:?}; GET /v1/pool lists names (worker-1) and process ids");
    Err(Problem::new(UnknownWorker, detail))
}

/// What may be called, all on one page.
#[derive(Serialize, ToSchema)]
pub(super) struct FunctionPage {
    items: Vec<FunctionView>,
    /// Always `null`.
    next: Option<u64>,
}

/// List what may be called.
#[utoipa::path(
    get, path = "", tag = POOL, operation_id = "listFunctions",
    responses((status = 200, description = "The functions, with the defaults of their options.", body = FunctionPage))
)]
pub(super) async fn functions(State(edge): State<Edge>) -> Json<FunctionPage> {
    Json(FunctionPage { items: edge.functions().to_vec(), next: None })
}
