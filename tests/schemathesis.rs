//! schemathesis calls every operation that `/openapi.json` describes, with what it makes up of the descriptions: right and
//! wrong, one by one and in a row. It finds nothing. No check is excluded. `hooks.py` and `schemathesis.toml` tell it, with
//! reasons, what a document cannot say, and which calls it leaves alone: the events of the server, which do not end, and wrong
//! bodies for a map, which answers before it has read them. Those are held to the document by hand, in `tests/openapi.rs`.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::path::Path;
use std::process::{Command, Output};

use common::{Server, skip};
use tempfile::TempDir;

const TOKEN: &str = "0123456789abcdef0123456789abcdef";

const AUTHORIZED: [(&str, &str); 2] =
    [("Authorization", "Bearer 0123456789abcdef0123456789abcdef"), ("Content-Type", "application/json")];

/// A program of the environment that has schemathesis; none if it is not there.
fn program(name: &str) -> Option<Command> {
    let folder = std::env::var_os("SCHEMATHESIS_BIN").unwrap_or_default();
    let path = Path::new(&folder).join(name);
    let is_there = Command::new(&path).arg("--version").output().is_ok();
    is_there.then(|| Command::new(path))
}

fn server() -> Server {
    let environment = [("GRISTMILL_TOKEN", TOKEN), ("GRISTMILL_ENABLE_FAIL", "false")];
    Server::launch(TempDir::new().unwrap(), &["--processes=2"], &environment).unwrap()
}

#[track_caller]
fn succeeds(output: &Output) {
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{out}\n{err}");
}

#[test]
fn schemathesis_finds_nothing() {
    let Some(mut schemathesis) = program("schemathesis") else { return skip("there is no schemathesis") };
    let (server, scratch) = (server(), TempDir::new().unwrap());
    let submitted =
        server.client().call("POST", "/v1/jobs", &AUTHORIZED, r#"{"function": "echo", "inputs": [1]}"#);
    let ended = submitted.expect(202).json()["id"].as_str().unwrap().to_owned();
    let rules = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/schemathesis");
    schemathesis.arg("--config-file").arg(rules.join("schemathesis.toml"));
    schemathesis.arg("run").arg(format!("{}/openapi.json", server.client().address));
    schemathesis.args(["-H", &format!("Authorization: Bearer {TOKEN}")]);
    schemathesis.args(["--checks=all", "--max-examples=6", "--seed=1", "--generation-deterministic"]);
    schemathesis.args(["--continue-on-failure", "--request-timeout=20", "--no-color"]);
    schemathesis
        .current_dir(&scratch)
        .env("PYTHONPATH", rules)
        .env("ENDED_JOB", ended)
        .env("PYTHONDONTWRITEBYTECODE", "1");
    succeeds(&schemathesis.output().unwrap());
    assert!(!server.log().iter().any(|line| line.contains("panicked")), "{:#?}", server.log());
}

#[test]
fn the_document_is_openapi_3_1() {
    let Some(mut validator) = program("openapi-spec-validator") else {
        return skip("there is no openapi-spec-validator");
    };
    let scratch = TempDir::new().unwrap();
    let document = scratch.path().join("openapi.json");
    std::fs::write(&document, server().get("/openapi.json").expect(200).text).unwrap();
    succeeds(&validator.args(["--schema", "3.1.0"]).arg(document).output().unwrap());
}
