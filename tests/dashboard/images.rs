//! The images of the documentation.

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use serde_json::{Value, json};

use crate::common::Server;
use crate::common::browser::Browser;
use crate::job_page;

/// The images of the documentation, of a pool that has been at work for as long as its lanes show.
#[test]
#[ignore = "writes docs/images"]
fn images() {
    let server = Server::with(&["--processes=4", "--node=mill-1"]);
    let Some(mut browser) = Browser::blank(&server, [1400, 880]) else { return };
    browser.go("/");
    browser.shows("#link", "live");
    let primes: Vec<u32> = (0..100_000).map(|n| 400_000 + n).collect();
    let labels = json!({"team": "numbers"});
    let body =
        json!({"function": "primes", "inputs": primes, "name": "primes by thousand", "labels": labels});
    server.submit(&body);
    let rows: Vec<String> = (0..400_000).map(|n| n.to_string()).collect();
    let hash = || json!({"function": "sha256", "inputs": rows, "name": "hash table", "labels": {"run": "7"}});
    server.submit(&hash());
    let naps: Vec<f64> = (1..40).map(|n| f64::from(n % 7) * 0.12).collect();
    server
        .submit(&json!({"function": "sleep", "inputs": naps, "name": "wait for the press", "processes": 1}));
    let failures: Vec<Value> = (0..72).map(price_row).collect();
    let import = json!({"function": "fail", "inputs": failures, "name": "import prices", "labels": {"team": "shop"}, "max_attempts": 2});
    std::thread::sleep(Duration::from_secs(20));
    server.submit(&hash());
    std::thread::sleep(Duration::from_secs(25));
    let failed = server.submit(&import);
    failed.wait();
    std::thread::sleep(Duration::from_secs(9));
    let counts: Vec<u32> = (0..90).map(|n| 1_000_000 + (n * 7919) % 17 * 900_000).collect();
    let count = json!({"function": "count", "inputs": counts, "name": "count to many", "labels": {"run": "8"}, "priority": 1});
    server.submit(&count);
    server.submit(&hash());
    std::thread::sleep(Duration::from_secs(6));
    save(&browser, "pool");
    browser.go(&job_page(&failed));
    browser.shows("#j-failures", "SIGSEGV");
    browser.holds("its results", "return document.querySelectorAll('#j-results tr').length > 0");
    save(&browser, "failures");
    // By itself, so that its lanes have no gaps that are another's.
    let counted = server.submit(&count);
    counted.succeeds();
    browser.go(&job_page(&counted));
    browser.shows("#j-timeline-note", "runs in");
    browser.run("document.getElementById('j-times-title').scrollIntoView()");
    save(&browser, "timeline");
    browser.close_clean(&[]);
}

fn price_row(n: u32) -> Value {
    match n % 12 {
        0 => json!({"mode": "exception", "retryable": false, "message": "there is no price in the row"}),
        3 => json!({"mode": "exception", "retryable": false, "message": "the currency XAU is not known"}),
        7 => json!({"mode": "segfault"}),
        _ => json!({"mode": "stderr", "bytes": 60}),
    }
}

fn save(browser: &Browser<'_>, name: &str) {
    let png = base64::engine::general_purpose::STANDARD.decode(browser.screenshot()).unwrap();
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/images/dashboard-{name}.png"));
    fs::write(path, png).unwrap();
}
