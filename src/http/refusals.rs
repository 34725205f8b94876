//! A body for what the HTTP parser refuses by itself: a request that it cannot read never gets as far as the router.
//!
//! The parser answers with a bare head, and has no place to say what is to stand in it. So a connection looks at what is
//! written: a bare head of such a status goes out with a problem. Where it is written together with the answer before it,
//! as to a client that pipelines, it goes out bare.

use std::future::{Ready, ready};
use std::io::{IoSlice, Result};
use std::pin::Pin;
use std::task::{Context, Poll, ready as wait_for};

use axum_server::accept::Accept;
use bytes::{Buf as _, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;

use super::Problem;
use super::kinds::{BadRequest, HeadersTooLarge, UriTooLong};

/// Takes connections: small pieces go out at once, and refusals with a body.
#[derive(Clone, Copy, Debug)]
pub struct Acceptor;

impl<S> Accept<TcpStream, S> for Acceptor {
    type Stream = Connection<TcpStream>;
    type Service = S;
    type Future = Ready<Result<(Self::Stream, S)>>;

    fn accept(&self, stream: TcpStream, service: S) -> Self::Future {
        // Without this, the end of an answer waits for the client to acknowledge what came before it, some 40 ms.
        ready(stream.set_nodelay(true).map(|()| (Connection { stream, refusal: Bytes::new() }, service)))
    }
}

/// A connection, and what of a refusal is still to be written.
#[derive(Debug)]
pub struct Connection<I> {
    stream: I,
    refusal: Bytes,
}

impl<I: AsyncWrite + Unpin> Connection<I> {
    fn poll_refusal(&mut self, context: &mut Context<'_>) -> Poll<Result<()>> {
        while !self.refusal.is_empty() {
            let written = wait_for!(Pin::new(&mut self.stream).poll_write(context, &self.refusal))?;
            if written == 0 {
                return Poll::Ready(Err(std::io::ErrorKind::WriteZero.into()));
            }
            self.refusal.advance(written);
        }
        Poll::Ready(Ok(()))
    }
}

impl<I: AsyncRead + Unpin> AsyncRead for Connection<I> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        into: &mut ReadBuf<'_>,
    ) -> Poll<Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<I: AsyncWrite + Unpin> AsyncWrite for Connection<I> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<Result<usize>> {
        wait_for!(self.poll_refusal(context))?;
        if let Some(refusal) = refusal(bytes) {
            self.refusal = refusal;
            return Poll::Ready(Ok(bytes.len()));
        }
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<Result<usize>> {
        if let [only] = slices {
            return self.poll_write(context, only);
        }
        wait_for!(self.poll_refusal(context))?;
        Pin::new(&mut self.stream).poll_write_vectored(context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        wait_for!(self.poll_refusal(context))?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Result<()>> {
        wait_for!(self.poll_refusal(context))?;
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}

const NO_BODY: &str = "\r\ncontent-length: 0\r\n";

/// The whole answer, if these bytes are a bare head of the parser's.
fn refusal(bytes: &[u8]) -> Option<Bytes> {
    let status = bytes.strip_prefix(b"HTTP/1.1 4")?.first_chunk::<2>()?;
    let problem = match status {
        b"00" => Problem::new(BadRequest, "the request is not HTTP/1.1 as it can be read here"),
        b"14" => Problem::new(UriTooLong, "the path and query may have 65,534 bytes"),
        b"31" => Problem::new(HeadersTooLarge, "a request may have 100 headers, with some 400 KiB in all"),
        _ => return None,
    };
    let head = std::str::from_utf8(bytes).ok()?.strip_suffix("\r\n")?;
    if !head.contains(NO_BODY) || head.contains("content-type:") {
        return None;
    }
    let body = serde_json::to_string(&problem).expect("a problem always serialises");
    let length = body.len();
    let about = format!("\r\ncontent-type: application/problem+json\r\ncontent-length: {length}\r\n");
    Some(format!("{}\r\n{body}", head.replace(NO_BODY, &about)).into())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_bare_head_of_the_parser_gets_a_body() {
        let bare =
            "HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";
        let whole = String::from_utf8(refusal(bare.as_bytes()).unwrap().to_vec()).unwrap();
        let (head, body) = whole.split_once("\r\n\r\n").unwrap();
        assert!(head.ends_with(&format!("content-length: {}", body.len())), "{head}");
        assert!(body.contains("urn:gristmill:problem:headers-too-large"), "{body}");
        for other in [
            "HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-type: application/problem+json\r\ncontent-length: 0\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 7\r\n\r\n",
            "HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n",
            "HTTP/1.1 4",
        ] {
            assert_eq!(refusal(other.as_bytes()), None, "{other}");
        }
    }
}
