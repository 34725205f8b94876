//! Progress bars on standard error: on a terminal only.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use serde_json::Value;

use super::show::{self, number, whole};
use super::streams;

/// How often a bar that moves by itself is redrawn.
pub(super) const TICK: Duration = Duration::from_millis(100);

/// The progress of a job, with the processes at work.
pub(super) struct JobBar(ProgressBar);

impl JobBar {
    pub(super) fn new() -> Self {
        Self(on_terminal("{bar:24} {wide_msg}"))
    }

    pub(super) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    pub(super) fn is_hidden(&self) -> bool {
        self.0.is_hidden()
    }

    pub(super) fn show(&self, job: &Value) {
        self.0.set_length(whole(&job["progress"]["total"]));
        self.0.set_position(whole(&job["progress"]["done"]));
        self.0.set_message(message(job));
    }

    pub(super) fn clear(&self) {
        self.0.finish_and_clear();
    }
}

fn message(job: &Value) -> String {
    let progress = &job["progress"];
    let mut parts = vec![show::done_of_total(job)];
    match show::text(&job["state"]) {
        "running" => parts.extend(number(&progress["rate_per_s"]).map(show::rate)),
        state => parts.push(state.to_owned()),
    }
    let left = number(&progress["eta_ms"]).filter(|ms| *ms > 0.0);
    parts.extend(left.map(|ms| format!("{} left", show::time(ms))));
    let failed = whole(&progress["failed"]);
    if failed > 0 {
        parts.push(format!("{} failed", show::count(failed)));
    }
    let pids = show::pids(&job["running"]);
    if !pids.is_empty() {
        parts.push(format!("PIDs {pids}"));
    }
    parts.join(" · ")
}

/// How many of the results have been written. Where these are seen themselves, no bar is drawn across them.
pub(super) fn results() -> ProgressBar {
    let template = "{bar:24} {human_pos}/{human_len} tasks · {per_sec} · {eta} left";
    if streams::is_terminal() { ProgressBar::hidden() } else { on_terminal(template) }
}

/// How many inputs have been sent; of what is typed, people know.
pub(super) fn upload(are_typed: bool) -> ProgressBar {
    if are_typed {
        return ProgressBar::hidden();
    }
    let bar = on_terminal("{spinner} {human_pos} inputs sent · {per_sec}");
    bar.enable_steady_tick(TICK);
    bar
}

fn on_terminal(template: &str) -> ProgressBar {
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let style = ProgressStyle::with_template(template);
    ProgressBar::new(0).with_style(style.expect("the template is valid"))
}
