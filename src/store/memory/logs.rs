//! What the tasks of a job printed, up to the limit.

use crate::store::{LogEntry, LogFilter, LogPage, MAX_LOG_BYTES};

/// What the tasks of a job printed.
#[derive(Debug, Default)]
pub(super) struct Logs {
    entries: Vec<LogEntry>,
    next: u64,
    dropped_bytes: u64,
}

impl Logs {
    pub(super) fn append(&mut self, entries: Vec<LogEntry>) {
        for entry in entries {
            self.next += 1;
            self.entries.push(LogEntry { seq: self.next, ..entry });
        }
        while self.entries.iter().map(|entry| entry.text.len() as u64).sum::<u64>() > MAX_LOG_BYTES {
            self.dropped_bytes += self.entries.remove(0).text.len() as u64;
        }
    }

    pub(super) fn page(&self, filter: LogFilter) -> LogPage {
        let wanted = |entry: &&LogEntry| {
            entry.seq > filter.after && filter.index.is_none_or(|index| index == entry.index)
        };
        let entries = self.entries.iter().filter(wanted).take(filter.limit as usize).cloned().collect();
        LogPage { entries, dropped_bytes: self.dropped_bytes }
    }
}
