//! The figures that bound what a client may send and what a segment holds.

/// Inputs may nest so many arrays and objects, counted from 1.
pub const MAX_DEPTH: usize = 64;
/// A segment is closed when it holds this many lines …
pub const SEGMENT_LINES: usize = 16 * 1024;
/// … or this many bytes, whichever comes first.
pub const SEGMENT_BYTES: usize = 512 * 1024;
/// A worker's protocol message may be this long; a longer one ends the worker.
pub const MAX_MESSAGE_BYTES: usize = 64 * 1024 * 1024;
/// How much of what a worker wrote on stderr is kept for its error, in bytes.
pub const STDERR_TAIL_BYTES: usize = 64 * 1024;
/// A name or a label may be this long, in bytes.
pub const MAX_NAME_CHARS: usize = 256;
/// A job may have this many labels.
pub const MAX_LABELS: usize = 64;

/// The limits that the operator may set.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// The longest JSON body of a submit, in bytes; an NDJSON stream has no limit but that of its lines.
    pub max_body_bytes: usize,
    /// The longest input, in bytes.
    pub max_input_bytes: usize,
    /// So many tasks without an outcome at most, of all jobs that have not ended.
    pub max_queued_tasks: u64,
    /// So many bytes of inputs at most, of all jobs that have not ended.
    pub max_queued_bytes: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            max_body_bytes: 64 << 20,
            max_input_bytes: 16 << 20,
            max_queued_tasks: 1_000_000_000,
            max_queued_bytes: 64 << 30,
        }
    }
}
