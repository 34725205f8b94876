//! A server of its own for each test: the binary, a temporary directory, a free port.

use std::ffi::OsStr;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, ChildStderr, Command, ExitStatus, Stdio};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use rustix::process::{Pid, Resource, Rlimit, Signal, prlimit};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::client::{Answer, Client, JSON, NDJSON};
use super::job::Job;
use super::procs::{Proc, signal};
use super::{DEADLINE, check, eventually, within};

/// A running server; with it goes all that it started.
pub(crate) struct Server {
    home: TempDir,
    /// The command that starts the server, such as `unshare`; empty: it is started as it is.
    wrapper: Vec<String>,
    flags: Vec<String>,
    environment: Vec<(String, String)>,
    process: Mutex<Process>,
}

struct Process {
    child: Child,
    client: Client,
    log: Log,
}

/// What a server that ended at once left behind.
#[derive(Debug)]
pub(crate) struct Refused {
    pub(crate) status: ExitStatus,
    pub(crate) log: String,
}

type Log = Arc<Mutex<Vec<String>>>;

impl Server {
    /// Two slots, and the function `fail`.
    pub(crate) fn start() -> Self {
        Self::with(&["--processes=2"])
    }

    /// With `fail` and these flags.
    pub(crate) fn with(flags: &[&str]) -> Self {
        Self::launch(TempDir::new().unwrap(), flags, &[]).unwrap_or_else(|refused| panic!("{refused:#?}"))
    }

    /// In this home directory, with these flags and environment; it may refuse to start.
    pub(crate) fn launch(
        home: TempDir,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, Refused> {
        Self::wrapped(&[], home, flags, environment)
    }

    /// As [`Server::launch`], started by a command that ends as the server does.
    pub(crate) fn wrapped(
        wrapper: &[&str],
        home: TempDir,
        flags: &[&str],
        environment: &[(&str, &str)],
    ) -> Result<Self, Refused> {
        let all_owned = |texts: &[&str]| texts.iter().map(|&text| text.to_owned()).collect::<Vec<_>>();
        let (wrapper, flags) = (all_owned(wrapper), all_owned(flags));
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let environment: Vec<_> = environment.iter().map(owned).collect();
        let process = Mutex::new(Process::start(&home, &wrapper, &flags, &environment)?);
        Ok(Self { home, wrapper, flags, environment, process })
    }

    /// A second server on the same directory while this one runs.
    pub(crate) fn second(&self) -> Refused {
        match Process::start(&self.home, &self.wrapper, &self.flags, &self.environment) {
            Err(refused) => refused,
            Ok(mut second) => {
                second.child.kill().unwrap();
                panic!("a second server started on the same directory");
            }
        }
    }

    fn process(&self) -> MutexGuard<'_, Process> {
        self.process.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn client(&self) -> Client {
        self.process().client.clone()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.process().child.id()
    }

    /// `127.0.0.1:PORT`.
    pub(crate) fn socket_address(&self) -> String {
        self.client().address.replace("http://", "")
    }

    /// Everything that runs on behalf of this server, itself included; after its death too.
    pub(crate) fn processes(&self) -> Vec<Proc> {
        Proc::with_environment(self.home.path().to_str().unwrap())
    }

    /// As `prlimit --nofile` does.
    pub(crate) fn limit_descriptors(&self, most: u64) {
        let limit = Rlimit { current: Some(most), maximum: Some(most) };
        prlimit(Pid::from_raw(self.pid() as i32), Resource::Nofile, limit).unwrap();
    }

    /// `kill -9` of the server.
    pub(crate) fn kill9(&self) {
        let mut process = self.process();
        process.child.kill().unwrap();
        process.child.wait().unwrap();
    }

    pub(crate) fn terminate(&self) {
        signal(self.pid(), Signal::TERM);
    }

    /// The exit status, once it has ended by itself.
    pub(crate) fn ended(&self) -> ExitStatus {
        eventually("the server's end", || {
            let ended = self.process().child.try_wait().unwrap();
            ended.ok_or_else(|| self.log())
        })
    }

    /// Nothing that it started runs any more, soon.
    pub(crate) fn leaves_nothing_running(&self) {
        within(Duration::from_secs(2), "the end of every process", || check(self.processes(), Vec::is_empty));
    }

    /// Starts it again on the same directory.
    pub(crate) fn restart(&self) {
        let next = Process::start(&self.home, &self.wrapper, &self.flags, &self.environment);
        *self.process() = next.unwrap_or_else(|refused| panic!("{refused:#?}"));
    }

    /// What it has logged since its last start.
    pub(crate) fn log(&self) -> Vec<String> {
        self.process().log.lock().unwrap().clone()
    }

    pub(crate) fn wait_for_log(&self, text: &str) {
        eventually(&format!("{text:?} in the log"), || {
            check(self.log(), |log| log.iter().any(|line| line.contains(text)))
        });
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.client().get(path)
    }

    pub(crate) fn post_json(&self, path: &str, body: &str) -> Answer {
        self.client().call("POST", path, &[("Content-Type", JSON)], body)
    }

    pub(crate) fn post_ndjson(&self, path: &str, body: &str) -> Answer {
        self.client().call("POST", path, &[("Content-Type", NDJSON)], body)
    }

    pub(crate) fn patch(&self, path: &str, body: &str) -> Answer {
        self.client().call("PATCH", path, &[("Content-Type", JSON)], body)
    }

    pub(crate) fn delete(&self, path: &str) -> Answer {
        self.client().call("DELETE", path, &[], "")
    }

    /// Submits a job that must be accepted.
    #[track_caller]
    pub(crate) fn submit(&self, body: &Value) -> Job<'_> {
        Job::of(self, &self.post_json("/v1/jobs", &body.to_string()).expect(202))
    }

