//! Tokens: who may call, and that the secret stays one.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::process::{Command, Output};

use common::client::{Answer, JSON};
use common::procs::{Proc, signal};
use common::server::Refused;
use common::{Server, check, eventually};
use rustix::process::Signal;
use tempfile::TempDir;

const READER: &str = "reader-0123456789abcdef";
const SUBMITTER: &str = "submitter-0123456789abcdef";
const BOSS: &str = "boss-0123456789abcdef";
/// Of one test, so that no other server of the tests has it.
const SECRET: &str = "secret-of-one-test-0123456789";
const NO_JOB: &str = "/v1/jobs/00000000-0000-7000-8000-000000000000";
/// Every call that wants a token, and the scope that it needs.
const CALLS: [(&str, &str, &str); 22] = [
    ("GET", "/v1/jobs", "read"),
    ("GET", "/v1/jobs/1", "read"),
    ("GET", "/v1/jobs/1/results", "read"),
    ("GET", "/v1/jobs/1/events", "read"),
    ("GET", "/v1/jobs/1/logs", "read"),
    ("GET", "/v1/jobs/1/timeline", "read"),
    ("GET", "/v1/pool", "read"),
    ("GET", "/v1/functions", "read"),
    ("GET", "/v1/nowhere", "read"),
    ("POST", "/v1/jobs", "submit"),
    ("POST", "/v1/jobs/1/inputs", "submit"),
    ("POST", "/v1/jobs/1/close", "submit"),
    ("POST", "/v1/jobs/1/cancel", "submit"),
    ("POST", "/v1/jobs/1/pause", "submit"),
    ("POST", "/v1/jobs/1/resume", "submit"),
    ("POST", "/v1/jobs/1/retry", "submit"),
    ("DELETE", "/v1/jobs/1", "submit"),
    ("DELETE", "/v1/jobs/1/results?through=1", "submit"),
    ("PATCH", "/v1/pool", "admin"),
    ("DELETE", "/v1/workers/worker-99", "admin"),
    ("POST", "/v1/nowhere", "admin"),
    ("PUT", "/v1/jobs", "admin"),
];

/// A home with a file of tokens, and the path of that.
fn home_with(tokens: &str) -> (TempDir, PathBuf) {
    let home = TempDir::new().unwrap();
    let path = home.path().join("tokens");
    write(&path, tokens);
    (home, path)
}

fn write(path: &PathBuf, text: &str) {
    fs::write(path, text).unwrap();
    fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
}

/// A server with a token of each scope, and their file.
fn three_tokens() -> (Server, PathBuf) {
    let (home, path) = home_with(&format!("# people\nread {READER}\nsubmit {SUBMITTER}\n\n{BOSS}\n"));
    let flags = ["--processes=2", "--token-file", path.to_str().unwrap()];
    (Server::launch(home, &flags, &[]).unwrap(), path)
}

fn one_token() -> Server {
    Server::launch(TempDir::new().unwrap(), &["--processes=2"], &[("GRISTMILL_TOKEN", BOSS)]).unwrap()
}

fn call(server: &Server, token: &str, method: &str, path: &str, body: &str) -> Answer {
    let token = format!("Bearer {token}");
    server.client().call(method, path, &[("Authorization", &token), ("Content-Type", JSON)], body)
}

/// Whether the server lets this token look.
fn takes(server: &Server, token: &str) -> bool {
    match call(server, token, "GET", "/v1/pool", "").status {
        200 => true,
        401 => false,
        status => panic!("{status}"),
    }
}

#[track_caller]
fn refused(home: TempDir, flags: &[&str], environment: &[(&str, &str)], texts: &[&str]) {
    let Refused { status, log } = Server::launch(home, flags, environment).err().unwrap();
    assert!(!status.success());
    texts.iter().for_each(|text| assert!(log.contains(text), "{text:?} in {log}"));
}

