//! The page that Prometheus reads: every metric with its name, type and help, in the text format that the reader wants.

mod encode;
mod told;

use std::collections::BTreeMap;
use std::fmt;

use prometheus_client::encoding::{prometheus_text, text};
use prometheus_client::registry::Registry;

use super::Metrics;
use crate::model::{Histogram, JobState, Verdict};
use told::Told;

/// A text format.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Format {
    /// Prometheus' own, version 0.0.4.
    Prometheus,
    /// `OpenMetrics` 1.0.
    OpenMetrics,
}

impl Format {
    /// The format that a request's `Accept` asks for.
    pub fn wanted(accept: &str) -> Self {
        let wants = |range: &str| {
            let mut parts = range.split(';').map(str::trim);
            let is_it =
                parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            is_it && !parts.any(|part| part.strip_prefix("q=").is_some_and(|q| q.parse() == Ok(0.0)))
        };
        if accept.split(',').any(wants) { Self::OpenMetrics } else { Self::Prometheus }
    }

    /// The content type of a page.
    pub fn content_type(self) -> &'static str {
        match self {
            Self::Prometheus => "text/plain; version=0.0.4; charset=utf-8",
            Self::OpenMetrics => "application/openmetrics-text; version=1.0.0; charset=utf-8",
        }
    }
}

/// What is read when a page is asked for, beside what was counted.
#[derive(Clone, Debug, Default)]
pub struct Readings {
    /// How many slots there are.
    pub slots: u32,
    /// What may be called.
    pub functions: Vec<String>,
    /// How many jobs there are in each state that has any.
    pub jobs: BTreeMap<JobState, u64>,
    /// By function: tasks without an outcome.
    pub unfinished: BTreeMap<String, u64>,
    /// By function: tasks that have had their outcome without a worker's answer since the start.
    pub unanswered: BTreeMap<String, Vec<(Verdict, u64)>>,
    /// The workers: function, state and process id.
    pub workers: Vec<(String, &'static str, Option<u32>)>,
    /// By function: how often in a row its workers have not started.
    pub failed_starts: BTreeMap<String, u32>,
    /// Ends of jobs that are still to be told.
    pub callbacks: u64,
    /// How long each commit took.
    pub commits: Histogram,
    /// The size of the database, in bytes.
    pub database_bytes: u64,
    /// The size of the log of the database, in bytes.
    pub log_bytes: u64,
    /// What the disk has left, in bytes.
    pub free_bytes: u64,
    /// Whether nothing new is taken in for want of room.
    pub is_full: bool,
}

/// The states of a worker.
pub const WORKER_STATES: [&str; 4] = ["starting", "idle", "busy", "ending"];

/// Writes the page.
pub fn page(metrics: &Metrics, readings: Readings, format: Format) -> Result<String, fmt::Error> {
    let told = Told::new(metrics, readings);
    let mut registry = Registry::default();
    registry.register_collector(Box::new(told));
    let mut page = String::new();
    match format {
        Format::Prometheus => prometheus_text::encode(&mut page, &registry)?,
        Format::OpenMetrics => text::encode(&mut page, &registry)?,
    }
    Ok(page)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_format_is_what_the_reader_wants() {
        let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;q=0.5,*/*;q=0.1";
        for (accept, format) in [
            (prometheus, Format::OpenMetrics),
            ("", Format::Prometheus),
            ("*/*", Format::Prometheus),
            ("text/plain;version=0.0.4", Format::Prometheus),
            ("application/openmetrics-text; q=0, text/plain", Format::Prometheus),
        ] {
            assert_eq!(Format::wanted(accept), format, "{accept}");
        }
    }

    #[test]
    fn a_name_that_breaks_lines_breaks_none_here() {
        let readings = Readings { functions: vec!["a\"b\\c\nd".into()], ..Readings::default() };
        let page = page(&Metrics::default(), readings, Format::Prometheus).unwrap();
        assert!(page.contains(r#"gristmill_tasks_queued{function="a\"b\\c\nd"} 0"#), "{page}");
    }
}
