//! Workers that end in mid-task, and what they leave behind.

use serde_json::{Value, json};

use super::common::procs::Proc;
use super::common::{check, eventually};
use super::{BAD, Mill, bad, fails};

#[test]
fn a_segfault_is_told_with_the_last_words() {
    let result = fails("segfault", &bad(), 2, "crash", "killed by SIGSEGV");
    assert_eq!(result["error"]["stack"], "about to fall");
}

#[test]
fn an_abort_fails_at_the_last_attempt() {
    fails("abort", &bad(), 3, "crash", "killed by SIGABRT");
}

#[test]
fn an_exit_in_mid_task_is_a_crash_whatever_the_code() {
    fails("exit_3", &bad(), 2, "crash", "the worker exited with code 3 before it had answered");
    fails("exit_0", &bad(), 1, "crash", "the worker exited with code 0 before it had answered");
}

#[test]
fn a_grandchild_that_holds_stdout_holds_up_nobody() {
    fails("orphan", &bad(), 1, "crash", "the worker exited with code 3 before it had answered");
}

#[test]
fn no_child_of_a_fork_bomb_survives_its_task() {
    let mill = Mill::start();
    let result = mill.one_among_many("forks", &bad());
    assert_eq!((&result["error"]["verdict"], &result["attempt"]), (&json!("crash"), &json!(2)));
    assert_eq!(result["error"]["message"], "killed by SIGABRT");
    // The workers themselves are still warm; the children have the name of their parent.
    eventually("the end of 400 children", || {
        let all = mill.server.processes();
        let forks: Vec<Proc> =
            all.into_iter().filter(|all| all.arguments.contains("worker.py forks")).collect();
        let workers = mill.server.pool()["workers"].as_array().unwrap().len();
        // Each worker has its guard.
        check(forks, |forks| forks.len() <= 2 * workers)
    });
    mill.ends_clean();
}

#[test]
fn ten_poisonous_inputs_among_ten_thousand_fail_alone() {
    let mill = Mill::start();
    let is_bad = |index: usize| index % 1000 == 500 + BAD;
    let input = |index: usize| if is_bad(index) { bad() } else { json!(index) };
    let job = mill.server.map("abort", &(0..10_000).map(input).collect::<Value>());
    job.wait();
    job.has_each_result_once(10_000);
    for (index, result) in job.by_input().iter().enumerate() {
        let error = &result["error"];
        let seen = [&result["attempt"], &error["verdict"], &error["message"]].map(Clone::clone);
        let expected = if is_bad(index) {
            [json!(3), json!("crash"), json!("killed by SIGABRT")]
        } else {
            [json!(1), Value::Null, Value::Null]
        };
        assert_eq!(seen, expected, "{result:#}");
    }
    mill.ends_clean();
}
