//! The way up: inputs are appended to the job as they come.

use std::collections::VecDeque;
use std::task::Poll;
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use futures_util::StreamExt as _;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::http::bodies::{InputLines, cut};
use crate::http::inputs::SegmentBuilder;
use crate::http::jobs::tell_of_end;
use crate::http::submit::queue_limits;
use crate::http::{Edge, Problem};
use crate::model::{InputSegment, Job, JobId};
use crate::store::{Appended, MoreInputs, RunnableJob, StoreError};

/// So many bytes of inputs may wait for the append before theirs.
const MOST_WAITING_BYTES: usize = 1 << 20;
/// The upload waits while the inputs whose results the reader has not got are more than this.
const MOST_AHEAD_BYTES: usize = 64 << 20;
/// A full queue is tried again when something of this job is done, and after this long, as others' work ends too.
const QUEUE_PAUSE: Duration = Duration::from_millis(100);
/// A job that a full disk keeps from being closed is closed after so long, or later.
const FULL_PAUSE: Duration = Duration::from_millis(500);

type Piece = Option<Result<Bytes, axum::Error>>;

/// The inputs of one map on their way to its job.
pub(super) struct Upload {
    edge: Edge,
    job: JobId,
    pieces: BodyDataStream,
    /// What came when the client was invited to send.
    first: Option<Piece>,
    lines: InputLines,
    /// What has come and is not being appended yet.
    waiting: SegmentBuilder,
    ahead: Ahead,
    /// How many results the reader has got.
    read: watch::Receiver<u64>,
}

/// The appended inputs whose results the reader has not got.
#[derive(Default)]
struct Ahead {
    /// For each append the index behind its last task, and its bytes.
    appends: VecDeque<(u64, usize)>,
    tasks: u64,
    bytes: usize,
}

impl Ahead {
    fn add(&mut self, tasks: u64, bytes: usize) {
        self.tasks += tasks;
        self.bytes += bytes;
        self.appends.push_back((self.tasks, bytes));
    }

    fn read(&mut self, through: u64) {
        while let Some((_, bytes)) = self.appends.pop_front_if(|(end, _)| *end <= through) {
            self.bytes -= bytes;
        }
    }
}

impl Upload {
    pub(super) fn new(
        edge: Edge,
        job: JobId,
        function: &str,
        body: Body,
        read: watch::Receiver<u64>,
    ) -> Self {
        let (lines, waiting) = (InputLines::new(&edge, function), segments(&edge));
        let (pieces, ahead) = (body.into_data_stream(), Ahead::default());
        Self { edge, job, pieces, first: None, lines, waiting, ahead, read }
    }

    /// Asks for the body without waiting for it.
    pub(super) async fn invite(&mut self) {
        let pieces = &mut self.pieces;
        self.first = std::future::poll_fn(|context| match pieces.poll_next_unpin(context) {
            Poll::Ready(piece) => Poll::Ready(Some(piece)),
            Poll::Pending => Poll::Ready(None),
        })
        .await;
    }

    /// Appends the inputs until their end, and closes the job however they end.
    pub(super) async fn run(mut self) -> Result<(), Problem> {
        let outcome = self.take_in().await;
        if let Err(problem) = &outcome {
            tracing::info!(job = %self.job, %problem, "the upload of a map has not come to its end");
        }
        let now = (self.edge.now)();
        let closed = close(&self.edge, self.job).await?.filter(|job| job.state.is_final());
        if let Some(job) = closed {
            tell_of_end(&self.edge, &job, now);
            // The pool, which waits for more of it, is to forget it.
            self.edge.supervisor.cancelled(self.job).await;
        }
        outcome
    }

