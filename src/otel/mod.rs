//! The spans of jobs and of their chunks, told to an OpenTelemetry collector: OTLP over HTTP, in JSON. Behind the feature `otel`.
//!
//! Imports `model`, `store` and `supervisor`'s news: one loop follows what has ended, another sends it. Between them is a queue with a
//! limit, so that a collector that is slow or gone costs spans, which are counted, and never time. Deliberately absent: gRPC, TLS (the
//! business of a collector beside the server), spans of requests, and any record of what has been sent.

mod encode;
mod follow;
mod queue;
mod send;
mod settings;
mod spans;

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{broadcast, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use crate::model::Timestamp;
use crate::store::Store;
use crate::supervisor::EndedTasks;
use follow::Follower;
use queue::Lost;
use send::Sender;
pub use settings::Settings;

/// What is left at the end of the server has so long to be sent.
const FLUSH_TIME: Duration = Duration::from_secs(2);

/// The two loops.
#[derive(Debug)]
pub struct Telling {
    /// Dropped, it stops the follower, and that the sender.
    stop: oneshot::Sender<()>,
    follower: JoinHandle<()>,
    sender: JoinHandle<()>,
    lost: Arc<Lost>,
}

/// Tells what ends from now on: jobs that the store has, and tasks.
pub fn start(
    settings: Settings,
    node: &str,
    store: Arc<dyn Store>,
    tasks: broadcast::Receiver<Arc<EndedTasks>>,
    now: Timestamp,
) -> Telling {
    tracing::info!(collector = settings.told(), service = settings.service, "the spans of jobs are told");
    let lost = Arc::new(Lost::default());
    let (queue, queued) = queue::new(lost.clone());
    let sender = Sender::new(settings, node, queued, lost.clone());
    let (stop, stopped) = oneshot::channel();
    let follower = Follower::new(store, tasks, queue, stopped, now);
    Telling { stop, follower: tokio::spawn(follower.run()), sender: tokio::spawn(sender.run()), lost }
}

/// Sends what is left, for 2 s at most; to be called when nothing ends any more.
pub async fn flush(telling: Option<Telling>) {
    let Some(Telling { stop, mut follower, mut sender, lost }) = telling else { return };
    drop(stop);
    let ends = async { drop((&mut follower).await.and((&mut sender).await)) };
    if timeout(FLUSH_TIME, ends).await.is_err() {
        follower.abort();
        sender.abort();
        tracing::warn!("the collector has not taken all spans in time; the rest are lost");
    }
    lost.tell();
}
