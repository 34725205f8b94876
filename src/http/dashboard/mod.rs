//! A page that shows the pool and the newest jobs: plain HTML and one module, embedded, nothing from the network.

use axum::http::header;
use axum::response::{IntoResponse, Response};

/// Only what this server itself serves.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src data:; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where its files are; they hold no data.
pub(super) const PATHS: [&str; 3] = ["/", "/dashboard.css", "/dashboard.js"];

pub(super) async fn page() -> Response {
    file("text/html; charset=utf-8", include_str!("index.html"))
}

pub(super) async fn style() -> Response {
    file("text/css; charset=utf-8", include_str!("dashboard.css"))
}

pub(super) async fn script() -> Response {
    file("text/javascript; charset=utf-8", include_str!("dashboard.js"))
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
