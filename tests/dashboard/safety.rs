//! What others write harms nobody, and the token stays on its page.

use serde_json::json;
use tempfile::TempDir;

use crate::common::Server;
use crate::common::browser::Browser;
use crate::job_page;

const TOKEN: &str = "boss-0123456789abcdef";

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
