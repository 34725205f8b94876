//! `gristmill check-worker`: a worker that is right passes, and each way of being wrong is found and named.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

use std::collections::BTreeMap;
use std::process::{Command, Output};

use serde_json::Value;

const BINARY: &str = env!("CARGO_BIN_EXE_gristmill");

/// A worker that gives back its input, and is wrong in the way that its argument says.
const WORKER: &str = r#"
import json, os, subprocess, sys, time
wrong = sys.argv[1]
def say(message):
    sys.stdout.buffer.write(b"\x1e" + json.dumps(message).encode() + b"\n")
    sys.stdout.buffer.flush()
if wrong == "never ready":
    print("still loading", file=sys.stderr, flush=True)
    time.sleep(1000)
if wrong == "leaves a child":
    subprocess.Popen(["sleep", "1234567"], start_new_session=True)
if wrong == "chatty":
    print("hello\nworld", flush=True)
say({"ready": {"protocol": 2 if wrong == "too new" else 1, "take_back": wrong == "loses"}})
chunks, big = [], False
for line in sys.stdin.buffer:
    message = json.loads(line)
    if "take_back" in message:
        continue
    chunks.append(message["run"])
    run = chunks[-1]
    big = big or len(line) > 1000000 and len(chunks)
    # Behind the big input come one that shows that the worker lives, and two chunks of which one is asked back.
    if wrong == "loses" and big and len(chunks) == big + 3:
        continue
    for index, task in enumerate(run["inputs"], 0 if wrong == "counts anew" else run["index"]):
        if wrong == "dies of much" and isinstance(task, str) and len(task) > 1000:
            print("no room for", len(task), file=sys.stderr, flush=True)
            os.abort()
        if wrong == "hangs on text" and isinstance(task, str):
            time.sleep(1000)
        if task == {"refuse": "me"} and wrong != "never refuses":
            say({"failed": {"index": index, "message": "" if wrong == "wordless" else "I do not like it"}})
            continue
        output = task
        say({"done": {"index": index, "outputs": [output]}})
        if wrong == "answers twice":
            say({"done": {"index": index, "outputs": [output]}})
if wrong == "stays":
    time.sleep(1000)
sys.exit(3 if wrong == "exits with 3" else 0)
"#;

/// What came of each check: its outcome and what was seen.
type Findings = BTreeMap<String, (String, String)>;

fn check_worker(arguments: &[&str]) -> Output {
    Command::new(BINARY).arg("check-worker").args(arguments).output().unwrap()
}

/// The findings, which must agree with the exit code.
#[track_caller]
fn findings(arguments: &[&str]) -> Findings {
    let output = check_worker(&[&["--json"], arguments].concat());
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let findings: Findings = text.lines().map(finding).collect();
    let holds = findings.values().all(|(outcome, _)| outcome != "fails");
    assert_eq!(findings.len(), 11, "{output:?}");
    assert_eq!(output.status.code(), Some(i32::from(!holds)), "{output:?}");
    findings
}

fn finding(line: &str) -> (String, (String, String)) {
    let finding: Value = serde_json::from_str(line).unwrap();
    let text = |key: &str| finding[key].as_str().unwrap().to_owned();
    (text("check"), (text("outcome"), text("seen")))
}

#[track_caller]
fn python(wrong: &str) -> Findings {
    let refuse = r#"--bad-input={"refuse": "me"}"#;
    let timeout = if wrong == "hangs on text" { "1s" } else { "30s" };
    findings(&[refuse, "--timeout", timeout, "--", "python3", "-c", WORKER, wrong])
}

#[track_caller]
fn assert_found(findings: &Findings, check: &str, outcome: &str, seen: &str) {
    let found = &findings[check];
    assert!(found.0 == outcome && found.1.contains(seen), "{findings:#?}");
}

fn named<'a>(findings: &'a Findings, outcome: &str) -> Vec<&'a str> {
    findings.iter().filter(|(_, found)| found.0 == outcome).map(|(name, _)| name.as_str()).collect()
}

#[test]
fn the_built_in_worker_holds_everything() {
    let findings = findings(&["--", BINARY, "__worker", "echo"]);
    assert_eq!(named(&findings, "fails"), [""; 0], "{findings:#?}");
    assert_eq!(named(&findings, "skipped"), ["failed task"]);
    assert_eq!(named(&findings, "info"), ["speed", "stray output"]);
    assert_found(&findings, "stray output", "info", "0");
}