    /// Submits a function and its inputs.
    #[track_caller]
    pub(crate) fn map(&self, function: &str, inputs: &Value) -> Job<'_> {
        self.submit(&json!({"function": function, "inputs": inputs}))
    }

    pub(crate) fn pool(&self) -> Value {
        self.get("/v1/pool").expect(200).json()
    }

    pub(crate) fn wait_for_pool(&self, what: &str, right: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || check(self.pool(), &right))
    }

    pub(crate) fn resize(&self, slots: u32) -> Value {
        self.patch("/v1/pool", &json!({"slots": slots}).to_string()).expect(200).json()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("the server's log:\n{}", self.log().join("\n"));
        }
        let process = self.process.get_mut().unwrap_or_else(PoisonError::into_inner);
        // It may have ended already.
        drop(process.child.kill());
        drop(process.child.wait());
    }
}

impl Process {
    fn start(
        home: &TempDir,
        wrapper: &[String],
        flags: &[String],
        environment: &[(String, String)],
    ) -> Result<Self, Refused> {
        let mut child = command(home, wrapper, flags, environment).spawn().unwrap();
        let log = Log::default();
        let (sender, address) = channel();
        let reader = read_log(child.stderr.take().unwrap(), log.clone(), sender);
        match address.recv_timeout(DEADLINE) {
            Ok(address) => Ok(Self { child, client: Client::new(address), log }),
            Err(RecvTimeoutError::Timeout) => {
                child.kill().unwrap();
                panic!("the server does not say its address: {:#?}", log.lock().unwrap());
            }
            Err(RecvTimeoutError::Disconnected) => {
                let status = child.wait().unwrap();
                reader.join().unwrap();
                let log = log.lock().unwrap().join("\n");
                Err(Refused { status, log })
            }
        }
    }
}

/// `gristmill serve` with nothing of the environment but what is said here. Everything that it starts is passed the
/// temporary directory, and is known by it.
fn command(
    home: &TempDir,
    wrapper: &[String],
    flags: &[String],
    environment: &[(String, String)],
) -> Command {
    let binary = env!("CARGO_BIN_EXE_gristmill");
    let mut argv = wrapper.iter().map(String::as_str).chain([binary, "serve"]);
    let mut command = Command::new(argv.next().unwrap_or(binary));
    command.args(argv).args(flags).env_clear();
    command.env("GRISTMILL_LISTEN", "127.0.0.1:0").env("GRISTMILL_ENABLE_FAIL", "true");
    command.env("GRISTMILL_DATA_DIR", home.path().join("data"));
    command.env("PATH", std::env::var_os("PATH").as_deref().unwrap_or(OsStr::new("/usr/bin:/bin")));
    command.env("HOME", home.path()).env("TMPDIR", home.path());
    command.envs(environment.iter().cloned());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

/// Keeps the lines of the log, and passes on the address that it tells.
fn read_log(stderr: ChildStderr, log: Log, address: Sender<String>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if let Some(told) = event["address"].as_str() {
                // Only the first is waited for.
                drop(address.send(told.to_owned()));
            }
            log.lock().unwrap().push(line);
        }
    })
}
