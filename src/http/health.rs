//! Probes.

use axum::Json;
use axum::extract::State;
use serde_json::{Value, json};

use super::{Edge, Problem};

/// Where they are.
pub(super) const PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// The process answers.
pub(super) async fn alive() -> Json<Value> {
    Json(json!({"status": "ok"}))
}

/// It takes work: the store can be read and the supervisor runs.
pub(super) async fn ready(State(edge): State<Edge>) -> Result<Json<Value>, Problem> {
    if *edge.draining.borrow() {
        return Err(Problem::shutting_down());
    }
    edge.supervisor.glance().await?;
    edge.store.runnable(None, 1).await?;
    Ok(Json(json!({"status": "ready"})))
}
