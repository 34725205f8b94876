//! The log: one readable line an event on a terminal, JSON otherwise. Nothing that a client or a worker says can end a
//! line or colour it.

use std::fmt::{self, Debug, Write as _};
use std::io::IsTerminal as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::field::Field;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt as _;
use tracing_subscriber::fmt::format::{Writer, debug_fn};

use crate::config::LogFormat;
use crate::model::Job;

/// Starts logging on stderr. `GRISTMILL_LOG` sets the level, or levels by module, as `tracing` writes them.
pub fn start(format: Option<LogFormat>) {
    let terminal = std::io::stderr().is_terminal();
    let filter = EnvFilter::try_from_env("GRISTMILL_LOG")
        .unwrap_or_else(|_| EnvFilter::new("info,refinery_core=warn"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    match format.unwrap_or(if terminal { LogFormat::Text } else { LogFormat::Json }) {
        LogFormat::Text => log
            .with_target(false)
            .with_ansi(terminal && std::env::var_os("NO_COLOR").is_none())
            .fmt_fields(debug_fn(write_field).delimited(" "))
            .init(),
        LogFormat::Json => log.json().flatten_event(true).init(),
    }
}

fn write_field(writer: &mut Writer<'_>, field: &Field, value: &dyn Debug) -> fmt::Result {
    if field.name() != "message" {
        write!(writer, "{}=", field.name())?;
    }
    write!(OneLine(writer), "{value:?}")
}

/// Writes control characters as they are written in a string.
struct OneLine<'a, 'w>(&'a mut Writer<'w>);

impl fmt::Write for OneLine<'_, '_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for piece in text.split_inclusive(char::is_control) {
            match piece.char_indices().next_back().filter(|(_, last)| last.is_control()) {
                Some((end, control)) => write!(self.0, "{}{}", &piece[..end], control.escape_default())?,
                None => self.0.write_str(piece)?,
            }
        }
        Ok(())
    }
}

/// So many lines of a kind are written in a second; thousands of tiny jobs a second would flood the log.
const MOST_A_SECOND: u32 = 50;

/// How many lines of a kind may still be written.
#[derive(Debug)]
pub struct Budget(Mutex<Spent>);

#[derive(Debug)]
struct Spent {
    since: Instant,
    lines: u32,
    left_out: u64,
}

impl Default for Budget {
    fn default() -> Self {
        Self(Mutex::new(Spent { since: Instant::now(), lines: 0, left_out: 0 }))
    }
}

impl Budget {
    /// Whether a line may be written; then, how many were not since the last one that was, if there are any.
    pub fn take(&self) -> Option<Option<u64>> {
        let mut spent = self.with_room()?;
        spent.lines += 1;
        let left_out = std::mem::take(&mut spent.left_out);
        Some((left_out > 0).then_some(left_out))
    }

    /// Whether it is worth while to look up what a line says; if not, it counts as left out.
    pub fn is_worth_while(&self) -> bool {
        tracing::enabled!(tracing::Level::DEBUG) || self.with_room().is_some()
    }

    fn with_room(&self) -> Option<MutexGuard<'_, Spent>> {
        let mut spent = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if spent.since.elapsed() >= Duration::from_secs(1) {
            (spent.since, spent.lines) = (Instant::now(), 0);
        }
        if spent.lines == MOST_A_SECOND {
            spent.left_out += 1;
            return None;
        }
        Some(spent)
    }
}

/// Writes a line at the level of information, or of debugging once there are too many of its kind.
macro_rules! tell_sparingly {
    ($budget:expr, $($line:tt)+) => {
        match $budget.take() {
            Some(left_out) => tracing::info!(left_out, $($line)+),
            None => tracing::debug!($($line)+),
        }
    };
}
pub(crate) use tell_sparingly;

/// Milliseconds in whole microseconds: no more than three digits behind the point are written.
pub(crate) fn ms(time: Duration) -> f64 {
    ((time.as_nanos() + 500) / 1000) as f64 / 1e3
}

/// Tells of the end of a job.
pub fn job_ended(budget: &Budget, job: &Job) {
    let Job { id, spec, state, tally, created_at, started_at, finished_at, cpu_ns, .. } = job;
    let end = finished_at.unwrap_or(*created_at);
    let start = started_at.unwrap_or(end);
    tell_sparingly!(
        budget,
        job = %id,
        function = spec.function,
        state = state.as_str(),
        tasks = tally.total,
        succeeded = tally.succeeded,
        failed = tally.failed,
        cancelled = tally.cancelled,
        queued_ms = ms(start.since(*created_at)),
        wall_ms = ms(end.since(start)),
        cpu_ms = ms(Duration::from_nanos(*cpu_ns)),
        "job ended"
    );
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::Arc;

    use super::*;

    #[derive(Clone, Default)]
    struct Buffer(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Buffer {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn nothing_that_is_told_breaks_a_line_or_colours_it() {
        let buffer = Buffer::default();
        let to = buffer.clone();
        let log = tracing_subscriber::fmt().with_ansi(false).with_writer(move || to.clone());
        let log = log.fmt_fields(debug_fn(write_field).delimited(" ")).finish();
        let evil = "a\r\nINFO forged\x1b[31m\u{85}";
        tracing::subscriber::with_default(
            log,
            || tracing::info!(shown = %evil, text = evil, "it says {evil}"),
        );
        let text = String::from_utf8(buffer.0.lock().unwrap().clone()).unwrap();
        assert!(
            text.ends_with('\n') && text.chars().filter(|letter| letter.is_control()).count() == 1,
            "{text:?}"
        );
        let shown = r"a\r\nINFO forged\u{1b}[31m\u{85}";
        assert!(
            text.contains(&format!("it says {shown}")) && text.contains(&format!("shown={shown}")),
            "{text}"
        );
    }

    #[test]
    fn times_are_written_in_whole_microseconds() {
        for (nanoseconds, text) in [
            (0, "0.0"),
            (499, "0.0"),
            (999, "0.001"),
            (994_000, "0.994"),
            (1_500_999, "1.501"),
            (1_001_000, "1.001"),
            (86_400_000_000_001_000, "86400000000.001"),
        ] {
            assert_eq!(format!("{:?}", ms(Duration::from_nanos(nanoseconds))), text);
        }
        // What a sum or a product in floating point would spoil.
        let spoilt =
            |us: u64| format!("{:?}", ms(Duration::from_micros(us))).split('.').nth(1).unwrap().len() > 3;
        assert_eq!((0..100_000).find(|us| spoilt(*us)), None);
    }

    #[test]
    fn a_flood_is_cut_and_counted() {
        let budget = Budget::default();
        let written = (0..1000).filter(|_| budget.take().is_some()).count();
        assert_eq!(written, MOST_A_SECOND as usize);
        budget.0.lock().unwrap().since -= Duration::from_secs(1);
        assert_eq!((budget.take(), budget.take()), (Some(Some(950)), Some(None)));
    }
}
