//! The dashboard, driven in a browser: each test fails, too, on any error in the console, on a breach of the page's policy,
//! and on a request that leaves the server.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::fs;
use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use common::browser::{Browser, ENTER, ESCAPE, TAB};
use common::job::Job;
use common::{Server, check, eventually};
use serde_json::{Value, json};
use tempfile::TempDir;

const TOKEN: &str = "boss-0123456789abcdef";

fn job_page(job: &Job<'_>) -> String {
    format!("/#/jobs/{}", job.id)
}

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
    browser.shows("#j-failures-note", "4");
    browser.close_clean(&[]);
}

#[test]
fn what_others_write_is_text_and_nothing_else() {
    let server = Server::start();
    let evil = "\r\u{1b}[31m\u{202e}<img src=x onerror=\"document.title='owned'\"><script>document.title='owned'</script>\r\nb";
    let input = json!({"mode": "exception", "retryable": false, "message": evil});
    let body = json!({"function": "fail", "inputs": [input], "name": evil, "labels": {"<b>k</b>": evil, "__proto__": evil}});
    let job = server.submit(&body);
    job.wait();
    let echoed = server.map("echo", &json!([evil, {"<i>": evil}]));
    echoed.succeeds();
    let Some(mut browser) = Browser::open(&server) else { return };
    browser.shows("#jobs", "<img src=x onerror");
    browser.shows("#jobs", "\\x0d\\x1b[31m\\u202e");
    browser.go(&job_page(&job));
    browser.shows("#j-failures", "<img src=x onerror");
    browser.shows("#j-results", "<script>");
    browser.go(&job_page(&echoed));
    browser.shows("#j-results", "<img src=x onerror");
    for path in
        ["/#/jobs/<img src=x onerror=alert(1)>", "/#/jobs/%", "/#/?label=<b>=<i>&state=succeeded", "/#/<b>"]
    {
        browser.go(path);
    }
    browser.shows("#nowhere", "no such page");
    let made = "return document.querySelectorAll('img, b > *, i:not([class]), script:not([src])').length";
    assert_eq!(browser.run(made), 0);
    assert!(browser.run("return document.title").as_str().unwrap().contains("gristmill"));
    browser.close_clean(&["404 (Not Found)"]);
}

