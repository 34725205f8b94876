//! The kinds of problems: names that clients may rely on, each with its status and what it means. Documentation and
//! answers read the same table.

use std::collections::BTreeMap;
use std::marker::PhantomData;

use axum::http::StatusCode;
use utoipa::IntoResponses;
use utoipa::openapi::header::HeaderBuilder;
use utoipa::openapi::schema::{ObjectBuilder, Ref, Type};
use utoipa::openapi::{ContentBuilder, RefOr, Response, ResponseBuilder};

/// A kind of problem.
pub trait Kind {
    /// What of it is the same each time.
    const FACTS: Facts;
}

/// What all problems of a kind have in common.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Facts {
    /// The status of the answer.
    pub status: StatusCode,
    /// The end of its `type`.
    pub name: &'static str,
    /// Its `title`.
    pub title: &'static str,
    /// When it is raised, for the documentation.
    pub meaning: &'static str,
}

macro_rules! kinds {
    ($($(#[doc = $meaning:literal])+ $kind:ident = $status:ident $name:literal $title:literal;)+) => {
        $($(#[doc = $meaning])+
        #[derive(Clone, Copy, Debug)]
        pub struct $kind;

        impl Kind for $kind {
            const FACTS: Facts = Facts {
                status: StatusCode::$status,
                name: $name,
                title: $title,
                meaning: concat!($($meaning),+).trim_ascii_start(),
            };
        })+
    };
}

kinds! {
    /// The request does not say what it should; the detail says what would be right.
    BadRequest = BAD_REQUEST "bad-request" "The request is not valid";
    /// The body is not JSON, or not of the expected shape; with `line` and `column`.
    BadJson = BAD_REQUEST "bad-json" "The body is not valid JSON of the expected shape";
    /// This server wants a token, and there is none or a wrong one.
    Unauthorized = UNAUTHORIZED "unauthorized" "A token is needed";
    /// The scope of the token is too small; with `needed_scope`.
    ScopeTooSmall = FORBIDDEN "scope-too-small" "The token does not permit this";
    /// A `Host` that is not let in, as a page that rebinds its name would send.
    WrongHost = FORBIDDEN "wrong-host" "The host is not allowed";
    /// An `Origin` that is not let in.
    WrongOrigin = FORBIDDEN "wrong-origin" "The origin is not allowed";
    /// There is no function of this name; with the `nearest`, if one is near.
    UnknownFunction = NOT_FOUND "unknown-function" "Unknown function";
    /// There is no such job, or it has been deleted.
    UnknownJob = NOT_FOUND "unknown-job" "Unknown job";
    /// There is no such worker.
    UnknownWorker = NOT_FOUND "unknown-worker" "Unknown worker";
    /// There is nothing at this path.
    UnknownPath = NOT_FOUND "unknown-path" "Unknown path";
    /// The path does not take this method; `Allow` lists those it takes.
    WrongMethod = METHOD_NOT_ALLOWED "wrong-method" "Wrong method";
    /// The job has not ended.
    NotEnded = CONFLICT "not-ended" "The job has not ended";
    /// The job takes no more inputs.
    NotOpen = CONFLICT "not-open" "The job is not open";
    /// The job's state does not allow it.
    WrongState = CONFLICT "wrong-state" "The job's state does not allow it";
    /// The request was accepted as a job that has been deleted since.
    JobDeleted = GONE "job-deleted" "The job has been deleted";
    /// Results that the reader said it was done with; `through` tells how far.
    ResultsFreed = GONE "results-freed" "The results have been freed";
    /// A body or an input is larger than it may be.
    TooLarge = PAYLOAD_TOO_LARGE "too-large" "Too large";
    /// The path and query are too long.
    UriTooLong = URI_TOO_LONG "uri-too-long" "The path and query are too long";
    /// The headers are too many or too large.
    HeadersTooLarge = REQUEST_HEADER_FIELDS_TOO_LARGE "headers-too-large" "The headers are too large";
    /// The body's `Content-Type` or `Content-Encoding` is none that is taken here.
    UnsupportedMediaType = UNSUPPORTED_MEDIA_TYPE "unsupported-media-type" "Unsupported media type";
    /// An input does not fit the function's schema; with its `index` and the `path` in it.
    InputMismatch = UNPROCESSABLE_ENTITY "input-mismatch" "An input does not fit the function's schema";
    /// The `Idempotency-Key` was used for another request.
    KeyReused = UNPROCESSABLE_ENTITY "key-reused" "The key names another request";
    /// Callbacks are off, or the host of `callback_url` is none that the operator allows.
    CallbackRefused = UNPROCESSABLE_ENTITY "callback-refused" "The callback_url is refused";
    /// There is too much to do already.
    QueueFull = TOO_MANY_REQUESTS "queue-full" "The queue is full";
    /// A bug in the server; its log says more.
    Internal = INTERNAL_SERVER_ERROR "internal" "Internal error";
    /// The disk is full; nothing was accepted.
    StorageFull = SERVICE_UNAVAILABLE "storage-full" "The storage is full";
    /// The store has stopped; whether the request had an effect is not known.
    StorageStopped = SERVICE_UNAVAILABLE "storage-stopped" "The storage does not answer";
    /// The server is on its way down.
    ShuttingDown = SERVICE_UNAVAILABLE "shutting-down" "The server is shutting down";
}

/// The problems of an operation, for its documentation: `Problems<(UnknownJob, NotOpen)>`.
pub(super) struct Problems<K>(PhantomData<K>);

pub(super) trait Kinds {
    fn facts() -> Vec<Facts>;
}

macro_rules! tuples {
    ($first:ident $($kind:ident)*) => {
        impl<$first: Kind, $($kind: Kind),*> Kinds for ($first, $($kind,)*) {
            fn facts() -> Vec<Facts> {
                vec![$first::FACTS, $($kind::FACTS),*]
            }
        }
        tuples!($($kind)*);
    };
    () => {};
}

tuples!(A B C D E F G H I J);

impl<K: Kinds> IntoResponses for Problems<K> {
    fn responses() -> BTreeMap<String, RefOr<Response>> {
        responses(&K::facts())
    }
}

/// An answer for each status, with what each of its kinds means.
fn responses(facts: &[Facts]) -> BTreeMap<String, RefOr<Response>> {
    let mut meanings: BTreeMap<StatusCode, Vec<String>> = BTreeMap::new();
    for Facts { status, name, meaning, .. } in facts {
        meanings.entry(*status).or_default().push(format!("`{name}`: {meaning}"));
    }
    let response = |(status, meanings): (StatusCode, Vec<String>)| {
        (status.as_str().to_owned(), RefOr::T(response(status, &meanings.join("\n\n"))))
    };
    meanings.into_iter().map(response).collect()
}

fn response(status: StatusCode, description: &str) -> Response {
    let content = ContentBuilder::new().schema(Some(Ref::from_schema_name("Problem"))).build();
    let response =
        ResponseBuilder::new().description(description).content("application/problem+json", content);
    let header = |kind, description| {
        let schema = ObjectBuilder::new().schema_type(kind).build();
        HeaderBuilder::new().schema(Some(schema)).description(Some(description)).build()
    };
    match status {
        StatusCode::UNAUTHORIZED => response.header("WWW-Authenticate", header(Type::String, "`Bearer`.")),
        StatusCode::TOO_MANY_REQUESTS | StatusCode::SERVICE_UNAVAILABLE => {
            response.header("Retry-After", header(Type::Integer, "Seconds after which to try again."))
        }
        _ => response,
    }
    .build()
}
