//! The composition root: starts the parts in order, and stops them in reverse.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::config::Config;
use crate::functions;
use crate::http::{self, Edge, FunctionView};
use crate::model::Timestamp;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::supervisor::{self, Handle, Running, Settings, WorkerCommand};
use crate::sys;

/// The first argument that makes this binary a worker of a built-in function; its name follows.
pub const WORKER_ARGUMENT: &str = "__worker";
/// A client that has not sent its request's head by then is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open connections have to end once all results are in the store.
const CONNECTIONS_GRACE: Duration = Duration::from_secs(2);
/// How long the workers of an earlier server that died have to go.
const LOCK_WAIT: Duration = Duration::from_secs(12);
/// What of the server's environment a worker gets.
const PASSED_ENV: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ"];

/// Serves until a signal ends it. `started` gets the address that it listens on.
pub async fn serve(config: Config, started: impl FnOnce(SocketAddr)) -> Result<()> {
    let mut signals = Signals::new()?;
    fs::create_dir_all(&config.data_dir).with_context(|| format!("making {}", config.data_dir.display()))?;
    sys::orphans::adopt()?;
    let lock = lock_data_dir(&config.data_dir)?;
    let store = SqliteStore::open(&config.data_dir, &config.node, now()).context("opening the store")?;
    let stopped = store.stopped();
    let store: Arc<dyn Store> = Arc::new(store);
    let listener = listen(config.listen)?;
    let address = listener.local_addr()?;
    let (supervisor, running) = supervisor::start(settings(&config, lock), store.clone(), now);
    let (drain, draining) = watch::channel(false);
    let edge = Edge {
        store,
        supervisor: supervisor.clone(),
        functions: function_views(&config).into(),
        limits: config.limits,
        now,
        draining,
    };
    let connections = axum_server::Handle::new();
    let server = serve_http(listener, edge, connections.clone());
    announce(&config, address);
    started(address);
    let outcome = Shutdown { supervisor, running, drain, connections, stopped, grace: config.grace };
    let outcome = outcome.wait(&mut signals).await;
    server.await.context("the HTTP server's task")??;
    outcome
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
        let mut server = axum_server::from_tcp(listener)?.handle(connections);
        let mut http = server.http_builder().http1();
        http.timer(hyper_util::rt::TokioTimer::new()).header_read_timeout(HEADER_TIMEOUT);
        server.serve(http::router(edge).into_make_service()).await?;
        Ok(())
    })
}

fn announce(config: &Config, address: SocketAddr) {
    tracing::info!(
        version = env!("CARGO_PKG_VERSION"),
        address = %format!("http://{address}"),
        slots = config.slots,
        slots_reason = config.slots_reason,
        data_dir = %config.data_dir.display(),
        dashboard = %format!("http://{address}/"),
        "gristmill serves"
    );
}

fn settings(config: &Config, lock: File) -> Settings {
    Settings {
        node: config.node.clone(),
        slots: config.slots,
        slots_reason: config.slots_reason.clone(),
        functions: offered(config)
            .map(|function| (function.name.to_owned(), built_in(function.name)))
            .collect(),
        lock: lock.into(),
        start_timeout: Duration::from_secs(30),
        grace: config.grace,
    }
}

fn offered(config: &Config) -> impl Iterator<Item = &'static functions::Function> {
    let enable_fail = config.enable_fail;
    functions::all().iter().filter(move |function| enable_fail || function.name != "fail")
}

/// A worker of a built-in function is this binary again.
fn built_in(name: &str) -> WorkerCommand {
    let argv = vec!["/proc/self/exe".into(), WORKER_ARGUMENT.into(), name.into()];
    let passed = PASSED_ENV.iter().filter_map(|name| Some(((*name).to_owned(), std::env::var_os(name)?)));
    WorkerCommand { argv, env: passed.collect::<BTreeMap<_, _>>() }
}

fn function_views(config: &Config) -> Vec<FunctionView> {
    let example = |function: &functions::Function| {
        let json = |text| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
        serde_json::json!({"input": json(function.example.0), "output": json(function.example.1)})
    };
    let view = |function: &functions::Function| FunctionView {
        name: function.name.to_owned(),
        description: function.description.to_owned(),
        input: function.input.to_owned(),
        output: function.output.to_owned(),
        example: example(function),
    };
    offered(config).map(view).collect()
}

/// Takes the lock on the data directory. Guards hold it too: after a crash it is free once every worker is gone.
fn lock_data_dir(dir: &Path) -> Result<File> {
    let path = dir.join("lock");
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(&path);
    let mut file = opened.with_context(|| format!("opening {}", path.display()))?;
    let until = Instant::now() + LOCK_WAIT;
    while let Err(error) = flock(&file, FlockOperation::NonBlockingLockExclusive) {
        if error != rustix::io::Errno::WOULDBLOCK {
            return Err(error).with_context(|| format!("locking {}", path.display()));
        }
        let mut holder = String::new();
        file.read_to_string(&mut holder)?;
        let alive = fs::exists(format!("/proc/{}", holder.trim())).unwrap_or(true);
        if alive || Instant::now() >= until {
            bail!("{} is in use by another gristmill server (process {})", dir.display(), holder.trim());
        }
        // Only the workers of a server that died are left, and their guards are at it.
        std::thread::sleep(Duration::from_millis(5));
    }
    file.set_len(0)?;
    file.write_all(std::process::id().to_string().as_bytes())?;
    Ok(file)
}

/// The signals that ask the server to end.
struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        Ok(Self { terminate: signal(SignalKind::terminate())?, interrupt: signal(SignalKind::interrupt())? })
    }

    async fn next(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

struct Shutdown {
    supervisor: Handle,
    running: Running,
    drain: watch::Sender<bool>,
    connections: axum_server::Handle<SocketAddr>,
    stopped: watch::Receiver<Option<String>>,
    grace: Duration,
}

impl Shutdown {
    /// Waits for a reason to end, then ends: no new work, running tasks get the grace, then nothing is left running.
    async fn wait(mut self, signals: &mut Signals) -> Result<()> {
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
