//! What the server itself sends: the end of a job, to the job's `callback_url`.

use utoipa::openapi::path::{
    HttpMethod, OperationBuilder, ParameterBuilder, ParameterIn, PathItem, Paths, PathsBuilder,
};
use utoipa::openapi::request_body::RequestBodyBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Type};
use utoipa::openapi::{ContentBuilder, Ref, Required, ResponseBuilder};
use utoipa::{PartialSchema as _, ToSchema as _};

use super::JOBS;
use crate::http::views::EndedBody;

/// The headers that Standard Webhooks 1.0 has.
const HEADERS: [(&str, &str); 3] = [
    ("webhook-id", "The same at each try: take it once."),
    ("webhook-timestamp", "When it was sent, in seconds since 1970."),
    (
        "webhook-signature",
        "For each secret `v1,` and the base64 of the HMAC-SHA256 of `id.timestamp.body`; spaces between them.",
    ),
];

/// The one webhook.
pub(super) fn all() -> Paths {
    let body = ContentBuilder::new().schema(Some(Ref::from_schema_name(EndedBody::name()))).build();
    let body = RequestBodyBuilder::new().content("application/json", body).required(Some(Required::True));
    let answer = |text| ResponseBuilder::new().description(text).build();
    let ended = OperationBuilder::new()
        .tag(JOBS)
        .operation_id(Some("jobEnded"))
        .summary(Some("A job has ended."))
        .description(Some("Sent until it has been taken: ten tries in three days."))
        .parameters(Some(HEADERS.map(|(name, text)| {
            let header = ParameterBuilder::new().name(name).parameter_in(ParameterIn::Header);
            let schema = ObjectBuilder::new().schema_type(Type::String).build();
            header.required(Required::True).description(Some(text)).schema(Some(schema)).build()
        })))
        .request_body(Some(body.build()))
        .response("2XX", answer("It is taken."))
        .response("410", answer("It is not sent again."))
        .response("default", answer("It is sent again; after 429 and 503 not before `Retry-After`."));
    PathsBuilder::new().path("jobEnded", PathItem::new(HttpMethod::Post, ended)).build()
}

/// What its body is.
pub(super) fn body() -> (String, utoipa::openapi::RefOr<utoipa::openapi::Schema>) {
    (EndedBody::name().into_owned(), EndedBody::schema())
}
