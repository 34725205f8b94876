//! A browser as its user drives it: Chromium, headless, over `WebDriver`. It keeps what its console says and what it
//! asks the network for.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use tempfile::TempDir;
use ureq::Agent;
use ureq::http::Request;

use super::{Server, check, eventually};

const DRIVER: &str = "chromedriver";
/// How `WebDriver` names an element in JSON.
const ELEMENT: &str = "element-6066-11e4-a52e-4f735466cecf";
const FLAGS: [&str; 9] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
];
/// A log of a page and all that it asked for is large.
const MOST_BYTES: u64 = 256 << 20;
pub(crate) const ENTER: &str = "\u{e007}";
pub(crate) const ESCAPE: &str = "\u{e00c}";
pub(crate) const TAB: &str = "\u{e004}";

/// Scripts that look for an element: by a selector, also where it is not seen; where it is; a button by its name.
const THERE: &str = "return document.querySelector(arguments[0])";
const SEEN: &str =
    "return [...document.querySelectorAll(arguments[0])].find((node) => node.checkVisibility())";
const BUTTON: &str = "return [...document.querySelectorAll('button')].find(
    (node) => node.checkVisibility() && (node.ariaLabel ?? node.textContent) === arguments[0])";

/// What has the focus: what it is called, and whether it is seen that it has.
const FOCUSED: &str = "const node = document.activeElement, style = getComputedStyle(node);
    const label = node.labels?.[0]?.innerText?.split('\\n')[0] ?? node.innerText ?? '';
    return {name: (node.ariaLabel ?? label).trim(), tag: node.tagName,
        is_seen: style.outlineStyle !== 'none' && parseFloat(style.outlineWidth) >= 1}";

/// A browser with a page of a server.
pub(crate) struct Browser<'s> {
    server: &'s Server,
    agent: Agent,
    /// `http://127.0.0.1:PORT/session/ID`.
    session: String,
    driver: Child,
    _profile: TempDir,
}

/// An element of the page.
#[derive(Clone, Debug)]
pub(crate) struct Element(String);

impl<'s> Browser<'s> {
    /// On the dashboard's first page; `None` if there is no browser on this machine.
    pub(crate) fn open(server: &'s Server) -> Option<Self> {
        let mut browser = Self::blank(server, [1280, 1000])?;
        browser.go("/");
        Some(browser)
    }

    /// With a window of this size, in CSS pixels.
    pub(crate) fn blank(server: &'s Server, [width, height]: [u32; 2]) -> Option<Self> {
        let driver =
            Command::new(DRIVER).arg("--port=0").stdout(Stdio::piped()).stderr(Stdio::null()).spawn();
        let Ok(mut driver) = driver else {
            super::skip("there is no chromedriver (Debian: chromium-driver)");
            return None;
        };
        let port = port_of(&mut driver);
        let config = Agent::config_builder().http_status_as_error(false);
        let agent: Agent = config.timeout_global(Some(Duration::from_mins(1))).build().into();
        let profile = TempDir::new().unwrap();
        let own = [
            format!("--user-data-dir={}", profile.path().display()),
            format!("--window-size={width},{height}"),
        ];
        let flags: Vec<&str> = FLAGS.into_iter().chain(own.iter().map(String::as_str)).collect();
        // Its own first page would ask the network for all sorts of things.
        let startup = json!({"restore_on_startup": 4, "startup_urls": ["about:blank"]});
        let wanted = json!({
            "browserName": "chrome",
            "goog:loggingPrefs": {"browser": "ALL", "performance": "ALL"},
            "goog:chromeOptions": {"args": flags, "prefs": {"session": startup}},
        });
        let mut browser = Self {
            server,
            agent,
            session: format!("http://127.0.0.1:{port}/session"),
            driver,
            _profile: profile,
        };
        let session = browser.call("POST", "", &json!({"capabilities": {"alwaysMatch": wanted}}));
        browser.session = format!("{}/{}", browser.session, session["sessionId"].as_str().unwrap());
        let size = json!({"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600});
        browser.cdp("Emulation.setDeviceMetricsOverride", &size);
        Some(browser)
    }

    fn call(&self, method: &str, path: &str, body: &Value) -> Value {
        self.try_call(method, path, body).unwrap_or_else(|error| panic!("{method} {path} {body}: {error:#}"))
    }

    /// What the driver answers, or its error.
    fn try_call(&self, method: &str, path: &str, body: &Value) -> Result<Value, Value> {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.session));
        let answer = if method == "POST" {
            self.agent.run(request.body(body.to_string()).unwrap())
        } else {
            self.agent.run(request.body(()).unwrap())
        };
        let body = answer.map_err(|error| json!({"error": error.to_string()}))?.into_body();
        let text = body.into_with_config().limit(MOST_BYTES).read_to_string();
        let text = text.map_err(|error| json!({"error": error.to_string()}))?;
        let value = serde_json::from_str::<Value>(&text).unwrap()["value"].take();
        if value["error"].is_string() { Err(value) } else { Ok(value) }
    }

