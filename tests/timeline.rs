//! The timeline: who ran what when, as a trace viewer reads it.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::collections::{BTreeMap, BTreeSet};

use common::Server;
use common::browser::Browser;
use common::job::Job;
use common::procs::{signal, wait_for_sleep};
use rustix::process::Signal;
use serde_json::{Value, json};

/// A trace whose form has been checked.
struct Trace {
    /// What has a duration, by its time.
    slices: Vec<Value>,
    /// The names of the lanes, by process and thread.
    lanes: BTreeMap<(u64, u64), String>,
    nodes: BTreeSet<String>,
    about: Value,
}

/// Nanoseconds; the text has microseconds with three digits behind the point.
fn ns(us: &Value) -> i64 {
    (us.as_f64().unwrap() * 1e3).round() as i64
}

fn lane_of(event: &Value) -> (u64, u64) {
    (event["pid"].as_u64().unwrap(), event["tid"].as_u64().unwrap())
}

fn number(slice: &Value, name: &str) -> u64 {
    slice["args"][name].as_u64().unwrap()
}

impl Trace {
    fn of(server: &Server, job: &Job<'_>, query: &str) -> Self {
        let trace = server.get(&format!("{}/timeline{query}", job.path())).expect(200).json();
        let (mut slices, mut lanes, mut nodes) = (Vec::new(), BTreeMap::new(), BTreeSet::new());
        for event in trace["traceEvents"].as_array().unwrap() {
            let name = || event["args"]["name"].as_str().unwrap().to_owned();
            match (event["ph"].as_str().unwrap(), event["name"].as_str().unwrap()) {
                ("X", _) => slices.push(event.clone()),
                ("M", "thread_name") => assert_eq!(lanes.insert(lane_of(event), name()), None),
                ("M", "process_name") => assert!(nodes.insert(name())),
                ("M", "thread_sort_index") => assert!(event["args"]["sort_index"].is_u64()),
                _ => panic!("{event}"),
            }
        }
        slices.sort_by_key(|slice| ns(&slice["ts"]));
        let trace = Self { slices, lanes, nodes, about: trace["otherData"].clone() };
        trace.assert_in_order(&job.status());
        trace
    }

    /// Each slice is on a lane that has a name, within the job's time, and behind the one before it.
    fn assert_in_order(&self, status: &Value) {
        let timings = &status["timings"];
        let time = |name: &str| timings[name].as_str().map(|at| at.parse::<jiff::Timestamp>().unwrap());
        let origin = time("created_at").unwrap();
        assert_eq!(self.about["origin"], timings["created_at"]);
        let since = |at: jiff::Timestamp| at.duration_since(origin).as_nanos() as i64;
        let started = time("started_at").map_or(0, since);
        let finished = time("finished_at").map_or(i64::MAX, since);
        let mut ends = BTreeMap::new();
        for slice in &self.slices {
            let (start, lane) = (ns(&slice["ts"]), lane_of(slice));
            let end = start + ns(&slice["dur"]);
            assert!(started <= start && start <= end && end <= finished, "{slice} in {timings:#}");
            let before = ends.insert(lane, end).unwrap_or(i64::MIN);
            assert!(before <= start, "{slice} begins before {before} ns");
            let (name, pid) = (&self.lanes[&lane], &slice["args"]["pid"]);
            assert!(name.ends_with(&format!("(PID {pid})")), "{slice} is on {name}");
        }
    }

    fn count(&self, what: &str) -> u64 {
        self.slices.iter().map(|slice| number(slice, what)).sum()
    }

    fn of_category(&self, category: &str) -> Vec<&Value> {
        self.slices.iter().filter(|slice| slice["cat"] == category).collect()
    }
}