#[test]
fn without_the_right_token_nothing_is_answered() {
    let server = one_token();
    for (method, path, _) in CALLS {
        let answers = [
            server.client().call(method, path, &[], ""),
            call(&server, "", method, path, ""),
            call(&server, "boss-0123456789abcdeg", method, path, ""),
            call(&server, "boss-0123456789abcde", method, path, ""),
            call(&server, &BOSS.to_uppercase(), method, path, ""),
            server.client().call(method, path, &[("Authorization", BOSS)], ""),
            server.client().call(method, path, &[("Authorization", &format!("Basic {BOSS}"))], ""),
        ];
        for answer in answers {
            answer.problem(401, "unauthorized");
            assert_eq!(answer.header("www-authenticate"), "Bearer", "{method} {path}");
        }
        assert_ne!(call(&server, BOSS, method, path, "").status, 401, "{method} {path}");
    }
    let lower = format!("bearer {BOSS}");
    server.client().call("GET", "/v1/pool", &[("authorization", &lower)], "").expect(200);
    let missing = server.get("/v1/pool").problem(401, "unauthorized");
    assert!(missing["detail"].as_str().unwrap().contains("Authorization: Bearer"), "{missing:#}");
}

#[test]
fn probes_and_the_files_of_the_page_need_none() {
    let server = one_token();
    for path in ["/healthz", "/readyz", "/", "/dashboard/style.css", "/dashboard/main.js"] {
        server.get(path).expect(200);
    }
    for path in
        ["/healthz/", "//", "/dashboard/", "/dashboard/main.map", "/%2e/v1/pool", "/healthz/../v1/pool"]
    {
        server.get(path).problem(401, "unauthorized");
    }
}

