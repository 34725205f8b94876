//! All that can be done is done with the keyboard.

use serde_json::json;

use crate::common::browser::{Browser, ENTER, ESCAPE, TAB};
use crate::common::{Server, check, eventually};
use crate::job_page;

#[test]
fn a_job_is_paused_resumed_and_cancelled_with_the_keyboard() {
    let server = Server::start();
    let job = server.map("sleep", &json!([60, 60, 60]));
    let Some(mut browser) = Browser::open(&server) else { return };
    browser.go(&job_page(&job));
    browser.press("Pause");
    browser.shows("#j-state", "paused");
    browser.press("Resume");
    browser.shows("#j-state", "running");
    let asks = "return document.getElementById('confirm').open";
    let cancel = || {
        browser.button("Pause");
        browser.run("document.querySelector('#j-actions .danger').focus()");
        browser.key(ENTER);
        browser.holds("a question", asks);
    };
    cancel();
    browser.key(ESCAPE);
    browser.holds("no question", &format!("{asks} === false"));
    assert_eq!(job.status()["state"], "running");
    cancel();
    browser.key(TAB);
    browser.key(ENTER);
    browser.shows("#j-state", "cancelled");
    assert_eq!(job.wait()["state"], "cancelled");
    browser.press("Delete");
    browser.press("Delete it");
    browser.holds("the list", "return location.hash === '#/'");
    server.get(&job.path()).problem(404, "unknown-job");
    browser.close_clean(&[]);
}

/// The ways to whatever can be done: each control that is seen is reached, and none keeps the focus.
const UNREACHED: &str = "const all = 'a[href], button, input, select, textarea, summary, [tabindex=\"0\"]';
    const seen = [...document.querySelectorAll(all)].filter((node) => node.checkVisibility() && !node.disabled && node.type !== 'hidden');
    return seen.filter((node) => !window.reached.has(node)).map((node) => node.outerHTML.slice(0, 120))";

#[test]
fn tab_leads_to_every_control() {
    let server = Server::start();
    let ended = server.submit(&json!({"function": "fail", "inputs": [{"mode": "exit"}], "max_attempts": 1}));
    ended.wait();
    let running = server.map("sleep", &json!([60, 60]));
    running.wait_for_running(2);
    let Some(mut browser) = Browser::open(&server) else { return };
    let (running, ended) = (job_page(&running), job_page(&ended));
    let pages =
        [("/", "End worker-1"), (&*running, "Cancel"), (&*ended, "Retry failed"), ("/#/submit", "Submit")];
    for (page, button) in pages {
        browser.go("/docs");
        browser.go(page);
        browser.button(button);
        browser.run("document.querySelectorAll('details').forEach((node) => node.open = true); window.reached = new Set()");
        eventually("every control under Tab", || {
            for _ in 0..30 {
                browser.key(TAB);
                browser.run("window.reached.add(document.activeElement)");
            }
            check(browser.run(UNREACHED), |left| *left == json!([]))
        });
    }
    browser.close_clean(&[]);
}

#[test]
fn all_is_done_with_the_keyboard_alone() {
    let server = Server::start();
    let Some(browser) = Browser::open(&server) else { return };
    browser.shows("#link", "live");
    browser.tab_to("Submit a job");
    browser.key(ENTER);
    browser.shows("#submit-title", "Submit a job");
    browser.holds("the functions", "return document.querySelector('#s-function option') !== null");
    browser.tab_to("Function");
    browser.types("sleep");
    browser.tab_to("Name");
    browser.types("by keys");
    browser.tab_to("Inputs");
    browser.types("60");
    browser.tab_to("Submit");
    browser.key(ENTER);
    browser.shows("#j-state", "running");
    for (button, state) in [("Pause", "paused"), ("Resume", "running")] {
        browser.tab_to(button);
        browser.key(ENTER);
        browser.shows("#j-state", state);
    }
    browser.tab_to("Pool and jobs");
    browser.key(ENTER);
    let pid = server.pool()["workers"][0]["pid"].clone();
    browser.tab_to("End worker-1");
    browser.key(ENTER);
    browser.shows("#confirm-question", "worker-1");
    browser.tab_to("End it");
    browser.key(ENTER);
    browser.shows("#said", "worker-1 is being ended");
    eventually("another worker", || {
        check(server.pool()["workers"][0]["pid"].clone(), |now| now.is_u64() && *now != pid)
    });
    browser.tab_to("Slots");
    browser.run("document.activeElement.select()");
    browser.types("3");
    browser.key(ENTER);
    browser.shows("#f-busy", "1 of 3");
    browser.tab_to("by keys");
    browser.key(ENTER);
    browser.tab_to("Cancel");
    browser.key(ENTER);
    browser.shows("#confirm-question", "ancel");
    browser.key(TAB);
    browser.key(ENTER);
    browser.shows("#j-state", "cancelled");
    browser.close_clean(&[]);
}
