//! Result segments to result lines, straight from the stored bytes.

use std::io::Write as _;

use crate::model::segment::{ResultBody, Used};
use crate::model::{Outcomes, ResultSegment, TaskError};
use crate::store::Order;

/// About so many bytes of a result's line are not its output.
const LINE_BYTES: usize = 160;

/// What of each result is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fields {
    /// The whole result.
    All,
    /// The bare output; `null` where there is none.
    Output,
}

/// A segment that is being rendered, and how far it is.
#[derive(Debug)]
pub struct Rendering {
    segment: ResultSegment,
    /// The position that its first result has in its order.
    position: u64,
    only_failed: bool,
    /// How many of its results are done, and where the next one's outcome and line begin.
    done: u64,
    outcome_at: usize,
    line_at: usize,
}

impl Rendering {
    /// Begins behind the first `after` results of this order.
    pub fn new(segment: ResultSegment, order: Order, after: u64) -> Self {
        let position = match order {
            Order::Completion | Order::Failed => segment.first_seq - 1,
            Order::Input => segment.first_index,
        };
        let skip = after.saturating_sub(position).min(segment.count);
        let only_failed = order == Order::Failed;
        let mut rendering = Self { segment, position, only_failed, done: 0, outcome_at: 0, line_at: 0 };
        rendering.each(skip, |_, _| true);
        rendering
    }

    /// About how many bytes its lines are.
    pub fn bytes(&self) -> usize {
        let stored = match &self.segment.body {
            ResultBody::Ran { lines, .. } => lines.len(),
            ResultBody::NotRun { error } => error.len(),
            ResultBody::Cancelled => 0,
        };
        stored.saturating_add(self.segment.count as usize * LINE_BYTES)
    }

    /// Whether nothing is left of it.
    pub fn is_done(&self) -> bool {
        self.done == self.segment.count
    }

    /// How far it is in its order.
    pub fn after(&self) -> u64 {
        self.position + self.done
    }