#[test]
fn the_page_asks_for_the_token_and_keeps_it_to_itself() {
    let server =
        Server::launch(TempDir::new().unwrap(), &["--processes=2"], &[("GRISTMILL_TOKEN", TOKEN)]).unwrap();
    let Some(mut browser) = Browser::open(&server) else { return };
    browser.shows("#ask", "wants a token");
    browser.fill("#token", "wrong-0123456789abcdef");
    browser.press("Show");
    browser.shows("#ask", "none of this server's");
    browser.fill("#token", TOKEN);
    browser.press("Show");
    browser.shows("#link", "live");
    browser.shows("#f-busy", "0 of 2");
    browser.holds("no question", "return document.getElementById('ask').hidden");
    browser.go("/#/submit?function=sha256");
    browser.fill("#s-inputs", "\"a\"");
    browser.press("Submit");
    browser.shows("#j-state", "succeeded");
    assert_eq!(browser.run("return document.cookie + Object.keys(localStorage)"), "");
    browser.close_clean(&["401 (Unauthorized)"]);
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
    eventually("another worker", || check(server.pool()["workers"][0]["pid"].clone(), |now| *now != pid));
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

/// Texts that are too faint on what is behind them, as WCAG 2.2 has it: 4.5 to 1, or 3 to 1 where they are large.
const FAINT: &str = include_str!("dashboard/faint.js");

#[test]
fn texts_can_be_read_in_the_light_and_in_the_dark() {
    let server = Server::start();
    let running = server.map("sleep", &json!([60]));
    running.wait_for_running(1);
    let failed =
        server.submit(&json!({"function": "fail", "inputs": [{"mode": "segfault"}], "max_attempts": 1}));
    failed.wait();
    let Some(mut browser) = Browser::open(&server) else { return };
    let (running, failed) = (job_page(&running), job_page(&failed));
    for scheme in ["light", "dark"] {
        browser.prefers(scheme);
        for (page, selector) in [
            ("/", "#jobs tr"),
            (&*running, "#j-workers tr"),
            (&*failed, "#j-failures li, #j-failures p"),
            ("/#/submit", "#s-form"),
            ("/docs", ".operation"),
        ] {
            browser.go("about:blank");
            browser.go(page);
            browser.find(selector);
            assert_eq!(browser.run(FAINT), json!([]), "{page} in the {scheme}");
        }
    }
    browser.close_clean(&[]);
}

/// A thousand jobs of a thousand tasks, watched: what the page costs. Run it alone, with `--release` and `--nocapture`.
#[test]
#[ignore = "measures"]
fn it_is_smooth_with_a_million_tasks_and_a_thousand_jobs() {
    let server = Server::start();
    let Some(browser) = Browser::open(&server) else { return };
    browser.shows("#link", "live");
    let measured = |when: &str| {
        let figures = browser.run_async(include_str!("dashboard/smooth.js"), 10);
        println!("{when}: {figures}");
        assert!(figures["frame_p95_ms"].as_f64() < Some(50.0), "{figures}");
        assert!(figures["busy_share"].as_f64() < Some(0.25), "{figures}");
        assert!(figures["nodes"].as_u64() < Some(3000), "{figures}");
    };
    measured("at rest");
    let texts: Vec<String> = (0..1000).map(|n| n.to_string()).collect();
    let body = json!({"function": "sha256", "inputs": texts, "name": "rows"});
    std::thread::scope(|scope| {
        scope.spawn(|| (0..1000).for_each(|_| drop(server.submit(&body))));
        browser.holds("jobs at work", "return document.querySelectorAll('#jobs tr').length > 10");
        measured("a million tasks");
    });
    browser.holds("the end of the last", "return document.getElementById('f-jobs').innerText === '0'");
    measured("a thousand jobs later");
    browser.close_clean(&[]);
}

#[test]
fn it_fits_a_phone_and_everything_has_a_name() {
    let server = Server::start();
    let job = server.submit(&json!({"function": "sha256", "inputs": ["a"], "name": "n".repeat(200)}));
    job.succeeds();
    let Some(mut browser) = Browser::blank(&server, [360, 740]) else { return };
    let page = job_page(&job);
    for (path, selector) in [("/", "#jobs"), (&*page, "#j-results"), ("/#/submit", "#s-form")] {
        browser.go(path);
        browser.find(selector);
        browser.shows("#link", "live");
        browser.holds("no wider than the screen", "return document.documentElement.scrollWidth <= 360");
        let tree = browser.cdp("Accessibility.getFullAXTree", &json!({}));
        for node in tree["nodes"].as_array().unwrap() {
            let role = node["role"]["value"].as_str().unwrap_or_default();
            let needs_name =
                ["button", "link", "textbox", "combobox", "spinbutton", "image", "img", "progressbar"];
            let name = node["name"]["value"].as_str().unwrap_or_default();
            assert!(node["ignored"] == true || !needs_name.contains(&role) || !name.is_empty(), "{node:#}");
        }
    }
    for width in [360, 320] {
        browser.resize(width);
        for (path, selector) in
            [("/", "#jobs tr"), (&*page, "#j-results"), ("/#/submit", "#s-form"), ("/docs", ".operation")]
        {
            browser.go("about:blank");
            browser.go(path);
            browser.find(selector);
            browser.run("document.querySelectorAll('details').forEach((node) => node.open = true)");
            let fits = format!("return document.documentElement.scrollWidth <= {width}");
            browser.holds(&format!("{path} no wider than {width}"), &fits);
        }
    }
    browser.close_clean(&[]);
}

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
