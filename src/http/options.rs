//! The options of a submit, from a JSON body or a query, checked.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::extract::Query;
use axum::http::Uri;
use serde::Deserialize;
use utoipa::IntoParams;
use utoipa::openapi::path::{Parameter, ParameterIn};

use super::kinds::{CallbackRefused, UnknownFunction};
use super::openapi::query_of;
use super::query::{Whole, must_be_utf8};
use super::submit::SubmitBody;
use super::{Edge, Problem};
use crate::model::limits::{MAX_LABELS, MAX_NAME_CHARS, SEGMENT_LINES};
use crate::model::{JobOptions, JobSpec, Lock, OnError};
use crate::nearest::nearest;
use crate::units;

/// More attempts than this are surely a mistake.
const MOST_ATTEMPTS: u32 = 1000;
/// No task can be ended sooner.
const LEAST_TIMEOUT: Duration = Duration::from_millis(1);
/// Longer durations are surely a mistake.
pub(super) const MOST_TIME: Duration = Duration::from_secs(1_000_000_000);
/// A chunk lies within one segment of inputs.
const MOST_CHUNK: u32 = SEGMENT_LINES as u32;

/// All that a submit can say but its inputs.
#[derive(Deserialize, Debug, Default)]
#[serde(default)]
pub(super) struct Options<'a> {
    pub(super) open: bool,
    pub(super) function: Option<Cow<'a, str>>,
    pub(super) name: Option<String>,
    pub(super) labels: BTreeMap<String, String>,
    pub(super) processes: Option<u32>,
    pub(super) priority: Option<i32>,
    pub(super) timeout: Option<String>,
    pub(super) max_attempts: Option<u32>,
    pub(super) on_error: Option<OnError>,
    pub(super) retry_backoff: Option<String>,
    pub(super) chunk_size: Option<u32>,
    pub(super) lock: Option<Lock>,
    pub(super) callback_url: Option<String>,
}

/// They stand in the query.
impl IntoParams for Options<'_> {
    fn into_params(_: impl Fn() -> Option<ParameterIn>) -> Vec<Parameter> {
        query_of::<SubmitBody<'_>>(&[])
    }
}

/// A lock: its name, for one permit, or an object.
#[derive(Deserialize)]
#[serde(
    untagged,
    deny_unknown_fields,
    expecting = "a lock is a name, or {\"name\": \"disk\", \"permits\": 2}"
)]
pub(super) enum LockParam {
    Name(String),
    Lock { name: String, permits: Whole<u32> },
}

impl LockParam {
    /// Of a query: a name does not begin with a brace there.
    fn from_text(text: &str) -> serde_json::Result<Self> {
        if text.starts_with('{') { serde_json::from_str(text) } else { Ok(Self::Name(text.to_owned())) }
    }

    pub(super) fn into_lock(self) -> Lock {
        match self {
            Self::Name(name) => Lock { name, permits: 1 },
            Self::Lock { name, permits: Whole(permits) } => Lock { name, permits },
        }
    }
}

/// A duration in a JSON body: text, or a number of seconds.
#[derive(Deserialize)]
#[serde(untagged, expecting = "a duration is text, such as \"30s\", or a number of seconds")]
pub(super) enum Time {
    Text(String),
    Seconds(f64),
}

impl Time {
    pub(super) fn into_text(self) -> String {
        match self {
            Self::Text(text) => text,
            Self::Seconds(seconds) => seconds.to_string(),
        }
    }
}

/// The options of a query string; `label=team=x` may be given more than once.
pub(super) fn query_options(text: &str) -> Result<Options<'static>, Problem> {
    pairs_options(query_pairs(text)?)
}

/// The keys and values of a query string.
pub(super) fn query_pairs(text: &str) -> Result<Vec<(String, String)>, Problem> {
    let uri = format!("/?{text}").parse::<Uri>().map_err(|error| Problem::bad_request(error.to_string()))?;
    must_be_utf8(&uri)?;
    let pairs = Query::try_from_uri(&uri).map_err(|error| Problem::bad_request(error.to_string()))?;
    Ok(pairs.0)
}

