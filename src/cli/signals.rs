//! The end of commands that have something to tidy up, whoever ends them.

use std::process::ExitCode;

use anyhow::Result;
use tokio::signal::unix::{SignalKind, signal};

use super::exit;

/// Does this, unless Ctrl-C or SIGTERM comes before, which drops what it holds; gives the exit code.
pub(super) async fn unless_ended(work: impl Future<Output = Result<()>>) -> Result<ExitCode> {
    let mut interrupts = signal(SignalKind::interrupt())?;
    let mut terminations = signal(SignalKind::terminate())?;
    tokio::select! {
        // A terminal interrupts the processes below as well, and that they fail is no news then.
        biased;
        _ = interrupts.recv() => Ok(exit::INTERRUPTED.into()),
        _ = terminations.recv() => Ok(exit::TERMINATED.into()),
        outcome = work => outcome.map(|()| ExitCode::SUCCESS),
    }
}
