//! `/docs`: a page that reads `/openapi.json` to people, and calls what they try: plain HTML and modules, embedded, nothing
//! from the network. Deliberately absent: anything that it knows of the API by itself.

use axum::Router;

use super::dashboard::serve;

const HTML: &str = "text/html; charset=utf-8";
const CSS: &str = "text/css; charset=utf-8";
const SCRIPT: &str = "text/javascript; charset=utf-8";

/// The path, the media type and the text of each of its files.
const FILES: [(&str, &str, &str); 6] = [
    ("/docs", HTML, include_str!("index.html")),
    ("/docs/style.css", CSS, include_str!("style.css")),
    ("/docs/dom.js", SCRIPT, include_str!("dom.js")),
    ("/docs/reader.js", SCRIPT, include_str!("reader.js")),
    ("/docs/schema.js", SCRIPT, include_str!("schema.js")),
    ("/docs/try.js", SCRIPT, include_str!("try.js")),
];

/// Whether a path is one of its files; they hold no data.
pub(super) fn has(path: &str) -> bool {
    FILES.iter().any(|(name, ..)| *name == path)
}

pub(super) fn routes<S: Clone + Send + Sync + 'static>() -> Router<S> {
    serve(&FILES)
}
