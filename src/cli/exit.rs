//! Exit codes: what a script can tell from how a command ended.

use std::process::ExitCode;

use serde_json::Value;

/// Some task failed.
pub(super) const TASKS_FAILED: u8 = 3;
/// The job was cancelled.
pub(super) const CANCELLED: u8 = 4;
/// As a shell says it of a command that Ctrl-C has ended …
pub(super) const INTERRUPTED: u8 = 130;
/// … of one whose output nobody reads any more …
pub(super) const NOT_READ: u8 = 141;
/// … and of one that was asked to end.
pub(super) const TERMINATED: u8 = 143;

/// Each code and what it says.
pub(super) const CODES: [(u8, &str); 8] = [
    (0, "done; where a job was followed to its end, every task succeeded"),
    (1, "something went wrong, and standard error says what"),
    (2, "the arguments are not valid"),
    (TASKS_FAILED, "the job that was followed has failed: some task did"),
    (CANCELLED, "the job that was followed was cancelled"),
    (INTERRUPTED, "Ctrl-C"),
    (NOT_READ, "nobody reads the output any more"),
    (TERMINATED, "SIGTERM"),
];

/// The codes for the end of a help text.
pub(super) fn help() -> String {
    CODES
        .iter()
        .fold("Exit codes:".to_owned(), |text, (code, meaning)| format!("{text}\n  {code:<4} {meaning}"))
}

/// The code of a job that was followed; a job that has not ended is no failure.
pub(super) fn of(job: &Value) -> ExitCode {
    match job["state"].as_str() {
        Some("failed") => TASKS_FAILED.into(),
        Some("cancelled") => CANCELLED.into(),
        _ => ExitCode::SUCCESS,
    }
}
