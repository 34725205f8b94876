//! What a worker's tasks print, gathered for some 100 ms at a time and bounded for each task.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use crate::model::{JobId, Timestamp};
use crate::store::LogEntry;

const GATHER: Duration = Duration::from_millis(100);
/// So much is kept of what is printed between two times that it is passed on.
const MOST_AT_ONCE: usize = 64 * 1024;
/// A task that has printed so much is passed on the end of the rest only.
const MOST_A_TASK: usize = 256 * 1024;
/// A line that is longer is passed on in pieces.
const MOST_A_LINE: usize = 8 * 1024;

/// So much is kept of a stream's name, which a worker may choose, in bytes.
const MOST_A_NAME: usize = 64;
/// No worker has dropped more, whatever it says, in bytes.
const MOST_DROPPED: u64 = 1 << 48;

/// Which attempt at which task prints.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct TaskRun {
    pub(super) job: JobId,
    pub(super) index: u64,
    pub(super) attempt: u32,
}

#[derive(Debug)]
struct Printed {
    by: TaskRun,
    at: Timestamp,
    stream: String,
    text: String,
    dropped: u64,
}

/// What has been printed and not been passed on.
#[derive(Debug, Default)]
pub(super) struct Logs {
    printed: VecDeque<Printed>,
    bytes: usize,
    due: Option<Instant>,
    /// How much of which attempt has been passed on.
    passed: Option<(TaskRun, usize)>,
}

impl Logs {
    /// Takes in text.
    pub(super) fn push(
        &mut self,
        by: TaskRun,
        stream: &str,
        text: &str,
        dropped: u64,
        now: (Instant, Timestamp),
    ) {
        if text.is_empty() {
            return;
        }
        let (stream, dropped) =
            (&stream[..stream.floor_char_boundary(MOST_A_NAME)], dropped.min(MOST_DROPPED));
        if self.passed.is_none_or(|(its, _)| its != by) {
            self.passed = Some((by, 0));
        }
        if !self.is_full(by) {
            self.due.get_or_insert(now.0 + GATHER);
        }
        self.bytes += text.len();
        let last = self.printed.back_mut();
        if let Some(last) = last.filter(|last| last.by == by && last.stream == stream && dropped == 0) {
            last.text.push_str(text);
        } else {
            let (stream, text) = (stream.to_owned(), text.to_owned());
            self.printed.push_back(Printed { by, at: now.1, stream, text, dropped });
        }
        // Only now and then, as it moves all that stays.
        if self.bytes > 2 * MOST_AT_ONCE {
            self.drop_oldest();
        }
    }

    fn is_full(&self, by: TaskRun) -> bool {
        self.passed.is_some_and(|(its, bytes)| its == by && bytes >= MOST_A_TASK)
    }

    fn drop_oldest(&mut self) {
        while self.bytes > MOST_AT_ONCE {
            let Some(first) = self.printed.front_mut() else { return };
            let mut surplus = (self.bytes - MOST_AT_ONCE).min(first.text.len());
            while !first.text.is_char_boundary(surplus) {
                surplus += 1;
            }
            first.text.drain(..surplus);
            first.dropped += surplus as u64;
            self.bytes -= surplus;
            let (is_gone, dropped) = (first.text.is_empty(), first.dropped);
            if is_gone && self.printed.len() > 1 {
                self.printed.pop_front();
                if let Some(next) = self.printed.front_mut() {
                    next.dropped = (next.dropped + dropped).min(MOST_DROPPED);
                }
            }
        }
    }

    /// Has it, and what goes with it, passed on soon.
    pub(super) fn wake(&mut self, now: Instant) {
        self.due.get_or_insert(now + GATHER);
    }

    /// A task has ended: what it printed last is passed on soon, however much it was.
    pub(super) fn task_ended(&mut self, now: Instant) {
        if !self.printed.is_empty() {
            self.wake(now);
        }
    }

