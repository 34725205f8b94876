//! The text of a trace: events in the Trace Event Format.

use std::fmt::Write as _;

use serde_json::Value;

/// The head of the text and the events so far, as far as they have not been taken.
#[derive(Default)]
pub(super) struct Events {
    text: String,
    begun: bool,
}

/// Something on a lane; times are nanoseconds since the trace's begin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Slice {
    pub(super) start_ns: i64,
    pub(super) end_ns: i64,
    /// The index of the first task.
    pub(super) index: u64,
    /// How many tasks there are.
    pub(super) count: u64,
    /// How many of them failed.
    pub(super) failed: u64,
    /// The attempt that was made; the last one, if there are several.
    pub(super) attempt: u32,
    /// The process id of the worker; of the first, if there are several.
    pub(super) pid: u32,
    /// How long the tasks took together.
    pub(super) busy_ns: u64,
    pub(super) kind: SliceKind,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SliceKind {
    /// Consecutive tasks that have ended.
    Ended,
    /// Tasks of several chunks.
    Merged,
    /// A task that runs.
    Running,
}

impl Slice {
    fn name(&self) -> String {
        let Self { index, count, failed, .. } = self;
        let tasks = match self.kind {
            SliceKind::Running => return format!("task {index} runs"),
            SliceKind::Ended if *count == 1 => format!("task {index}"),
            SliceKind::Ended => format!("tasks {index} to {}", index + count - 1),
            SliceKind::Merged => format!("{count} tasks"),
        };
        match failed {
            0 => tasks,
            1 if *count == 1 => tasks + " failed",
            _ => format!("{tasks}, {failed} failed"),
        }
    }

    /// The category, and the colour that Chrome is to give it. Perfetto takes one for each name without its
    /// numbers.
    fn category(&self) -> (&'static str, &'static str) {
        match self.kind {
            SliceKind::Running => ("running", r#","cname":"yellow""#),
            SliceKind::Ended | SliceKind::Merged if self.failed > 0 => ("failed", r#","cname":"terrible""#),
            SliceKind::Ended | SliceKind::Merged => ("succeeded", ""),
        }
    }
}

impl Events {
    /// Whether there has been none yet.
    pub(super) fn is_empty(&self) -> bool {
        !self.begun
    }

    /// How many bytes have not been taken.
    pub(super) fn waiting(&self) -> usize {
        self.text.len()
    }

    /// What has not been taken.
    pub(super) fn take(&mut self) -> String {
        if !self.begun {
            self.begin();
        }
        std::mem::take(&mut self.text)
    }

    /// Says something about a process or a thread.
    pub(super) fn describe(&mut self, what: &str, process: usize, thread: usize, args: &Value) {
        self.begin();
        self.write(format_args!(
            r#"{{"ph":"M","pid":{process},"tid":{thread},"name":"{what}","args":{args}}}"#
        ));
    }

    pub(super) fn push(&mut self, process: usize, thread: usize, slice: &Slice) {
        self.begin();
        let (name, (category, colour)) = (slice.name(), slice.category());
        let Slice { start_ns, end_ns, index, count, failed, attempt, pid, busy_ns, .. } = slice;
        let (start, duration, busy) =
            (Thousandths(*start_ns), Thousandths(end_ns - start_ns), *busy_ns as f64 / 1e6);
        self.write(format_args!(
            r#"{{"ph":"X","pid":{process},"tid":{thread},"ts":{start},"dur":{duration},"cat":"{category}"{colour},"name":"{name}","args":{{"index":{index},"count":{count},"failed":{failed},"attempt":{attempt},"pid":{pid},"busy_ms":{busy:.3}}}}}"#
        ));
    }

    /// What comes before the next event.
    fn begin(&mut self) {
        let before = if self.begun { ",\n" } else { "{\"displayTimeUnit\":\"ms\",\"traceEvents\":[\n" };
        self.text.push_str(before);
        self.begun = true;
    }

    fn write(&mut self, event: std::fmt::Arguments<'_>) {
        self.text.write_fmt(event).expect("writing to a String cannot fail");
    }
}

/// A number of thousandths: microseconds, made of nanoseconds.
struct Thousandths(i64);

impl std::fmt::Display for Thousandths {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let sign = if self.0 < 0 { "-" } else { "" };
        let number = self.0.unsigned_abs();
        write!(f, "{sign}{}.{:03}", number / 1000, number % 1000)
    }
}
