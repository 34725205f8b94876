//! Tokens: who calls, and whether they may do what they ask for.

use axum::extract::{Request, State};
use axum::http::{HeaderMap, Method, header};
use axum::middleware::Next;
use axum::response::Response;

use super::kinds::{ScopeTooSmall, Unauthorized};
use super::{Edge, Problem, dashboard, docs, health, openapi};
use crate::access::{Scope, Tokens};

/// The middleware. What holds no data is open: the probes, and the files of the page that asks for a token.
pub(super) async fn check(
    State(edge): State<Edge>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    if !is_open(request.uri().path()) {
        permit(&edge.tokens.borrow(), &request)?;
    }
    // Nobody behind here needs it.
    request.headers_mut().remove(header::AUTHORIZATION);
    Ok(next.run(request).await)
}

/// Whether a path holds no data: nobody needs a token for it.
pub(super) fn is_open(path: &str) -> bool {
    health::PATHS.contains(&path) || dashboard::has(path) || docs::has(path) || path == openapi::PATH
}

fn permit(tokens: &Tokens, request: &Request) -> Result<(), Problem> {
    if tokens.is_empty() {
        return Ok(());
    }
    let token = bearer(request.headers()).ok_or_else(|| {
        unauthorized("this server wants a token: send the header Authorization: Bearer TOKEN")
    })?;
    let scope = tokens.scope_of(token).ok_or_else(|| {
        unauthorized("the token is none of this server's; its operator may have changed it")
    })?;
    let needed = needed(request.method(), request.uri().path());
    if scope < needed { Err(scope_too_small(scope, needed)) } else { Ok(()) }
}

/// The token, as RFC 6750 sends it.
fn bearer(headers: &HeaderMap) -> Option<&str> {
    let (scheme, token) = headers.get(header::AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then_some(token.trim())
}

/// The scope that a request needs. A route that is not thought of here needs the greatest.
fn needed(method: &Method, path: &str) -> Scope {
    let of_jobs = path == "/v1/jobs" || path.starts_with("/v1/jobs/");
    match *method {
        Method::GET | Method::HEAD | Method::OPTIONS => Scope::Read,
        Method::POST | Method::DELETE if of_jobs => Scope::Submit,
        Method::POST | Method::PUT if path.starts_with("/v1/map/") => Scope::Submit,
        _ => Scope::Admin,
    }
}

fn unauthorized(detail: &str) -> Problem {
    Problem::new(Unauthorized, detail)
}

fn scope_too_small(scope: Scope, needed: Scope) -> Problem {
    let (scope, needed) = (scope.as_str(), needed.as_str());
    let detail = format!("this needs a token of the scope {needed}; the scope of this one is {scope}");
    Problem::new(ScopeTooSmall, detail).with("scope", scope.into()).with("needed_scope", needed.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_route_needs_the_scope_of_what_it_does() {
        let scopes = [
            (Method::GET, "/v1/pool", Scope::Read),
            (Method::HEAD, "/v1/jobs", Scope::Read),
            (Method::POST, "/v1/jobs", Scope::Submit),
            (Method::POST, "/v1/jobs/1/retry", Scope::Submit),
            (Method::DELETE, "/v1/jobs/1/results", Scope::Submit),
            (Method::PUT, "/v1/map/echo", Scope::Submit),
            (Method::PATCH, "/v1/pool", Scope::Admin),
            (Method::DELETE, "/v1/workers/1", Scope::Admin),
            (Method::POST, "/v1/jobsx", Scope::Admin),
            (Method::PUT, "/v1/jobs", Scope::Admin),
        ];
        for (method, path, scope) in scopes {
            assert_eq!(needed(&method, path), scope, "{method} {path}");
        }
    }
}
