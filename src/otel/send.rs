//! The loop that sends spans in batches. It sleeps while there are none.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::redirect::Policy;
use reqwest::{Client, Response};
use serde_json::Value;
use tokio::sync::mpsc;
use tokio::time::{Instant, sleep, timeout_at};

use super::queue::Lost;
use super::spans::Span;
use super::{Settings, encode};

/// A batch has at most so many spans …
const MOST_SPANS: usize = 512;
/// … and waits no longer for more of them.
const GATHER_TIME: Duration = Duration::from_secs(1);
/// A collector must have answered by then, as OpenTelemetry's default is.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// A batch is sent so often at most, after waits of 1, 2, 4 … seconds.
const MOST_TRIES: u32 = 5;
const FIRST_WAIT: Duration = Duration::from_secs(1);
/// No more of an answer is read.
const MOST_ANSWER_BYTES: usize = 64 << 10;

pub(super) struct Sender {
    settings: Settings,
    resource: Value,
    client: Client,
    queued: mpsc::Receiver<Span>,
    lost: Arc<Lost>,
}

/// Why a batch was not taken, and whether it may be when it is sent again.
struct Refusal {
    why: String,
    is_temporary: bool,
}

impl Sender {
    pub(super) fn new(settings: Settings, node: &str, queued: mpsc::Receiver<Span>, lost: Arc<Lost>) -> Self {
        let resource = encode::resource(&settings.service, node);
        // A connection that is kept would need a timer.
        let client = Client::builder()
            .no_proxy()
            .redirect(Policy::none())
            .timeout(ANSWER_TIMEOUT)
            .pool_max_idle_per_host(0)
            .user_agent(concat!("gristmill/", env!("CARGO_PKG_VERSION")))
            .build()
            .expect("a client without TLS and look-ups of its own needs nothing");
        Self { settings, resource, client, queued, lost }
    }

    /// Until nobody makes spans any more and all are sent.
    pub(super) async fn run(mut self) {
        while let Some(batch) = self.gather().await {
            let body = encode::request(&self.resource, &batch).into();
            match self.send(body).await {
                Ok(0) => {}
                Ok(rejected) => self.lost.add(rejected, "the collector takes only a part"),
                Err(why) => self.lost.add(batch.len() as u64, &why),
            }
            self.lost.tell_if_due();
        }
    }

    async fn gather(&mut self) -> Option<Vec<Span>> {
        let mut batch = vec![self.queued.recv().await?];
        let until = Instant::now() + GATHER_TIME;
        while batch.len() < MOST_SPANS
            && let Ok(Some(span)) = timeout_at(until, self.queued.recv()).await
        {
            batch.push(span);
        }
        Some(batch)
    }

    /// Sends a batch until it is taken, tried too often, or refused for good; gives how many of its spans were rejected.
    async fn send(&self, body: Bytes) -> Result<u64, String> {
        let mut wait = FIRST_WAIT;
        for tries in 1.. {
            match self.post(body.clone()).await {
                Ok(rejected) => return Ok(rejected),
                Err(Refusal { why, is_temporary }) if tries == MOST_TRIES || !is_temporary => {
                    return Err(why);
                }
                Err(Refusal { why, .. }) => tracing::debug!(why, "spans are sent again"),
            }
            sleep(wait).await;
            wait *= 2;
        }
        unreachable!("the last try answers")
    }

    async fn post(&self, body: Bytes) -> Result<u64, Refusal> {
        let Settings { url, headers, .. } = &self.settings;
        let request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/json");
        let request = request.headers(headers.clone()).body(body);
        let response = request.send().await.map_err(|error| Refusal {
            why: format!("{:#}", anyhow::Error::new(error.without_url())),
            is_temporary: true,
        })?;
        let status = response.status();
        if status.is_success() {
            return Ok(rejected(response).await);
        }
        // As the OTLP specification has it (OTLP/HTTP, Failures).
        let is_temporary = matches!(status.as_u16(), 429 | 502 | 503 | 504);
        Err(Refusal { why: format!("the collector answers {status}"), is_temporary })
    }
}

/// How many spans an answer says it has rejected; one that is not read says nothing.
async fn rejected(mut response: Response) -> u64 {
    let mut text = Vec::new();
    while let Ok(Some(piece)) = response.chunk().await {
        if text.len() + piece.len() > MOST_ANSWER_BYTES {
            return 0;
        }
        text.extend_from_slice(&piece);
    }
    let answer: Value = serde_json::from_slice(&text).unwrap_or_default();
    let count = &answer["partialSuccess"]["rejectedSpans"];
    count.as_u64().or_else(|| count.as_str()?.parse().ok()).unwrap_or(0)
}
