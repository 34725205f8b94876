//! A client of the HTTP API, as small as the command line needs.

use anyhow::{Context as _, Result, bail};
use reqwest::header::ACCEPT;
use reqwest::{Method, RequestBuilder};
use serde_json::Value;

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

    async fn send(
        &self,
        method: Method,
        path: &str,
        fill: impl FnOnce(RequestBuilder) -> RequestBuilder,
    ) -> Result<Value> {
        let request = self.http.request(method, format!("{}{path}", self.base));
        let request = fill(request.header(ACCEPT, "application/json"));
        let request = self.token.iter().fold(request, RequestBuilder::bearer_auth);
        let response = request.send().await.with_context(|| format!("asking {}", self.base))?;
        let status = response.status();
        let body = response.bytes().await?;
        let body: Value = if body.is_empty() { Value::Null } else { serde_json::from_slice(&body)? };
        if !status.is_success() {
            bail!("{status}: {}", body["detail"].as_str().unwrap_or("no detail"));
        }
        Ok(body)
    }
}
