//! Jobs, numbers and times as people read them.

use serde_json::Value;

/// A text of an answer; none is empty.
pub(super) fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

/// A count of an answer; none is 0.
pub(super) fn whole(value: &Value) -> u64 {
    value.as_u64().unwrap_or(0)
}

/// A number of an answer, if there is one.
pub(super) fn number(value: &Value) -> Option<f64> {
    value.as_f64()
}

/// The items of an answer; none are no items.
pub(super) fn items(list: &Value) -> impl Iterator<Item = &Value> {
    list.as_array().into_iter().flatten()
}

/// Whether nothing more will happen to a job by itself.
pub(super) fn has_ended(job: &Value) -> bool {
    matches!(text(&job["state"]), "succeeded" | "failed" | "cancelled")
}

/// The id of the job at this path.
pub(super) fn id_of_path(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

/// Without what would move a terminal's cursor or change its colours: names and messages are written by others.
pub(super) fn printable(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { '\u{fffd}' } else { letter }).collect()
}

/// The process ids in a list of workers or running tasks.
pub(super) fn pids(list: &Value) -> String {
    items(list).map(|item| item["pid"].to_string()).collect::<Vec<_>>().join(" ")
}

/// `1,234,567`.
pub(super) fn count(number: u64) -> String {
    indicatif::HumanCount(number).to_string()
}

/// `120/240`.
pub(super) fn done_of_total(job: &Value) -> String {
    let progress = &job["progress"];
    format!("{}/{}", count(whole(&progress["done"])), count(whole(&progress["total"])))
}

/// `50 %`.
pub(super) fn percent(ratio: f64) -> String {
    format!("{:.0} %", (ratio * 100.0).floor())
}

/// `39/s`.
pub(super) fn rate(per_s: f64) -> String {
    if per_s < 10.0 { format!("{per_s:.1}/s") } else { format!("{}/s", count(per_s as u64)) }
}

/// A time in milliseconds, as options are written: `20µs`, `3.1s`, `2m5s`, `3d4h`.
pub(super) fn time(ms: f64) -> String {
    let s = ms / 1e3;
    match s.round() as u64 {
        _ if ms < 0.9995 => format!("{:.0}µs", ms * 1e3),
        _ if ms < 99.95 => format!("{ms:.1}ms"),
        _ if ms < 999.5 => format!("{ms:.0}ms"),
        _ if s < 59.95 => format!("{s:.1}s"),
        whole @ ..3_600 => format!("{}m{}s", whole / 60, whole % 60),
        whole @ ..86_400 => format!("{}h{}m", whole / 3_600, whole / 60 % 60),
        whole => format!("{}d{}h", whole / 86_400, whole / 3_600 % 24),
    }
}

/// A time in milliseconds, to the second: `5s`, `3h4m`.
pub(super) fn age(ms: f64) -> String {
    let s = (ms / 1e3).max(0.0) as u64;
    if s < 60 { format!("{s}s") } else { time(s as f64 * 1e3) }
}

/// A job in a line.
pub(super) fn brief(job: &Value) -> String {
    let progress = &job["progress"];
    let [failed, cancelled] = ["failed", "cancelled"].map(|what| match whole(&progress[what]) {
        0 => String::new(),
        number => format!(", {} {what}", count(number)),
    });
    let (id, state) = (text(&job["id"]), text(&job["state"]));
    format!("{id}: {state}, {} tasks done{failed}{cancelled}", done_of_total(job))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_shown_as_people_read_them() {
        let times = [
            (0.0, "0µs"),
            (0.02, "20µs"),
            (1.0, "1.0ms"),
            (250.0, "250ms"),
            (999.7, "1.0s"),
            (59_940.0, "59.9s"),
            (59_960.0, "1m0s"),
            (125_000.0, "2m5s"),
            (3_600_000.0, "1h0m"),
            (273_600_000.0, "3d4h"),
        ];
        for (ms, shown) in times {
            assert_eq!(time(ms), shown);
        }
    }

    #[test]
    fn what_others_wrote_cannot_move_the_cursor() {
        assert_eq!(printable("a\u{1b}[2Jb\nc\u{9b}"), "a\u{fffd}[2Jb\u{fffd}c\u{fffd}");
    }
}
