//! Webhooks: the end of a job is told to those who may be told, and to nobody else, until it has been taken.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
#[path = "../common/mod.rs"]
mod common;
mod receiver;
mod refusals;
mod tries;

use std::path::PathBuf;
use std::process::Command;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use common::Server;
use common::job::Job;
use common::procs::signal;
use receiver::{Got, OK, Receiver};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

const KEY: [u8; 32] = [1; 32];
const OTHER_KEY: [u8; 24] = [2; 24];

fn secret(key: &[u8]) -> String {
    format!("whsec_{}", BASE64_STANDARD.encode(key))
}

/// A server that may tell these receivers, at `http://127.0.0.1:PORT`.
fn server(receivers: &[&Receiver]) -> Server {
    let hosts: Vec<_> =
        receivers.iter().map(|receiver| format!("http://127.0.0.1:{}", receiver.port)).collect();
    server_with(&[&format!("--callback-hosts={}", hosts.join(","))])
}

fn server_with(flags: &[&str]) -> Server {
    let flags = [&["--processes=2"], flags].concat();
    let environment = [("GRISTMILL_CALLBACK_SECRET", &*secret(&KEY))];
    Server::launch(TempDir::new().unwrap(), &flags, &environment)
        .unwrap_or_else(|refused| panic!("{refused:#?}"))
}

impl Receiver {
    fn url(&self) -> String {
        format!("http://127.0.0.1:{}/done?by=mill", self.port)
    }
}

fn submit<'s>(server: &'s Server, url: &str, function: &str, inputs: &Value) -> Job<'s> {
    server.submit(&json!({"function": function, "inputs": inputs, "callback_url": url}))
}

/// Waits until the job's callback is in this state; gives it.
fn wait_for_state(job: &Job<'_>, state: &str) -> Value {
    job.wait_for("the state of the callback", |status| status["callback"]["state"] == state)["callback"]
        .clone()
}

/// Waits until at least so many tries were made; gives the callback.
fn wait_for_tries(job: &Job<'_>, attempts: u64) -> Value {
    let is_tried = |status: &Value| status["callback"]["attempts"].as_u64() >= Some(attempts);
    job.wait_for("so many tries", is_tried)["callback"].clone()
}

fn is_as_documented(server: &Server, schema: &str, value: &Value) {
    let document = server.get("/openapi.json").json();
    let root =
        json!({"$ref": format!("#/components/schemas/{schema}"), "components": document["components"]});
    let outcome =
        jsonschema::validator_for(&root).unwrap().validate(value).map_err(|error| error.to_string());
    assert_eq!(outcome, Ok(()), "{value:#}");
}

fn is_signed(got: &Got) {
    assert_eq!(got.header("webhook-signature"), got.signature(&KEY), "{got:#?}");
}

#[test]
fn an_end_is_told_signed_and_once() {
    let receiver = Receiver::start(&[Some(OK)]);
    let server = server(&[&receiver]);
    let job = submit(&server, &receiver.url(), "echo", &json!([1, 2]));
    let callback = wait_for_state(&job, "delivered");
    let url = receiver.url();
    let expected =
        json!({"url": url, "state": "delivered", "attempts": 1, "last_error": null, "next_at": null});
    assert_eq!(callback, expected);
    let got = &receiver.got()[0];
    is_signed(got);
    assert_eq!(got.line, "POST /done?by=mill HTTP/1.1");
    assert_eq!(got.header("host"), format!("127.0.0.1:{}", receiver.port));
    assert_eq!(got.header("content-type"), "application/json");
    assert_eq!(got.header("webhook-id"), format!("{}-1", job.id));
    let sent_s = got.header("webhook-timestamp").parse::<i64>().unwrap();
    assert!((jiff::Timestamp::now().as_second() - sent_s).abs() < 30);
    let listed = server.get("/v1/jobs").json()["items"][0].clone();
    let ended_at = &listed["timings"]["finished_at"];
    assert_eq!(got.json(), json!({"type": "job.ended", "timestamp": ended_at, "data": listed}));
    is_as_documented(&server, "JobEnded", &got.json());
    is_as_documented(&server, "Job", &job.status());
    server.kill9();
    server.restart();
    let next = submit(&server, &receiver.url(), "echo", &json!([3]));
    wait_for_state(&next, "delivered");
    assert_eq!(receiver.got().len(), 2, "the first is not told again");
}

/// What docs/webhooks.md tells a receiver to do.
fn verified_by_python(got: &Got, secret: &str) -> bool {
    let documented =
        include_str!("../../docs/webhooks.md").split("```python\n").nth(1).unwrap().split("```").next();
    let call = "import json, sys\nverify(*json.loads(sys.argv[1]), sys.argv[2].encode())";
    let script = format!("{}\n{call}", documented.unwrap());
    let arguments = [json!([secret, got.headers]).to_string(), got.body.clone()];
    let ran = Command::new("python3").args(["-c", &script]).args(arguments).output().unwrap();
    let wrong = String::from_utf8(ran.stderr).unwrap();
    assert!(
        ran.status.success() || wrong.contains("ValueError: it is not signed with our secret"),
        "{wrong}"
    );
    ran.status.success()
}

