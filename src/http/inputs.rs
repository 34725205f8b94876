//! Inputs on their way in: gathered into segments, staged in the store when there are many.

use bytes::Bytes;
use serde::de::{Deserialize, Deserializer, Error as _, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Edge, Problem};
use crate::model::limits::{MAX_DEPTH, SEGMENT_BYTES, SEGMENT_LINES};
use crate::model::segment::lines;
use crate::model::{InputSegment, JobId};
use crate::protocol::json;

/// Inputs beyond this many bytes go to the store before the last of them is here.
const STAGE_BYTES: usize = 4 << 20;

/// Makes segments of inputs.
#[derive(Debug)]
pub struct SegmentBuilder {
    most_lines: usize,
    sealed: Vec<InputSegment>,
    sealed_bytes: usize,
    lines: Vec<u8>,
    count: u32,
    total: u64,
    longest: usize,
}

impl Default for SegmentBuilder {
    fn default() -> Self {
        Self::of_at_most(SEGMENT_LINES)
    }
}

impl SegmentBuilder {
    /// A builder of segments of so many lines at most.
    pub(super) fn of_at_most(lines: usize) -> Self {
        let most_lines = lines.clamp(1, SEGMENT_LINES);
        let (sealed, lines) = (Vec::new(), Vec::new());
        Self { most_lines, sealed, sealed_bytes: 0, lines, count: 0, total: 0, longest: 0 }
    }

    /// Appends a valid JSON value.
    pub fn push(&mut self, value: &[u8]) {
        json::push_line(&mut self.lines, value);
        self.longest = self.longest.max(value.len());
        self.count += 1;
        self.total += 1;
        if self.lines.len() >= SEGMENT_BYTES || self.count as usize >= self.most_lines {
            self.seal();
            // The next one is likely to be as long, and then need not move as it grows.
            self.lines = Vec::with_capacity(self.sealed.last().map_or(0, |last| last.lines.len()));
        }
    }

    /// The longest input so far, in bytes.
    pub fn longest(&self) -> usize {
        self.longest
    }

    /// How many there are so far.
    pub fn total(&self) -> u64 {
        self.total
    }

    /// Their size so far, in bytes.
    pub(super) fn bytes(&self) -> usize {
        self.sealed_bytes + self.lines.len()
    }

    /// All of them, if none was taken as surplus.
    pub fn lines(&self) -> impl Iterator<Item = &[u8]> {
        let sealed = self.sealed.iter().flat_map(|segment| lines(&segment.lines));
        sealed.chain(lines(&self.lines))
    }

    fn seal(&mut self) {
        if self.count == 0 {
            return;
        }
        let (count, lines) = (std::mem::take(&mut self.count), std::mem::take(&mut self.lines));
        self.sealed_bytes += lines.len();
        let first = self.total - u64::from(count);
        self.sealed.push(InputSegment { first, count, lines: Bytes::from(lines) });
    }

    /// The segments that are full, once there are so many that they should not wait in memory.
    pub fn take_surplus(&mut self) -> Option<Vec<InputSegment>> {
        if self.sealed_bytes < STAGE_BYTES {
            return None;
        }
        self.sealed_bytes = 0;
        Some(std::mem::take(&mut self.sealed))
    }

    /// The last segments, and how many inputs there were in all.
    pub fn finish(mut self) -> (Vec<InputSegment>, u64) {
        self.seal();
        (self.sealed, self.total)
    }
}

/// Reads the array of inputs of a JSON body straight into segments.
#[derive(Debug, Default)]
pub struct InputArray(pub SegmentBuilder);

impl<'de> Deserialize<'de> for InputArray {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_seq(InputArray::default())
    }
}

impl<'de> Visitor<'de> for InputArray {
    type Value = Self;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("an array of inputs")
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut inputs: A) -> Result<Self, A::Error> {
        while let Some(input) = inputs.next_element::<&RawValue>()? {
            let text = input.get().as_bytes();
            if json::is_too_deep(text) {
                let index = self.0.total;
                return Err(A::Error::custom(format!(
                    "input {index} nests deeper than {MAX_DEPTH} arrays and objects"
                )));
            }
            self.0.push(text);
        }
        Ok(self)
    }
}

/// What is staged for a job; dropped before the job is submitted, it is removed again.
pub(super) struct Staging {
    edge: Edge,
    job: JobId,
    staged: bool,
}

impl Staging {
    pub(super) fn new(edge: Edge, job: JobId) -> Self {
        Self { edge, job, staged: false }
    }

    pub(super) async fn stage(&mut self, segments: Vec<InputSegment>) -> Result<(), Problem> {
        self.staged = true;
        Ok(self.edge.store.stage(self.job, segments).await?)
    }

    /// The job is being submitted: what is staged belongs to it.
    pub(super) fn keep(mut self) {
        self.staged = false;
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        if self.staged {
            let (store, job) = (self.edge.store.clone(), self.job);
            tokio::spawn(async move {
                if let Err(error) = store.unstage(job).await {
                    tracing::warn!(%job, %error, "inputs of a cut submit are left to the next start");
                }
            });
        }
    }
}