    async fn take_in(&mut self) -> Result<(), Problem> {
        let mut draining = self.edge.draining.clone();
        let mut end = self.first.take().and_then(|piece| self.take_piece(piece));
        // An append goes on by itself if nobody waits for it any more.
        let mut append: Option<JoinHandle<Result<(), Problem>>> = None;
        loop {
            if append.is_none() && self.waiting.total() > 0 {
                append = Some(self.append());
            }
            if let Some(end) = end.take_if(|_| append.is_none()) {
                return end;
            }
            let has_room = self.waiting.bytes() < MOST_WAITING_BYTES && self.ahead.bytes < MOST_AHEAD_BYTES;
            tokio::select! {
                appended = async { append.as_mut().expect("only then").await }, if append.is_some() => {
                    append = None;
                    appended.unwrap_or_else(|_| Err(Problem::shutting_down()))?;
                }
                piece = self.pieces.next(), if has_room && end.is_none() => end = self.take_piece(piece),
                read = self.read.changed() => match read {
                    Ok(()) => self.ahead.read(*self.read.borrow_and_update()),
                    // The reader has gone, or has come to the end of a job that was ended by someone else.
                    Err(_) => return Err(Problem::not_open()),
                },
                _ = draining.wait_for(|draining| *draining) => return Err(Problem::shutting_down()),
            }
        }
    }

    /// Takes the inputs of a piece; gives how the upload ended, if it has.
    fn take_piece(&mut self, piece: Piece) -> Option<Result<(), Problem>> {
        match piece {
            Some(Ok(piece)) => self.lines.feed(&piece, &mut self.waiting).err().map(Err),
            Some(Err(error)) => Some(Err(cut(&error))),
            None => Some(self.lines.finish(&mut self.waiting)),
        }
    }

    /// Appends what waits to the job.
    fn append(&mut self) -> JoinHandle<Result<(), Problem>> {
        let inputs = std::mem::replace(&mut self.waiting, segments(&self.edge));
        self.ahead.add(inputs.total(), inputs.bytes());
        tokio::spawn(append(self.edge.clone(), self.job, inputs))
    }
}

/// Closes the job, if need be when the disk has room again.
async fn close(edge: &Edge, job: JobId) -> Result<Option<Job>, Problem> {
    loop {
        match edge.store.close(job, (edge.now)()).await {
            Err(StoreError::Full) => tokio::time::sleep(FULL_PAUSE).await,
            closed => return Ok(closed?),
        }
    }
}

/// A builder of segments each of which fits into an empty queue.
fn segments(edge: &Edge) -> SegmentBuilder {
    SegmentBuilder::of_at_most(usize::try_from(edge.limits.max_queued_tasks).unwrap_or(usize::MAX))
}

/// Appends these inputs to the job as there is room for them in the queue.
async fn append(edge: Edge, job: JobId, inputs: SegmentBuilder) -> Result<(), Problem> {
    let mut left = VecDeque::from(inputs.finish().0);
    let (mut watch, mut at_once) = (edge.store.watch(job), left.len());
    while !left.is_empty() {
        at_once = at_once.min(left.len());
        match append_once(&edge, job, left.range(..at_once)).await? {
            Appended::Yes(known, unclaimed) => {
                if known.state.is_runnable() {
                    edge.supervisor.submitted(RunnableJob::new(&known, unclaimed)).await;
                }
                left.drain(..at_once);
            }
            Appended::QueueFull(_) if at_once > 1 => at_once = 1,
            Appended::QueueFull(queued) if queued.tasks == 0 => {
                return Err(Problem::queue_full(&queued, &edge.limits));
            }
            Appended::QueueFull(_) => {
                // Which of the two it was, the next try tells.
                let _ = tokio::time::timeout(QUEUE_PAUSE, watch.changed()).await;
            }
            Appended::Unknown => return Err(Problem::unknown_job(&job.to_string())),
            Appended::Closed | Appended::Same(_) | Appended::Other => return Err(Problem::not_open()),
        }
    }
    Ok(())
}

async fn append_once(
    edge: &Edge,
    job: JobId,
    segments: impl Iterator<Item = &InputSegment>,
) -> Result<Appended, Problem> {
    let mut total = 0;
    let segments = segments.map(|segment| {
        let first = total;
        total += u64::from(segment.count);
        InputSegment { first, ..segment.clone() }
    });
    let segments: Vec<InputSegment> = segments.collect();
    let staged = JobId(uuid::Uuid::now_v7());
    let more = MoreInputs { job, staged, total, key: None, limits: queue_limits(edge) };
    Ok(edge.store.append(more, segments, (edge.now)()).await?)
}
