//! Settings: flag beats environment beats file beats default, and what is not known is refused.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::process::Command;

use common::{Server, check, eventually};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

fn home_with(file: &str) -> (TempDir, String) {
    let home = TempDir::new().unwrap();
    let path = home.path().join("gristmill.toml");
    std::fs::write(&path, file).unwrap();
    let path = path.to_str().unwrap().to_owned();
    (home, path)
}

fn slots(file: &str, flags: &[&str], environment: &[(&str, &str)]) -> Value {
    let (home, path) = home_with(file);
    let environment = [environment, &[("GRISTMILL_CONFIG", path.as_str())]].concat();
    let server = Server::launch(home, flags, &environment).unwrap();
    server.pool()["slots"].clone()
}

#[test]
fn a_flag_beats_the_environment_beats_the_file_beats_the_default() {
    let cpus = std::thread::available_parallelism().unwrap().get();
    assert_eq!(slots("", &[], &[]), cpus);
    assert_eq!(slots("processes = 3", &[], &[]), 3);
    assert_eq!(slots("processes = 3", &[], &[("GRISTMILL_PROCESSES", "5")]), 5);
    assert_eq!(slots("processes = 3", &["--processes=7"], &[("GRISTMILL_PROCESSES", "5")]), 7);
}

#[test]
fn the_server_says_why_it_has_so_many_slots() {
    let server = Server::launch(TempDir::new().unwrap(), &[], &[]).unwrap();
    let pool = server.pool();
    assert!(!pool["slots_reason"].as_str().unwrap().is_empty(), "{pool:#}");
    server.resize(3);
    assert_eq!(server.pool()["slots_reason"], "set while running");
}

#[test]
fn an_unknown_setting_is_refused_with_the_nearest_name() {
    let (home, path) = home_with("listen = \"127.0.0.1:0\"\nproceses = 3\n");
    let refused = Server::launch(home, &["--config", &path], &[]).err().unwrap();
    assert!(!refused.status.success());
    for text in ["line 2", "`proceses`", "did you mean `processes`?"] {
        assert!(refused.log.contains(text), "{refused:#?}");
    }
}

#[test]
fn bad_settings_are_refused() {
    for flags in [["--processes=0"], ["--grace=soon"], ["--listen=nowhere"], ["--config=/no/such/file"]] {
        let refused = Server::launch(TempDir::new().unwrap(), &flags, &[]).err().unwrap();
        assert!(!refused.status.success() && !refused.log.is_empty(), "{flags:?}: {refused:#?}");
    }
}

