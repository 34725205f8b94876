//! Result segments to result lines, straight from the stored bytes.

use std::io::Write as _;

use crate::model::segment::{ResultBody, lines};
use crate::model::{ResultSegment, TaskError};
use crate::store::Order;

/// What of each result is shown.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Fields {
    /// The whole result.
    All,
    /// The bare output; `null` where there is none.
    Output,
}

/// Appends a line for each result of the segment behind the first `after` of this order, `limit` at most; gives how
/// many there were.
pub(super) fn render(
    out: &mut Vec<u8>,
    segment: &ResultSegment,
    order: Order,
    after: u64,
    limit: u64,
    fields: Fields,
) -> u64 {
    let position = match order {
        Order::Completion => segment.first_seq - 1,
        Order::Input => segment.first_index,
    };
    let skip = after.saturating_sub(position).min(segment.count);
    let count = (segment.count - skip).min(limit);
    match &segment.body {
        ResultBody::Ran { worker, pid, outcomes, lines: block } => {
            let constant =
                format!(r#","attempt":{},"worker":"{worker}","pid":{pid},"duration_ms":"#, segment.attempt);
            let results = outcomes.iter().zip(lines(block)).enumerate();
            for (at, ((ns, failed), line)) in results.skip(skip as usize).take(count as usize) {
                match fields {
                    Fields::Output if failed => out.extend_from_slice(b"null"),
                    Fields::Output => out.extend_from_slice(line),
                    Fields::All => {
                        head(out, segment, at as u64, if failed { FAILED } else { SUCCEEDED });
                        out.extend_from_slice(line);
                        out.extend_from_slice(constant.as_bytes());
                        milliseconds(out, ns);
                        out.push(b'}');
                    }
                }
                out.push(b'\n');
            }
        }
        ResultBody::Cancelled => {
            let error = TaskError::cancelled().to_line();
            for at in skip..skip + count {
                if fields == Fields::All {
                    head(out, segment, at, CANCELLED);
                    out.extend_from_slice(&error);
                    out.push(b'}');
                } else {
                    out.extend_from_slice(b"null");
                }
                out.push(b'\n');
            }
        }
    }
    count
}

const SUCCEEDED: &str = r#","status":"succeeded","output":"#;
const FAILED: &str = r#","status":"failed","error":"#;
const CANCELLED: &str = r#","status":"cancelled","error":"#;

fn head(out: &mut Vec<u8>, segment: &ResultSegment, at: u64, status: &str) {
    let mut number = itoa::Buffer::new();
    out.extend_from_slice(br#"{"seq":"#);
    out.extend_from_slice(number.format(segment.first_seq + at).as_bytes());
    out.extend_from_slice(br#","index":"#);
    out.extend_from_slice(number.format(segment.first_index + at).as_bytes());
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
        let body = ResultBody::Ran { worker: "worker-1".into(), pid: 42, outcomes, lines };
        ResultSegment { first_seq: 5, first_index: 10, count: 3, attempt: 1, body }
    }

    fn text(order: Order, after: u64, limit: u64, fields: Fields) -> String {
        let mut out = Vec::new();
        render(&mut out, &segment(), order, after, limit, fields);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_result_line_is_as_documented() {
        let first = r#"{"seq":5,"index":10,"status":"succeeded","output":"a","attempt":1,"worker":"worker-1","pid":42,"duration_ms":0.020}"#;
        let second = r#"{"seq":6,"index":11,"status":"failed","error":{"verdict":"crash"},"attempt":1,"worker":"worker-1","pid":42,"duration_ms":1.500}"#;
        assert_eq!(text(Order::Completion, 0, 2, Fields::All), format!("{first}\n{second}\n"));
        assert_eq!(text(Order::Completion, 5, 1, Fields::All), format!("{second}\n"));
        assert_eq!(text(Order::Input, 11, 1, Fields::All), format!("{second}\n"));
    }

    #[test]
    fn bare_outputs_are_null_where_there_is_none() {
        assert_eq!(text(Order::Completion, 0, 9, Fields::Output), "\"a\"\nnull\n[1]\n");
        let cancelled = ResultSegment { body: ResultBody::Cancelled, ..segment() };
        let mut out = Vec::new();
        assert_eq!(render(&mut out, &cancelled, Order::Input, 12, 9, Fields::All), 1);
        assert!(
            out.starts_with(br#"{"seq":7,"index":12,"status":"cancelled","error":{"verdict":"cancelled""#)
        );
    }
}
