//! `/openapi.json`: the contract, made of what the handlers and views say of themselves.
//!
//! A handler's documentation and `#[utoipa::path]` describe its operation, the documentation of a view its members. Here
//! stands only what they have in common: the head, who may call, and the problems that any call can meet.
//! Deliberately absent: a second list of routes.

mod schemas;
#[cfg(test)]
mod tests;
mod webhooks;

use axum::Extension;
use axum::body::Bytes;
use axum::http::header;
use axum::response::IntoResponse;
use utoipa::IntoResponses as _;
use utoipa::openapi::path::{Operation, PathItem, Paths};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::tag::TagBuilder;
use utoipa::openapi::{
    ComponentsBuilder, InfoBuilder, LicenseBuilder, OpenApi, OpenApiBuilder, Ref, RefOr, Required, Response,
    SecurityRequirement, Server,
};
use utoipa::{PartialSchema as _, ToSchema as _};
use utoipa_axum::router::UtoipaMethodRouter;

use super::error::ProblemBody;
use super::kinds::{
    Internal, Problems, ScopeTooSmall, ShuttingDown, StorageFull, StorageStopped, Unauthorized, WrongHost,
    WrongOrigin,
};
use super::{Edge, auth};
pub(super) use schemas::{InputLines, WaitTime, labels, lines, lines_of, query_of, timeout};

/// Where the document is.
pub(super) const PATH: &str = "/openapi.json";
/// The job of the examples.
pub(super) const EXAMPLE_JOB: &str = "0190b5f7-7c4d-7abc-8def-0123456789ab";
const DESCRIPTION: &str = "\
Pool.map over HTTP: POST a batch of inputs, and every core works on it in isolated, supervised processes. Progress, PIDs and \
timings are there to poll while it runs, and the results come out of a first-in-first-out queue.\n\n\
Times are RFC 3339 in UTC; a duration is a number with its unit in the name. A list is `{\"items\": […], \"next\": cursor}`, and the \
cursor goes into `after`. Unknown options and parameters are refused. Errors are `application/problem+json` (RFC 9457).\n\n\
A server that has tokens wants one with every call. On loopback it may have none: then `Host` must be local.";
const TAGS: [(&str, &str); 6] = [
    (JOBS, "Submit a batch, see how far it is, steer it, forget it."),
    (RESULTS, "What came of the tasks, as it came or in the order of the inputs, and what they printed."),
    (MAP, "Inputs up and results down at the same time."),
    (EVENTS, "What happens, as it happens."),
    (POOL, "The slots and workers, and what may be called."),
    (SERVER, "Is it there, and what does it say of itself."),
];
pub(super) const JOBS: &str = "jobs";
pub(super) const RESULTS: &str = "results";
pub(super) const MAP: &str = "map";
pub(super) const EVENTS: &str = "events";
pub(super) const POOL: &str = "pool";
pub(super) const SERVER: &str = "server";

/// What stands in the document before any operation does.
pub(super) fn head() -> OpenApi {
    let tag = |(name, description)| TagBuilder::new().name(name).description(Some(description)).build();
    let license =
        LicenseBuilder::new().name("MIT OR Apache-2.0").identifier(Some("MIT OR Apache-2.0")).build();
    let info = InfoBuilder::new().title("gristmill").version(env!("CARGO_PKG_VERSION"));
    let token = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some(
        "A token of this server: `read` permits every GET, `submit` all that is done to jobs as well, `admin` the rest.",
    ));
    let components = ComponentsBuilder::new()
        .schema(ProblemBody::name(), ProblemBody::schema())
        .schemas_from_iter([webhooks::body()])
        .responses_from_iter(common())
        .security_scheme("token", SecurityScheme::Http(token.build()));
    OpenApiBuilder::new()
        .info(info.description(Some(DESCRIPTION)).license(Some(license)).build())
        .servers(Some([Server::new("/")]))
        .tags(Some(TAGS.map(tag)))
        .components(Some(components.build()))
        .webhooks(Some(webhooks::all()))
        .build()
}

/// The routes of one path, with their operations under it.
pub(super) fn at(
    path: &str,
    (schemas, operations, routes): UtoipaMethodRouter<Edge>,
) -> UtoipaMethodRouter<Edge> {
    let mut paths = Paths::new();
    paths.paths.extend(operations.paths.into_values().map(|item| (path.to_owned(), item)));
    (schemas, paths, routes)
}

/// Adds what all operations have in common, and makes it text.
pub(super) fn finish(mut document: OpenApi) -> Document {
    for (path, item) in &mut document.paths.paths {
        operations(item).for_each(|operation| describe(path, operation));
        // A client's method has one name.
        if let (Some(post), Some(put)) = (&item.post, &mut item.put)
            && post.operation_id == put.operation_id
        {
            put.operation_id = put.operation_id.take().map(|id| id + "ByPut");
        }
    }
    Document(serde_json::to_vec(&document).expect("texts and numbers always serialise").into())
}

fn operations(item: &mut PathItem) -> impl Iterator<Item = &mut Operation> {
    let PathItem { get, put, post, delete, patch, .. } = item;
    [get, put, post, delete, patch].into_iter().flatten()
}

/// The problems that any call can meet, by their status. Of those the probes know only the first.
fn common() -> [(&'static str, RefOr<Response>); 4] {
    type Closed =
        (Unauthorized, ScopeTooSmall, WrongHost, WrongOrigin, StorageFull, StorageStopped, ShuttingDown);
    let mut responses = Problems::<Closed>::responses();
    responses.extend(Problems::<(Internal,)>::responses());
    COMMON.map(|(status, name)| {
        (name, responses.remove(status).expect("each of these statuses is one of a problem above"))
    })
}

const COMMON: [(&str, &str); 4] =
    [("500", "Internal"), ("401", "Unauthorized"), ("403", "Forbidden"), ("503", "Unavailable")];

fn describe(path: &str, operation: &mut Operation) {
    // A stream may have no lines at all.
    if let Some(RefOr::T(body)) = &mut operation.request_body
        && !body.content.contains_key("application/json")
    {
        body.required = Some(Required::False);
    }
    let is_open = auth::is_open(path);
    for (status, name) in COMMON.iter().take(if is_open { 1 } else { COMMON.len() }) {
        operation.responses.responses.insert((*status).to_owned(), Ref::from_response_name(*name).into());
    }
    if !is_open {
        // With a token, or without where the server has none.
        let token = SecurityRequirement::new::<_, [&str; 0], _>("token", []);
        operation.security = Some(vec![token, SecurityRequirement::default()]);
    }
}

/// The document as text.
#[derive(Clone)]
pub(super) struct Document(Bytes);

/// This document.
#[utoipa::path(
    get, path = "", tag = SERVER, operation_id = "getOpenapi",
    responses((status = 200, description = "The OpenAPI document.", body = serde_json::Value))
)]
pub(super) async fn document(Extension(Document(text)): Extension<Document>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")], text)
}
