//! A job and a chunk as spans. Pure.
//!
//! Ids follow from the job's, so they are the same after a restart: a job that was submitted in no trace has one of its own, with the
//! job's id; its span has the lower half of that, whose first bits are never 0 (RFC 9562, 4.1).

use sha2::{Digest as _, Sha256};

use crate::model::{Job, JobId, JobState, Tally, Timestamp, TraceParent};
use crate::supervisor::EndedTasks;

/// Something that has ended.
#[derive(Clone, PartialEq, Debug)]
pub(super) struct Span {
    pub(super) trace: u128,
    pub(super) id: u64,
    /// `None`: it is the root.
    pub(super) parent: Option<u64>,
    pub(super) kind: Kind,
    pub(super) name: String,
    pub(super) start: Timestamp,
    pub(super) end: Timestamp,
    pub(super) attributes: Vec<(&'static str, Attribute)>,
    /// Why it is an error.
    pub(super) error: Option<String>,
}

/// OpenTelemetry's word for what it stands for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Internal,
    Consumer,
}

#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Attribute {
    Text(String),
    Number(u64),
}

fn text(text: impl Into<String>) -> Attribute {
    Attribute::Text(text.into())
}

fn number(number: impl Into<u64>) -> Attribute {
    Attribute::Number(number.into())
}

/// The span of a job that has ended; `None` where its caller does not record the trace.
pub(super) fn of_job(job: &Job) -> Option<Span> {
    let Job { id, spec, state, tally, created_at, finished_at, .. } = job;
    let place = Place::of(*id, spec.options.trace)?;
    let Tally { total, succeeded, failed, cancelled } = *tally;
    let mut attributes = vec![
        ("gristmill.job.id", text(id.to_string())),
        ("gristmill.function", text(&spec.function)),
        ("gristmill.job.state", text(state.as_str())),
        ("gristmill.tasks.total", number(total)),
        ("gristmill.tasks.succeeded", number(succeeded)),
        ("gristmill.tasks.failed", number(failed)),
        ("gristmill.tasks.cancelled", number(cancelled)),
    ];
    attributes.extend(spec.name.as_deref().map(|name| ("gristmill.job.name", text(name))));
    Some(Span {
        trace: place.trace,
        id: place.id,
        parent: place.parent,
        kind: Kind::Consumer,
        name: format!("job {}", spec.function),
        start: *created_at,
        end: finished_at.unwrap_or(*created_at),
        attributes,
        error: (*state == JobState::Failed).then(|| failures(failed, total)),
    })
}

/// The span of tasks that a worker has ended together, below that of their job.
pub(super) fn of_chunk(ended: &EndedTasks) -> Option<Span> {
    let EndedTasks { worker, pid, job, function, trace, index, count, attempt, failed, .. } = ended;
    let (start, place) = (ended.started_at, Place::of(*job, *trace)?);
    Some(Span {
        trace: place.trace,
        id: chunk_id(*job, *index, *attempt, start),
        parent: Some(place.id),
        kind: Kind::Internal,
        name: format!("chunk {function}"),
        start,
        end: Timestamp(start.0.saturating_add(ended.duration.as_micros() as i64)),
        attributes: vec![
            ("gristmill.job.id", text(job.to_string())),
            ("gristmill.function", text(function)),
            ("gristmill.worker", text(worker)),
            ("process.pid", number(*pid)),
            ("gristmill.chunk.index", number(*index)),
            ("gristmill.chunk.count", number(*count)),
            ("gristmill.chunk.attempt", number(*attempt)),
            ("gristmill.chunk.failed", number(*failed)),
        ],
        error: (*failed > 0).then(|| failures((*failed).into(), (*count).into())),
    })
}

fn failures(failed: u64, of: u64) -> String {
    format!("{failed} of {of} tasks failed")
}

/// Where the span of a job is.
struct Place {
    trace: u128,
    id: u64,
    parent: Option<u64>,
}

impl Place {
    fn of(job: JobId, caller: Option<TraceParent>) -> Option<Self> {
        let own = job.0.as_u128();
        let (trace, parent) = match caller {
            Some(caller) if !caller.is_sampled() => return None,
            Some(caller) => (caller.trace, Some(caller.span)),
            None => (own, None),
        };
        Some(Self { trace, id: own as u64, parent })
    }
}

fn chunk_id(job: JobId, index: u64, attempt: u32, start: Timestamp) -> u64 {
    let of = Sha256::new()
        .chain_update(job.as_bytes())
        .chain_update(index.to_be_bytes())
        .chain_update(attempt.to_be_bytes())
        .chain_update(start.0.to_be_bytes());
    // An id of 0 is none (W3C Trace Context, 3.2.2.4).
    of.finalize().iter().take(8).fold(0, |id, byte| id << 8 | u64::from(*byte)).max(1)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn chunk(trace: Option<TraceParent>, index: u64) -> EndedTasks {
        EndedTasks {
            worker: "worker-1".into(),
            pid: 7,
            job: JobId(uuid::Uuid::from_u128(0x0190_b5f7_7c4d_7abc_8def_0123_4567_89ab)),
            function: "count".into(),
            trace,
            index,
            count: 3,
            attempt: 1,
            failed: 0,
            started_at: Timestamp(1_000),
            duration: Duration::from_micros(250),
        }
    }

    #[test]
    fn a_chunk_is_below_its_job_in_a_trace_that_has_the_id_of_the_job() {
        let span = of_chunk(&chunk(None, 0)).unwrap();
        assert_eq!(span.trace, 0x0190_b5f7_7c4d_7abc_8def_0123_4567_89ab);
        assert_eq!((span.parent, span.end), (Some(0x8def_0123_4567_89ab), Timestamp(1_250)));
        assert_eq!(span.id, of_chunk(&chunk(None, 0)).unwrap().id);
        assert_ne!(span.id, of_chunk(&chunk(None, 3)).unwrap().id);
    }

    #[test]
    fn the_trace_is_that_of_the_caller_unless_it_is_not_recorded() {
        let caller = |flags| Some(TraceParent { trace: 5, span: 6, flags });
        assert_eq!(of_chunk(&chunk(caller(1), 0)).unwrap().trace, 5);
        assert_eq!(of_chunk(&chunk(caller(0), 0)), None);
    }
}
