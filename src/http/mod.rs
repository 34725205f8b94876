//! The edge: HTTP in, HTTP out. A handler takes its request apart, calls one verb, and gives a view.
//!
//! Imports `access`, `model`, `protocol`, `store`, the supervisor's handle and views, and `telemetry`. Deliberately absent: decisions and
//! state of its own. Every error, whoever raises it, is an RFC 9457 problem.

#![expect(unused_qualifications, reason = "what utoipa makes of annotations is qualified")]

mod auth;
mod bodies;
mod browsers;
mod dashboard;
mod docs;
mod error;
mod events;
mod health;
mod idempotency;
pub mod inputs;
mod jobs;
pub mod kinds;
mod linger;
mod logs;
mod map;
mod metrics;
mod openapi;
mod options;
mod pool;
mod query;
pub mod refusals;
pub mod render;
mod results;
mod submit;
mod timeline;
mod views;
mod watched;

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::DefaultBodyLimit;
use axum::{Extension, Router, middleware};
use serde_json::Value;
use tokio::sync::watch;
use tower_http::catch_panic::CatchPanicLayer;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

pub use error::Problem;
pub use jobs::ended_message;
use openapi::at;

use crate::access::{Browsers, Tokens};
use crate::model::{Limits, Timestamp};
use crate::schema::Schema;
use crate::store::Store;
use crate::supervisor::Handle;
use crate::telemetry::Metrics;
use crate::webhooks;

/// A function as clients see it.
#[derive(Clone, PartialEq, Debug, serde::Serialize, ToSchema)]
#[schema(as = Function)]
pub struct FunctionView {
    /// The name to call it by.
    pub name: String,
    /// What it does.
    pub description: String,
    /// `built-in`, or how its program is spoken to.
    pub mode: &'static str,
    /// The shape of an input, if it is known.
    pub input: Option<String>,
    /// The shape of an output, if it is known.
    pub output: Option<String>,
    /// An input and its output as JSON, if one is known.
    pub example: Option<Value>,
    /// What an input must be, as a JSON Schema.
    #[serde(serialize_with = "schema_source", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub input_schema: Option<Schema>,
    /// What an output must be.
    #[serde(serialize_with = "schema_source", skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Value, required = false)]
    pub output_schema: Option<Schema>,
    /// What a job of it gets unless it says otherwise.
    pub options: FunctionOptions,
}

#[expect(clippy::ref_option, reason = "serde passes a reference")]
fn schema_source<S: serde::Serializer>(schema: &Option<Schema>, serializer: S) -> Result<S::Ok, S::Error> {
    serde::Serialize::serialize(&schema.as_ref().map(Schema::source), serializer)
}

/// What a job of a function gets unless it says otherwise.
#[derive(Clone, Copy, PartialEq, Debug, Default, serde::Serialize, ToSchema)]
pub struct FunctionOptions {
    /// The hard limit of one task's run, in milliseconds.
    pub timeout_ms: Option<f64>,
    /// How often a task is tried in all.
    pub max_attempts: Option<u32>,
    /// How long a failed task waits for its second attempt, in milliseconds; for later ones, longer.
    pub retry_backoff_ms: f64,
    /// At most so many workers of it.
    pub processes: Option<u32>,
}

impl Edge {
    /// What may be called now.
    fn functions(&self) -> Arc<[FunctionView]> {
        self.functions.borrow().clone()
    }
}

impl FunctionOptions {
    fn timeout(&self) -> Option<Duration> {
        self.timeout_ms.map(|ms| Duration::from_secs_f64(ms / 1e3))
    }

    fn retry_backoff(&self) -> Duration {
        Duration::from_secs_f64(self.retry_backoff_ms / 1e3)
    }
}

/// What the handlers work with; cheap to clone, as each layer of a request does.
#[derive(Clone)]
pub struct Edge(Arc<Parts>);

