//! Why a server did not do what was asked for, and what would help.

/// Why there is no answer to a request, or not the one that was wanted.
#[derive(thiserror::Error, Debug)]
pub(super) enum Failure {
    /// Nobody listens there.
    #[error("no server answers at {base} ({why}); {remedy}")]
    Unreachable {
        /// The address.
        base: String,
        /// What the system says.
        why: String,
        /// What would help.
        remedy: String,
    },
    /// The connection ended before the answer did.
    #[error("the connection to {base} was lost ({why})")]
    Lost {
        /// The address.
        base: String,
        /// What the system says.
        why: String,
    },
    /// The server says what is wrong.
    #[error("{detail}{}", hint(detail))]
    Refused {
        /// The status.
        status: u16,
        /// What is wrong.
        detail: String,
    },
    /// Something else than a gristmill server.
    #[error(
        "{base} answers {status}, and not as a gristmill server does; --server or GRISTMILL_SERVER names another"
    )]
    Foreign {
        /// The address.
        base: String,
        /// The status.
        status: u16,
    },
}

/// What the calls that a server names are here.
const COMMANDS: [(&str, &str); 5] = [
    ("Authorization: Bearer", "set GRISTMILL_TOKEN"),
    ("/cancel", "`gristmill cancel`"),
    ("GET /v1/functions", "`gristmill functions`"),
    ("GET /v1/jobs", "`gristmill jobs`"),
    ("GET /v1/pool", "`gristmill pool`"),
];

fn hint(detail: &str) -> String {
    let command = COMMANDS.iter().find(|(call, _)| detail.contains(call));
    command.map_or_else(String::new, |(_, command)| format!(" (here: {command})"))
}

impl Failure {
    /// Whether the same request may be answered a moment later, when the server is up again.
    fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => true,
            Self::Refused { status, .. } | Self::Foreign { status, .. } => matches!(status, 502..=504),
        }
    }
}

/// Whether what went wrong is that the server is away, for now.
pub(super) fn may_pass(error: &anyhow::Error) -> bool {
    error.downcast_ref::<Failure>().is_some_and(Failure::may_pass)
}

/// Whether a request may have had its effect, though there is no answer.
pub(super) fn is_lost(error: &anyhow::Error) -> bool {
    matches!(error.downcast_ref(), Some(Failure::Lost { .. }))
}

/// What the system says.
pub(super) fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    error.source().map_or_else(|| error.to_string(), innermost)
}

/// How there would be a server at this address.
pub(super) fn remedy(base: &str) -> String {
    let other = "--server or GRISTMILL_SERVER names another";
    let place = base.trim_start_matches("http://");
    match place.rsplit_once(':') {
        Some(("127.0.0.1" | "localhost" | "[::1]", "8080")) => {
            format!("`gristmill serve` starts one there, {other}")
        }
        Some(("127.0.0.1" | "localhost" | "[::1]", port)) if port.parse::<u16>().is_ok() => {
            format!(
                "`gristmill serve --listen {}` starts one there, {other}",
                place.replace("localhost", "127.0.0.1")
            )
        }
        _ => other.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_remedy_fits_the_address() {
        assert!(remedy("http://127.0.0.1:8080").starts_with("`gristmill serve` starts"));
        assert!(remedy("http://localhost:99").starts_with("`gristmill serve --listen 127.0.0.1:99` starts"));
        assert!(remedy("http://example.com:99").starts_with("--server"));
    }
}