#[test]
fn a_token_permits_what_its_scope_does() {
    let (server, _) = three_tokens();
    let scopes = ["read", "submit", "admin"];
    let rank = |scope| scopes.iter().position(|known| *known == scope).unwrap();
    for (method, path, needed) in CALLS {
        for (token, scope) in [(READER, "read"), (SUBMITTER, "submit"), (BOSS, "admin")] {
            let answer = call(&server, token, method, path, "");
            if rank(scope) >= rank(needed) {
                assert!(![401, 403].contains(&answer.status), "{scope}: {method} {path}: {answer:#?}");
            } else {
                let problem = answer.problem(403, "scope-too-small");
                assert_eq!(problem["needed_scope"], needed, "{problem:#}");
                assert!(problem["detail"].as_str().unwrap().contains(needed), "{problem:#}");
            }
        }
    }
    let body = r#"{"function": "echo", "inputs": [1]}"#;
    let job = call(&server, SUBMITTER, "POST", "/v1/jobs", body).expect(202).json();
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    let ended = call(&server, READER, "GET", &format!("{path}?wait=30s"), "").expect(200).json();
    assert_eq!(ended["state"], "succeeded");
    call(&server, READER, "DELETE", &path, "").problem(403, "scope-too-small");
    call(&server, SUBMITTER, "DELETE", &path, "").expect(204);
    call(&server, BOSS, "PATCH", "/v1/pool", r#"{"slots": 3}"#).expect(200);
}

#[test]
fn a_flag_beats_the_environment_beats_the_file() {
    let takes_of = |flag: bool, environment: &[(&str, &str)]| {
        let (home, path) = home_with(READER);
        write(&home.path().join("in-file"), SUBMITTER);
        let config = home.path().join("gristmill.toml");
        fs::write(&config, "token_file = 'in-file'").unwrap();
        let mut flags = vec!["--config", config.to_str().unwrap()];
        flags.extend(flag.then_some(["--token-file", path.to_str().unwrap()]).into_iter().flatten());
        let server = Server::launch(home, &flags, environment).unwrap();
        [READER, BOSS, SUBMITTER].map(|token| takes(&server, token))
    };
    assert_eq!(takes_of(true, &[("GRISTMILL_TOKEN", BOSS)]), [true, false, false]);
    assert_eq!(takes_of(false, &[("GRISTMILL_TOKEN", BOSS)]), [false, true, false]);
    assert_eq!(takes_of(false, &[]), [false, false, true]);
}

#[test]
fn what_is_no_token_is_refused_at_the_start() {
    let environment = |token: &str, texts: &[&str]| {
        refused(TempDir::new().unwrap(), &[], &[("GRISTMILL_TOKEN", token)], texts);
    };
    environment("fifteen-letters", &["GRISTMILL_TOKEN", "16 characters"]);
    environment("", &["GRISTMILL_TOKEN", "16 characters"]);
    environment("read 0123456789abcdef", &["GRISTMILL_TOKEN", "no spaces"]);
    let file = |text: &str, texts: &[&str]| {
        let (home, path) = home_with(text);
        let path = path.to_str().unwrap();
        refused(home, &["--token-file", path], &[], &[&[path], texts].concat());
    };
    file("# none\n", &["no token"]);
    file("# one\nread fifteen-letters", &["line 2", "16 characters"]);
    file("all 0123456789abcdef", &["line 1", "read, submit or admin"]);
    file("0123456789abcdef # mine", &["line 1", "lines of their own"]);
    refused(
        TempDir::new().unwrap(),
        &["--token-file=/no/such/file"],
        &[],
        &["/no/such/file", "No such file"],
    );
}

#[test]
fn a_file_that_everyone_can_read_is_warned_of() {
    let (home, path) = home_with(BOSS);
    fs::set_permissions(&path, PermissionsExt::from_mode(0o644)).unwrap();
    let server = Server::launch(home, &["--token-file", path.to_str().unwrap()], &[]).unwrap();
    server.wait_for_log("chmod 600");
    assert!(takes(&server, BOSS));
    assert!(!three_tokens().0.log().iter().any(|line| line.contains("chmod")));
}

#[test]
fn the_file_is_read_again_at_a_hangup() {
    let (server, path) = three_tokens();
    write(&path, "boss-is-dead-long-live-the\nshort");
    signal(server.pid(), Signal::HUP);
    server.wait_for_log("nothing has changed");
    assert!(takes(&server, READER) && takes(&server, BOSS) && !takes(&server, "boss-is-dead-long-live-the"));
    write(&path, &format!("read {READER}\nboss-is-dead-long-live-the"));
    signal(server.pid(), Signal::HUP);
    eventually("the new token", || check(takes(&server, "boss-is-dead-long-live-the"), |takes| *takes));
    assert!(takes(&server, READER) && !takes(&server, BOSS));
}

#[test]
fn a_server_open_to_the_network_has_a_token_or_says_no_auth() {
    for listen in ["--listen=0.0.0.0:0", "--listen=[::]:0"] {
        let how = ["GRISTMILL_TOKEN", "token_file", "--no-auth"];
        refused(TempDir::new().unwrap(), &[listen], &[], &how);
    }
    let open = |flags: &[&str], environment: &[(&str, &str)]| {
        let flags = [flags, &["--listen=0.0.0.0:0"]].concat();
        Server::launch(TempDir::new().unwrap(), &flags, environment).unwrap()
    };
    let server = open(&[], &[("GRISTMILL_TOKEN", BOSS)]);
    assert!(takes(&server, BOSS) && !takes(&server, READER));
    let server = open(&["--no-auth"], &[]);
    server.wait_for_log("no_auth: whoever can reach");
    assert!(takes(&server, READER));
    let both = [("GRISTMILL_TOKEN", BOSS)];
    refused(TempDir::new().unwrap(), &["--no-auth"], &both, &["no_auth", "a token as well"]);
    Server::launch(TempDir::new().unwrap(), &["--listen=127.0.0.2:0"], &[])
        .unwrap()
        .get("/v1/pool")
        .expect(200);
}

#[test]
fn a_hangup_does_not_open_a_server_to_the_network() {
    let (home, _) = home_with(BOSS);
    let config = home.path().join("gristmill.toml");
    fs::write(&config, "listen = '0.0.0.0:0'\ntoken_file = 'tokens'").unwrap();
    let flags = ["--listen=0.0.0.0:0", "--config", config.to_str().unwrap()];
    let server = Server::launch(home, &flags, &[]).unwrap();
    fs::write(&config, "listen = '127.0.0.1:0'").unwrap();
    signal(server.pid(), Signal::HUP);
    server.wait_for_log("nothing has changed");
    assert!(takes(&server, BOSS) && !takes(&server, READER));
}

#[test]
fn the_token_is_in_no_log_and_in_no_worker() {
    let home = TempDir::new().unwrap();
    let config = home.path().join("gristmill.toml");
    fs::write(&config, "[functions.env]\ncommand = ['env']\nmode = 'exec'\noutput = 'text'").unwrap();
    let environment = [("GRISTMILL_TOKEN", SECRET), ("GRISTMILL_LOG", "trace")];
    let server =
        Server::launch(home, &["--processes=2", "--config", config.to_str().unwrap()], &environment).unwrap();
    let post = |body: &str| call(&server, SECRET, "POST", "/v1/jobs", body).expect(202).json();
    post(r#"{"function": "sleep", "inputs": [60]}"#);
    let job = post(r#"{"function": "env", "inputs": [1]}"#);
    let path = format!("/v1/jobs/{}", job["id"].as_str().unwrap());
    call(&server, SECRET, "GET", &format!("{path}?wait=30s"), "").expect(200);
    let seen = call(&server, SECRET, "GET", &format!("{path}/results"), "").text;
    assert!(seen.contains("PATH=") && !seen.contains("GRISTMILL_TOKEN") && !seen.contains(SECRET), "{seen}");
    eventually("workers at work, and only the server with the token", || {
        let knowing = || Proc::with_environment(SECRET).into_iter().map(|process| process.pid);
        check(server.processes(), |all| all.len() > 1 && knowing().eq([server.pid()]))
    });
    call(&server, "secret-of-one-test-0123456788", "GET", "/v1/pool", "").problem(401, "unauthorized");
    let log = server.log().join("\n");
    assert!(log.contains("DEBUG"), "{log}");
    assert!(!log.contains("secret-of-one-test"), "{log}");
}

#[test]
fn a_declaration_cannot_pass_the_token_on() {
    let home = TempDir::new().unwrap();
    let config = home.path().join("gristmill.toml");
    let declaration = "[functions.env]\ncommand = ['env']\nmode = 'exec'\npass_env = ['GRISTMILL_TOKEN']";
    fs::write(&config, declaration).unwrap();
    refused(home, &["--config", config.to_str().unwrap()], &[], &["line 4", "stays with the server"]);
}

#[test]
fn check_config_says_who_may_call() {
    let checked = |flags: &[&str], token: &str| -> Output {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
        command.env_clear().env("HOME", "/").env("GRISTMILL_TOKEN", token);
        if token.is_empty() {
            command.env_remove("GRISTMILL_TOKEN");
        }
        command.arg("check-config").args(flags).output().unwrap()
    };
    let said = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    assert!(said(checked(&[], BOSS).stdout).contains("asks for a token"));
    assert!(said(checked(&[], "").stdout).contains("asks nobody"));
    let wrong: [(&[&str], &str, &str); 5] = [
        (&["--listen=0.0.0.0:80"], "", "--no-auth"),
        (&[], "short", "16 characters"),
        (&["--allowed-hosts=a,http://b"], "", "allowed_hosts: \"http://b\""),
        (&["--allowed-origins=*"], "", "allowed_origins: \"*\""),
        (&["--token-file=/"], "", "token_file /"),
    ];
    for (flags, token, text) in wrong {
        let checked = checked(flags, token);
        assert!(!checked.status.success(), "{flags:?}");
        let said = said(checked.stderr);
        assert!(said.contains(text), "{text:?} in {said}");
    }
    let open = checked(&["--listen=0.0.0.0:80", "--no-auth"], "");
    assert!(open.status.success() && said(open.stderr).contains("warning: no_auth"));
}

#[test]
fn the_demo_has_settings_of_its_own() {
    let home = TempDir::new().unwrap();
    let config = home.path().join("gristmill.toml");
    fs::write(&config, "no_auth = true\ntoken_file = 'none'").unwrap();
    let mut demo = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    demo.args(["demo", "--tasks=2"]).env("GRISTMILL_TOKEN", "short").env("GRISTMILL_NO_AUTH", "true");
    let demo = demo.env("GRISTMILL_CONFIG", config).output().unwrap();
    assert!(demo.status.success(), "{demo:?}");
}

#[test]
fn without_tokens_nobody_is_asked() {
    let server = Server::start();
    server.get("/v1/pool").expect(200);
    assert!(takes(&server, BOSS));
    server.delete(NO_JOB).problem(404, "unknown-job");
}
