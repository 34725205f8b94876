//! Probes.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use utoipa::ToSchema;

use super::kinds::{Problems, ShuttingDown, StorageFull, StorageStopped};
use super::openapi::SERVER;
use super::{Edge, Problem};
use crate::store::JobFilter;

/// Where they are.
pub(super) const PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// How it is.
#[derive(Serialize, ToSchema)]
pub(super) struct Health {
    /// `ok` or `ready`.
    status: &'static str,
}

/// Does the process answer?
#[utoipa::path(
    get, path = "", tag = SERVER, operation_id = "isAlive",
    responses((status = 200, description = "It does.", body = Health))
)]
pub(super) async fn alive() -> Json<Health> {
    Json(Health { status: "ok" })
}

/// Does it take work?
///
/// The store can be read, and the pool runs.
#[utoipa::path(
    get, path = "", tag = SERVER, operation_id = "isReady",
    responses((status = 200, description = "It does.", body = Health), Problems<(StorageFull, StorageStopped, ShuttingDown)>)
)]
pub(super) async fn ready(State(edge): State<Edge>) -> Result<Json<Health>, Problem> {
    if *edge.draining.borrow() {
        return Err(Problem::shutting_down());
    }
    edge.supervisor.glance().await?;
    edge.store.jobs(JobFilter::default(), None, 1).await?;
    Ok(Json(Health { status: "ready" }))
}
