//! A body with something that is done when it has ended, or when nobody wants more of it.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};

/// A body that passes everything on, and gives what is left of itself away when it is dropped.
pub(super) struct Watched<F: FnOnce(Body)> {
    body: Body,
    /// There until the drop.
    then: Option<F>,
}

impl<F: FnOnce(Body) + Send + Unpin + 'static> Watched<F> {
    /// This body; `then` gets what was not read of it.
    pub(super) fn over(body: Body, then: F) -> Body {
        Body::new(Self { body, then: Some(then) })
    }
}

impl<F: FnOnce(Body) + Unpin> HttpBody for Watched<F> {
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

impl<F: FnOnce(Body)> Drop for Watched<F> {
    fn drop(&mut self) {
        if let Some(then) = self.then.take() {
            then(std::mem::take(&mut self.body));
        }
    }
}
