//! As in a container: the first process, in a process namespace of its own; its health; its share of the CPUs.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::fs;
use std::process::{Command, Output};
use std::time::Duration;

use common::procs::{alive, signal};
use common::{Server, check, eventually, within};
use rustix::process::Signal;
use serde_json::json;
use tempfile::TempDir;

const BINARY: &str = env!("CARGO_BIN_EXE_gristmill");
/// So many orphans are left to the first process at once.
const FLOOD: usize = 1000;

/// The command that starts another one as the first process of a namespace, and ends with it; `None` where it may not.
fn as_first() -> Option<Vec<&'static str>> {
    let spaces = ["--pid", "--fork", "--mount-proc", "--kill-child"];
    let wrappers = [vec!["unshare"], vec!["unshare", "--map-root-user"]];
    let found = wrappers.map(|start| [start, spaces.to_vec()].concat()).into_iter().find(|wrapper| {
        let tried = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output();
        tried.is_ok_and(|output| output.status.success())
    });
    if found.is_none() {
        // That takes a right that no package gives, so it is not asked for on CI either.
        eprintln!("skipped: a process namespace cannot be made here");
    }
    found
}

/// A server below the first process of a namespace.
struct Container {
    server: Server,
    /// The first process, as it is numbered outside.
    first: u32,
}

impl Container {
    fn start(flags: &[&str]) -> Option<Self> {
        Some(Self::of(Server::wrapped(&as_first()?, TempDir::new().unwrap(), flags, &[]).unwrap()))
    }

    fn of(server: Server) -> Self {
        let first = children(server.pid())[0];
        Self { server, first }
    }

    /// The server itself.
    fn serving(&self) -> u32 {
        children(self.first)[0]
    }

    /// Runs a shell script inside, as `docker exec` does.
    fn exec(&self, script: &str) -> Output {
        let target = self.first.to_string();
        let mut command = Command::new("nsenter");
        let output = command.args(["--target", &target, "--pid", "--mount", "sh", "-c", script]).output();
        let output = output.unwrap();
        assert!(output.status.success(), "{output:?}");
        output
    }

    /// Processes that have ended and that nobody has waited for.
    fn zombies(&self) -> Vec<u32> {
        let all = [self.first].into_iter().chain(children(self.first)).flat_map(children);
        all.filter(|pid| !alive(*pid) && fs::exists(format!("/proc/{pid}")).unwrap()).collect()
    }
}

fn children(pid: u32) -> Vec<u32> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
    let lists = tasks.map(|task| fs::read_to_string(task.path().join("children")).unwrap_or_default());
    lists
        .flat_map(|list| list.split_whitespace().map(|pid| pid.parse().unwrap()).collect::<Vec<_>>())
        .collect()
}

#[test]
fn the_first_process_reaps_a_flood_of_orphans() {
    let Some(container) = Container::start(&["--processes=2"]) else { return };
    let job = container.server.map("sleep", &json!([2, 2]));
    job.wait_for_running(2);
    // Each subshell leaves a child behind, which ends a little later.
    container.exec(&format!("for i in $(seq {FLOOD}); do (sleep 0.1 &); done"));
    eventually("the end of the orphans", || check(children(container.first), |all| all.len() == 1));
    assert!(container.zombies().is_empty(), "{:?}", container.zombies());
    job.succeeds();
}

