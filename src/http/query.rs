//! Query strings, durations and page sizes, with errors that say what would be right.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::request::Parts;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer};

use super::{Problem, error};
use crate::model::JobId;
use crate::nearest::with_nearest;

/// The longest that a request is held for `wait=`.
const MOST_WAIT: Duration = Duration::from_mins(10);

/// A query string of this shape; anything else is a problem.
pub(super) struct Params<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Query(params) = Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let source =
                std::error::Error::source(&rejection).map_or_else(|| rejection.to_string(), innermost);
            Problem::bad_request(format!("in the query: {}", with_nearest(&source)))
        })?;
        Ok(Self(params))
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// The one parameter of the path; one that is no text names nothing.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        match Path::from_request_parts(parts, state).await {
            Ok(Path(name)) => Ok(Self(name)),
            Err(_) => Err(error::unknown_path(parts.method.clone(), parts.uri.clone()).await),
        }
    }
}

/// The id in the path; one that cannot be an id is an unknown job.
pub(super) fn job_id(text: &str) -> Result<JobId, Problem> {
    text.parse().map_err(|_| Problem::unknown_job(text))
}

/// A duration as people write it (`30s`, `1m 30s`, `500ms`) or a number of seconds.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is no duration; write it as 500ms, 30s or 1m30s, or as a number of seconds");
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    let parsed = text.parse::<jiff::SignedDuration>().map_err(|_| wrong())?;
    Duration::try_from(parsed).map_err(|_| wrong())
}

/// A time to wait, at most [`MOST_WAIT`].
pub(super) fn wait<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wait = duration(&text).map_err(serde::de::Error::custom)?;
    Ok(Some(wait.min(MOST_WAIT)))
}

/// The seconds of `Prefer: wait=N` (RFC 7240), if it is asked for.
pub(super) fn prefer_wait(parts: &axum::http::HeaderMap) -> Option<Duration> {
    let values = parts.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
    let seconds =
        values.flat_map(|value| value.split(',')).find_map(|token| token.trim().strip_prefix("wait="))?;
    Some(Duration::from_secs(seconds.trim().parse().ok()?).min(MOST_WAIT))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [("30s", 30_000), ("500ms", 500), ("1m30s", 90_000), ("2", 2_000), ("0.5", 500)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        for text in ["", "-1", "soon", "-5s", "NaN", "inf", "1e300"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn prefer_is_read_among_other_preferences() {
        let mut headers = axum::http::HeaderMap::new();
        assert_eq!(prefer_wait(&headers), None);
        headers.insert("prefer", "respond-async, wait=10".parse().unwrap());
        assert_eq!(prefer_wait(&headers), Some(Duration::from_secs(10)));
    }
}
