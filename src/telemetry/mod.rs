//! What operators see: the log, and the metrics.
//!
//! Imports `config`, `model` and `sys`. Deliberately absent: what is told; whoever does something says so.

pub mod exposition;
mod log;
pub mod metrics;

pub use log::{Budget, job_ended, start};
pub(crate) use log::{ms, tell_sparingly};
pub use metrics::Metrics;
