//! Query strings, durations and page sizes, with errors that say what would be right.

use std::time::Duration;

use axum::extract::{FromRequestParts, Path, Query};
use axum::http::Uri;
use axum::http::request::Parts;
use percent_encoding::percent_decode_str;
use serde::de::{DeserializeOwned, Error as _};
use serde::{Deserialize, Deserializer};
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterBuilder, ParameterIn};
use utoipa::openapi::schema::{ObjectBuilder, Type};

use super::{Problem, error};
use crate::model::{JobId, TraceParent};
use crate::nearest::with_nearest;
use crate::units;

/// The longest that a request is held for `wait=`.
const MOST_WAIT: Duration = Duration::from_mins(10);

/// Up to here an `f64` is the whole number that it shows.
const MOST_EXACT: f64 = 9_007_199_254_740_992.0;

/// A query string of this shape; anything else is a problem.
pub(super) struct Params<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        must_be_utf8(&parts.uri)?;
        let Query(params) = Query::try_from_uri(&parts.uri).map_err(|rejection| {
            let source =
                std::error::Error::source(&rejection).map_or_else(|| rejection.to_string(), innermost);
            Problem::bad_request(format!("in the query: {}", with_nearest(&source)))
        })?;
        Ok(Self(params))
    }
}

/// Decoding would make U+FFFD of what is no text.
pub(super) fn must_be_utf8(uri: &Uri) -> Result<(), Problem> {
    let query = uri.query().unwrap_or("");
    match percent_decode_str(query).decode_utf8() {
        Ok(_) => Ok(()),
        Err(_) => Err(Problem::bad_request(format!("the query {query:?} is no UTF-8 when it is decoded"))),
    }
}

fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// Serde would read a struct from an array of its fields too, which nobody means.
pub(super) fn must_be_object(body: &[u8]) -> Result<(), Problem> {
    match body.trim_ascii_start().first() {
        Some(b'[') => Err(Problem::bad_json("the body is an array; what is wanted is an object", 1, 1)),
        _ => Ok(()),
    }
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

/// A whole number, also where it is written as `4.0`, which is the same number in JSON.
pub(super) struct Whole<T>(pub(super) T);

impl<'de, T: TryFrom<i64>> Deserialize<'de> for Whole<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = serde_json::Number::deserialize(deserializer)?;
        let float = number.as_f64().filter(|float| float.fract() == 0.0 && float.abs() <= MOST_EXACT);
        let whole = number.as_i64().or(float.map(|float| float as i64));
        let whole = whole.and_then(|whole| T::try_from(whole).ok());
        whole
            .map(Self)
            .ok_or_else(|| D::Error::custom(format!("{number} is no whole number that is possible here")))
    }
}

/// As [`Whole`], where there may be none.
pub(super) fn whole<'de, D: Deserializer<'de>, T: TryFrom<i64>>(
    deserializer: D,
) -> Result<Option<T>, D::Error> {
    Ok(Option::<Whole<T>>::deserialize(deserializer)?.map(|Whole(number)| number))
}

/// A time to wait, at most [`MOST_WAIT`].
pub(super) fn wait<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Duration>, D::Error> {
    let text = String::deserialize(deserializer)?;
    let wait = units::duration(&text).map_err(D::Error::custom)?;
    Ok(Some(wait.min(MOST_WAIT)))
}

/// The seconds of `Prefer: wait=N` (RFC 7240), if it is asked for.
pub(super) fn prefer_wait(parts: &axum::http::HeaderMap) -> Option<Duration> {
    let values = parts.get_all("prefer").into_iter().filter_map(|value| value.to_str().ok());
    let seconds = values.flat_map(|value| value.split(',')).find_map(|preference| {
        let (name, value) = preference.split(';').next()?.split_once('=')?;
        name.trim().eq_ignore_ascii_case("wait").then(|| value.trim().trim_matches('"').parse().ok())?
    })?;
    Some(Duration::from_secs(seconds).min(MOST_WAIT))
}

/// The header that says which span a request is sent in. Any text is taken, so no pattern is.
pub(super) struct TraceHeader;

impl IntoParams for TraceHeader {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        let description = "The caller's span in a distributed trace (W3C Trace Context): `00-`, the trace in 32 hex digits, `-`, the span \
                           in 16, `-`, flags in 2; lower case. It is kept with the job and handed to the workers and programs that can be told, \
                           and a server that tells its own spans puts the job's below it. One that is not valid is ignored.";
        let example = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let header = ParameterBuilder::new().name("traceparent").parameter_in(ParameterIn::Header);
        let schema = ObjectBuilder::new().schema_type(Type::String).examples([example]);
        vec![header.description(Some(description)).schema(Some(schema)).build()]
    }
}

/// The span that a request is sent in, if it says so. One that is not valid is as none, as W3C Trace Context wants it.
pub(super) fn trace_parent(headers: &axum::http::HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all("traceparent").into_iter();
    match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok()?.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefer_is_read_among_other_preferences() {
        let mut headers = axum::http::HeaderMap::new();
        assert_eq!(prefer_wait(&headers), None);
        headers.insert("prefer", "respond-async, wait=10".parse().unwrap());
        assert_eq!(prefer_wait(&headers), Some(Duration::from_secs(10)));
        headers.insert("prefer", "Wait=\"3\"; foo".parse().unwrap());
        assert_eq!(prefer_wait(&headers), Some(Duration::from_secs(3)));
    }
}
