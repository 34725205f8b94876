//! Reads on a little when a request is refused before its end.
//!
//! A server that answers early and closes the connection on a client that still sends resets it, and the client may
//! never see the answer that says what was wrong.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use axum::body::{Body, HttpBody as _};
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt as _;

use super::watched::Watched;

/// So much more is read …
const MOST_BYTES: usize = 1 << 20;
/// … for so long.
const MOST_TIME: Duration = Duration::from_millis(500);

type Slot = Arc<Mutex<Option<Body>>>;

/// The middleware.
pub(super) async fn linger(request: Request, next: Next) -> Response {
    // Who waits for leave to send sends nothing once refused.
    if request.headers().contains_key(header::EXPECT) || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let slot = Slot::default();
    let left = slot.clone();
    let request = request.map(|body| Watched::over(body, move |rest| keep(&left, rest)));
    let response = next.run(request).await;
    let rest = slot.lock().unwrap_or_else(PoisonError::into_inner).take();
    if let Some(rest) =
        rest.filter(|_| response.status().is_client_error() || response.status().is_server_error())
    {
        // Whatever comes of it, the answer is given.
        let _ = tokio::time::timeout(MOST_TIME, read_on(rest)).await;
    }
    response
}

/// Leaves what nobody read of a body in the slot.
fn keep(slot: &Slot, rest: Body) {
    if !rest.is_end_stream() {
        *slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
    }
}

async fn read_on(body: Body) {
    let (mut pieces, mut bytes) = (body.into_data_stream(), 0);
    while let Some(Ok(piece)) = pieces.next().await {
        bytes += piece.len();
        if bytes > MOST_BYTES {
            return;
        }
    }
}
