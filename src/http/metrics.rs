//! `GET /metrics`, and the middleware that counts the requests.

use std::sync::Arc;
use std::time::Instant;

use axum::body::HttpBody as _;
use axum::extract::{MatchedPath, Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::{IntoResponse as _, Response};

use super::openapi::SERVER;
use super::watched::Watched;
use super::{Edge, Problem};
use crate::model::Verdict;
use crate::store::Counts;
use crate::supervisor::{PoolView, WorkerActivity};
use crate::telemetry::Metrics;
use crate::telemetry::exposition::{self, Format, Readings};

/// Where the page is.
pub(super) const PATH: &str = "/metrics";
/// What is told of a request whose path is none of ours.
const OTHER: &str = "other";

/// What there is and what has happened, for Prometheus.
///
/// In its own text format, or as `OpenMetrics` if `Accept` asks for that.
#[utoipa::path(
    get, path = "", tag = SERVER, operation_id = "getMetrics",
    responses((status = 200, description = "The metrics.",
        content((String = "text/plain"), (String = "application/openmetrics-text"))))
)]
pub(super) async fn page(State(edge): State<Edge>, headers: HeaderMap) -> Result<Response, Problem> {
    let accept = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok());
    let format = Format::wanted(&accept.collect::<Vec<_>>().join(","));
    // A supervisor that has ended has neither slots nor workers.
    let pool = edge.supervisor.glance().await.unwrap_or_default();
    let readings = readings(&edge, edge.store.counts(), pool);
    let metrics = edge.metrics.clone();
    // What the workers use is looked up in many small files.
    let page = tokio::task::spawn_blocking(move || exposition::page(&metrics, readings, format));
    let page = page.await.map_err(|_| Problem::shutting_down())?.expect("writing to a String cannot fail");
    let head = [(header::CONTENT_TYPE, format.content_type()), (header::CACHE_CONTROL, "no-store")];
    Ok((head, page).into_response())
}

fn readings(edge: &Edge, counts: Counts, pool: PoolView) -> Readings {
    let Counts { jobs, tasks, callbacks, storage } = counts;
    let unfinished = tasks.iter().map(|(function, tasks)| (function.clone(), tasks.unfinished)).collect();
    let unanswered = tasks.into_iter().map(|(function, tasks)| {
        let verdicts = [(Verdict::Cancelled, tasks.cancelled), (Verdict::Crash, tasks.not_run)];
        (function, verdicts.into_iter().filter(|(_, n)| *n > 0).collect())
    });
    let workers =
        pool.workers.into_iter().map(|worker| (worker.function, state(&worker.activity), worker.pid));
    let failed_starts = pool.start_failures.into_iter().map(|failure| (failure.function, failure.times));
    Readings {
        slots: pool.slots,
        functions: edge.functions().iter().map(|function| function.name.clone()).collect(),
        jobs,
        unfinished,
        unanswered: unanswered.collect(),
        workers: workers.collect(),
        failed_starts: failed_starts.collect(),
        callbacks,
        commits: storage.commits,
        database_bytes: storage.database_bytes,
        log_bytes: storage.log_bytes,
        free_bytes: storage.free_bytes,
        is_full: storage.is_full,
    }
}

fn state(activity: &WorkerActivity) -> &'static str {
    match activity {
        WorkerActivity::Starting => "starting",
        WorkerActivity::Idle => "idle",
        WorkerActivity::Busy(_) => "busy",
        WorkerActivity::Ending => "ending",
    }
}

/// The middleware: counts a request by the template of its route, and its answer as long as it streams.
pub(super) async fn measure(State(metrics): State<Arc<Metrics>>, request: Request, next: Next) -> Response {
    let since = Instant::now();
    let matched = request.extensions().get::<MatchedPath>();
    let route: Arc<str> = matched.map_or(OTHER, MatchedPath::as_str).into();
    let method = known(request.method());
    let response = next.run(request).await;
    metrics.answered((route.clone(), method), response.status().as_u16(), since);
    if response.body().size_hint().exact().is_some() {
        return response;
    }
    let guard = metrics.stream(route);
    response.map(|body| Watched::over(body, move |_| drop(guard)))
}

/// A method that some route has, or `other`: anyone may make up more.
fn known(method: &Method) -> &'static str {
    let all = [
        Method::GET,
        Method::HEAD,
        Method::POST,
        Method::PUT,
        Method::PATCH,
        Method::DELETE,
        Method::OPTIONS,
    ];
    let names = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
    all.iter().position(|known| known == method).map_or(OTHER, |at| names[at])
}