    /// When some of it is to be passed on.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// All of it, by job.
    pub(super) fn take(&mut self, worker: &str, pid: u32) -> Vec<(JobId, Vec<LogEntry>)> {
        self.drop_oldest();
        self.due = None;
        self.bytes = 0;
        let mut jobs: Vec<(JobId, Vec<LogEntry>)> = Vec::new();
        for Printed { by, at, stream, text, dropped } in self.printed.drain(..) {
            if let Some((_, bytes)) = self.passed.as_mut().filter(|(its, _)| *its == by) {
                *bytes += text.len();
            }
            let TaskRun { job, index, attempt } = by;
            let (worker, dropped_bytes) = (worker.to_owned(), dropped);
            let entry = LogEntry { seq: 0, at, index, attempt, worker, pid, stream, text, dropped_bytes };
            match jobs.last_mut().filter(|(its, _)| *its == job) {
                Some((_, entries)) => entries.push(entry),
                None => jobs.push((job, vec![entry])),
            }
        }
        jobs
    }
}

/// Whole lines out of pieces of a stream; only the end of what is far too much.
#[derive(Debug, Default)]
pub(super) struct Pieces {
    partial: Vec<u8>,
}

impl Pieces {
    /// The text that this piece completes, and how many bytes before it were dropped.
    pub(super) fn feed(&mut self, piece: &[u8]) -> (String, u64) {
        self.partial.extend_from_slice(piece);
        let dropped = self.partial.len().saturating_sub(MOST_AT_ONCE);
        self.partial.drain(..dropped);
        let end = memchr::memrchr(b'\n', &self.partial).map_or(0, |at| at + 1);
        let end = if self.partial.len() - end > MOST_A_LINE { self.partial.len() } else { end };
        let rest = self.partial.split_off(end);
        let whole = std::mem::replace(&mut self.partial, rest);
        (String::from_utf8_lossy(&whole).into_owned(), dropped as u64)
    }

    /// What is left, though its line has no end.
    pub(super) fn finish(&mut self) -> String {
        String::from_utf8_lossy(&std::mem::take(&mut self.partial)).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attempt(index: u64) -> TaskRun {
        TaskRun { job: JobId::from_bytes([1; 16]), index, attempt: 1 }
    }

    #[test]
    fn lines_are_whole_whatever_the_pieces() {
        let mut pieces = Pieces::default();
        assert_eq!(pieces.feed(b"a\nb"), ("a\n".into(), 0));
        assert_eq!(pieces.feed("\u{e9}".as_bytes()[..1].as_ref()), (String::new(), 0));
        assert_eq!(pieces.feed(b"\xa9\nc"), ("b\u{e9}\n".into(), 0));
        assert_eq!(pieces.finish(), "c");
        assert_eq!(pieces.feed(b"begun"), (String::new(), 0));
        let (text, dropped) = pieces.feed(&vec![b'x'; MOST_AT_ONCE - 1]);
        assert_eq!((text.len(), dropped), (MOST_AT_ONCE, 4));
        let (text, dropped) = pieces.feed(&vec![b'x'; 100_000]);
        assert_eq!((text.len(), dropped), (MOST_AT_ONCE, 100_000 - MOST_AT_ONCE as u64));
    }

    #[test]
    fn much_is_bounded_and_counted() {
        let now = (Instant::now(), Timestamp(0));
        let mut logs = Logs::default();
        logs.push(attempt(1), "stdout", "first\n", 0, now);
        (0..100).for_each(|_| logs.push(attempt(1), "stderr", &"x".repeat(1000), 0, now));
        let taken = logs.take("worker-1", 7);
        let entries = &taken[0].1;
        let bytes: usize = entries.iter().map(|entry| entry.text.len()).sum();
        let dropped: u64 = entries.iter().map(|entry| entry.dropped_bytes).sum();
        assert_eq!((bytes, dropped), (MOST_AT_ONCE, 100_006 - MOST_AT_ONCE as u64));
        assert!(logs.take("worker-1", 7).is_empty());
    }

    #[test]
    fn a_task_that_prints_on_and_on_waits_for_its_end() {
        let now = (Instant::now(), Timestamp(0));
        let mut logs = Logs::default();
        for _ in 0..MOST_A_TASK / MOST_AT_ONCE {
            logs.push(attempt(1), "stderr", &"x".repeat(MOST_AT_ONCE), 0, now);
            assert!(logs.due().is_some());
            logs.take("worker-1", 7);
        }
        logs.push(attempt(1), "stderr", "more", 0, now);
        assert_eq!(logs.due(), None);
        logs.push(attempt(2), "stderr", "another task's", 0, now);
        assert!(logs.due().is_some());
    }
}
