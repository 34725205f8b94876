//! What it costs to watch many jobs.

use serde_json::json;

use crate::common::Server;
use crate::common::browser::Browser;

/// A thousand jobs of a thousand tasks, watched: what the page costs. Run it alone, with `--release` and `--nocapture`.
#[test]
#[ignore = "measures"]
fn it_is_smooth_with_a_million_tasks_and_a_thousand_jobs() {
    let server = Server::start();
    let Some(browser) = Browser::open(&server) else { return };
    browser.shows("#link", "live");
    let measured = |when: &str| {
        let figures = browser.run_async(include_str!("smooth.js"), 10);
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
