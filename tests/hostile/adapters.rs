//! Programs behind the adapters that break the rules.

use serde_json::json;

use super::{Mill, bad, fails};

#[test]
fn a_program_that_writes_without_end_is_cut_off() {
    fails("yes", &bad(), 1, "output_too_large", "its output is larger than 1000000 bytes");
}

#[test]
fn a_child_in_the_background_holds_up_nobody() {
    let mill = Mill::start();
    let job = mill.server.map("background", &json!([1, 2, 3]));
    job.succeeds();
    assert_eq!(job.results_text("order=input&fields=output"), "1\n2\n3\n");
    mill.ends_clean();
}

#[test]
fn two_lines_for_one_input_are_none() {
    fails("two_lines", &bad(), 1, "bad_output", "it wrote more than one line for one input");
}

#[test]
fn a_program_that_buffers_is_told_how_to_flush() {
    let mill = Mill::start();
    let job = mill.server.map("buffered", &json!([1, 2]));
    job.wait();
    for result in job.by_input() {
        let error = &result["error"];
        assert_eq!((&error["verdict"], &result["attempt"]), (&json!("bad_output"), &json!(1)), "{result:#}");
        let message = error["message"].as_str().unwrap();
        assert!(message.contains("its output is buffered") && message.contains("flush=True"), "{message}");
    }
    mill.ends_clean();
}

#[test]
fn a_filter_that_closes_its_stdin_makes_way_for_a_new_one() {
    let mill = Mill::start();
    let inputs = json!([1, bad(), 2, 3]);
    let job = mill.server.submit(&json!({"function": "deaf_filter", "inputs": inputs, "processes": 1}));
    job.succeeds();
    let results = job.by_input();
    assert!(results.iter().all(|result| result["attempt"] == 1), "{results:#?}");
    assert_eq!((&results[1]["output"], &results[3]["output"]), (&bad(), &json!(3)));
    mill.ends_clean();
}

#[test]
fn a_filter_that_closes_its_stdout_can_answer_no_more() {
    let message = "it closed its stdout and went on, and could answer no more";
    fails("mute_filter", &bad(), 1, "bad_output", message);
}

#[test]
fn the_last_words_of_a_filter_are_those_of_its_task() {
    let mill = Mill::start();
    let inputs = json!([1, 2, bad()]);
    let job = mill.server.submit(&json!({"function": "mutters", "inputs": inputs, "processes": 1}));
    job.wait();
    let results = job.by_input();
    assert_eq!((&results[1]["output"], &results[1]["pid"]), (&json!(2), &results[2]["pid"]));
    let error = &results[2]["error"];
    assert_eq!((&error["message"], &error["stack"]), (&json!("exited with code 4"), &json!(null)));
    mill.ends_clean();
}

#[test]
fn a_value_may_stand_on_several_lines() {
    let mill = Mill::start();
    let value = json!({"one": [1, 2], "two": {"text": "a\nb"}});
    let job = mill.server.map("pretty", &json!([value]));
    job.succeeds();
    assert_eq!(job.by_input()[0]["output"], value);
    mill.ends_clean();
}

#[test]
fn a_filter_that_drops_a_line_fails_that_input_only() {
    let message = "it wrote 0 lines for 1 input; in batch mode every input line has one";
    fails("drops", &bad(), 1, "bad_output", message);
}
