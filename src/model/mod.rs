//! The nouns of gristmill: ids, jobs, tasks, outcomes, limits and the byte layout of their lines.
//!
//! Imports nothing of the crate. Deliberately absent: clocks, input and output, async, and every decision.

pub mod blocked;
pub mod histogram;
pub mod ids;
pub mod job;
pub mod limits;
pub mod segment;
pub mod task;
pub mod trace;

pub use blocked::Blocked;
pub use histogram::Histogram;
pub use ids::{Epoch, JobId, LeaseId, WorkerName};
pub use job::{Job, JobOptions, JobSpec, JobState, Lock, OnError, Span, Tally, Timestamp};
pub use limits::Limits;
pub use segment::{InputSegment, Outcomes, ResultSegment};
pub use task::{TaskError, Verdict};
pub use trace::TraceParent;
