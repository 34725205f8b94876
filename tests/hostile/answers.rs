//! Answers that are none.

use serde_json::json;

use super::common::procs::{Proc, alive};
use super::common::{check, eventually};
use super::{BAD, Mill, bad, fails, succeeds};

#[test]
fn the_second_answer_to_a_task_harms_nobody() {
    succeeds("twice", &bad(), "first");
}

#[test]
fn a_second_answer_while_the_next_task_runs_harms_nobody() {
    let mill = Mill::start();
    let gate = tempfile::TempDir::new().unwrap();
    let then = gate.path().join("then");
    let inputs = json!([{"bad": true, "then": then}, 1]);
    let job = mill.server.submit(&json!({"function": "twice_slowly", "inputs": inputs, "processes": 1}));
    job.wait_for_done(1);
    // The worker is not at it, but the server cannot know.
    job.wait_for("the other task to be sent", |status| status["running"][0]["index"] == 1);
    std::fs::write(&then, "").unwrap();
    job.succeeds();
    let results = job.by_input();
    assert_eq!((&results[0]["output"], &results[1]["output"]), (&json!("first"), &json!(1)));
    assert_eq!(results[1]["attempt"], 1, "{results:#?}");
    assert_ne!(results[0]["pid"], results[1]["pid"], "the worker that cannot count is ended");
    mill.ends_clean();
}

#[test]
fn an_answer_for_another_task_is_no_answer() {
    let message = "it answered 1 tasks from task 1000030 on; expected was task 30 next, and at most 1 in all";
    fails("wrong_index", &bad(), 2, "bad_output", message);
}

#[test]
fn more_answers_than_tasks_are_none() {
    let message = "it answered 70000 tasks from task 30 on; expected was task 30 next, and at most 1 in all";
    fails("too_many", &bad(), 1, "bad_output", message);
}

#[test]
fn a_message_that_is_not_json_is_no_answer() {
    let message = "not a message of the frames protocol: key must be a string at line 1 column 2";
    fails("no_json", &bad(), 1, "bad_output", message);
}

#[test]
fn a_failed_task_cannot_say_that_it_went_well() {
    let message = "not a message of the frames protocol: the verdict of a failed task is \"ok\"; it can be exception, crash, \
                   timeout, oom, hang, output_too_large, bad_output at line 1 column 40";
    fails("failed_ok", &bad(), 1, "bad_output", message);
}

#[test]
fn an_output_may_nest_64_deep() {
    let message = format!("the output of task {BAD} nests deeper than 64 arrays and objects");
    for depth in [65, 100_000] {
        fails("too_deep", &json!({"bad": true, "depth": depth}), 1, "bad_output", &message);
    }
    let mill = Mill::start();
    let result = mill.one_among_many("too_deep", &json!({"bad": true, "depth": 64}));
    assert_eq!(result["status"], "succeeded", "{result:#}");
    mill.ends_clean();
}

#[test]
fn a_large_output_fails_and_its_worker_lives_on() {
    for (function, what) in [("large", "output has 2000002"), ("large_error", "error has 2000061")] {
        let mill = Mill::start();
        let result = mill.one_among_many(function, &bad());
        let error = &result["error"];
        assert_eq!((&error["verdict"], &result["attempt"]), (&json!("output_too_large"), &json!(1)));
        assert_eq!(error["message"], format!("its {what} bytes; it may have 1000000"));
        assert!(alive(result["pid"].as_u64().unwrap() as u32));
        mill.ends_clean();
    }
}

#[test]
fn figures_that_cannot_be_break_no_sum() {
    let mill = Mill::start();
    let job = mill.server.map("absurd_figures", &json!(vec![bad(); 20]));
    let status = job.succeeds();
    assert!(status["timings"]["cpu_ms"].as_f64().is_some_and(|ms| ms > 0.0), "{status:#}");
    job.has_each_result_once(20);
    mill.server.map("echo", &json!([1])).succeeds();
    mill.ends_clean();
}

#[test]
fn a_worker_that_closes_its_stdout_can_answer_no_more() {
    let mill = Mill::start();
    let ticks = || Proc::find(mill.server.pid()).unwrap().cpu_ticks;
    let before = ticks();
    let result = mill.one_among_many("closed_stdout", &bad());
    let error = &result["error"];
    assert_eq!((&error["verdict"], &result["attempt"]), (&json!("bad_output"), &json!(1)));
    assert_eq!(error["message"], "it closed its stdout and went on, and could answer no more");
    // The server waits for it, twice a second and a grace, without looking again and again.
    let used = ticks() - before;
    assert!(used < 100, "{used} clock ticks");
    mill.ends_clean();
}

#[test]
fn a_worker_that_closes_its_stdin_can_take_no_more() {
    let mill = Mill::start();
    let job =
        mill.server.submit(&json!({"function": "closed_stdin", "inputs": [bad(), 1, 2], "processes": 1}));
    job.succeeds();
    let results = job.by_input();
    assert_eq!(results[0]["output"], "deaf");
    assert!(results.iter().all(|result| result["attempt"] == 1), "{results:#?}");
    let pid = results[0]["pid"].as_u64().unwrap() as u32;
    eventually("the deaf worker's end", || check(pid, |pid| !alive(*pid)));
    mill.ends_clean();
}
