//! Limits of time and memory.

use serde_json::json;

use super::common::procs::alive;
use super::common::{check, eventually};
use super::{Mill, bad, fails};

#[test]
fn a_task_that_ignores_sigterm_is_killed_after_timeout_and_grace() {
    let result = fails("stubborn", &bad(), 1, "timeout", "timeout after 3 s");
    assert!(result["duration_ms"].as_f64().unwrap() >= 3500.0, "{result:#}");
}

#[test]
fn what_a_task_used_until_it_was_killed_is_told() {
    let mill = Mill::start();
    for function in ["spins", "program_spins"] {
        let job = mill.server.map(function, &json!([bad()]));
        let status = job.wait();
        let result = job.by_input().remove(0);
        assert_eq!(result["error"]["verdict"], "timeout", "{result:#}");
        for cpu_ms in [&result["cpu_ms"], &status["timings"]["cpu_ms"], &status["workers"][0]["cpu_ms"]] {
            assert!(cpu_ms.as_f64().is_some_and(|ms| ms > 100.0), "{function}: {status:#}");
        }
        assert!(status["workers"][0]["max_rss_bytes"].as_u64().is_some_and(|bytes| bytes > 1 << 20));
    }
    mill.ends_clean();
}

#[test]
fn an_answer_after_the_timeout_is_too_late() {
    fails("late", &bad(), 1, "timeout", "timeout after 3 s");
}

#[test]
fn a_worker_that_stops_itself_is_killed() {
    fails("stopped", &bad(), 1, "timeout", "timeout after 3 s");
}

#[test]
fn a_task_without_cpu_time_hangs() {
    fails("idle", &bad(), 1, "hang", "hang: no CPU time for 3 s");
}

#[test]
fn the_memory_of_a_workers_child_counts() {
    let mill = Mill::start();
    let result = mill.one_among_many("child_memory", &bad());
    let error = &result["error"];
    assert_eq!((&error["verdict"], &result["attempt"]), (&json!("oom"), &json!(1)), "{result:#}");
    let figures = error["message"].as_str().and_then(|message| message.strip_prefix("oom: "));
    let (held, limit) = figures.and_then(|figures| figures.split_once(" MiB of ")).unwrap();
    assert_eq!(limit, "100.0 MiB");
    // At 200 MB a second and a look every 25 ms.
    assert!((100.0..400.0).contains(&held.parse::<f64>().unwrap()), "{result:#}");
    mill.ends_clean();
}

#[test]
fn a_worker_that_holds_much_is_replaced_after_its_task() {
    let mill = Mill::start();
    let result = mill.one_among_many("leak", &bad());
    assert_eq!((&result["output"], &result["attempt"]), (&json!("leaked"), &json!(1)));
    let pid = result["pid"].as_u64().unwrap() as u32;
    eventually("the large worker's end", || check(pid, |pid| !alive(*pid)));
    mill.ends_clean();
}