/// The options of these keys and values.
pub(super) fn pairs_options(pairs: Vec<(String, String)>) -> Result<Options<'static>, Problem> {
    let wrong = |key: &str, value: &str, want: &str| {
        Problem::bad_request(format!("{key} is {value:?} in the query; it can be {want}"))
    };
    let mut options = Options::default();
    let mut seen = BTreeSet::new();
    for (key, value) in pairs {
        let once = if key == "label" {
            format!("label={}", value.split('=').next().unwrap_or(""))
        } else {
            key.clone()
        };
        if !seen.insert(once) {
            return Err(Problem::bad_request(format!("{key} is given twice in the query")));
        }
        match key.as_str() {
            "function" => options.function = Some(value.into()),
            "name" => options.name = Some(value),
            "processes" => {
                options.processes = Some(value.parse().map_err(|_| wrong(&key, &value, "1, 2, 3 …"))?)
            }
            "priority" => {
                options.priority = Some(value.parse().map_err(|_| wrong(&key, &value, "a whole number"))?)
            }
            "chunk_size" => {
                options.chunk_size = Some(value.parse().map_err(|_| wrong(&key, &value, "1, 2, 3 …"))?)
            }
            "timeout" => options.timeout = Some(value),
            "retry_backoff" => options.retry_backoff = Some(value),
            "open" => {
                options.open = value.parse().map_err(|_| wrong(&key, &value, "true or false"))?;
            }
            "callback_url" => options.callback_url = Some(value),
            "lock" => {
                let want = r#"a name, or {"name": "disk", "permits": 2}"#;
                let lock = LockParam::from_text(&value).map_err(|_| wrong(&key, &value, want))?;
                options.lock = Some(lock.into_lock());
            }
            "max_attempts" => {
                options.max_attempts = Some(value.parse().map_err(|_| wrong(&key, &value, "1, 2, 3 …"))?);
            }
            "on_error" => {
                let quoted = serde_json::Value::String(value.clone());
                let parsed = serde_json::from_value(quoted);
                options.on_error = Some(parsed.map_err(|_| wrong(&key, &value, "continue or stop"))?);
            }
            "label" => {
                let (label, value) =
                    value.split_once('=').ok_or_else(|| wrong(&key, &value, "written key=value"))?;
                options.labels.insert(label.to_owned(), value.to_owned());
            }
            _ => return Err(unknown_option(&key)),
        }
    }
    Ok(options)
}

fn unknown_option(key: &str) -> Problem {
    let known = [
        "function",
        "name",
        "processes",
        "priority",
        "timeout",
        "max_attempts",
        "on_error",
        "retry_backoff",
        "chunk_size",
        "lock",
        "callback_url",
        "open",
        "label",
    ];
    let meant = nearest(key, known).map_or_else(String::new, |meant| format!("; did you mean {meant:?}?"));
    Problem::bad_request(format!(
        "unknown option {key:?} in the query{meant}; known are {}",
        known.join(", ")
    ))
}

