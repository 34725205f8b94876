//! Jobs: submitted, watched to their end, found again; what failed of them.

use serde_json::json;

use crate::common::browser::Browser;
use crate::common::job::Job;
use crate::common::{Server, check, eventually};
use crate::job_page;

#[test]
fn a_job_is_submitted_and_watched_to_its_end() {
    let server = Server::start();
    let Some(browser) = Browser::open(&server) else { return };
    browser.shows("#link", "live");
    browser.click("nav a[data-page=submit]");
    browser.choose("#s-function", "sleep");
    browser.shows("#s-shapes", "seconds");
    browser.fill("#s-form [name=name]", "by hand");
    browser.fill("#s-form [name=labels]", "team=x, run=7");
    browser.fill("#s-inputs", "[0.1, 0.2\n, 0.2, 0.1, 0.1, 0.1]");
    browser.press("Submit");
    browser.shows("#job-title", "by hand");
    browser.shows("#j-workers", "worker-1");
    browser.shows("#j-state", "succeeded");
    browser.shows("#j-figures", "6 of 6");
    browser.shows("#j-about", "team=x");
    browser.holds("all results", "return document.querySelectorAll('#j-results tr').length === 6");
    let label = browser.run("return document.getElementById('j-histogram').getAttribute('aria-label')");
    assert!(label.as_str().unwrap().contains("p50"), "{label}");
    browser.click(".crumbs a");
    browser.shows("#jobs tr", "by hand");
    browser.shows("#jobs tr .progress", "100 %");
    browser.holds("the blocks of its chunks", "return document.querySelectorAll('#legend li').length === 1");
    let times = "return import('/dashboard/format.js').then(({ duration }) =>
        [0, 0.0042, 999.4, 999.9, 59_949, 59_999, 60_000, 3_599_999, 86_400_000 * 400].map(duration))";
    let said = ["0 s", "4.2 µs", "999 ms", "1 s", "59.9 s", "60 s", "1 min 0 s", "59 min 59 s", "400 d 0 h"];
    assert_eq!(browser.run(times), json!(said));
    browser.close_clean(&[]);
}

#[test]
fn inputs_are_sent_as_they_were_written() {
    let server = Server::start();
    let Some(mut browser) = Browser::open(&server) else { return };
    browser.go("/#/submit?function=echo");
    let submitted = |written: &str| {
        browser.fill("#s-inputs", written);
        browser.press("Submit");
        browser.shows("#j-state", "succeeded");
        let job = browser.run("return location.hash.slice(7)");
        let outputs = Job::with_id(&server, job.as_str().unwrap()).results_text("order=input&fields=output");
        browser.click("nav a[data-page=submit]");
        outputs
    };
    assert_eq!(submitted("[9007199254740993, 1e400, \"é\"]"), "9007199254740993\n1e400\n\"é\"\n");
    assert_eq!(submitted("[1]\n[2, 3]"), "[1]\n[2, 3]\n");
    assert_eq!(submitted("{\"a\": 1.10}\nnull"), "{\"a\": 1.10}\nnull\n");
    browser.fill("#s-inputs", "[1, 2");
    browser.press("Submit");
    browser.shows("#s-problem", "line");
    browser.fill("#s-inputs", "1");
    browser.fill("#s-form [name=labels]", "team");
    browser.press("Submit");
    browser.shows("#s-problem", "write it key=value");
    browser.close_clean(&["400 (Bad Request)"]);
}

#[test]
fn failures_stand_by_verdict_with_their_messages() {
    let server = Server::start();
    let fails = |message: &str| json!({"mode": "exception", "retryable": false, "message": message});
    let inputs = json!([fails("no price"), {"mode": "stdout"}, fails("no price"), fails("no name"), {"mode": "segfault"}]);
    let job = server.submit(&json!({"function": "fail", "inputs": inputs, "max_attempts": 1}));
    job.wait();
    let Some(mut browser) = Browser::open(&server) else { return };
    browser.go(&job_page(&job));
    let failures = browser.shows("#j-failures", "SIGSEGV");
    for words in
        ["exception", "3 tasks", "no price", "2 tasks: #0, #2", "no name", "task #3", "crash", "task #4"]
    {
        assert!(failures.contains(words), "{words}: {failures}");
    }
    browser.shows("#j-results", "null");
    browser.shows("#j-timeline-note", "5 runs");
    browser.shows("#j-lane-names", "worker-1");
    browser.shows("#j-logs", "fail was asked for this stray line");
    browser.press("Retry failed");
    browser.shows("#said", "run again");
    eventually("the second failures", || check(job.results().len(), |count| *count == 9));
    browser.shows("#j-timeline-note", "9 runs");
    browser.shows("#j-failures", "3 tasks");
    browser.close_clean(&[]);
}

#[test]
fn the_list_is_filtered_and_paged() {
    let server = Server::start();
    let jobs: Vec<Job<'_>> = (0..30)
        .map(|n| server.submit(&json!({"function": "echo", "inputs": [n], "name": format!("job {n}"), "labels": {"even": (n % 2 == 0).to_string()}})))
        .collect();
    jobs.iter().for_each(|job| drop(job.succeeds()));
    let Some(browser) = Browser::open(&server) else { return };
    browser.shows("#jobs", "job 29");
    browser.holds("a page of them", "return document.querySelectorAll('#jobs tr').length === 25");
    browser.click("#older");
    browser.holds("the rest", "return document.querySelectorAll('#jobs tr').length === 5");
    browser.click("#newest");
    browser.fill("#filter [name=label]", "even=true");
    browser.press("Filter");
    browser.holds("every second", "return document.querySelectorAll('#jobs tr').length === 15");
    let late = json!({"function": "echo", "inputs": [1], "name": "late", "labels": {"even": "true"}});
    server.submit(&late).succeeds();
    browser.shows("#jobs tr", "late");
    browser.choose("#filter [name=state]", "failed");
    browser.shows("#jobs-empty", "No job is like that");
    browser.fill("#filter [name=label]", "even");
    browser.press("Filter");
    browser.shows("#jobs-empty", "key=value");
    browser.close_clean(&["400 (Bad Request)"]);
}
