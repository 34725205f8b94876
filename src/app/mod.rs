//! The composition root: starts the parts in order, and stops them in reverse.

mod functions;
mod locks;
mod shutdown;

use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::access::Tokens;
use crate::config::Config;
use crate::http::{self, Edge, FunctionView};
use crate::model::{Job, Timestamp};
#[cfg(feature = "otel")]
use crate::otel;
use crate::store::sqlite::SqliteStore;
use crate::store::{Retention, Store, StoreError};
use crate::supervisor::{self, Handle, Settings};
use crate::telemetry::Metrics;
use crate::{sys, webhooks};
pub(crate) use functions::environment;
use functions::{function_views, worker_commands};
use locks::{Locks, lock_data_dir};
use shutdown::{Shutdown, Signals};

/// The first argument that makes this binary a worker of a built-in function; its name follows.
pub const WORKER_ARGUMENT: &str = "__worker";
/// Jobs are forgotten some at a time; after so long it goes on.
const SWEEP_AGAIN: Duration = Duration::from_secs(1);
/// A client that has not sent the head of its first request by then is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// So long a connection is kept for the next request, from when the last answer was written: whoever reads that slowly may
/// take as long. Longer than the 60 seconds for which proxies usually keep theirs, so that none sends into a closed one.
const IDLE_TIMEOUT: Duration = Duration::from_secs(75);

/// Serves until a signal ends it. `reload` reads the configuration again; `started` gets the address that it listens on.
pub async fn serve(
    config: Config,
    reload: impl Fn() -> Result<Config> + Send + 'static,
    started: impl FnOnce(SocketAddr),
) -> Result<()> {
    config.may_listen_on(config.listen)?;
    let mut signals = Signals::new()?;
    fs::create_dir_all(&config.data_dir).with_context(|| format!("making {}", config.data_dir.display()))?;
    sys::orphans::adopt()?;
    let locks = lock_data_dir(&config.data_dir)?;
    sys::gather_log_writes();
    let store = SqliteStore::open(&config.data_dir, &config.node, now()).context("opening the store")?;
    let stopped = store.stopped();
    let store: Arc<dyn Store> = Arc::new(store);
    let listener = listen(config.listen)?;
    let address = listener.local_addr()?;
    let metrics = Arc::new(Metrics::default());
    let settings = settings(&config, &locks, metrics.clone())?;
    let (supervisor, running) = supervisor::start(settings, store.clone(), now);
    #[cfg(feature = "otel")]
    let spans = spans(&config.node, store.clone(), &supervisor)?;
    let (drain, draining) = watch::channel(false);
    let (views, functions) = watch::channel(function_views(&config).into());
    let (token_sender, tokens) = watch::channel(config.tokens.clone());
    let (callback_sender, callbacks) = watch::channel(config.callbacks.clone());
    let reloaded =
        Reloaded { supervisor: supervisor.clone(), views, tokens: token_sender, callbacks: callback_sender };
    let reload = move || reload().and_then(|config| config.may_listen_on(address).map(|()| config));
    reload_at_hangup(reload, reloaded)?;
    sweep(store.clone(), config.retention, config.retention_count);
    let browsers = config.browsers.clone().into();
    let limits = config.limits;
    let edge = Edge::new(http::Parts {
        store,
        supervisor: supervisor.clone(),
        functions,
        tokens,
        browsers,
        callbacks,
        limits,
        metrics,
        now,
        draining,
    });
    tell_ends(&edge);
    let connections = axum_server::Handle::new();
    let server = serve_http(listener, edge, connections.clone());
    announce(&config, address);
    started(address);
    let outcome = Shutdown { supervisor, running, drain, connections, stopped, grace: config.grace };
    let outcome = outcome.wait(&mut signals).await;
    let last = server.await;
    #[cfg(feature = "otel")]
    otel::flush(spans).await;
    last.context("the HTTP server's task")??;
    outcome
}

/// Tells the spans of jobs to the collector that the environment names.
#[cfg(feature = "otel")]
fn spans(node: &str, store: Arc<dyn Store>, supervisor: &Handle) -> Result<Option<otel::Telling>> {
    let settings = otel::Settings::from_environment().map_err(anyhow::Error::msg)?;
    Ok(settings.map(|settings| otel::start(settings, node, store, supervisor.follow_tasks(), now())))
}

