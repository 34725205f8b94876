//! The pool: its workers and its slots.

use serde_json::{Value, json};

use crate::common::browser::{Browser, ENTER};
use crate::common::{Server, check, eventually};

#[test]
fn a_worker_is_ended_and_the_pool_resized() {
    let server = Server::start();
    let job = server.map("sleep", &json!([60, 60]));
    let before: Vec<Value> = job.wait_for_running(2).iter().map(|task| task["pid"].clone()).collect();
    let Some(browser) = Browser::open(&server) else { return };
    browser.shows("#workers", &format!("PID {}", before[0]));
    browser.press("End worker-1");
    browser.shows("#confirm-question", "worker-1");
    browser.press("End it");
    browser.shows("#said", "worker-1 is being ended");
    let after = eventually("another worker", || {
        let pids: Vec<Value> = job.wait_for_running(2).iter().map(|task| task["pid"].clone()).collect();
        check(pids, |pids| *pids != before)
    });
    after.iter().for_each(|pid| drop(browser.shows("#workers", &format!("PID {pid}"))));
    browser.fill("#slots", "3");
    browser.key(ENTER);
    browser.shows("#f-busy", "2 of 3");
    assert_eq!(server.pool()["slots"], 3);
    browser.fill("#slots", "5000");
    browser.press("Resize");
    assert_eq!(server.pool()["slots"], 3, "the form knows how many there can be");
    browser.close_clean(&[]);
}
