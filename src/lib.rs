//! gristmill: Pool.map over HTTP, for any language, that loses nothing.
//!
//! The map of the crate, from the outside in; `docs/ARCHITECTURE.md` says why, `tests/layers.rs` holds it:
//!
//! - [`cli`]: the command line; [`app`]: what starts what; [`config`], [`telemetry`].
//! - [`http`]: the edge.
//! - [`supervisor`]: the shell around the pool, and the worker processes; [`sys`]: what needs `unsafe`.
//! - [`pool`]: the decisions of one node, pure.
//! - [`store`]: the truth.
//! - [`functions`]: the built-in functions, run in worker processes; [`worker`]: the worker's side of the protocol;
//!   [`adapter`]: that side for programs that do not speak it; [`check`]: does a worker hold it?
//! - [`protocol`]: bytes to messages and back; [`model`]: the nouns; [`nearest`]: "did you mean";
//!   [`units`]: durations and sizes; [`schema`]: JSON Schemas; [`access`]: tokens, hosts and origins.
//! - [`webhooks`]: the ends of jobs, told at the URLs that jobs name; `otel`, a feature: the spans of jobs, told to a collector.

pub mod access;
pub mod adapter;
pub mod app;
pub mod check;
pub mod cli;
pub mod config;
pub mod functions;
pub mod http;
pub mod model;
pub mod nearest;
#[cfg(feature = "otel")]
pub mod otel;
pub mod pool;
pub mod protocol;
pub mod schema;
pub mod store;
pub mod supervisor;
pub mod sys;
pub mod telemetry;
pub mod units;
pub mod webhooks;
pub mod worker;