/// What is told when the configuration is read again.
struct Reloaded {
    supervisor: Handle,
    views: watch::Sender<Arc<[FunctionView]>>,
    tokens: watch::Sender<Tokens>,
    callbacks: watch::Sender<Option<Arc<webhooks::Settings>>>,
}

/// Tells the ends of jobs to those whom the jobs name.
fn tell_ends(edge: &Edge) {
    let (store, callbacks, metrics) = (edge.store.clone(), edge.callbacks.clone(), edge.metrics.clone());
    let edge = edge.clone();
    let message = move |job: &Job| http::ended_message(&edge, job);
    webhooks::start(store, callbacks, Arc::new(message), metrics, now);
}

/// Reads the tokens, the settings of callbacks and the declarations of functions again at every `SIGHUP`. If anything is wrong, nothing changes.
fn reload_at_hangup(reload: impl Fn() -> Result<Config> + Send + 'static, reloaded: Reloaded) -> Result<()> {
    let mut hangups = signal(SignalKind::hangup())?;
    tokio::spawn(async move {
        while hangups.recv().await.is_some() {
            match reload() {
                Ok(config) => {
                    reloaded.supervisor.set_functions(worker_commands(&config)).await;
                    reloaded.views.send_replace(function_views(&config).into());
                    let (functions, tokens) = (config.functions.len(), config.tokens.len());
                    warn(&config);
                    reloaded.tokens.send_replace(config.tokens);
                    reloaded.callbacks.send_replace(config.callbacks);
                    tracing::info!(
                        functions,
                        tokens,
                        "functions, tokens and callbacks are read again; other settings need a restart"
                    );
                }
                Err(error) => {
                    tracing::error!(
                        error = format!("{error:#}"),
                        "the configuration is wrong; nothing has changed"
                    );
                }
            }
        }
    });
    Ok(())
}

/// Forgets jobs that ended long ago, every so often.
fn sweep(store: Arc<dyn Store>, age: Duration, count: u64) {
    let every = (age / 4).clamp(Duration::from_secs(1), Duration::from_mins(1));
    let mut next = every;
    tokio::spawn(async move {
        loop {
            tokio::time::sleep(next).await;
            next = every;
            let ended_since = Timestamp(now().0.saturating_sub(age.as_micros() as i64));
            match store.sweep(Retention { ended_since, count }, now()).await {
                Ok(0) | Err(StoreError::Full) => {}
                Ok(jobs) => {
                    tracing::info!(jobs, "jobs that ended long ago are forgotten");
                    next = SWEEP_AGAIN;
                }
                Err(StoreError::Stopped(_)) => return,
            }
        }
    });
}

/// The time, in microseconds since 1970.
pub fn now() -> Timestamp {
    Timestamp(jiff::Timestamp::now().as_microsecond())
}

fn listen(address: SocketAddr) -> Result<TcpListener> {
    let listener = TcpListener::bind(address).with_context(|| {
        format!("listening on {address}; is another server there? --listen takes another address")
    })?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

fn serve_http(
    listener: TcpListener,
    edge: Edge,
    connections: axum_server::Handle<SocketAddr>,
) -> tokio::task::JoinHandle<Result<()>> {
    tokio::spawn(async move {
        let mut server =
            axum_server::from_tcp(listener)?.acceptor(http::refusals::Acceptor).handle(connections);
        server = server.first_request_timeout(HEADER_TIMEOUT);
        let mut http = server.http_builder().http1();
        http.timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(IDLE_TIMEOUT);
        server.serve(http::router(edge).into_make_service()).await?;
        Ok(())
    })
}

/// Says what the operator should know about who may call.
fn warn(config: &Config) {
    config.warnings().iter().for_each(|warning| tracing::warn!("{warning}"));
}

fn announce(config: &Config, address: SocketAddr) {
    warn(config);
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address = %format!("http://{address}"),
        slots = config.slots,
        slots_reason = config.slots_reason,
        tokens = config.tokens.len(),
        data_dir = %config.data_dir.display(),
        dashboard = %format!("http://{address}/"),
        "gristmill serves"
    );
}

fn settings(config: &Config, locks: &Locks, metrics: Arc<Metrics>) -> Result<Settings> {
    Ok(Settings {
        node: config.node.clone(),
        slots: config.slots,
        slots_reason: config.slots_reason.clone(),
        functions: worker_commands(config),
        lock: locks.workers.try_clone()?.into(),
        metrics,
    })
}
