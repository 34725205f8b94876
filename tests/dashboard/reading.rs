//! It can be read: in the light, in the dark, on a phone, and by those who do not see.

use serde_json::json;

use crate::common::Server;
use crate::common::browser::Browser;
use crate::job_page;

/// Texts that are too faint on what is behind them, as WCAG 2.2 has it: 4.5 to 1, or 3 to 1 where they are large.
const FAINT: &str = include_str!("faint.js");

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
