//! The page: both formats, and who may read it.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::{Command, Stdio};

use serde_json::json;

use crate::common::{Server, skip};
use crate::counts::{tasks, wait_for};
use crate::scrape::{OPEN_METRICS, Scrape};

/// Reads a page from standard input as the clients of Prometheus' own project do.
const READER: &str = "
import sys
from prometheus_client.parser import text_string_to_metric_families as plain
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
parse = {'plain': plain, 'open': open_metrics}[sys.argv[1]]
print(sum(len(family.samples) for family in parse(sys.stdin.read())))
";

/// A server that has told all that it has to tell, on a page before: what is counted follows the commit that ends a job.
fn server() -> Server {
    let server = Server::start();
    server.map("echo", &json!([1, 2, 3])).succeeds();
    server.submit(&json!({"function": "fail", "inputs": [{"mode": "exception"}], "max_attempts": 1})).wait();
    wait_for(&server, "both jobs", |scrape| {
        (tasks(scrape, "echo", "ok"), tasks(scrape, "fail", "exception")) == (3.0, 1.0)
    });
    server
}

#[test]
fn both_formats_say_the_same_and_can_be_read() {
    let server = server();
    let plain = server.get("/metrics").expect(200);
    let open = server.client().call("GET", "/metrics", &[("Accept", OPEN_METRICS)], "").expect(200);
    assert_eq!(open.header("content-type"), "application/openmetrics-text; version=1.0.0; charset=utf-8");
    assert!(open.text.ends_with("\n# EOF\n"), "{}", open.text);
    let samples: usize = Scrape::parse(&plain.text).samples.values().map(BTreeMap::len).sum();
    let lines = |text: &str| text.lines().filter(|line| !line.starts_with('#')).count();
    assert_eq!((lines(&plain.text), lines(&open.text)), (samples, samples));
    for (format, text) in [("plain", &plain.text), ("open", &open.text)] {
        match read(format, text) {
            Some(read) => assert_eq!(read, samples, "{format}"),
            None => return skip("python3-prometheus-client is not installed"),
        }
    }
}

/// How many samples the Python client finds; `None` if there is none such.
fn read(format: &str, text: &str) -> Option<usize> {
    let python = |arguments: &[&str]| {
        let mut command = Command::new("/usr/bin/python3");
        command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        command.spawn().ok()
    };
    if !python(&["-c", "import prometheus_client"])?.wait().ok()?.success() {
        return None;
    }
    let mut reader = python(&["-c", READER, format])?;
    reader.stdin.take().unwrap().write_all(text.as_bytes()).unwrap();
    let output = reader.wait_with_output().unwrap();
    Some(String::from_utf8(output.stdout).unwrap().trim().parse().expect("the page is read without an error"))
}

#[test]
fn it_wants_a_token_that_may_read() {
    let home = tempfile::TempDir::new().unwrap();
    let path = home.path().join("tokens");
    std::fs::write(&path, "read reader-0123456789abcdef\n").unwrap();
    let flags = ["--processes=1", "--token-file", path.to_str().unwrap()];
    let server = Server::launch(home, &flags, &[]).unwrap();
    server.get("/metrics").problem(401, "unauthorized");
    let headers = [("Authorization", "Bearer reader-0123456789abcdef")];
    let page = server.client().call("GET", "/metrics", &headers, "").expect(200);
    let scrape = Scrape::parse(&page.text);
    let refused = [("route", "/metrics"), ("method", "GET"), ("status", "401")];
    assert_eq!(scrape.value("gristmill_http_requests_total", &refused), 1.0);
}
