//! The log: one readable line an event on a terminal, JSON otherwise.

use std::io::IsTerminal as _;

use tracing_subscriber::EnvFilter;

use crate::config::LogFormat;

/// Starts logging on stderr. `GRISTMILL_LOG` sets the level, or levels by module, as `tracing` writes them.
pub fn start(format: Option<LogFormat>) {
    let terminal = std::io::stderr().is_terminal();
    let filter = EnvFilter::try_from_env("GRISTMILL_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,refinery_core=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => {
            log.with_target(false).with_ansi(terminal && std::env::var_os("NO_COLOR").is_none()).init()
        }
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}
