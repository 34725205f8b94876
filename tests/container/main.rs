//! As in a container: the first process, in a process namespace of its own; its health; its share of CPUs and memory.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

mod cgroups;

use std::fs;
use std::process::{Command, Output};
use std::time::{Duration, Instant};

use cgroups::{Cgroup, Fixture};
use common::job::Job;
use common::procs::{alive, signal, wake_ups};
use common::{Server, check, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
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
    let killed = children(container.serving())[0];
    signal(killed, Signal::KILL);
    eventually("only the guard of another worker, and no zombie", || {
        let (guards, zombies) = (children(container.serving()), container.zombies());
        let settled = guards.len() == 1 && guards[0] != killed && zombies.is_empty();
        check((guards, zombies), |_| settled)
    });
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
    let since = Instant::now();
    assert!(!is_ready(&listen));
    assert!(since.elapsed() < Duration::from_secs(10), "{:?}", since.elapsed());
}

const MIB: u64 = 1 << 20;

fn mib(count: u64) -> String {
    (count * MIB).to_string()
}

/// A job whose worker holds this much and does nothing more.
fn holding(server: &Server, bytes: u64) -> Job<'_> {
    let inputs = json!([{"mode": "leak", "bytes": bytes}, {"mode": "hang"}]);
    let job = server.submit(&json!({
        "function": "fail", "inputs": inputs, "processes": 1, "max_attempts": 1, "chunk_size": 1,
    }));
    eventually("the worker to hold it", || {
        check(job.status(), |status| {
            status["progress"]["succeeded"] == 1 && status["running"].as_array().unwrap().len() == 1
        })
    });
    job
}

/// The error of the task that was ended for want of room.
fn no_room(job: &Job<'_>, index: usize, limit: &str) -> Value {
    job.wait();
    let error = job.by_input()[index]["error"].clone();
    assert_eq!(error["verdict"], "oom", "{error:#}");
    let message = error["message"].as_str().unwrap();
    let end = format!("more than any other worker, when the container's {limit} were nearly full");
    assert!(message.starts_with("oom: it held ") && message.ends_with(&end), "{message}");
    error
}

#[test]
fn the_largest_worker_is_ended_before_the_container_is_full() {
    let fixture = Fixture::new(&[
        ("memory.max", &mib(1000)),
        ("memory.current", &mib(100)),
        ("memory.stat", "anon 1\nactive_file 0\n"),
    ]);
    let Some(server) = fixture.server(&["--processes=2"]) else { return };
    let lean = server.submit(&json!({"function": "sleep", "inputs": [600], "max_attempts": 1}));
    let fat = holding(&server, 64 * MIB);
    lean.wait_for_running(1);
    // A full page cache is no want of memory.
    fixture.write("memory.stat", &format!("anon 1\ninactive_file {}\n", 500 * MIB));
    fixture.write("memory.current", &mib(999));
    let thread = memory_thread(server.pid()).unwrap();
    let looks = || wake_ups(server.pid())[&thread];
    let before = looks();
    eventually("some looks at that", || check(looks(), |now| *now > before + 3));
    assert_eq!(lean.status()["state"], "running", "{:#}", lean.status());

    fixture.write("memory.stat", &format!("anon 1\ninactive_file {}\n", 50 * MIB));
    let message = no_room(&fat, 1, "1000.0 MiB")["message"].to_string();
    let held: f64 = message.split("held ").nth(1).unwrap().split(" MiB").next().unwrap().parse().unwrap();
    assert!((64.0..200.0).contains(&held), "{message}");
    fixture.write("memory.current", &mib(100));
    server.wait_for_log("its largest worker is ended");
    let warned: Vec<String> =
        server.log().into_iter().filter(|line| line.contains("its largest worker is ended")).collect();
    assert!(warned[0].contains(&format!("{held:.1} MiB")), "the first was the largest: {warned:#?}");
    server.map("echo", &json!([1, 2, 3])).succeeds();
}