#[test]
fn a_right_worker_in_python_holds_everything() {
    let findings = python("in no way");
    assert_eq!(named(&findings, "fails"), [""; 0], "{findings:#?}");
    assert_eq!(named(&findings, "skipped"), ["take back"]);
    assert_found(&findings, "failed task", "holds", "I do not like it");
    assert_found(&findings, "large numbers", "holds", "9007199254740993");
}

#[test]
fn stray_prints_are_counted_and_harm_nobody() {
    let findings = python("chatty");
    assert_eq!(named(&findings, "fails"), [""; 0], "{findings:#?}");
    assert_found(&findings, "stray output", "info", "2");
}

#[test]
fn each_wrong_is_found_and_named() {
    let wrongs = [
        ("answers twice", "order", "it answered index 7, with 1 in all; expected was index 8"),
        ("counts anew", "order", "it answered index 0"),
        ("too new", "handshake", "version 2"),
        ("dies of much", "big input", "killed by SIGABRT with unanswered tasks: 1; its last words: no room"),
        ("hangs on text", "unicode", "silent for 1 s"),
        ("never refuses", "failed task", "it gave an output"),
        ("wordless", "failed task", "without a message"),
        ("loses", "take back", "expected was index"),
        ("exits with 3", "end of input", "exited with code 3"),
        ("stays", "end of input", "did not exit within 5 s"),
    ];
    // Much of it is waiting.
    std::thread::scope(|scope| {
        for (wrong, check, seen) in wrongs {
            scope.spawn(move || assert_found(&python(wrong), check, "fails", seen));
        }
    });
}

#[test]
fn a_worker_that_is_never_ready_is_given_up() {
    let findings = python("never ready");
    assert_found(
        &findings,
        "handshake",
        "fails",
        "within 10 s, and was killed; its last words: still loading",
    );
    assert_eq!(named(&findings, "skipped").len(), 10);
}

#[test]
fn a_death_is_the_end_of_one_check_only() {
    let findings = python("dies of much");
    assert_eq!(named(&findings, "fails"), ["big input"], "{findings:#?}");
}

#[test]
fn nothing_of_a_worker_stays_behind() {
    let findings = python("leaves a child");
    assert_eq!(named(&findings, "fails"), [""; 0], "{findings:#?}");
    let arguments = |entry: std::fs::DirEntry| std::fs::read(entry.path().join("cmdline")).ok();
    let mut processes = std::fs::read_dir("/proc").unwrap().filter_map(|entry| arguments(entry.ok()?));
    assert!(!processes.any(|arguments| arguments == b"sleep\x001234567\0"), "a child of the worker lives");
}

#[test]
fn programs_behind_the_adapter_are_checked_too() {
    const FILTER: &str = "import sys\nfor line in sys.stdin: print(line.strip(), flush=True)";
    for (mode, command) in
        [("lines", &["python3", "-c", FILTER][..]), ("exec", &["cat"]), ("batch", &["cat"])]
    {
        let findings = findings(&[&["--mode", mode, "--"], command].concat());
        assert_eq!(named(&findings, "fails"), [""; 0], "{mode}: {findings:#?}");
        assert_found(&findings, "large numbers", "holds", "9007199254740993");
        assert_found(&findings, "stray output", "skipped", "taken for an answer");
    }
}

#[test]
fn a_program_that_is_no_worker_in_its_mode_is_found() {
    let silent = findings(&["--mode=lines", "--", "sed", "-n", "/x/p"]);
    assert_found(&silent, "order", "fails", "gave no line");
    let refusing = findings(&["--mode=exec", "--", "false"]);
    assert_found(&refusing, "order", "fails", "every input failed");
}

#[test]
fn inputs_given_take_the_place_of_odd_ones() {
    let worker = ["--", BINARY, "__worker", "sha256"];
    let given = findings(&[&["--input=\"a b\"", "--input=\"c\"", "--bad-input=1"][..], &worker].concat());
    assert_found(&given, "order", "holds", "10 of 10");
    assert_found(&given, "failed task", "holds", "sha256 wants");
    for probed in ["unicode", "large numbers", "big input"] {
        assert_found(&given, probed, "skipped", "--probe");
    }
}

#[test]
fn without_json_there_is_a_table() {
    let output = check_worker(&["--", BINARY, "__worker", "echo"]);
    let table = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && table.contains("✓  handshake"), "{table}");
    assert!(table.contains("skipped: give such an input with --bad-input"), "{table}");
}