/// Makes a valid job of what was said.
pub(super) fn check(edge: &Edge, options: Options<'_>) -> Result<JobSpec, Problem> {
    let function = known_function(edge, options.function.as_deref())?;
    let in_range = |what: &str, value: u32, most: u32| match value {
        value if (1..=most).contains(&value) => Ok(value),
        value => Err(Problem::bad_request(format!("{what} is {value}; it can be 1 to {most}"))),
    };
    let too_long = |text: &&str| text.chars().count() > MAX_NAME_CHARS;
    let names = options.name.iter().chain(options.labels.keys()).chain(options.labels.values());
    if let Some(long) = names.map(String::as_str).find(too_long) {
        let chars = long.chars().count();
        return Err(Problem::bad_request(format!(
            "names and labels may have {MAX_NAME_CHARS} characters; one has {chars}"
        )));
    }
    if let Some(key) = options.labels.keys().find(|key| key.contains('=')) {
        return Err(Problem::bad_request(format!(
            "the label {key:?} has a = in its name, which separates it from its value"
        )));
    }
    if options.labels.len() > MAX_LABELS {
        return Err(Problem::bad_request(format!("a job may have {MAX_LABELS} labels")));
    }
    let declared = edge.functions().iter().find(|known| known.name == function).map(|known| known.options);
    let declared = declared.unwrap_or_default();
    let defaults = JobOptions::default();
    let max_attempts = options.max_attempts.or(declared.max_attempts).unwrap_or(defaults.max_attempts);
    Ok(JobSpec {
        function,
        name: options.name,
        labels: options.labels,
        options: JobOptions {
            processes: options.processes.map(|n| in_range("processes", n, u32::MAX)).transpose()?,
            priority: options.priority.unwrap_or(defaults.priority),
            timeout: options.timeout.as_deref().map(timeout).transpose()?.or(declared.timeout()),
            max_attempts: in_range("max_attempts", max_attempts, MOST_ATTEMPTS)?,
            on_error: options.on_error.unwrap_or_default(),
            retry_backoff: options
                .retry_backoff
                .as_deref()
                .map(backoff)
                .transpose()?
                .unwrap_or(declared.retry_backoff()),
            chunk_size: options.chunk_size.map(|n| in_range("chunk_size", n, MOST_CHUNK)).transpose()?,
            lock: options.lock.map(lock).transpose()?,
            trace: None,
            callback_url: options.callback_url.map(|url| callback_url(edge, &url)).transpose()?,
        },
    })
}

fn lock(lock: Lock) -> Result<Lock, Problem> {
    if lock.permits == 0 || lock.name.is_empty() || lock.name.chars().count() > MAX_NAME_CHARS {
        let detail = format!("a lock has a name of 1 to {MAX_NAME_CHARS} characters and at least 1 permit");
        return Err(Problem::bad_request(detail));
    }
    Ok(lock)
}

/// The URL as it is kept, if its host may be told.
fn callback_url(edge: &Edge, text: &str) -> Result<String, Problem> {
    let settings = edge.callbacks.borrow();
    let checked = match settings.as_ref() {
        Some(settings) => settings.rules.receivers.check(text).map(String::from),
        None => Err("callbacks are off; the operator turns them on with callback_hosts".into()),
    };
    checked.map_err(|why| Problem::new(CallbackRefused, format!("callback_url: {why}")))
}

fn backoff(text: &str) -> Result<Duration, Problem> {
    duration("retry_backoff", text)
}

fn timeout(text: &str) -> Result<Duration, Problem> {
    let timeout = duration("timeout", text)?;
    if timeout < LEAST_TIMEOUT {
        Err(Problem::bad_request(format!("timeout is {text}; it can be 1 ms and more")))
    } else {
        Ok(timeout)
    }
}

fn duration(what: &str, text: &str) -> Result<Duration, Problem> {
    let duration = units::duration(text).map_err(|why| Problem::bad_request(format!("{what}: {why}")))?;
    if duration > MOST_TIME {
        let most = MOST_TIME.as_secs();
        Err(Problem::bad_request(format!(
            "{what} is {text}; it can be {most} seconds, which is some 30 years"
        )))
    } else {
        Ok(duration)
    }
}

fn known_function(edge: &Edge, name: Option<&str>) -> Result<String, Problem> {
    let functions = edge.functions();
    let names = || functions.iter().map(|function| function.name.as_str());
    let Some(name) = name else {
        let detail = format!("function is missing; it can be {}", names().collect::<Vec<_>>().join(", "));
        return Err(Problem::bad_request(detail));
    };
    if names().any(|known| known == name) {
        return Ok(name.to_owned());
    }
    let meant = nearest(name, names());
    let hint = meant.map_or_else(
        || "GET /v1/functions lists those there are".into(),
        |meant| format!("did you mean {meant:?}?"),
    );
    let detail = format!("there is no function {name:?}; {hint}");
    let problem = Problem::new(UnknownFunction, detail);
    Err(match meant {
        Some(meant) => problem.with("nearest", meant.into()),
        None => problem,
    })
}
