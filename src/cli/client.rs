//! A client of the HTTP API, as small as the command line needs.

use anyhow::{Context as _, Result, bail};
use clap::Args;
use reqwest::header::ACCEPT;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::Value;

use crate::config::TOKEN_VARIABLE;

/// Which server a command talks to.
#[derive(Args, Debug)]
pub(super) struct ServerArgument {
    /// The server
    #[arg(long, value_name = "URL", env = "GRISTMILL_SERVER", default_value = "http://127.0.0.1:8080")]
    server: String,
}

impl ServerArgument {
    /// A client of it, with the token of the environment if there is one.
    pub(super) fn client(&self) -> Result<Client> {
        let base = self.server.trim_end_matches('/');
        let base = if base.contains("://") { base.to_owned() } else { format!("http://{base}") };
        Client::new(base, std::env::var(TOKEN_VARIABLE).ok())
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
        let http = reqwest::Client::builder().no_proxy().build()?;
        Ok(Self { base: base.into(), token, http })
    }

    pub(super) async fn get(&self, path: &str) -> Result<Value> {
        self.send(Method::GET, path, |request| request).await
    }

    pub(super) async fn post(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::POST, path, |request| request.json(body)).await
    }

    pub(super) async fn patch(&self, path: &str, body: &Value) -> Result<Value> {
        self.send(Method::PATCH, path, |request| request.json(body)).await
    }

    /// A request to be given to [`Self::sent`].
    pub(super) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let request = self.http.request(method, format!("{}{path}", self.base));
        self.token.iter().fold(request, RequestBuilder::bearer_auth)
    }

    /// The answer to a request; a problem is an error.
    pub(super) async fn sent(&self, request: RequestBuilder) -> Result<Response> {
        let response = request.send().await.with_context(|| format!("asking {}", self.base))?;
        let status = response.status();
        if !status.is_success() {
            let problem: Value = serde_json::from_slice(&response.bytes().await?).unwrap_or_default();
            bail!("{status}: {}", problem["detail"].as_str().unwrap_or("no detail"));
        }
        Ok(response)
    }

    async fn send(
        &self,
        method: Method,
        path: &str,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Value> {
        let request = self.request(method, path).header(ACCEPT, "application/json");
        let body = self.sent(fill(request)).await?.bytes().await?;
        Ok(if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? })
    }
}
