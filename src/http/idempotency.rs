//! `Idempotency-Key` (draft-ietf-httpapi-idempotency-key-header): the same request under the same key is the same job.

use axum::http::{HeaderMap, Uri};
use sha2::{Digest as _, Sha256};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::Problem;
use super::kinds::{JobDeleted, KeyReused};
use crate::model::JobId;
use crate::store::IdempotencyKey;

const MOST_KEY_BYTES: usize = 255;

/// The key of a request, if it has one, and the digest of what was read of it so far.
pub(super) struct KeyedBody(Option<(String, Sha256)>);

/// The header.
impl IntoParams for KeyedBody {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "The same request under the same key is the same job, also after a restart; a key is known for as long as its \
                           job, and for 24 hours at least.";
        // The characters that a header can carry at its ends, and between.
        let schema =
            ObjectBuilder::new().schema_type(Type::String).pattern(Some("^[!-~]([ -~]{0,253}[!-~])?$"));
        let header = ParameterBuilder::new().name("Idempotency-Key").parameter_in(ParameterIn::Header);
        vec![header.description(Some(description)).schema(Some(schema)).build()]
    }
}

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
    Problem::new(KeyReused, detail)
}

/// The job of the key has been deleted.
pub(super) fn gone(job: JobId) -> Problem {
    let detail = format!("this request was accepted as job {job}, which has been deleted since");
    Problem::new(JobDeleted, detail)
}
