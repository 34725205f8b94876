//! Settings: flag beats environment beats file beats default, and what is not known is refused.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use common::Server;
use serde_json::Value;
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