    /// Appends a line for each of the next results, `limit` at most and until `out` is of the size `full`; gives how
    /// many there were.
    pub fn render(&mut self, out: &mut Vec<u8>, limit: u64, full: usize, fields: Fields) -> u64 {
        if fields == Fields::Output
            && let Some(given) = self.copy_outputs(out, limit, full)
        {
            return given;
        }
        let (first_seq, first_index) = (self.segment.first_seq, self.segment.first_index);
        let used = match &self.segment.body {
            ResultBody::Ran { used, .. } => *used,
            ResultBody::Cancelled | ResultBody::NotRun { .. } => Used::default(),
        };
        let tail = match &self.segment.body {
            ResultBody::Ran { worker, pid, .. } => {
                let attempt = self.segment.attempt;
                format!(r#","attempt":{attempt},"worker":"{worker}","pid":{pid},"duration_ms":"#)
            }
            ResultBody::Cancelled | ResultBody::NotRun { .. } => String::new(),
        };
        let only_failed = self.only_failed;
        let mut given = 0;
        self.each(if only_failed { u64::MAX } else { limit }, |at, outcome| {
            if only_failed && !outcome.has_failed() {
                return true;
            }
            given += 1;
            match outcome {
                Outcome::Succeeded(_, line) if fields == Fields::Output => out.extend_from_slice(line),
                Outcome::Failed(..) | Outcome::Cancelled(_) | Outcome::NotRun(_)
                    if fields == Fields::Output =>
                {
                    out.extend_from_slice(b"null");
                }
                Outcome::Succeeded(ns, line) | Outcome::Failed(ns, line) => {
                    head(out, first_seq + at, first_index + at, outcome.status());
                    out.extend_from_slice(line);
                    out.extend_from_slice(tail.as_bytes());
                    milliseconds(out, ns);
                    out.extend_from_slice(br#","cpu_ms":"#);
                    milliseconds(out, used.cpu_of(ns));
                    out.push(b'}');
                }
                Outcome::Cancelled(line) | Outcome::NotRun(line) => {
                    head(out, first_seq + at, first_index + at, outcome.status());
                    out.extend_from_slice(line);
                    out.push(b'}');
                }
            }
            out.push(b'\n');
            out.len() < full && given < limit
        });
        given
    }

    /// Appends the next outputs just as they are stored, if all that is left of the segment is outputs and may be given; gives
    /// how many there were.
    fn copy_outputs(&mut self, out: &mut Vec<u8>, limit: u64, full: usize) -> Option<u64> {
        let ResultBody::Ran { outcomes, lines, .. } = &self.segment.body else { return None };
        let (left, rest) = (self.segment.count - self.done, &lines[self.line_at..]);
        if self.only_failed || outcomes.failed() > 0 || left > limit || rest.is_empty() {
            return None;
        }
        let room = full.saturating_sub(out.len()).clamp(1, rest.len());
        let piece = &rest[..room + memchr::memchr(b'\n', &rest[room - 1..])?];
        let count = memchr::memchr_iter(b'\n', piece).count() as u64;
        if count > left {
            return None;
        }
        let mut times = &outcomes.as_bytes()[self.outcome_at..];
        for _ in 0..count {
            Outcomes::take(&mut times);
        }
        out.extend_from_slice(piece);
        self.outcome_at = outcomes.as_bytes().len() - times.len();
        self.line_at += piece.len();
        self.done += count;
        Some(count)
    }

    /// Calls `visit` for the next results, `limit` at most and as long as it wants more; gives how many there were.
    fn each(&mut self, limit: u64, mut visit: impl FnMut(u64, Outcome<'_>) -> bool) -> u64 {
        let end = self.segment.count.min(self.done.saturating_add(limit));
        let (start, mut more) = (self.done, self.done < end);
        let (outcomes, lines) = match &self.segment.body {
            ResultBody::Ran { outcomes, lines, .. } => (outcomes, lines),
            other @ (ResultBody::Cancelled | ResultBody::NotRun { .. }) => {
                let cancelled = TaskError::cancelled().to_line();
                let outcome = match other {
                    ResultBody::NotRun { error } => Outcome::NotRun(error),
                    ResultBody::Ran { .. } | ResultBody::Cancelled => Outcome::Cancelled(&cancelled),
                };
                while more {
                    let wants = visit(self.done, outcome);
                    self.done += 1;
                    more = wants && self.done < end;
                }
                return self.done - start;
            }
        };
        while more {
            let mut times = &outcomes.as_bytes()[self.outcome_at..];
            let rest = &lines[self.line_at..];
            let (Some((ns, failed)), Some(length)) =
                (Outcomes::take(&mut times), memchr::memchr(b'\n', rest))
            else {
                // A segment that is shorter than it says has no more to give.
                self.done = self.segment.count;
                break;
            };
            let line = &rest[..length];
            let wants = visit(
                self.done,
                if failed { Outcome::Failed(ns, line) } else { Outcome::Succeeded(ns, line) },
            );
            self.outcome_at = outcomes.as_bytes().len() - times.len();
            self.line_at += length + 1;
            self.done += 1;
            more = wants && self.done < end;
        }
        self.done - start
    }
}

/// One result: its line and, if it ran, its duration in nanoseconds.
#[derive(Clone, Copy)]
enum Outcome<'a> {
    Succeeded(u64, &'a [u8]),
    Failed(u64, &'a [u8]),
    Cancelled(&'a [u8]),
    NotRun(&'a [u8]),
}

impl Outcome<'_> {
    fn has_failed(self) -> bool {
        matches!(self, Self::Failed(..) | Self::NotRun(_))
    }

    fn status(self) -> &'static str {
        match self {
            Self::Succeeded(..) => r#","status":"succeeded","output":"#,
            Self::Failed(..) | Self::NotRun(_) => r#","status":"failed","error":"#,
            Self::Cancelled(_) => r#","status":"cancelled","error":"#,
        }
    }
}

fn head(out: &mut Vec<u8>, seq: u64, index: u64, status: &str) {
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(br#"{"seq":"#);
    out.extend_from_slice(number.format(seq).as_bytes());
    out.extend_from_slice(br#","index":"#);
    out.extend_from_slice(number.format(index).as_bytes());
    out.extend_from_slice(status.as_bytes());
}

/// Milliseconds to three digits behind the point, which are microseconds.
fn milliseconds(out: &mut Vec<u8>, ns: u64) {
    let us = (ns + 500) / 1000;
    let (whole, thousandths) = (us / 1000, us % 1000);
    if thousandths == 0 {
        out.extend_from_slice(itoa::Buffer::new().format(whole).as_bytes());
    } else {
        write!(out, "{whole}.{thousandths:03}").expect("writing to a Vec cannot fail");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Outcomes;

    fn segment() -> ResultSegment {
        let mut outcomes = Outcomes::default();
        [(20_000, false), (1_500_000, true), (1_000_000, false)]
            .iter()
            .for_each(|(ns, failed)| outcomes.push(*ns, *failed));
        let lines = "\"a\"\n{\"verdict\":\"crash\"}\n[1]\n".into();
        let used = Used { span: None, busy_ns: 2_520_000, cpu_ns: 2_520_000 };
        let body = ResultBody::Ran { worker: "worker-1".into(), pid: 42, outcomes, lines, used };
        ResultSegment { first_seq: 5, first_index: 10, count: 3, attempt: 1, body }
    }

    fn text(order: Order, after: u64, limit: u64, fields: Fields) -> String {
        let mut out = Vec::new();
        let mut rendering = Rendering::new(segment(), order, after);
        // In pieces as small as can be.
        let mut left = limit;
        while left > 0 && !rendering.is_done() {
            let full = out.len() + 1;
            left -= rendering.render(&mut out, left, full, fields);
        }
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_result_line_is_as_documented() {
        let first = r#"{"seq":5,"index":10,"status":"succeeded","output":"a","attempt":1,"worker":"worker-1","pid":42,"duration_ms":0.020,"cpu_ms":0.020}"#;
        let second = r#"{"seq":6,"index":11,"status":"failed","error":{"verdict":"crash"},"attempt":1,"worker":"worker-1","pid":42,"duration_ms":1.500,"cpu_ms":1.500}"#;
        assert_eq!(text(Order::Completion, 0, 2, Fields::All), format!("{first}\n{second}\n"));
        assert_eq!(text(Order::Completion, 5, 1, Fields::All), format!("{second}\n"));
        assert_eq!(text(Order::Input, 11, 1, Fields::All), format!("{second}\n"));
        assert_eq!(text(Order::Failed, 0, 9, Fields::All), format!("{second}\n"));
        assert_eq!(text(Order::Failed, 6, 9, Fields::All), "");
    }

    #[test]
    fn outputs_without_a_failure_among_them_are_the_same_in_pieces_of_any_size() {
        let mut outcomes = Outcomes::default();
        [1, 1_000_000, 300].iter().for_each(|ns| outcomes.push(*ns, false));
        let used = Used::default();
        let body = |lines: &'static str| ResultBody::Ran {
            worker: "worker-1".into(),
            pid: 42,
            outcomes: outcomes.clone(),
            lines: lines.into(),
            used,
        };
        let whole = ResultSegment { body: body("\"a\"\n[1,2]\n3\n"), ..segment() };
        for full in 1..16 {
            for (after, limit, wanted) in
                [(0, 9, "\"a\"\n[1,2]\n3\n"), (5, 9, "[1,2]\n3\n"), (0, 2, "\"a\"\n[1,2]\n")]
            {
                let (mut rendering, mut text, mut left) =
                    (Rendering::new(whole.clone(), Order::Completion, after), Vec::new(), limit);
                while left > 0 && !rendering.is_done() {
                    let mut out = Vec::new();
                    left -= rendering.render(&mut out, left, full, Fields::Output);
                    text.extend(out);
                }
                assert_eq!(text, wanted.as_bytes(), "pieces of {full}, behind {after}, {limit} at most");
            }
        }
        // One that is shorter than it says gives what it has.
        let short = ResultSegment { body: body("1\n2\n"), ..segment() };
        let (mut rendering, mut out) = (Rendering::new(short, Order::Completion, 0), Vec::new());
        while !rendering.is_done() {
            rendering.render(&mut out, 9, 1, Fields::Output);
        }
        assert_eq!(out, b"1\n2\n");
    }

    #[test]
    fn bare_outputs_are_null_where_there_is_none() {
        assert_eq!(text(Order::Completion, 0, 9, Fields::Output), "\"a\"\nnull\n[1]\n");
        let cancelled = ResultSegment { body: ResultBody::Cancelled, ..segment() };
        let mut out = Vec::new();
        let mut rendering = Rendering::new(cancelled, Order::Input, 12);
        assert_eq!(rendering.render(&mut out, 9, usize::MAX, Fields::All), 1);
        assert!(
            out.starts_with(br#"{"seq":7,"index":12,"status":"cancelled","error":{"verdict":"cancelled""#)
        );
    }
}
