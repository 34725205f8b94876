//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): the same request under the same key is the same job.

use axum::http::{HeaderMap, StatusCode, Uri};
use sha2::{Digest as _, Sha256};

use super::Problem;
use crate::model::JobId;
use crate::store::IdempotencyKey;

const MOST_KEY_BYTES: usize = 255;

/// The key of a request, if it has one, and the digest of what was read of it so far.
pub(super) struct KeyedBody(Option<(String, Sha256)>);

impl KeyedBody {
    pub(super) fn new(headers: &HeaderMap, uri: &Uri) -> Result<Self, Problem> {
        let mut values = headers.get_all("idempotency-key").into_iter();
        let Some(value) = values.next() else { return Ok(Self(None)) };
        let text = value.to_str().unwrap_or_default();
        // The draft wants a string in quotes; most clients send the bare key.
        let key = text.strip_prefix('"').and_then(|rest| rest.strip_suffix('"')).unwrap_or(text);
        if values.next().is_some() || key.is_empty() || key.len() > MOST_KEY_BYTES {
            let detail =
                format!("Idempotency-Key is one key of 1 to {MOST_KEY_BYTES} visible ASCII characters");
            return Err(Problem::bad_request(detail));
        }
        let mut digest = Sha256::new();
        digest.update(uri.path_and_query().map_or("", |path| path.as_str()));
        digest.update([0]);
        Ok(Self(Some((key.to_owned(), digest))))
    }

    /// Takes in the next bytes of the body.
    pub(super) fn update(&mut self, bytes: &[u8]) {
        if let Some((_, digest)) = &mut self.0 {
            digest.update(bytes);
        }
    }

    /// The key with what it stands for.
    pub(super) fn finish(self) -> Option<IdempotencyKey> {
        self.0.map(|(key, digest)| IdempotencyKey { key, fingerprint: digest.finalize().into() })
    }
}

/// The key was used for something else.
pub(super) fn other() -> Problem {
    let detail = "another request was sent under this Idempotency-Key; use a key of its own for each request";
    Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "key-reused", "The key names another request", detail)
}

/// The job of the key has been deleted.
pub(super) fn gone(job: JobId) -> Problem {
    let detail = format!("this request was accepted as job {job}, which has been deleted since");
    Problem::new(StatusCode::GONE, "job-deleted", "The job has been deleted", detail)
}
