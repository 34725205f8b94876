//! A client of the HTTP API, as small as the command line needs.

use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;
use reqwest::header::ACCEPT;
use reqwest::{Method, RequestBuilder, Response, Url};
use serde_json::Value;
use tokio::time::{Instant, sleep};

use super::failure::{Failure, innermost, may_pass, remedy};
use super::show::text;
use crate::config::TOKEN_VARIABLE;

/// A server that was lost is looked for again this often …
pub(super) const AGAIN_AFTER: Duration = Duration::from_millis(500);
/// … for so long.
const LOOK_FOR: Duration = Duration::from_mins(1);
const CONNECT_WITHIN: Duration = Duration::from_secs(10);

/// Which server a command talks to.
#[derive(Args, Debug)]
pub(super) struct ServerArgument {
    /// The server; it is shown the token in `GRISTMILL_TOKEN`, if there is one
    #[arg(
        long,
        value_name = "URL",
        env = "GRISTMILL_SERVER",
        default_value = "http://127.0.0.1:8080",
        value_parser = address
    )]
    server: String,
}

/// An address as people write it: the scheme may be left out.
fn address(text: &str) -> Result<String, String> {
    let base = if text.contains("://") { text.to_owned() } else { format!("http://{text}") };
    match Url::parse(&base) {
        Ok(url) if url.scheme() == "http" && url.host().is_some() => {
            Ok(base.trim_end_matches('/').to_owned())
        }
        Ok(url) if url.scheme() == "https" => Err(
            "this command speaks HTTP without TLS; a tunnel (ssh -L) or a proxy on this machine adds that"
                .into(),
        ),
        _ => Err("write it as http://127.0.0.1:8080".into()),
    }
}

impl ServerArgument {
    /// Runs what a client of it does, which shows the token of the environment if there is one.
    pub(super) fn run<T>(&self, work: impl AsyncFnOnce(Client) -> Result<T>) -> Result<T> {
        let client = Client::new(&self.server, std::env::var(TOKEN_VARIABLE).ok())?;
        super::block_on(work(client))
    }

    /// Its address.
    pub(super) fn address(&self) -> &str {
        &self.server
    }
}

/// A connection to one server.
#[derive(Clone)]
pub(super) struct Client {
    base: String,
    token: Option<String>,
    http: reqwest::Client,
}

impl Client {
    /// A client of the server at this address, such as `http://127.0.0.1:8080`, that shows this token.
    pub(super) fn new(base: impl Into<String>, token: Option<String>) -> Result<Self> {
        let http = reqwest::Client::builder().no_proxy().connect_timeout(CONNECT_WITHIN).build()?;
        Ok(Self { base: base.into(), token, http })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        self.value(self.request(Method::GET, path)).await
    }

    /// As [`Self::get`], for a minute while the server is away.
    pub(super) async fn get_patiently(&self, path: &str) -> Result<Value> {
        self.patiently(async || self.get(path).await).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.value(self.request(Method::POST, path).json(body)).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.value(self.request(Method::PATCH, path).json(body)).await
    }

    /// A request to be given to [`Self::sent`] or [`Self::text`].
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        self.token.iter().fold(request, RequestBuilder::bearer_auth)
    }

    /// The answer to a request; a problem is an error.
    pub(super) async fn sent(&self, request: RequestBuilder) -> Result<Response> {
        let request = request.build().context("making the request")?;
        let response = self.http.execute(request).await.map_err(|error| self.unanswered(&error))?;
        if response.status().is_success() {
            return Ok(response);
        }
        Err(self.refused(response).await.into())
    }

    /// The whole answer as it came, asked for as JSON.
    pub(super) async fn text(&self, request: RequestBuilder) -> Result<String> {
        self.whole(self.sent(request.header(ACCEPT, "application/json")).await?).await
    }

    /// What is at this path, as it came; for a minute while the server is away.
    pub(super) async fn text_patiently(&self, path: &str) -> Result<String> {
        self.patiently(async || self.text(self.request(Method::GET, path)).await).await
    }

    /// The rest of an answer, without the end of its last line.
    pub(super) async fn whole(&self, response: Response) -> Result<String> {
        let mut text = response.text().await.map_err(|error| self.lost(&error))?;
        text.truncate(text.trim_end_matches('\n').len());
        Ok(text)
    }

    /// Asks again while the server is away, for a minute.
    pub(super) async fn patiently<T>(&self, ask: impl AsyncFn() -> Result<T>) -> Result<T> {
        let until = Instant::now() + LOOK_FOR;
        loop {
            match ask().await {
                Err(error) if may_pass(&error) && Instant::now() < until => sleep(AGAIN_AFTER).await,
                outcome => return outcome,
            }
        }
    }

    async fn value(&self, request: RequestBuilder) -> Result<Value> {
        let response = self.sent(request.header(ACCEPT, "application/json")).await?;
        let status = response.status().as_u16();
        let text = self.whole(response).await?;
        if text.is_empty() {
            return Ok(Value::Null);
        }
        let foreign = |_| Failure::Foreign { base: self.base.clone(), status };
        Ok(serde_json::from_str(&text).map_err(foreign)?)
    }

    fn unanswered(&self, error: &reqwest::Error) -> Failure {
        if !error.is_connect() {
            return self.lost(error);
        }
        let (base, why) = (self.base.clone(), innermost(error));
        Failure::Unreachable { remedy: remedy(&base), base, why }
    }

    fn lost(&self, error: &reqwest::Error) -> Failure {
        Failure::Lost { base: self.base.clone(), why: innermost(error) }
    }

    async fn refused(&self, response: Response) -> Failure {
        let status = response.status().as_u16();
        let body = response.bytes().await.unwrap_or_default();
        let problem: Value = serde_json::from_slice(&body).unwrap_or_default();
        match (&problem["type"], problem["detail"].as_str()) {
            (Value::String(_), Some(detail)) => {
                // Of a server in trouble, the detail only says what to do.
                let title = if status < 500 {
                    String::new()
                } else {
                    format!("{status} {}: ", text(&problem["title"]))
                };
                Failure::Refused { status, detail: format!("{title}{detail}") }
            }
            _ => Failure::Foreign { base: self.base.clone(), status },
        }
    }
}

/// A name as a part of a path.
pub(super) fn segment(name: &str) -> String {
    let letter = |byte: u8| match byte {
        b'0'..=b'9' | b'A'..=b'Z' | b'a'..=b'z' | b'-' | b'_' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    name.bytes().map(letter).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_taken_as_people_write_them() {
        for text in ["localhost:8080", "http://localhost:8080/", "http://localhost:8080"] {
            assert_eq!(address(text), Ok("http://localhost:8080".into()));
        }
        assert_eq!(address("proxy/gristmill/"), Ok("http://proxy/gristmill".into()));
        assert!(address("https://example.com").unwrap_err().contains("TLS"));
        for text in ["", ":8080", "ftp://a", "http://", "a b", "localhost:http"] {
            assert!(address(text).is_err(), "{text}");
        }
    }
}
