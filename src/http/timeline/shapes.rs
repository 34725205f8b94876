//! What a trace looks like, for the document.

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::model::{JobId, JobState};

/// A trace in Chrome's format.
#[derive(ToSchema)]
#[schema(as = Timeline)]
#[serde(rename_all = "camelCase")]
#[expect(dead_code, reason = "a trace is written piece by piece; this is what it looks like")]
pub(super) struct TraceBody {
    display_time_unit: String,
    trace_events: Vec<EventBody>,
    other_data: AboutBody,
}

/// Something that ran (`X`), or the name of a node or of a worker's process (`M`).
#[derive(ToSchema)]
#[schema(as = TimelineEvent, example = json!({"ph": "X", "pid": 1, "tid": 2, "ts": 1523.0, "dur": 8012.0, "cat": "succeeded",
    "name": "tasks 100 to 199",
    "args": {"index": 100, "count": 100, "failed": 0, "attempt": 1, "pid": 4242, "busy_ms": 8.012}}))]
#[expect(dead_code, reason = "as above")]
struct EventBody {
    ph: String,
    /// The node.
    pid: u64,
    /// The worker's process.
    tid: u64,
    /// Microseconds from the job's acceptance to the begin.
    #[schema(nullable = false)]
    ts: Option<f64>,
    /// Microseconds from the begin to the end.
    #[schema(nullable = false)]
    dur: Option<f64>,
    /// `succeeded`, `failed` (some task of it did) or `running`.
    #[schema(nullable = false)]
    cat: Option<String>,
    #[schema(nullable = false)]
    cname: Option<String>,
    name: String,
    /// Of what ran, the index of the first task, how many there are and how many of them failed, the attempt, the worker's process id, and
    /// how long the tasks took.
    #[schema(value_type = Object)]
    args: Value,
}

/// What a trace is of.
#[derive(Serialize, ToSchema)]
#[schema(as = TimelineAbout)]
pub(super) struct AboutBody {
    pub(super) job: JobId,
    pub(super) function: String,
    pub(super) state: JobState,
    /// When the job was accepted: where times begin.
    #[schema(format = DateTime)]
    pub(super) origin: String,
    /// How many tasks that have ended it shows, those that ran again each time.
    pub(super) tasks: u64,
    /// How many tasks that run it shows.
    pub(super) running: usize,
    /// Whether there is an event for each of the `tasks`, or for `chunks`.
    pub(super) detail: &'static str,
    /// For chunks: those of a worker that together are no longer than this are one event, in milliseconds.
    pub(super) resolution_ms: Option<f64>,
}
