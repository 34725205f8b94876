//! Errors as RFC 9457 problems: what was wrong, and what would be right.

use std::any::Any;
use std::fmt;

use axum::Json;
use axum::http::{HeaderValue, Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};
use serde_json::{Map, Value};

use crate::model::Limits;
use crate::store::{QueueLimits, StoreError};

/// A problem as clients see it.
#[derive(Clone, PartialEq, Debug)]
pub struct Problem {
    status: StatusCode,
    kind: &'static str,
    title: &'static str,
    detail: String,
    extra: Map<String, Value>,
    retry_after_s: Option<u32>,
}

impl Problem {
    /// A problem of a kind: a short name that clients may rely on, a fixed title, and what was wrong this time.
    pub fn new(
        status: StatusCode,
        kind: &'static str,
        title: &'static str,
        detail: impl Into<String>,
    ) -> Self {
        Self { status, kind, title, detail: detail.into(), extra: Map::new(), retry_after_s: None }
    }

    /// The request does not say what it should.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad-request", "The request is not valid", detail)
    }

    /// The body is not JSON as it should be.
    pub fn bad_json(detail: impl Into<String>, line: usize, column: usize) -> Self {
        let title = "The body is not valid JSON of the expected shape";
        let problem = Self::new(StatusCode::BAD_REQUEST, "bad-json", title, detail);
        problem.with("line", line.into()).with("column", column.into())
    }

    /// There is no such job.
    pub fn unknown_job(id: &str) -> Self {
        let detail = format!("there is no job {id:?}; GET /v1/jobs lists those there are");
        Self::new(StatusCode::NOT_FOUND, "unknown-job", "Unknown job", detail)
    }

    /// Something is larger than it may be.
    pub fn too_large(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too-large", "Too large", detail)
    }

    /// The server is on its way down.
    pub fn shutting_down() -> Self {
        let detail = "send it again when the server is up again";
        let problem = Self::new(
            StatusCode::SERVICE_UNAVAILABLE,
            "shutting-down",
            "The server is shutting down",
            detail,
        );
        Self { retry_after_s: Some(2), ..problem }
    }

    /// More inputs for a job that takes none.
    pub fn not_open() -> Self {
        let detail = "the job takes no more inputs: it was not submitted as open, has been closed, or is being cancelled";
        Self::new(StatusCode::CONFLICT, "not-open", "The job is not open", detail)
    }

    /// There is too much to do already.
    pub fn queue_full(queued: &QueueLimits, limits: &Limits) -> Self {
        let QueueLimits { tasks, bytes } = queued;
        let (most_tasks, most_bytes) = (limits.max_queued_tasks, limits.max_queued_bytes);
        let detail = format!(
            "{tasks} tasks with {bytes} bytes of inputs are queued; with this job there would be more than {most_tasks} \
             tasks or {most_bytes} bytes; send it again when some have ended"
        );
        let problem = Self::new(StatusCode::TOO_MANY_REQUESTS, "queue-full", "The queue is full", detail);
        Self { retry_after_s: Some(5), ..problem }
    }

    /// Results that the reader said it was done with.
    pub fn results_freed(through: u64) -> Self {
        let detail = format!(
            "the results up to seq {through} have been freed; read on by completion with after={through}"
        );
        Self::new(StatusCode::GONE, "results-freed", "The results have been freed", detail)
            .with("through", through.into())
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
        let status = StatusCode::SERVICE_UNAVAILABLE;
        let problem = match error {
            StoreError::Full => {
                let detail = "the disk that holds the data directory is full; nothing was accepted";
                Self::new(status, "storage-full", "The storage is full", detail)
            }
            // The reason is in the server's log; clients get no internals.
            StoreError::Stopped(_) => {
                let detail = "the store has stopped; whether this request had an effect is not known";
                Self::new(status, "storage-stopped", "The storage does not answer", detail)
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
        write!(f, "{}: {}", self.title, self.detail)
    }
}

impl Serialize for Problem {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        #[derive(Serialize)]
        struct Body<'a> {
            r#type: String,
            title: &'static str,
            status: u16,
            detail: &'a str,
            #[serde(flatten)]
            extra: &'a Map<String, Value>,
        }
        let Self { status, kind, title, detail, extra, .. } = self;
        let r#type = format!("urn:gristmill:problem:{kind}");
        Body { r#type, title, status: status.as_u16(), detail, extra }.serialize(serializer)
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let mut response = (self.status, Json(&self)).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        if self.status == StatusCode::UNAUTHORIZED {
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
    Problem::new(StatusCode::NOT_FOUND, "unknown-path", "Unknown path", detail)
}

pub(super) async fn wrong_method(method: Method, uri: Uri) -> Problem {
    let detail = format!("{} does not take {method}", uri.path());
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "wrong-method", "Wrong method", detail)
}

#[expect(clippy::needless_pass_by_value, reason = "the signature that the layer asks for")]
pub(super) fn panicked(panic: Box<dyn Any + Send + 'static>) -> Response {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
    tracing::error!(panic = text, "a request handler panicked");
    let detail = "a bug in the server; its log says more";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", "Internal error", detail).into_response()
}
