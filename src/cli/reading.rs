//! Reading a job's results: the job is durable, so a connection that is cut costs nothing, and reading goes on behind
//! the last line that came whole.

use anyhow::{Result, bail};
use futures_util::StreamExt as _;
use reqwest::{Method, Response};
use tokio::time::sleep;

use super::client::{AGAIN_AFTER, Client};
use super::output::Output;
use super::streams::tell;

/// Which results of which job.
pub(super) struct Reading<'a> {
    pub(super) client: &'a Client,
    /// The path of the job.
    pub(super) job: &'a str,
    /// `completion` or `input`.
    pub(super) order: &'a str,
    /// So many of this order are left out.
    pub(super) after: u64,
    /// So many at most.
    pub(super) limit: Option<u64>,
    /// Until the job has ended.
    pub(super) follow: bool,
}

impl Reading<'_> {
    /// Asks for them, and writes them.
    pub(super) async fn run(&self, output: &mut Output) -> Result<()> {
        let response = self.ask(output, 0).await?;
        self.copy(response, output).await
    }

    /// Writes what an answer brings, wherever it is cut.
    pub(super) async fn copy(&self, mut response: Response, output: &mut Output) -> Result<()> {
        loop {
            let mut pieces = response.bytes_stream();
            let lost = loop {
                match pieces.next().await {
                    None => return output.flush(),
                    Some(Err(error)) => break error,
                    Some(Ok(piece)) => output.write(&piece)?,
                }
            };
            if let Some(problem) = output.problem() {
                bail!("{problem}; the results of the inputs before it have been written");
            }
            sleep(AGAIN_AFTER).await;
            let read = output.whole_lines();
            if self.limit.is_some_and(|limit| read >= limit) {
                return output.flush();
            }
            tell(format_args!("the connection was lost ({lost}); going on after {read} results"));
            response = self.client.patiently(async || self.ask(output, read).await).await?;
        }
    }

    async fn ask(&self, output: &Output, read: u64) -> Result<Response> {
        let (after, follow) = ((self.after + read).to_string(), self.follow.to_string());
        let limit = self.limit.map(|limit| (limit - read).to_string());
        let mut query = vec![
            ("order", self.order),
            ("fields", output.fields().as_str()),
            ("after", &after),
            ("follow", &follow),
        ];
        query.extend(limit.iter().map(|limit| ("limit", limit.as_str())));
        let request = self.client.request(Method::GET, &format!("{}/results", self.job));
        self.client.sent(request.query(&query)).await
    }
}
