//! The signals, and the end of a server in good order.

use std::net::SocketAddr;
use std::time::Duration;

use anyhow::{Result, bail};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::supervisor::{Handle, Running};

/// How long open connections have to end once all results are in the store.
const CONNECTIONS_GRACE: Duration = Duration::from_secs(2);

/// The signals that ask the server to end.
pub(super) struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

pub(super) struct Shutdown {
    pub(super) supervisor: Handle,
    pub(super) running: Running,
    pub(super) drain: watch::Sender<bool>,
    pub(super) connections: axum_server::Handle<SocketAddr>,
    pub(super) stopped: watch::Receiver<Option<String>>,
    pub(super) grace: Duration,
}

impl Shutdown {
    /// Waits for a reason to end, then ends: no new work, running tasks get the grace, then nothing is left running.
    pub(super) async fn wait(mut self, signals: &mut Signals) -> Result<()> {
        let broken = tokio::select! {
            () = signals.next() => None,
            reason = self.stopped.wait_for(Option::is_some) => Some(reason.map(|reason| reason.clone()).ok().flatten()),
        };
        self.drain.send_replace(true);
        if let Some(reason) = broken {
            self.connections.graceful_shutdown(Some(CONNECTIONS_GRACE));
            bail!("the store has stopped: {}", reason.unwrap_or_default());
        }
        tracing::info!(
            grace_s = self.grace.as_secs_f64(),
            "shutting down: running tasks may end; again to end at once"
        );
        self.supervisor.drain().await;
        let drained = tokio::select! {
            _ = &mut self.running => true,
            () = tokio::time::sleep(self.grace) => false,
            () = signals.next() => {
                tracing::warn!("ending at once");
                std::process::exit(130);
            }
        };
        if !drained {
            self.interrupt(signals).await;
        }
        self.connections.graceful_shutdown(Some(CONNECTIONS_GRACE));
        Ok(())
    }

    /// What still runs is ended and goes back to the queue.
    async fn interrupt(&mut self, signals: &mut Signals) {
        tracing::warn!("the grace is over: what still runs goes back to the queue");
        self.supervisor.interrupt().await;
        tokio::select! {
            _ = &mut self.running => {}
            () = signals.next() => std::process::exit(130),
        }
    }
}
