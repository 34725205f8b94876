//! Errors as RFC 9457 problems: what was wrong, and what would be right.

use std::any::Any;
use std::fmt;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::kinds::{self, Facts, Kind};
use crate::model::Limits;
use crate::store::{QueueLimits, StoreError};

/// A problem as clients see it.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    facts: Facts,
    detail: String,
    extra: Map<String, Value>,
    retry_after_s: Option<u32>,
}

impl Problem {
    /// A problem of a kind, and what was wrong this time.
    pub fn new<K: Kind>(_: K, detail: impl Into<String>) -> Self {
        Self { facts: K::FACTS, detail: detail.into(), extra: Map::new(), retry_after_s: None }
    }

    /// The request does not say what it should.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(kinds::BadRequest, detail)
    }

    /// The body is not JSON as it should be.
    pub fn bad_json(detail: impl Into<String>, line: usize, column: usize) -> Self {
        Self::new(kinds::BadJson, detail).with("line", line.into()).with("column", column.into())
    }

    /// There is no such job.
    pub fn unknown_job(id: &str) -> Self {
        let detail = format!("there is no job {id:?}; GET /v1/jobs lists those there are");
        Self::new(kinds::UnknownJob, detail)
    }

    /// Something is larger than it may be.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(kinds::TooLarge, detail)
    }

    /// The server is on its way down.
    pub fn shutting_down() -> Self {
        let detail = "send it again when the server is up again";
        Self { retry_after_s: Some(2), ..Self::new(kinds::ShuttingDown, detail) }
    }

    /// More inputs for a job that takes none.
    pub fn not_open() -> Self {
        let detail = "the job takes no more inputs: it was not submitted as open, has been closed, or is being cancelled";
        Self::new(kinds::NotOpen, detail)
    }

    /// There is too much to do already.
    pub fn queue_full(queued: &QueueLimits, limits: &Limits) -> Self {
        let QueueLimits { tasks, bytes } = queued;
        let (most_tasks, most_bytes) = (limits.max_queued_tasks, limits.max_queued_bytes);
        let detail = format!(
            "{tasks} tasks with {bytes} bytes of inputs are queued; with this job there would be more than {most_tasks} \
             tasks or {most_bytes} bytes; send it again when some have ended"
        );
        Self { retry_after_s: Some(5), ..Self::new(kinds::QueueFull, detail) }
    }

    /// Results that the reader said it was done with.
    pub fn results_freed(through: u64) -> Self {
        let detail = format!(
            "the results up to seq {through} have been freed; read on by completion with after={through}"
        );
        Self::new(kinds::ResultsFreed, detail).with("through", through.into())
    }

    /// With those results it was forgotten which tasks have failed.
    pub fn failures_freed(failed: u64, through: u64) -> Self {
        let detail = format!(
            "{failed} tasks have failed, but their results are among those up to seq {through}, which have been freed; \
             submit their inputs as a new job"
        );
        Self::new(kinds::ResultsFreed, detail).with("through", through.into())
    }

    /// Adds a member.
    #[must_use]
    pub fn with(mut self, member: &str, value: Value) -> Self {
        self.extra.insert(member.to_owned(), value);
        self
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let problem = match error {
            StoreError::Full => {
                let detail = "the disk that holds the data directory is full; nothing was accepted";
                Self::new(kinds::StorageFull, detail)
            }
            // The reason is in the server's log; clients get no internals.
            StoreError::Stopped(_) => {
                let detail = "the store has stopped; whether this request had an effect is not known";
                Self::new(kinds::StorageStopped, detail)
            }
        };
        Self { retry_after_s: Some(5), ..problem }
    }
}

impl From<crate::supervisor::Ended> for Problem {
    fn from(_: crate::supervisor::Ended) -> Self {
        Self::shutting_down()
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.facts.title, self.detail)
    }
}

/// An error (RFC 9457). A problem may have further members, which its `type` explains.
#[derive(Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody<'a> {
    /// `urn:gristmill:problem:KIND`; clients may rely on the kind.
    #[schema(pattern = "^urn:gristmill:problem:[a-z-]+$", examples("urn:gristmill:problem:unknown-job"))]
    r#type: String,
    /// What the kind means, in words; the same each time.
    #[schema(examples("Unknown job"))]
    title: &'static str,
    /// The status of the answer.
    #[schema(minimum = 400, maximum = 599, examples(404))]
    status: u16,
    /// What was wrong this time, and what would be right.
    detail: &'a str,
    #[serde(flatten)]
    #[schema(value_type = BTreeMap<String, Value>)]
    extra: &'a Map<String, Value>,
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { facts: Facts { status, name, title, .. }, detail, extra, .. } = self;
        let r#type = format!("urn:gristmill:problem:{name}");
        ProblemBody { r#type, title, status: status.as_u16(), detail, extra }.serialize(serializer)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.facts.status;
        let mut response = (status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        response
    }
}

pub(super) async fn unknown_path(method: Method, uri: Uri) -> Problem {
    let detail = format!("there is nothing at {method} {}; the API is under /v1", uri.path());
    Problem::new(kinds::UnknownPath, detail)
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(kinds::WrongMethod, detail)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that the layer asks for")]
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!(panic = text, "a request handler panicked");
    let detail = "a bug in the server; its log says more";
    Problem::new(kinds::Internal, detail).into_response()
}
