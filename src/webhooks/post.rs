//! One POST: a look-up, a connection to an address that was checked, TLS, one request, one status.
//!
//! Deliberately absent: redirects, proxies, connections kept for the next request, and any use of the answer's body.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper::header::{CONNECTION, CONTENT_TYPE, HOST, HeaderMap, RETRY_AFTER, USER_AGENT};
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::rustls::pki_types::ServerName;
use url::{Host, Position, Url};

use super::Settings;
use super::rules::{Answer, Rules};

/// A receiver must have answered by then. Standard Webhooks 1.0 asks for 15 to 30 seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// One of several addresses must have taken the connection by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// No more addresses of a host are tried.
const MOST_ADDRESSES: usize = 4;
/// The head of an answer may have so many bytes.
const MOST_HEAD_BYTES: usize = 64 << 10;
/// So much of an answer's body is read, so that the receiver can finish it, …
const MOST_BODY_BYTES: usize = 64 << 10;
/// … for so long.
const BODY_TIMEOUT: Duration = Duration::from_secs(2);

/// A signed message.
#[derive(Clone, Debug)]
pub(super) struct Signed {
    pub(super) id: String,
    pub(super) timestamp_s: i64,
    pub(super) signature: String,
    pub(super) body: Bytes,
}

/// Sends a message; every way in which that can fail is an answer.
pub(super) async fn post(settings: &Settings, url: &Url, message: Signed) -> Answer {
    match timeout(ANSWER_TIMEOUT, exchange(settings, url, message)).await {
        Ok(Ok(answer)) => answer,
        Ok(Err(why)) => Answer::None(why),
        Err(_) => Answer::None(format!("no answer within {} s", ANSWER_TIMEOUT.as_secs())),
    }
}

async fn exchange(settings: &Settings, url: &Url, message: Signed) -> Result<Answer, String> {
    let request = request(url, message)?;
    let stream = connect(&settings.rules, url).await?;
    if url.scheme() != "https" {
        return send(stream, request).await;
    }
    let name = match host(url)? {
        Host::Domain(name) => {
            ServerName::try_from(name.to_owned()).map_err(|error| format!("TLS: {error}"))?
        }
        Host::Ipv4(ip) => ServerName::from(IpAddr::from(ip)),
        Host::Ipv6(ip) => ServerName::from(IpAddr::from(ip)),
    };
    let connector = TlsConnector::from(settings.trust.config());
    let stream = connector.connect(name, stream).await.map_err(|error| format!("TLS: {error}"))?;
    send(stream, request).await
}

fn host(url: &Url) -> Result<Host<&str>, String> {
    url.host().ok_or_else(|| "the URL has no host".into())
}

fn request(url: &Url, message: Signed) -> Result<Request<Full<Bytes>>, String> {
    let request = Request::post(&url[Position::BeforePath..Position::AfterQuery])
        .header(HOST, &url[Position::BeforeHost..Position::AfterPort])
        .header(USER_AGENT, concat!("gristmill/", env!("CARGO_PKG_VERSION")))
        .header(CONTENT_TYPE, "application/json")
        .header(CONNECTION, "close")
        .header("webhook-id", message.id)
        .header("webhook-timestamp", message.timestamp_s)
        .header("webhook-signature", message.signature);
    request.body(Full::new(message.body)).map_err(|error| error.to_string())
}

/// Connects to an address that was looked up here and checked, so that no second look-up can give another one.
async fn connect(rules: &Rules, url: &Url) -> Result<TcpStream, String> {
    let mut why = String::new();
    for address in addresses(rules, url).await? {
        match timeout(CONNECT_TIMEOUT, TcpStream::connect(address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => why = format!("no connection: {error}"),
            Err(_) => why = format!("no connection within {} s", CONNECT_TIMEOUT.as_secs()),
        }
    }
    Err(why)
}

/// The addresses of the URL's host that are good, at least one.
async fn addresses(rules: &Rules, url: &Url) -> Result<Vec<SocketAddr>, String> {
    let host = host(url)?;
    let port = url.port_or_known_default().unwrap_or_default();
    let found: Vec<SocketAddr> = match host {
        Host::Ipv4(ip) => vec![(ip, port).into()],
        Host::Ipv6(ip) => vec![(ip, port).into()],
        Host::Domain(name) => look_up(name, port).await.map_err(|error| format!("{name}: {error}"))?,
    };
    let (mut good, mut why) = (Vec::new(), format!("{host} has no address"));
    for address in found {
        match rules.check_address(&host, address.ip()) {
            Ok(()) => good.push(address),
            Err(wrong) => why = wrong,
        }
    }
    good.truncate(MOST_ADDRESSES);
    if good.is_empty() { Err(why) } else { Ok(good) }
}

async fn look_up(name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
    lookup_host((name, port)).await.map(Iterator::collect)
}

async fn send(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    request: Request<Full<Bytes>>,
) -> Result<Answer, String> {
    let told = |error: hyper::Error| format!("no HTTP answer: {error}");
    let handshake = http1::Builder::new().max_buf_size(MOST_HEAD_BYTES).handshake(TokioIo::new(stream));
    let (mut sender, connection) = handshake.await.map_err(told)?;
    let exchange = async {
        let response = sender.send_request(request).await.map_err(told)?;
        let answer = Answer::Status(response.status().as_u16(), retry_after(response.headers()));
        // Its status has come; whatever becomes of the rest changes nothing.
        drop(timeout(BODY_TIMEOUT, drain(response)).await);
        Ok(answer)
    };
    tokio::select! {
        answer = exchange => answer,
        // Whatever ends the connection is told to the exchange, which says more.
        () = async { drop(connection.await); std::future::pending().await } => unreachable!("it is pending"),
    }
}

async fn drain(mut response: Response<Incoming>) {
    let mut left = MOST_BODY_BYTES;
    while let Some(Ok(frame)) = response.body_mut().frame().await {
        let bytes = frame.data_ref().map_or(0, Bytes::len);
        if bytes > left {
            return;
        }
        left -= bytes;
    }
}

/// After how long to come again: a number of seconds, or a date (RFC 9110, 10.2.3).
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let date = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(text).ok()?;
    Duration::try_from(date.duration_since(jiff::Timestamp::now())).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_a_number_or_a_date() {
        let of = |text: &str| retry_after(&[(RETRY_AFTER, text.parse().unwrap())].into_iter().collect());
        assert_eq!(of("120"), Some(Duration::from_mins(2)));
        for nothing in ["", "-1", "soon", "Fri, 31 Dec 1999 23:59:59 GMT", "99999999999999999999999"] {
            assert_eq!(of(nothing), None, "{nothing}");
        }
        assert!(of("Thu, 31 Dec 2099 23:59:59 GMT").is_some_and(|wait| wait > Duration::from_hours(24)));
    }
}