/// What an [`Edge`] consists of.
pub struct Parts {
    /// The truth.
    pub store: Arc<dyn Store>,
    /// The supervisor.
    pub supervisor: Handle,
    /// What may be called; it changes when the configuration is read again.
    pub functions: watch::Receiver<Arc<[FunctionView]>>,
    /// Who may call; it changes when the configuration is read again.
    pub tokens: watch::Receiver<Tokens>,
    /// Which hosts and origins are let in.
    pub browsers: Arc<Browsers>,
    /// How ends of jobs are told; it changes when the configuration is read again.
    pub callbacks: watch::Receiver<Option<Arc<webhooks::Settings>>>,
    /// What clients may send.
    pub limits: Limits,
    /// Where is counted what happens.
    pub metrics: Arc<Metrics>,
    /// The time.
    pub now: fn() -> Timestamp,
    /// Turns true when the server shuts down: no new jobs, and streams that follow it or a job end.
    pub draining: watch::Receiver<bool>,
}

impl Edge {
    /// The edge over these parts.
    pub fn new(parts: Parts) -> Self {
        Self(Arc::new(parts))
    }

    /// Waits until the server shuts down.
    pub(crate) async fn shuts_down(&self) {
        // One whose other end is gone does as well.
        drop(self.draining.clone().wait_for(|draining| *draining).await);
    }
}

impl Deref for Edge {
    type Target = Parts;

    fn deref(&self) -> &Parts {
        &self.0
    }
}

/// The whole API. What a route does stands at its handler, and goes from there into the document.
fn api() -> OpenApiRouter<Edge> {
    OpenApiRouter::with_openapi(openapi::head())
        .routes(at("/v1/jobs", routes!(submit::submit, jobs::list)))
        .routes(at("/v1/jobs/{id}", routes!(jobs::status, jobs::forget)))
        .routes(at("/v1/jobs/{id}/cancel", routes!(jobs::cancel)))
        .routes(at("/v1/jobs/{id}/inputs", routes!(submit::more_inputs)))
        .routes(at("/v1/jobs/{id}/close", routes!(jobs::close)))
        .routes(at("/v1/jobs/{id}/pause", routes!(jobs::pause)))
        .routes(at("/v1/jobs/{id}/resume", routes!(jobs::resume)))
        .routes(at("/v1/jobs/{id}/retry", routes!(jobs::retry)))
        .routes(at("/v1/jobs/{id}/results", routes!(results::results, results::free)))
        .routes(at("/v1/jobs/{id}/events", routes!(events::job::job_events)))
        .routes(at("/v1/jobs/{id}/logs", routes!(logs::logs)))
        .routes(at("/v1/jobs/{id}/timeline", routes!(timeline::timeline)))
        .routes(at("/v1/map/{function}", routes!(map::map)))
        .routes(at("/v1/events", routes!(events::server::server_events)))
        .routes(at("/v1/pool", routes!(pool::status, pool::resize)))
        .routes(at("/v1/workers/{name_or_pid}", routes!(pool::end_worker)))
        .routes(at("/v1/functions", routes!(pool::functions)))
        .routes(at("/healthz", routes!(health::alive)))
        .routes(at("/readyz", routes!(health::ready)))
        .routes(at(metrics::PATH, routes!(metrics::page)))
        .routes(at(openapi::PATH, routes!(openapi::document)))
}

/// The API with what every call passes through, and the pages.
pub fn router(edge: Edge) -> Router {
    let (api, document) = api().split_for_parts();
    api.layer(Extension(openapi::finish(document)))
        // Pages for people, which are no part of the contract.
        .merge(dashboard::routes())
        .merge(docs::routes())
        .fallback(error::unknown_path)
        .method_not_allowed_fallback(error::wrong_method)
        // The first is the outermost. As one they are one box around each route, not one each.
        .layer((
            middleware::from_fn_with_state(edge.metrics.clone(), metrics::measure),
            CatchPanicLayer::custom(error::panicked),
            middleware::from_fn(linger::linger),
            middleware::from_fn_with_state(edge.clone(), browsers::check),
            browsers::cors(&edge.browsers),
            middleware::from_fn_with_state(edge.clone(), auth::check),
            DefaultBodyLimit::disable(),
        ))
        .with_state(edge)
}
