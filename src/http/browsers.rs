//! Browsers: a page of somebody else's must not make one call this server with what the user may do.

use axum::extract::{Request, State};
use axum::http::{HeaderName, HeaderValue, Method, header};
use axum::middleware::Next;
use axum::response::Response;
use tower::util::{Either, option_layer};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::kinds::{WrongHost, WrongOrigin};
use super::{Edge, Problem, health};
use crate::access::Browsers;

/// The headers of requests and of answers that are not a page's anyway.
const REQUEST_HEADERS: [HeaderName; 5] = [
    header::AUTHORIZATION,
    header::CONTENT_TYPE,
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("prefer"),
    HeaderName::from_static("traceparent"),
];
const ANSWER_HEADERS: [HeaderName; 5] = [
    header::LOCATION,
    header::RETRY_AFTER,
    HeaderName::from_static("idempotent-replayed"),
    HeaderName::from_static("gristmill-job"),
    HeaderName::from_static("gristmill-dropped-bytes"),
];

/// The middleware. Probes are open: whoever sends them knows the server by its address at the time.
pub(super) async fn check(
    State(edge): State<Edge>,
    request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !health::PATHS.contains(&request.uri().path()) {
        let asks_for_token = !edge.tokens.borrow().is_empty();
        admit(&edge.browsers, asks_for_token, &request)?;
    }
    Ok(next.run(request).await)
}

/// A page that made its own name resolve to a server in the network has no token for it.
fn admit(browsers: &Browsers, asks_for_token: bool, request: &Request) -> Result<(), Problem> {
    let host = host(request);
    if (browsers.loopback || !asks_for_token) && !browsers.allows_host(host) {
        return Err(wrong_host(host));
    }
    for origin in request.headers().get_all(header::ORIGIN) {
        let origin = origin.to_str().unwrap_or_default();
        if !browsers.allows_origin(origin, host) {
            return Err(wrong_origin(origin));
        }
    }
    Ok(())
}

/// The host that the request is for; empty if it names none, or several.
fn host(request: &Request) -> &str {
    if let Some(authority) = request.uri().authority() {
        return authority.as_str();
    }
    let mut hosts = request.headers().get_all(header::HOST).into_iter();
    match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().unwrap_or_default(),
        _ => "",
    }
}

fn wrong_host(host: &str) -> Problem {
    let detail = format!(
        "the Host is {host:?}; allowed are localhost, 127.0.0.1, [::1] and allowed_hosts of the configuration"
    );
    Problem::new(WrongHost, detail)
}

fn wrong_origin(origin: &str) -> Problem {
    let detail = format!(
        "the Origin is {origin:?}; allowed are this server's own pages and allowed_origins of the configuration"
    );
    Problem::new(WrongOrigin, detail)
}

/// Tells browsers which origins the operator allows; nothing if there is none.
pub(super) fn cors(browsers: &Browsers) -> Either<CorsLayer, tower::layer::util::Identity> {
    let origins: Vec<_> =
        browsers.origins.iter().filter_map(|origin| origin.parse::<HeaderValue>().ok()).collect();
    option_layer((!origins.is_empty()).then(|| {
        CorsLayer::new()
            .allow_origin(AllowOrigin::list(origins))
            .allow_methods([Method::GET, Method::POST, Method::PATCH, Method::DELETE])
            .allow_headers(REQUEST_HEADERS)
            .expose_headers(ANSWER_HEADERS)
    }))
}