#[test]
fn a_guard_that_is_killed_leaves_no_zombie_to_the_server() {
    let home = TempDir::new().unwrap();
    let config = home.path().join("gristmill.toml");
    let family = "for i in $(seq 20); do setsid sh -c 'sleep 1000 & sleep 1001' & done; sleep 1002";
    let declaration = format!("[functions.family]\ncommand = ['sh', '-c', \"{family}\"]\nmode = 'exec'\n");
    fs::write(&config, declaration).unwrap();
    let Some(first) = as_first() else { return };
    let flags = ["--processes=1", "--config", config.to_str().unwrap()];
    let container = Container::of(Server::wrapped(&first, home, &flags, &[]).unwrap());
    let server = &container.server;
    server.map("family", &json!([1])).wait_for_running(1);
    eventually("the whole family", || {
        check(server.processes(), |all| all.iter().filter(|one| one.name == "sleep").count() == 41)
    });
    signal(children(container.serving())[0], Signal::KILL);
    eventually("only the guard of another worker", || {
        check(children(container.serving()), |all| all.len() == 1)
    });
    assert!(container.zombies().is_empty(), "{:?}", container.zombies());
}

#[test]
fn signals_and_exit_codes_pass_through_the_first_process() {
    let Some(container) = Container::start(&["--processes=2", "--grace=20s"]) else { return };
    let job = container.server.map("sleep", &json!([1, 1]));
    job.wait_for_running(2);
    signal(container.first, Signal::TERM);
    container.server.wait_for_log("shutting down");
    assert!(container.server.ended().success(), "{:#?}", container.server.log());
    container.server.leaves_nothing_running();

    let Some(container) = Container::start(&["--grace=20s"]) else { return };
    container.server.map("sleep", &json!([60])).wait_for_running(1);
    signal(container.first, Signal::INT);
    container.server.wait_for_log("shutting down");
    signal(container.first, Signal::INT);
    assert_eq!(container.server.ended().code(), Some(130));

    let Some(container) = Container::start(&[]) else { return };
    signal(container.serving(), Signal::KILL);
    assert_eq!(container.server.ended().code(), Some(128 + 9));
    container.server.leaves_nothing_running();

    let Some(first) = as_first() else { return };
    let refused = Server::wrapped(&first, TempDir::new().unwrap(), &["--no-such-flag"], &[]).err().unwrap();
    assert_eq!(refused.status.code(), Some(2), "{refused:#?}");
}

fn health(environment: &[(&str, &str)]) -> Output {
    let mut command = Command::new(BINARY);
    command.arg("health").env_clear().envs(environment.iter().copied()).output().unwrap()
}

fn is_ready(listen: &str) -> bool {
    health(&[("GRISTMILL_LISTEN", listen)]).status.success()
}

#[test]
fn health_tells_a_server_that_takes_work() {
    let token = [("GRISTMILL_TOKEN", "0123456789abcdef")];
    let flags = ["--listen=0.0.0.0:0", "--grace=20s"];
    let server = Server::launch(TempDir::new().unwrap(), &flags, &token).unwrap();
    let listen = server.socket_address();
    assert!(is_ready(&listen), "as the image does: with the address alone, and no token");
    // A file that has been broken meanwhile does not concern it.
    assert!(health(&[("GRISTMILL_LISTEN", &listen), ("GRISTMILL_CONFIG", "/no/such/file")]).status.success());

    let authorization = [("Authorization", "Bearer 0123456789abcdef"), ("Content-Type", "application/json")];
    let job = r#"{"function": "sleep", "inputs": [30]}"#;
    server.client().call("POST", "/v1/jobs", &authorization, job).expect(202);
    eventually("the task to run", || {
        let pool = server.client().call("GET", "/v1/pool", &authorization, "").expect(200).json();
        check(pool, |pool| pool["workers"][0]["state"] == "busy")
    });
    server.terminate();
    server.wait_for_log("shutting down");
    let draining = health(&[("GRISTMILL_LISTEN", &listen)]);
    let said = String::from_utf8(draining.stderr).unwrap();
    assert!(!draining.status.success() && said.contains("503"), "{said}");
    server.kill9();
    assert!(!is_ready(&listen));
}

#[test]
fn health_does_not_wait_for_a_server_that_does_not_answer() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = silent.local_addr().unwrap().to_string();
    within(Duration::from_secs(10), "an end", || check(is_ready(&listen), |ready| !ready));
}
