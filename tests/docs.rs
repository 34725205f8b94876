//! `/docs` in a browser: it shows every operation, and gets nothing from elsewhere.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::process::Command;

use common::{Server, skip};
use tempfile::TempDir;

#[test]
fn the_page_and_its_modules_are_served_under_a_strict_policy() {
    let server = Server::start();
    let page = server.get("/docs").expect(200);
    for file in ["/docs/style.css", "/docs/reader.js", "/docs/dom.js", "/docs/schema.js", "/docs/try.js"] {
        let answer = server.get(file).expect(200);
        assert!(answer.header("content-security-policy").contains("default-src 'none'"), "{file}");
        assert!(!answer.text.contains("innerHTML"), "{file}: text goes in as text");
    }
    assert!(!page.text.contains("://"), "nothing comes from elsewhere");
}

#[test]
fn a_browser_shows_every_operation() {
    let (server, profile) = (Server::start(), TempDir::new().unwrap());
    let mut chromium = Command::new("chromium");
    chromium.args([
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--virtual-time-budget=10000",
        "--dump-dom",
    ]);
    chromium.args(["--enable-logging=stderr", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]);
    chromium.arg(format!("--user-data-dir={}", profile.path().display()));
    let Ok(output) = chromium.arg(format!("{}/docs", server.client().address)).output() else {
        return skip("there is no chromium");
    };
    let (page, log) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(!log.contains(":CONSOLE"), "the console is empty: {log}");
    let document = server.get("/openapi.json").json();
    for item in document["paths"].as_object().unwrap().values() {
        for operation in item.as_object().unwrap().values() {
            let id = operation["operationId"].as_str().unwrap();
            assert!(page.contains(&format!("<details id=\"{id}\"")), "{id} is shown: {page}");
        }
    }
    for name in document["components"]["schemas"].as_object().unwrap().keys() {
        assert!(page.contains(&format!("id=\"schema-{name}\"")), "{name} is shown");
    }
}
