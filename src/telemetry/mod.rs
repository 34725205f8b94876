//! What operators see: the log, and the metrics.
//!
//! Imports `config`, `model` and `sys`. Deliberately absent: what is told; whoever does something says so.

pub mod exposition;
mod log;
pub mod metrics;

pub(crate) use log::tell_sparingly;
pub use log::{Budget, job_ended, start};
pub use metrics::Metrics;
