//! The composition root: starts the parts in order, and stops them in reverse.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;

use crate::adapter::Mode;
use crate::config::{Config, Function, MAX_OUTPUT_BYTES};
use crate::functions;
use crate::http::{self, Edge, FunctionOptions, FunctionView};
use crate::model::Timestamp;
use crate::pool::Rules;
use crate::store::Store;
use crate::store::sqlite::SqliteStore;
use crate::supervisor::{self, Handle, Running, Settings, WorkerCommand, WorkerLimits};
use crate::sys;

/// The first argument that makes this binary a worker of a built-in function; its name follows.
pub const WORKER_ARGUMENT: &str = "__worker";
/// A client that has not sent its request's head by then is let go.
const HEADER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long open connections have to end once all results are in the store.
const CONNECTIONS_GRACE: Duration = Duration::from_secs(2);
/// How long the workers of an earlier server that died have to go.
const LOCK_WAIT: Duration = Duration::from_secs(12);
/// How long a chunk is to take in `batch` mode.
const BATCH_CHUNK_TIME: Duration = Duration::from_millis(200);
/// What of the server's environment a worker gets.
const PASSED_ENV: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ"];
/// The variables by which numeric libraries are told how many threads to start.
const ONE_THREAD: [&str; 6] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
];

/// Serves until a signal ends it. `started` gets the address that it listens on.
pub async fn serve(config: Config, started: impl FnOnce(SocketAddr)) -> Result<()> {
    let mut signals = Signals::new()?;
    fs::create_dir_all(&config.data_dir).with_context(|| format!("making {}", config.data_dir.display()))?;
    sys::orphans::adopt()?;
    let locks = lock_data_dir(&config.data_dir)?;
    let store = SqliteStore::open(&config.data_dir, &config.node, now()).context("opening the store")?;
    let stopped = store.stopped();
    let store: Arc<dyn Store> = Arc::new(store);
    let listener = listen(config.listen)?;
    let address = listener.local_addr()?;
    let (supervisor, running) = supervisor::start(settings(&config, &locks)?, store.clone(), now);
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

fn settings(config: &Config, locks: &Locks) -> Result<Settings> {
    Ok(Settings {
        node: config.node.clone(),
        slots: config.slots,
        slots_reason: config.slots_reason.clone(),
        functions: worker_commands(config),
        lock: locks.workers.try_clone()?.into(),
    })
}

fn offered(config: &Config) -> impl Iterator<Item = &'static functions::Function> {
    let enable_fail = config.enable_fail;
    functions::all().iter().filter(move |function| enable_fail || function.name != "fail")
}

/// How the workers of each function are started.
fn worker_commands(config: &Config) -> BTreeMap<String, WorkerCommand> {
    let built_in =
        offered(config).map(|function| (function.name.to_owned(), built_in(function.name, config.grace)));
    let declared = config.functions.iter().map(|(name, function)| (name.clone(), declared(function)));
    built_in.chain(declared).collect()
}

/// A worker of a built-in function is this binary again.
fn built_in(name: &str, grace: Duration) -> WorkerCommand {
    WorkerCommand {
        argv: vec!["/proc/self/exe".into(), WORKER_ARGUMENT.into(), name.into()],
        env: environment(&[], &BTreeMap::new()),
        cwd: "/".into(),
        start_timeout: Duration::from_secs(30),
        grace,
        limits: WorkerLimits {
            memory_soft: None,
            memory_hard: None,
            hang_after: None,
            max_age: None,
            max_output_bytes: MAX_OUTPUT_BYTES,
        },
        rules: Rules::default(),
    }
}

