//! The page that shows the pool and the jobs: plain HTML and modules, embedded, nothing from the network, no build step.

use axum::Router;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;

/// Only what this server itself serves, and no text that turns into a script.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

macro_rules! file {
    ($name:literal, $media_type:ident) => {
        (concat!("/dashboard/", $name), $media_type, include_str!($name))
    };
}

/// The path, the media type and the text of each of its files.
const FILES: [(&str, &str, &str); 18] = [
    ("/", HTML, include_str!("index.html")),
    file!("style.css", CSS),
    file!("api.js", SCRIPT),
    file!("charts.js", SCRIPT),
    file!("colours.js", SCRIPT),
    file!("dom.js", SCRIPT),
    file!("failures.js", SCRIPT),
    file!("format.js", SCRIPT),
    file!("job.js", SCRIPT),
    file!("jobs.js", SCRIPT),
    file!("live.js", SCRIPT),
    file!("logs.js", SCRIPT),
    file!("main.js", SCRIPT),
    file!("overview.js", SCRIPT),
    file!("results.js", SCRIPT),
    file!("stream.js", SCRIPT),
    file!("submit.js", SCRIPT),
    file!("timeline.js", SCRIPT),
];

/// Whether a path is one of its files; they hold no data.
pub(super) fn has(path: &str) -> bool {
    FILES.iter().any(|(name, ..)| *name == path)
}

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    serve(&FILES)
}

/// A route for each file: its path, its media type and its text.
pub(super) fn serve<S: Clone + Send + Sync + 'static>(
    files: &[(&str, &'static str, &'static str)],
) -> Router<S> {
    files.iter().fold(Router::new(), |router, &(path, media_type, text)| {
        router.route(path, get(move || async move { file(media_type, text) }))
    })
}

fn file(media_type: &'static str, text: &'static str) -> Response {
    let headers = [
        (header::CONTENT_TYPE, media_type),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}