#[test]
fn fail_is_offered_only_when_enabled() {
    let server = Server::with(&["--enable-fail=false"]);
    let answer = server.post_json("/v1/jobs", r#"{"function": "fail", "inputs": [{"mode": "stdout"}]}"#);
    answer.problem(404, "unknown-function");
}

/// A server with these declarations, and the path of their file.
fn server_with(file: &str) -> (Server, String) {
    let (home, path) = home_with(file);
    (Server::launch(home, &["--processes=2", "--config", &path], &[]).unwrap(), path)
}

#[test]
fn a_wrong_declaration_is_refused_with_its_line() {
    for (wrong, right) in [("timeout = 'soon'", "30s"), ("input = 'text'", r#""json" or "task""#)] {
        let file =
            format!("processes = 2\n\n[functions.thumb]\ncommand = ['cat']\nmode = 'lines'\n{wrong}\n");
        let (_home, path) = home_with(&file);
        let binary = env!("CARGO_BIN_EXE_gristmill");
        let checked = Command::new(binary).args(["check-config", "--config", &path]).output().unwrap();
        let said = String::from_utf8(checked.stderr).unwrap();
        assert!(!checked.status.success());
        let key = wrong.split(' ').next().unwrap();
        for text in ["line 6", "[functions.thumb]", key, right] {
            assert!(said.contains(text), "{said}");
        }
    }
}

#[test]
fn a_right_configuration_is_told_and_a_missing_program_as_well() {
    let check = |file: &str| {
        let (_home, path) = home_with(file);
        let binary = env!("CARGO_BIN_EXE_gristmill");
        Command::new(binary).args(["check-config", "--config", &path]).output().unwrap()
    };
    let right = check("[functions.same]\ncommand = ['cat']\nmode = 'lines'\n");
    assert!(right.status.success(), "{right:?}");
    assert!(String::from_utf8(right.stdout).unwrap().contains("function same: mode lines, cat"));
    let missing = check("[functions.same]\ncommand = ['/no/such/cat']\nmode = 'lines'\n");
    assert!(!missing.status.success());
    assert!(String::from_utf8(missing.stderr).unwrap().contains("/no/such/cat"));
}

#[test]
fn declarations_are_read_again_at_a_hangup() {
    let declare = |text: &str| {
        format!("[functions.say]\ncommand = ['echo', '{text}']\nmode = 'exec'\noutput = 'text'\n")
    };
    let (server, path) = server_with(&declare("one"));
    let says = |server: &Server| {
        let job = server.map("say", &json!([1]));
        job.succeeds();
        job.results_text("fields=output")
    };
    assert_eq!(says(&server), "\"one\"\n");
    std::fs::write(&path, "[functions.say]\ncommand = []").unwrap();
    common::procs::signal(server.pid(), Signal::HUP);
    server.wait_for_log("nothing has changed");
    assert_eq!(says(&server), "\"one\"\n");
    std::fs::write(&path, declare("two") + "[functions.more]\ncommand = ['cat']\nmode = 'lines'\n").unwrap();
    common::procs::signal(server.pid(), Signal::HUP);
    eventually("the new function", || {
        check(server.get("/v1/functions").json(), |all| all.to_string().contains("\"more\""))
    });
    assert_eq!(says(&server), "\"two\"\n");
    server.map("more", &json!([1, 2])).succeeds();
}

#[test]
fn inputs_and_outputs_are_held_to_their_schemas() {
    let (server, _) = server_with(
        "[functions.half]\ncommand = ['jq', '-c', '--unbuffered', '.n / 2']\nmode = 'lines'\n\
         input_schema = { type = 'object', required = ['n'], properties = { n = { type = 'number' } } }\n\
         output_schema = { type = 'integer' }\n",
    );
    let inputs = r#"[{"n": 2}, {"n": "two"}]"#;
    let answer = server.post_json("/v1/jobs", &format!(r#"{{"function": "half", "inputs": {inputs}}}"#));
    let problem = answer.problem(422, "input-mismatch");
    assert_eq!((&problem["index"], &problem["path"]), (&json!(1), &json!("/n")));
    let answer = server.post_ndjson("/v1/jobs?function=half", "{\"n\": 2}\n\n{}\n");
    assert_eq!(answer.problem(422, "input-mismatch")["index"], 1);
    let job = server.map("half", &json!([{"n": 2}, {"n": 3}]));
    assert_eq!(job.wait()["state"], "failed");
    let results = job.by_input();
    assert_eq!((&results[0]["output"], &results[1]["error"]["verdict"]), (&json!(1), &json!("bad_output")));
    assert!(results[1]["error"]["message"].as_str().unwrap().contains("1.5"), "{:#}", results[1]);
    let functions = server.get("/v1/functions").json();
    assert!(functions.to_string().contains(r#""input_schema":{"#), "{functions:#}");
}

#[test]
fn the_cpu_time_of_a_program_behind_an_adapter_is_its_tasks() {
    let spin = "import sys\\nfor line in sys.stdin: print(sum(range(int(line))), flush=True)";
    let (server, _) = server_with(&format!(
        "[functions.warm]\ncommand = [\"python3\", \"-c\", \"{spin}\"]\nmode = 'lines'\n\
         [functions.fresh]\ncommand = [\"python3\", \"-c\", \"{spin}\"]\nmode = 'exec'\n"
    ));
    for function in ["warm", "fresh"] {
        let job = server.map(function, &json!([5_000_000]));
        job.succeeds();
        let result = job.results().remove(0);
        let (cpu, all) = (result["cpu_ms"].as_f64().unwrap(), result["duration_ms"].as_f64().unwrap());
        assert!(cpu > 10.0 && cpu < 2.0 * all, "{result:#}");
        assert!(job.status()["workers"][0]["max_rss_bytes"].as_u64() > Some(4 << 20), "{:#}", job.status());
    }
}