#[test]
fn a_message_is_genuine_by_the_documented_code() {
    let receiver = Receiver::start(&[Some(OK)]);
    let server = server(&[&receiver]);
    wait_for_state(&submit(&server, &receiver.url(), "echo", &json!([])), "delivered");
    let got = &receiver.got()[0];
    assert!(verified_by_python(got, &secret(&KEY)));
    assert!(!verified_by_python(got, &secret(&OTHER_KEY)));
    let forged = Got { body: got.body.replace("succeeded", "failed"), ..got.clone() };
    assert!(!verified_by_python(&forged, &secret(&KEY)));
}

#[test]
fn every_kind_of_end_is_told() {
    let receiver = Receiver::start(&[Some(OK)]);
    let server = server(&[&receiver]);
    let url = receiver.url();
    let empty = submit(&server, &url, "echo", &json!([]));
    let failed = server.submit(&json!({"function": "fail", "inputs": [{"do": "error"}], "max_attempts": 1,
        "callback_url": url}));
    let cancelled = submit(&server, &url, "sleep", &json!([60, 60, 60]));
    cancelled.cancel().expect(202);
    let query = format!("/v1/jobs?function=echo&open=true&callback_url={}", url.replace('?', "%3F"));
    let open = Job::of(&server, &server.post_ndjson(&query, "1\n").expect(202));
    open.wait_for_done(1);
    assert_eq!(open.status()["callback"]["state"], "pending");
    server.post_json(&format!("{}/close", open.path()), "").expect(200);
    let query = format!("/v1/map/echo?callback_url={}", url.replace('?', "%3F"));
    let map = server.post_ndjson(&query, "1\n").expect(200).header("gristmill-job").to_owned();
    let map = Job::with_id(&server, &map);
    for job in [&empty, &failed, &cancelled, &open, &map] {
        wait_for_state(job, "delivered");
    }
    let got = receiver.got();
    got.iter().for_each(is_signed);
    let state_of = |job: &Job<'_>| {
        let its = got.iter().find(|got| got.json()["data"]["id"] == job.id).unwrap();
        its.json()["data"]["state"].as_str().unwrap().to_owned()
    };
    let states = [empty, failed, cancelled, open, map].map(|job| state_of(&job));
    assert_eq!(states, ["succeeded", "failed", "cancelled", "succeeded", "succeeded"]);
}

#[test]
fn a_job_that_ends_again_is_told_again() {
    let receiver = Receiver::start(&[Some(OK)]);
    let server = server(&[&receiver]);
    let job = server.submit(&json!({"function": "fail", "inputs": [{"do": "error"}], "max_attempts": 1,
        "callback_url": receiver.url()}));
    wait_for_state(&job, "delivered");
    server.post_json(&format!("{}/retry", job.path()), "").expect(202);
    let ids = receiver.wait_for(2).iter().map(|got| got.header("webhook-id").to_owned()).collect::<Vec<_>>();
    assert_eq!(ids, [format!("{}-1", job.id), format!("{}-2", job.id)]);
}

#[test]
fn secrets_change_while_the_server_runs() {
    let receiver = Receiver::start(&[Some(OK)]);
    let home = TempDir::new().unwrap();
    let path = |name: &str| home.path().join(name);
    let (config, secrets): (PathBuf, PathBuf) = (path("gristmill.toml"), path("secrets"));
    std::fs::write(&secrets, secret(&KEY)).unwrap();
    let host = format!("http://127.0.0.1:{}", receiver.port);
    std::fs::write(&config, format!("callback_hosts = ['{host}']\ncallback_secret_file = 'secrets'"))
        .unwrap();
    let server = Server::launch(home, &["--config", config.to_str().unwrap()], &[]).unwrap();
    assert!(
        server
            .log()
            .iter()
            .any(|line| line.contains("every user of this machine can use callback_secret_file"))
    );
    wait_for_state(&submit(&server, &receiver.url(), "echo", &json!([])), "delivered");
    std::fs::write(&secrets, format!("# new, then old\n{}\n{}\n", secret(&OTHER_KEY), secret(&KEY))).unwrap();
    signal(server.pid(), Signal::HUP);
    server.wait_for_log("are read again");
    wait_for_state(&submit(&server, &receiver.url(), "echo", &json!([])), "delivered");
    let got = receiver.got();
    is_signed(&got[0]);
    let both = format!("{} {}", got[1].signature(&OTHER_KEY), got[1].signature(&KEY));
    assert_eq!(got[1].header("webhook-signature"), both);
}

#[test]
fn a_certificate_must_be_of_an_authority_that_is_trusted() {
    let receiver = Receiver::start_with_tls(&[Some(OK)]);
    let url = format!("https://localhost:{}/done", receiver.port);
    let host = format!("--callback-hosts=localhost:{}", receiver.port);
    let ca = concat!("--callback-ca-file=", env!("CARGO_MANIFEST_DIR"), "/tests/webhooks/tls/ca.pem");
    let networks = "--callback-networks=127.0.0.0/8,::1";
    let trusting = server_with(&[&host, networks, ca]);
    wait_for_state(&submit(&trusting, &url, "echo", &json!([])), "delivered");
    is_signed(&receiver.got()[0]);
    let other = server_with(&[&host, networks]);
    let callback = wait_for_tries(&submit(&other, &url, "echo", &json!([])), 1);
    let error = callback["last_error"].as_str().unwrap();
    assert!(error.starts_with("TLS: ") && error.contains("UnknownIssuer"), "{error}");
    assert_eq!(receiver.got().len(), 1);
}