#[test]
fn a_job_with_failures_is_told_task_by_task() {
    let server = Server::start();
    let (fine, wrong) = (json!({"mode": "stdout"}), json!({"mode": "exception", "retryable": false}));
    let mut inputs = vec![fine; 40];
    inputs[7] = wrong.clone();
    inputs[23] = wrong;
    inputs[30] = json!({"mode": "hang"});
    inputs[35] = json!({"mode": "abort"});
    let options = json!({"function": "fail", "inputs": inputs, "timeout": "2s", "max_attempts": 1});
    let job = server.submit(&options);
    job.wait();
    let trace = Trace::of(&server, &job, "");
    assert_eq!(trace.nodes.len(), 1);
    assert_eq!((trace.slices.len(), trace.count("count"), trace.count("failed")), (40, 40, 4));
    let failed: BTreeSet<u64> =
        trace.of_category("failed").iter().map(|slice| number(slice, "index")).collect();
    assert_eq!(failed, BTreeSet::from([7, 23, 30, 35]));
    assert_eq!(trace.of_category("succeeded").len(), 36);
    // Who did what, and how long it took, is as the results have it. Where answers came late there is less room.
    let results = job.by_input();
    for slice in &trace.slices {
        let result = &results[number(slice, "index") as usize];
        assert_eq!(result["pid"], slice["args"]["pid"]);
        let lane = &trace.lanes[&lane_of(slice)];
        assert!(lane.starts_with(&format!("{} (", result["worker"].as_str().unwrap())), "{lane}");
        let (took, told) =
            (result["duration_ms"].as_f64().unwrap(), slice["args"]["busy_ms"].as_f64().unwrap());
        assert!((told - took).abs() < 0.002, "{slice} is {result}");
        assert!(slice["dur"].as_f64().unwrap() <= took * 1e3 + 2.0, "{slice} is {result}");
    }
    let killed = trace.slices.iter().find(|slice| number(slice, "index") == 30).unwrap();
    assert!(killed["dur"].as_f64().unwrap() >= 2e6, "{killed}");
    assert_eq!((&trace.about["tasks"], &trace.about["detail"]), (&json!(40), &json!("tasks")));
}

#[test]
fn what_runs_now_is_told_too_and_a_restart_forgets_nothing() {
    let server = Server::start();
    let job = server.map("sleep", &json!([0.01, 0.01, 0.01, 0.01, 60, 60]));
    job.wait_for_done(4);
    let before: BTreeSet<u64> =
        job.wait_for_running(2).iter().map(|task| task["pid"].as_u64().unwrap()).collect();
    let trace = Trace::of(&server, &job, "");
    let running = trace.of_category("running");
    let indices: BTreeSet<u64> = running.iter().map(|slice| number(slice, "index")).collect();
    assert_eq!(indices, BTreeSet::from([4, 5]));
    assert_eq!(running.iter().map(|slice| number(slice, "pid")).collect::<BTreeSet<_>>(), before);
    assert_eq!((trace.of_category("succeeded").len(), &trace.about["running"]), (4, &json!(2)));
    server.kill9();
    server.restart();
    let pid = job.wait_for_running(2)[0]["pid"].as_u64().unwrap();
    wait_for_sleep(pid as u32);
    signal(pid as u32, Signal::KILL);
    job.wait_for("its second attempt", |status| {
        status["running"].as_array().unwrap().iter().any(|task| task["attempt"] == 2)
    });
    let trace = Trace::of(&server, &job, "");
    assert_eq!(trace.of_category("succeeded").len(), 4, "{:#?}", trace.slices);
    let running: Vec<&Value> = trace.of_category("running");
    assert!(running.iter().all(|slice| !before.contains(&number(slice, "pid"))), "{running:#?}");
    assert!(running.iter().any(|slice| number(slice, "attempt") == 2), "{running:#?}");
    job.cancel();
    job.wait();
    assert!(Trace::of(&server, &job, "").of_category("running").is_empty());
}

#[test]
fn of_many_tasks_chunks_are_told_and_of_many_chunks_no_more_than_asked_for() {
    let server = Server::start();
    let job = server.submit(&json!({"function": "echo", "inputs": vec![1; 2000], "chunk_size": 1}));
    job.succeeds();
    let all = Trace::of(&server, &job, "");
    assert_eq!((all.slices.len(), all.count("count")), (2000, 2000));
    for limit in [1, 10, 100, 1999] {
        let trace = Trace::of(&server, &job, &format!("?limit={limit}"));
        assert!(trace.slices.len() <= limit + trace.lanes.len(), "{} for {limit}", trace.slices.len());
        assert_eq!((trace.count("count"), &trace.about["detail"]), (2000, &json!("chunks")));
        assert!(trace.about["resolution_ms"].is_f64());
    }
    let few = server.map("echo", &json!(vec![1; 3000]));
    few.succeeds();
    let chunks = Trace::of(&server, &few, "?limit=2999");
    assert!(chunks.slices.len() < 1500 && chunks.count("count") == 3000, "{}", chunks.slices.len());
    let whole = |slice: &&Value| slice["name"].as_str().unwrap().starts_with("tasks ");
    assert!(chunks.slices.iter().any(|slice| whole(&slice)), "{:#?}", chunks.slices);
}