    /// A command of Chromium's own protocol.
    pub(crate) fn cdp(&self, command: &str, parameters: &Value) -> Value {
        self.call("POST", "/goog/cdp/execute", &json!({"cmd": command, "params": parameters}))
    }

    /// To a path of the server, or to an address within the browser.
    pub(crate) fn go(&mut self, path: &str) {
        let url = if path.starts_with('/') {
            format!("{}{path}", self.server.client().address)
        } else {
            path.to_owned()
        };
        self.call("POST", "/url", &json!({"url": url}));
    }

    /// The value of a script that returns one.
    pub(crate) fn run(&self, script: &str) -> Value {
        self.call("POST", "/execute/sync", &json!({"script": script, "args": []}))
    }

    /// The value that a script calls its last argument with; the first is this one.
    pub(crate) fn run_async(&self, script: &str, argument: impl Into<Value>) -> Value {
        self.call("POST", "/execute/async", &json!({"script": script, "args": [argument.into()]}))
    }

    pub(crate) fn screenshot(&self) -> String {
        let png = json!({"format": "png", "captureBeyondViewport": false});
        self.cdp("Page.captureScreenshot", &png)["data"].as_str().unwrap().to_owned()
    }

    /// The first element of this CSS selector that is seen, once there is one.
    pub(crate) fn find(&self, selector: &str) -> Element {
        self.first(selector, SEEN)
    }

    /// The button of this name, once it is seen.
    pub(crate) fn button(&self, name: &str) -> Element {
        self.first(name, BUTTON)
    }

    /// The element that a script gives for this argument, once it gives one.
    fn first(&self, argument: &str, script: &str) -> Element {
        eventually(&format!("{argument:?} on the page"), || {
            let found = self.call("POST", "/execute/sync", &json!({"script": script, "args": [argument]}));
            found[ELEMENT].as_str().map(|id| Element(id.to_owned())).ok_or_else(|| self.seen())
        })
    }

    fn seen(&self) -> String {
        self.run("return document.body.innerText").as_str().unwrap_or_default().to_owned()
    }

    /// Clicks on a button, as soon as nothing lies over it.
    pub(crate) fn press(&self, name: &str) {
        self.click_on(name, BUTTON);
    }

    pub(crate) fn click(&self, selector: &str) {
        self.click_on(selector, SEEN);
    }

    /// Chooses an option of a list.
    pub(crate) fn choose(&self, list: &str, value: &str) {
        self.click_on(&format!("{list} option[value=\"{value}\"]"), THERE);
    }

    fn click_on(&self, argument: &str, script: &str) {
        eventually(&format!("a click on {argument:?}"), || {
            let Element(id) = self.first(argument, script);
            self.try_call("POST", &format!("/element/{id}/click"), &json!({}))
        });
    }

    /// Types over what is in a field.
    pub(crate) fn fill(&self, selector: &str, text: &str) {
        self.click(selector);
        self.run("document.activeElement.select()");
        let Element(id) = self.find(selector);
        self.call("POST", &format!("/element/{id}/value"), &json!({"text": text}));
    }

