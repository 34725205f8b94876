//! HTTP as `curl` speaks it.

use std::io::{BufRead, BufReader, Read};
use std::time::Duration;

use serde_json::Value;
use ureq::http::{HeaderMap, Request};
use ureq::{Agent, Body, SendBody};

use super::events::Events;

pub(crate) const JSON: &str = "application/json";
pub(crate) const NDJSON: &str = "application/x-ndjson";

/// A client of one server.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    agent: Agent,
    /// `http://127.0.0.1:PORT`.
    pub(crate) address: String,
}

/// A whole answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) text: String,
}

impl Client {
    pub(crate) fn new(address: String) -> Self {
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(200)))
            .build();
        Self { agent: config.into(), address }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.call("GET", path, &[], "")
    }

    /// A call with these headers and body.
    pub(crate) fn call(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.try_call(method, path, headers, body).unwrap()
    }

    /// As [`Client::call`], for a server that may not be there.
    pub(crate) fn try_call(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Result<Answer, ureq::Error> {
        let request = self.request(method, path, headers);
        let response = if body.is_empty() && headers.is_empty() {
            self.agent.run(request.body(()).unwrap())
        } else {
            self.agent.run(request.body(body).unwrap())
        };
        Answer::read(response?)
    }

    /// As [`Client::call`], of an answer whose body is cut: it must be, and what came before is the text.
    #[track_caller]
    pub(crate) fn call_to_cut(
        &self,
        method: &str,
        path: &str,
        headers: &[(&str, &str)],
        body: &str,
    ) -> Answer {
        let response = self.agent.run(self.request(method, path, headers).body(body).unwrap()).unwrap();
        let (head, body) = response.into_parts();
        let (mut text, mut piece, mut body) = (Vec::new(), [0; 4096], body.into_reader());
        while let Ok(count) = body.read(&mut piece) {
            assert!(count > 0, "it came to its end: {}", String::from_utf8_lossy(&text));
            text.extend_from_slice(&piece[..count]);
        }
        Answer { status: head.status.as_u16(), headers: head.headers, text: String::from_utf8(text).unwrap() }
    }

    /// A POST whose body is sent piece by piece as the reader gives it.
    pub(crate) fn post_stream(&self, path: &str, content_type: &str, mut body: impl Read) -> Answer {
        let request = self.request("POST", path, &[("Content-Type", content_type)]);
        let request = request.body(SendBody::from_reader(&mut body)).unwrap();
        Answer::read(self.agent.run(request).unwrap()).unwrap()
    }

    /// The lines of an answer as they come in; an error if it is cut.
    pub(crate) fn lines(&self, path: &str) -> impl Iterator<Item = std::io::Result<String>> + use<> {
        let (status, lines) = self.try_lines(path).unwrap();
        assert_eq!(status, 200, "GET {path}");
        lines
    }

    /// As [`Client::lines`], with the status, from a server that may not be there.
    pub(crate) fn try_lines(
        &self,
        path: &str,
    ) -> Result<(u16, impl Iterator<Item = std::io::Result<String>> + use<>), ureq::Error> {
        let response = self.agent.run(self.request("GET", path, &[]).body(()).unwrap())?;
        let status = response.status().as_u16();
        Ok((status, BufReader::new(response.into_body().into_reader()).lines()))
    }

    /// A stream of events, for a reader who comes back if it has the id of the last one.
    pub(crate) fn events(&self, path: &str, last: Option<&str>) -> Events {
        let headers: Vec<_> = last.iter().map(|id| ("Last-Event-ID", *id)).collect();
        let response = self.agent.run(self.request("GET", path, &headers).body(()).unwrap()).unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        Events::new(response.into_body().into_reader())
    }

    fn request(&self, method: &str, path: &str, headers: &[(&str, &str)]) -> ureq::http::request::Builder {
        let request = Request::builder().method(method).uri(format!("{}{path}", self.address));
        headers.iter().fold(request, |request, (name, value)| request.header(*name, *value))
    }
}

impl Answer {
    fn read(response: ureq::http::Response<Body>) -> Result<Self, ureq::Error> {
        let (head, body) = response.into_parts();
        let mut text = String::new();
        body.into_reader().read_to_string(&mut text)?;
        Ok(Self { status: head.status.as_u16(), headers: head.headers, text })
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    /// The body, which must be JSON and say so.
    pub(crate) fn json(&self) -> Value {
        assert_eq!(self.header("content-type"), JSON, "{self:#?}");
        serde_json::from_str(&self.text).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }

    /// The answer, which must have this status.
    #[track_caller]
    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{self:#?}");
        self
    }

    /// The problem, which must be of this status and kind and say all that RFC 9457 wants.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, kind: &str) -> Value {
        assert_eq!(
            (self.status, self.header("content-type")),
            (status, "application/problem+json"),
            "{self:#?}"
        );
        let problem: Value = serde_json::from_str(&self.text).unwrap();
        assert_eq!(problem["type"], format!("urn:gristmill:problem:{kind}"), "{self:#?}");
        assert_eq!(problem["status"], status, "{self:#?}");
        for text in ["title", "detail"] {
            assert!(problem[text].as_str().is_some_and(|text| !text.is_empty()), "{self:#?}");
        }
        problem
    }
}
