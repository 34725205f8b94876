//! Webhooks: the end of a job is told by a signed POST to the URL that the job names, until it has been taken.
//!
//! Imports `model`, `store` and `telemetry`. `rules` is pure: who may be told, at which addresses, signed how, tried again when.
//! Deliberately absent: what a message says (HTTP's views), redirects, proxies, connections that are kept.

mod outbox;
mod post;
mod rules;
mod trust;

pub use outbox::{Message, start};
pub use rules::{Network, Receivers, Rules, Secrets};
pub use trust::{BadCertificates, Trust};

/// How ends of jobs are told.
#[derive(Clone, PartialEq, Debug)]
pub struct Settings {
    /// Who may be told, and how it is signed.
    pub rules: Rules,
    /// Whose certificates are good.
    pub trust: Trust,
}