    /// Makes the window this wide.
    pub(crate) fn resize(&self, width: u32) {
        let size = json!({"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 600});
        self.cdp("Emulation.setDeviceMetricsOverride", &size);
    }

    /// What the user's system is set to: `light` or `dark`.
    pub(crate) fn prefers(&self, scheme: &str) {
        let features = json!([{"name": "prefers-color-scheme", "value": scheme}]);
        self.cdp("Emulation.setEmulatedMedia", &json!({"features": features}));
    }

    /// Presses and releases a key, wherever the focus is.
    pub(crate) fn key(&self, key: &str) {
        self.keys([key]);
    }

    /// Types a text, wherever the focus is.
    pub(crate) fn types(&self, text: &str) {
        self.keys(text.chars().map(String::from));
    }

    fn keys(&self, keys: impl IntoIterator<Item = impl AsRef<str>>) {
        let strokes = keys
            .into_iter()
            .flat_map(|key| ["keyDown", "keyUp"].map(|way| json!({"type": way, "value": key.as_ref()})));
        let keys: Value = strokes.collect();
        let actions = json!({"actions": [{"type": "key", "id": "keyboard", "actions": keys}]});
        self.call("POST", "/actions", &actions);
    }

    /// Presses Tab until the control of this name has the focus; it must be seen that it has.
    #[track_caller]
    pub(crate) fn tab_to(&self, name: &str) {
        for _ in 0..200 {
            self.key(TAB);
            let focused = self.run(FOCUSED);
            if focused["name"] == name {
                assert_eq!(focused["is_seen"], true, "the focus on {focused}");
                return;
            }
        }
        panic!("Tab never comes to {name:?} on: {}", self.seen());
    }

    /// The text of the first element of this selector that is seen.
    pub(crate) fn text(&self, selector: &str) -> String {
        let script = format!("{SEEN}?.innerText ?? null");
        let text = self.call("POST", "/execute/sync", &json!({"script": script, "args": [selector]}));
        text.as_str().unwrap_or_default().to_owned()
    }

    /// Waits until that text has this in it; gives it.
    pub(crate) fn shows(&self, selector: &str, what: &str) -> String {
        let wanted = format!("{what:?} in {selector}");
        eventually(&wanted, || check(self.text(selector), |text| text.contains(what)))
    }

    /// Waits until a script gives true.
    pub(crate) fn holds(&self, what: &str, script: &str) {
        eventually(what, || if self.run(script) == json!(true) { Ok(()) } else { Err(self.seen()) });
    }

    /// Ends it. Its console has said nothing bad but these words, and it has asked nobody but its server.
    pub(crate) fn close_clean(self, expected: &[&str]) {
        let log = self.call("POST", "/se/log", &json!({"type": "browser"}));
        for entry in log.as_array().unwrap() {
            let message = entry["message"].as_str().unwrap();
            let is_expected = expected.iter().any(|words| message.contains(words));
            assert!(
                is_expected || !["SEVERE", "WARNING"].contains(&entry["level"].as_str().unwrap()),
                "{message}"
            );
        }
        let urls = self.requested();
        let own = self.server.client().address;
        assert!(urls.iter().any(|url| url.starts_with(&own)), "the log has the requests: {urls:#?}");
        for url in urls {
            // The browser's own pages are within it.
            let is_inside =
                ["data:", "blob:", "chrome:", "about:"].iter().any(|scheme| url.starts_with(scheme));
            assert!(is_inside || url.starts_with(&format!("{own}/")), "a request to {url}");
        }
    }

    /// All URLs that pages have asked for.
    fn requested(&self) -> Vec<String> {
        let log = self.call("POST", "/se/log", &json!({"type": "performance"}));
        let events = log.as_array().unwrap().iter().map(|entry| {
            serde_json::from_str::<Value>(entry["message"].as_str().unwrap()).unwrap()["message"].take()
        });
        let requests = events.filter(|event| {
            ["Network.requestWillBeSent", "Network.webSocketCreated"]
                .contains(&event["method"].as_str().unwrap())
        });
        let url = |event: &Value| {
            let params = &event["params"];
            params["request"]["url"].as_str().or(params["url"].as_str()).unwrap().to_owned()
        };
        requests.map(|event| url(&event)).collect()
    }
}

/// The port that the driver says it listens on.
fn port_of(driver: &mut Child) -> u16 {
    let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
    let told = lines.find_map(|line| {
        let (_, port) = line.split_once("started successfully on port ")?;
        port.trim_end_matches('.').parse().ok()
    });
    // What it says later is read, so that it never waits for a reader.
    std::thread::spawn(move || lines.for_each(drop));
    told.expect("chromedriver says its port")
}

impl Drop for Browser<'_> {
    fn drop(&mut self) {
        // Ends the browser; the driver alone would leave it running.
        drop(self.try_call("DELETE", "", &Value::Null));
        self.driver.kill().unwrap();
        self.driver.wait().unwrap();
    }
}