#[test]
fn tasks_that_ran_again_are_told_for_each_time_and_what_never_ran_is_not() {
    let server = Server::start();
    let wrong = json!({"mode": "exception", "retryable": false});
    let job = server.map("fail", &json!([wrong, {"mode": "stdout"}]));
    job.wait();
    server.post_json(&format!("{}/retry", job.path()), "").expect(202);
    job.wait();
    let trace = Trace::of(&server, &job, "");
    let attempts: BTreeSet<_> =
        trace.of_category("failed").iter().map(|slice| number(slice, "attempt")).collect();
    assert_eq!((trace.slices.len(), attempts), (3, BTreeSet::from([1, 2])));
    let holder = server.submit(&json!({"function": "sleep", "inputs": [60], "lock": "two"}));
    let waiting = server.submit(&json!({"function": "sleep", "inputs": [60], "lock": "two"}));
    holder.wait_for_running(1);
    let nothing = Trace::of(&server, &waiting, "");
    assert_eq!((nothing.slices.len(), &nothing.about["tasks"]), (0, &json!(0)));
    waiting.cancel();
    assert_eq!(Trace::of(&server, &waiting, "").slices.len(), 0);
    server.get("/v1/jobs/1/timeline").problem(404, "unknown-job");
    for odd in ["limit=0", "limit=1000001", "limit=x", "limits=1"] {
        server.get(&format!("{}/timeline?{odd}", job.path())).problem(400, "bad-request");
    }
}

/// What Chromium's own reader of traces, that of its developer tools, makes of one: how many runs each lane has, how deep they
/// lie over each other, and what the node is called.
const READER: &str = "const [text, done] = arguments;
    (async () => {
        const { TraceModel } = await import('devtools://devtools/bundled/models/trace/trace.js');
        const model = TraceModel.Model.createWithAllHandlers();
        await model.parse(JSON.parse(text).traceEvents, { metadata: {}, isCPUProfile: false, isFreshRecording: false });
        const { Meta, Renderer } = model.parsedTrace(0).data;
        const threads = [...Renderer.processes.values()].flatMap((process) => [...process.threads.values()]);
        return {
            nodes: [...Meta.processNames.values()].map((event) => event.args.name),
            lanes: Object.fromEntries(threads.map(({ name, entries }) => [name, entries.length])),
            depth: Math.max(...threads.map(({ tree }) => tree.maxDepth)),
        };
    })().then(done, (error) => done(String(error)))";

#[test]
#[ignore = "the reader is an inner part of whichever Chromium is installed"]
fn chromium_reads_it_as_a_trace() {
    let server = Server::with(&["--processes=2", "--node=mill-1"]);
    let short = server.map("sleep", &json!([0.05, 0.1, 0.02, 0.05, 0.1]));
    short.succeeds();
    let long = server.map("echo", &json!((0..100_000).collect::<Vec<u32>>()));
    long.succeeds();
    let Some(mut browser) = Browser::open(&server) else { return };
    browser.go("devtools://devtools/bundled/devtools_app.html");
    for (job, query) in [(&short, ""), (&long, ""), (&long, "?limit=1000000")] {
        let ours = Trace::of(&server, job, query);
        let mut lanes = BTreeMap::<&str, usize>::new();
        ours.slices.iter().for_each(|slice| *lanes.entry(&ours.lanes[&lane_of(slice)]).or_default() += 1);
        let text = server.get(&format!("{}/timeline{query}", job.path())).text;
        let expected = json!({"nodes": ours.nodes, "lanes": lanes, "depth": 1});
        assert_eq!(browser.run_async(READER, text), expected);
    }
}
