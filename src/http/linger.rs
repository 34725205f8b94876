//! Reads on a little when a request is refused before its end.
//!
//! A server that answers early and closes the connection on a client that still sends resets it, and the client may
//! never see the answer that says what was wrong.

use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::Request;
use axum::http::header;
use axum::middleware::Next;
use axum::response::Response;
use futures_util::StreamExt as _;

/// So much more is read …
const MOST_BYTES: usize = 1 << 20;
/// … for so long.
const MOST_TIME: Duration = Duration::from_millis(500);

type Slot = Arc<Mutex<Option<Body>>>;

/// A body that leaves what nobody read of it in the slot.
struct Lingering {
    body: Body,
    slot: Slot,
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<http_body::Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(context)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Lingering {
    fn drop(&mut self) {
        if !self.body.is_end_stream() {
            let rest = std::mem::take(&mut self.body);
            *self.slot.lock().unwrap_or_else(PoisonError::into_inner) = Some(rest);
        }
    }
}

/// The middleware.
pub(super) async fn linger(request: Request, next: Next) -> Response {
    // Who waits for leave to send sends nothing once refused.
    if request.headers().contains_key(header::EXPECT) || request.body().is_end_stream() {
        return next.run(request).await;
    }
    let slot = Slot::default();
    let request = request.map(|body| Body::new(Lingering { body, slot: slot.clone() }));
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

async fn read_on(body: Body) {
    let (mut pieces, mut bytes) = (body.into_data_stream(), 0);
    while let Some(Ok(piece)) = pieces.next().await {
        bytes += piece.len();
        if bytes > MOST_BYTES {
            return;
        }
    }
}
