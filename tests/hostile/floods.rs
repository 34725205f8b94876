//! More output than anybody wants.

use serde_json::{Value, json};

use super::{BAD, Mill, bad, fails};

const FLOOD: u64 = 300_000_000;

#[test]
fn a_message_without_an_end_is_cut_off() {
    fails("endless_line", &bad(), 1, "output_too_large", "a line is longer than 67108864 bytes");
}

/// What was printed on this stream that is kept, and how many bytes there were in all. Only the bad task prints, but a
/// flood on stderr may have begun before the answers of those in front of it are read.
fn printed(entries: &[Value], stream: &str) -> (String, u64) {
    let entries: Vec<&Value> = entries.iter().filter(|entry| entry["stream"] == stream).collect();
    assert_eq!(entries.last().unwrap()["index"], BAD);
    let texts = entries.iter().map(|entry| entry["text"].as_str().unwrap().to_owned() + "\n");
    let text: String = texts.collect();
    let dropped: u64 = entries.iter().filter_map(|entry| entry["dropped_bytes"].as_u64()).sum();
    let all = text.len() as u64 + dropped;
    (text, all)
}

#[track_caller]
fn is_kept_to_its_end(function: &str, stream: &str) {
    let mill = Mill::start();
    let result = mill.one_among_many(function, &json!({"bad": true, "bytes": FLOOD}));
    assert_eq!((&result["output"], &result["attempt"]), (&json!("quiet"), &json!(1)), "{result:#}");
    let job = &mill.server.get("/v1/jobs").json()["items"][0];
    let text = mill.server.get(&format!("/v1/jobs/{}/logs", job["id"].as_str().unwrap())).text;
    let entries: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (kept, all) = printed(&entries, stream);
    assert!(kept.len() < 1_000_000 && kept.ends_with("\nthe end\n"), "{} bytes are kept", kept.len());
    assert_eq!(all, FLOOD + "the end\n".len() as u64, "what is kept and what is dropped is all");
    mill.ends_clean();
}

#[test]
fn the_end_of_much_on_stderr_is_kept() {
    is_kept_to_its_end("much_stderr", "stderr");
}

#[test]
fn the_end_of_many_stray_prints_is_kept() {
    is_kept_to_its_end("much_stdout", "stdout");
}

#[test]
fn log_messages_are_cut_to_size() {
    let mill = Mill::start();
    let job = mill.server.map("absurd_logs", &json!([bad()]));
    job.succeeds();
    let text = mill.server.get(&format!("{}/logs", job.path())).expect(200).text;
    for line in text.lines() {
        let entry: Value = serde_json::from_str(line).unwrap();
        assert_eq!((&entry["stream"], &entry["text"]), (&json!("x".repeat(64)), &json!("hello")));
    }
    assert_eq!(text.lines().count(), 30);
    mill.ends_clean();
}

#[test]
fn full_pipes_in_all_directions_block_nobody() {
    let mill = Mill::start();
    let input = json!({"bad": true, "pad": "x".repeat(100_000)});
    let job = mill.server.map("full_pipes", &json!(vec![input; 200]));
    job.succeeds();
    let right =
        |result: &Value| result["attempt"] == 1 && result["output"].as_str().unwrap().len() == 100_000;
    assert!(job.by_input().iter().all(right));
    mill.ends_clean();
}
