//! Results are read from the store a piece at a time, and become lines that are streamed or a page.

use std::collections::VecDeque;

use axum::body::Body;
use bytes::Bytes;
use futures_util::stream;

use crate::http::render::{Fields, Rendering};
use crate::http::{Edge, Problem};
use crate::model::{Job, JobId, ResultSegment};
use crate::store::{JobWatch, Order};

/// A page that holds so many bytes ends, whatever its limit.
const MOST_PAGE_BYTES: usize = 8 << 20;
/// So many bytes are rendered at a time: what a slow reader holds in memory, besides a segment.
const PIECE_BYTES: usize = 1 << 16;

/// A reader's place in a job's results.
pub(crate) struct Cursor {
    edge: Edge,
    job: JobId,
    order: Order,
    fields: Fields,
    after: u64,
    left: u64,
    /// What has been read from the store and is not rendered.
    read: VecDeque<ResultSegment>,
    rendering: Option<Rendering>,
}

impl Cursor {
    pub(crate) fn new(edge: Edge, job: JobId, order: Order, fields: Fields, after: u64, left: u64) -> Self {
        Self { edge, job, order, fields, after, left, read: VecDeque::new(), rendering: None }
    }

    /// With what is at hand of the next results.
    pub(super) fn with(mut self, read: Option<ResultSegment>) -> Self {
        self.read.extend(read);
        self
    }

    /// How many results it has given.
    pub(crate) fn given(&self) -> u64 {
        self.after
    }

    /// The next lines; none if there are none yet.
    async fn next(&mut self) -> Result<Vec<u8>, Problem> {
        let mut lines = Vec::new();
        while self.left > 0 && lines.len() < PIECE_BYTES && self.has_more(lines.is_empty()).await? {
            let Some(rendering) = &mut self.rendering else { continue };
            // Bare outputs are mostly one copy, which finds its own room.
            if lines.is_empty() && self.fields == Fields::All {
                lines.reserve(rendering.bytes().min(PIECE_BYTES + PIECE_BYTES / 8));
            }
            let count = rendering.render(&mut lines, self.left, PIECE_BYTES, self.fields);
            self.after = rendering.after();
            self.left -= count;
            if rendering.is_done() {
                self.rendering = None;
            }
        }
        Ok(lines)
    }

    /// Sees to it that there is something to render; asks the store only if it `may_read`.
    async fn has_more(&mut self, may_read: bool) -> Result<bool, Problem> {
        if self.rendering.is_none() && self.read.is_empty() && may_read {
            self.read = self.edge.store.results(self.job, self.order, self.after, self.left).await?.into();
        }
        if self.rendering.is_none() {
            let next = self.read.pop_front();
            self.rendering = next.map(|segment| Rendering::new(segment, self.order, self.after));
        }
        Ok(self.rendering.is_some())
    }

    async fn has_ended(&self) -> Result<bool, Problem> {
        Ok(self.edge.store.job(self.job).await?.is_none_or(|job| job.state.is_final()))
    }

    /// Appends `{"items": […], "next": …}`; `next` is null when the job has ended and all its results have been read.
    pub(super) async fn page(mut self, page: &mut Vec<u8>, limit: u64, job: &Job) -> Result<(), Problem> {
        let ended = job.state.is_final();
        // In the order of the inputs, their number is the end; a task that was run again has another seq.
        let end = (ended && self.order == Order::Input).then_some(job.tally.done());
        self.left = end.map_or(limit, |end| limit.min(end.saturating_sub(self.after)));
        page.extend_from_slice(br#"{"items":["#);
        let first = page.len();
        while self.left > 0 && page.len() < MOST_PAGE_BYTES {
            let lines = self.next().await?;
            if lines.is_empty() {
                break;
            }
            page.extend_from_slice(&lines);
        }
        // The end of each line but the last is a comma; within a line there is none.
        page.pop_if(|last| *last == b'\n');
        page[first..].iter_mut().filter(|byte| **byte == b'\n').for_each(|end| *end = b',');
        let at_end = match end {
            Some(end) => self.after >= end,
            None => ended && !self.has_more(true).await?,
        };
        let next = if at_end { "null".to_owned() } else { self.after.to_string() };
        page.extend_from_slice(format!("],\"next\":{next}}}").as_bytes());
        Ok(())
    }

    /// Results that were freed under their reader are no end.
    async fn see_that_none_was_freed(&self, job: &Job) -> Result<(), Problem> {
        let freed = self.edge.store.freed_through(self.job).await?;
        let missed = match self.order {
            Order::Input => freed > 0 && self.after < job.tally.done(),
            Order::Completion | Order::Failed => self.after < freed,
        };
        if missed { Err(Problem::results_freed(freed)) } else { Ok(()) }
    }

    pub(super) fn stream(self, follow: bool) -> Body {
        let watch = follow.then(|| self.edge.store.watch(self.job));
        Body::from_stream(stream::unfold(Some((self, watch)), |state| async {
            let (mut cursor, mut watch) = state?;
            match cursor.next_or_end(watch.as_mut()).await {
                Ok(None) => None,
                Ok(Some(lines)) => Some((Ok(Bytes::from(lines)), Some((cursor, watch)))),
                // The head of the answer is gone already: a cut stream says that something is wrong.
                Err(_) => {
                    Some((Err(std::io::Error::other("there is more, but not from this server now")), None))
                }
            }
        }))
    }

    /// The next lines; `None` at the end. Where the job is followed, waits for more until it has ended.
    pub(crate) async fn next_or_end(
        &mut self,
        mut watch: Option<&mut JobWatch>,
    ) -> Result<Option<Vec<u8>>, Problem> {
        loop {
            // Asked before the results are read, so that the last of them are not missed.
            let ended = watch.is_none() || self.has_ended().await?;
            let lines = self.next().await?;
            if !lines.is_empty() {
                return Ok(Some(lines));
            }
            if self.left == 0 {
                return Ok(None);
            }
            if ended {
                // One that was deleted under its reader has no end.
                let job = self.edge.store.job(self.job).await?;
                let job = job.ok_or_else(|| Problem::unknown_job(&self.job.to_string()))?;
                return self.see_that_none_was_freed(&job).await.map(|()| None);
            }
            if *self.edge.draining.borrow() {
                return Err(Problem::shutting_down());
            }
            if let Some(watch) = &mut watch {
                tokio::select! {
                    () = watch.changed() => {}
                    () = self.edge.shuts_down() => {}
                }
            }
        }
    }
}
