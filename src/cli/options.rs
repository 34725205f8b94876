//! The options of a job as flags.

use clap::Args;

use crate::units;

/// How a job is run.
#[derive(Args, Debug)]
#[command(next_help_heading = "Options of the job")]
pub(super) struct JobOptions {
    /// At most so many of its tasks run at once [default: all slots]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    processes: Option<u32>,
    /// Jobs of a higher priority go first [default: 0]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    priority: Option<i32>,
    /// The hard limit of one task: 500ms, 30s, 1m30s
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    timeout: Option<String>,
    /// How often a task is tried in all [default: 3, or as its function says]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    max_attempts: Option<u32>,
    /// How long a failed task waits for its second attempt [default: 0]
    #[arg(long, value_name = "DURATION", value_parser = duration)]
    retry_backoff: Option<String>,
    /// What the first failed task does to the others: nothing, or it cancels them [default: continue]
    #[arg(long, value_parser = ["continue", "stop"])]
    on_error: Option<String>,
    /// A named lock: never two tasks at once of all the jobs that name it; or {"name": "disk", "permits": 2}, for two
    #[arg(long, value_name = "NAME")]
    lock: Option<String>,
    /// Chunks of so many tasks [default: adapts]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    chunk_size: Option<u32>,
    /// Where the job's end is told, if the operator allows the host
    #[arg(long, value_name = "URL")]
    callback_url: Option<String>,
    /// A name, for people
    #[arg(long)]
    name: Option<String>,
    /// A label to find the job by; may be given more than once
    #[arg(long = "label", value_name = "KEY=VALUE", value_parser = pair)]
    labels: Vec<(String, String)>,
    /// Any other option, as in the query of POST /v1/jobs
    #[arg(short, long = "option", value_name = "KEY=VALUE", value_parser = pair)]
    others: Vec<(String, String)>,
}

impl JobOptions {
    /// The options that were given, as a query.
    pub(super) fn query(&self) -> Vec<(String, String)> {
        let number = |number: Option<u32>| number.map(|number| number.to_string());
        let options = [
            ("processes", number(self.processes)),
            ("priority", self.priority.map(|priority| priority.to_string())),
            ("timeout", self.timeout.clone()),
            ("max_attempts", number(self.max_attempts)),
            ("retry_backoff", self.retry_backoff.clone()),
            ("on_error", self.on_error.clone()),
            ("lock", self.lock.clone()),
            ("chunk_size", number(self.chunk_size)),
            ("callback_url", self.callback_url.clone()),
            ("name", self.name.clone()),
        ];
        let given = options.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?)));
        let labels = self.labels.iter().map(|(key, value)| ("label".to_owned(), format!("{key}={value}")));
        given.chain(labels).chain(self.others.iter().cloned()).collect()
    }
}

/// A key and its value.
pub(super) fn pair(text: &str) -> Result<(String, String), String> {
    let (key, value) = text.split_once('=').ok_or("write it KEY=VALUE")?;
    Ok((key.to_owned(), value.to_owned()))
}

/// A duration, left as it is written.
fn duration(text: &str) -> Result<String, String> {
    units::duration(text).map(|_| text.to_owned())
}