#[test]
fn a_container_with_memory_to_spare_and_one_without_a_limit_cost_nothing() {
    let fixture = Fixture::new(&[("memory.max", &mib(1000)), ("memory.current", &mib(100))]);
    let Some(server) = fixture.server(&["--processes=2"]) else { return };
    server.map("echo", &json!([1, 2, 3])).succeeds();
    let thread = memory_thread(server.pid()).unwrap();
    // A thread that sleeps until there is news is woken by nothing else: two looks that see it asleep.
    let looks = || wake_ups(server.pid())[&thread];
    let still = || {
        let before = looks();
        std::thread::sleep(Duration::from_millis(600));
        check(looks() - before, |woken| *woken == 0)
    };
    eventually("an end of the looks", still);

    let fixture = Fixture::new(&[("memory.max", "max"), ("memory.current", &mib(100))]);
    let Some(server) = fixture.server(&["--processes=2"]) else { return };
    server.map("echo", &json!([1, 2, 3])).succeeds();
    assert_eq!(memory_thread(server.pid()), None);
}

/// The thread of this server that minds the container's memory.
fn memory_thread(pid: u32) -> Option<u32> {
    let threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().flatten();
    let name = |thread: &fs::DirEntry| fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
    threads
        .filter(|thread| name(thread) == "memory\n")
        .find_map(|thread| thread.file_name().to_str()?.parse().ok())
}

#[test]
fn a_greedy_worker_ends_before_the_kernel_has_to_choose() {
    let Some(cgroup) = Cgroup::limiting("memory") else { return };
    cgroup.write("memory.max", "memory.limit_in_bytes", &mib(1024));
    let server = cgroup.server(&["--processes=2"]);
    let neighbour = server.map("sleep", &json!(vec![0.02; 100]));
    let job = server.map("fail", &json!([{"mode": "leak"}]));
    no_room(&job, 0, "1.0 GiB");
    assert_eq!(job.by_input()[0]["attempt"], 3);
    neighbour.succeeds();
    let charged = neighbour.results().iter().filter(|result| result["attempt"] != 1).count();
    assert_eq!((charged, cgroup.oom_kills()), (0, 0));
    server.kill9();
    server.leaves_nothing_running();
}

#[test]
fn slots_follow_the_quota_of_a_cgroup() {
    let Some(cgroup) = Cgroup::limiting("cpu") else { return };
    if cgroup.is_v2 {
        fs::write(cgroup.dir.join("cpu.max"), "170000 100000").unwrap();
    } else {
        fs::write(cgroup.dir.join("cpu.cfs_quota_us"), "170000").unwrap();
    }
    let server = cgroup.server(&[]);
    let pool = server.pool();
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert_eq!(pool["slots"], 1, "{pool:#}");
    if cpus > 1 {
        let reason = pool["slots_reason"].as_str().unwrap();
        assert!(reason.starts_with("the CPU quota of 1.70 in /sys/fs/cgroup"), "{reason}");
    }
    server.kill9();
    server.leaves_nothing_running();
}

#[test]
fn slots_follow_the_quota_that_a_container_shows() {
    for (quota, slots) in [("50000 100000", 1), ("100000 50000", 2)] {
        let fixture = Fixture::new(&[("cpu.max", quota)]);
        let Some(server) = fixture.server(&[]) else { return };
        let cpus = std::thread::available_parallelism().unwrap().get();
        assert_eq!(server.pool()["slots"], slots.min(cpus), "{quota}");
    }
}

#[test]
fn the_kernel_prefers_workers_to_the_server() {
    let raise = ["sh", "-c", "echo 700 > /proc/self/oom_score_adj && exec \"$@\"", "sh"];
    for (wrapper, own, its) in [(&[][..], None, 500), (&raise[..], Some(700), 1000)] {
        let server = Server::wrapped(wrapper, TempDir::new().unwrap(), &["--processes=1"], &[]).unwrap();
        let worker = server.map("sleep", &json!([600])).wait_for_running(1)[0]["pid"].as_u64().unwrap();
        let score = |pid: u64| -> i64 {
            fs::read_to_string(format!("/proc/{pid}/oom_score_adj")).unwrap().trim().parse().unwrap()
        };
        let server_has = score(server.pid().into());
        assert_eq!(server_has, own.unwrap_or(server_has));
        let expected = if own.is_some() { its } else { (server_has + 500).min(1000) };
        eventually("the guard to say so", || check(score(worker), |score| *score == expected));
    }
}