/// A program that speaks the protocol is started as it is, another one behind an adapter.
fn declared(function: &Function) -> WorkerCommand {
    WorkerCommand {
        argv: function.adapter.worker_argv(&function.command),
        env: environment(&function.pass_env, &function.env),
        cwd: function.cwd.clone(),
        start_timeout: function.start_timeout,
        grace: function.grace,
        limits: WorkerLimits {
            memory_soft: function.memory_soft,
            memory_hard: function.memory_hard,
            hang_after: function.hang_after,
            max_age: function.max_worker_age,
            max_output_bytes: function.adapter.max_output_bytes,
        },
        rules: Rules {
            workers: function.processes,
            max_tasks_per_worker: function.max_tasks_per_worker,
            max_failed_starts: function.max_failed_starts,
            chunk_time: match function.adapter.mode {
                // Each chunk starts a process, which may take longer than its tasks.
                Mode::Batch => BATCH_CHUNK_TIME,
                Mode::Exec | Mode::Lines | Mode::Frames => Rules::default().chunk_time,
            },
        },
    }
}

/// A clean environment, and what the operator adds. Libraries with thread pools of their own get one thread each, as
/// there is a worker for each CPU already.
pub(crate) fn environment(pass: &[String], set: &BTreeMap<String, String>) -> BTreeMap<String, OsString> {
    let threads = ONE_THREAD.iter().map(|name| ((*name).to_owned(), "1".into()));
    let names = PASSED_ENV.iter().copied().chain(pass.iter().map(String::as_str));
    let passed = names.filter_map(|name| Some((name.to_owned(), std::env::var_os(name)?)));
    let set = set.iter().map(|(name, value)| (name.clone(), value.into()));
    threads.chain(passed).chain(set).collect()
}

fn function_views(config: &Config) -> Vec<FunctionView> {
    let built_in = offered(config).map(|function| {
        let json = |text| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
        let (input, output) = function.example;
        FunctionView {
            name: function.name.to_owned(),
            description: function.description.to_owned(),
            mode: "built-in",
            input: Some(function.input.to_owned()),
            output: Some(function.output.to_owned()),
            example: Some(serde_json::json!({"input": json(input), "output": json(output)})),
            options: FunctionOptions::default(),
        }
    });
    let declared = config.functions.iter().map(|(name, function)| FunctionView {
        name: name.clone(),
        description: function.description.clone(),
        mode: function.adapter.mode.as_str(),
        input: None,
        output: None,
        example: None,
        options: FunctionOptions {
            timeout_ms: function.timeout.map(|timeout| timeout.as_secs_f64() * 1e3),
            max_attempts: function.max_attempts,
            retry_backoff_ms: function.retry_backoff.as_secs_f64() * 1e3,
            processes: function.processes,
        },
    });
    built_in.chain(declared).collect()
}

/// The locks on a data directory. A process that dies gives its locks back, however it dies.
struct Locks {
    /// Held by the one server.
    _server: File,
    /// Held by the server and by each of its guards: free once every worker is gone.
    workers: File,
}

/// Takes both locks: the first at once or not at all, the second when the workers of a server that died are gone.
fn lock_data_dir(dir: &Path) -> Result<Locks> {
    let mut server = open_lock(&dir.join("lock"))?;
    if flock(&server, FlockOperation::NonBlockingLockExclusive).is_err() {
        let holder = fs::read_to_string(dir.join("lock")).unwrap_or_default();
        bail!("{} is in use by another gristmill server (process {holder})", dir.display());
    }
    server.set_len(0)?;
    server.write_all(std::process::id().to_string().as_bytes())?;
    let workers = open_lock(&dir.join("workers.lock"))?;
    let until = Instant::now() + LOCK_WAIT;
    let mut says_so_at = Some(Instant::now() + Duration::from_secs(1));
    while flock(&workers, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= until {
            bail!(
                "workers of an earlier server on {} are still there: ps -ef shows their guards",
                dir.display()
            );
        }
        if says_so_at.take_if(|at| *at <= Instant::now()).is_some() {
            tracing::warn!("workers of an earlier server are still there; waiting for their end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Locks { _server: server, workers })
}

fn open_lock(path: &Path) -> Result<File> {
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
    opened.with_context(|| format!("opening {}", path.display()))
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
