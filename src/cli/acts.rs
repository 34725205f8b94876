//! What is done to jobs: `cancel`, `pause`, `resume`, `retry`, `close`, `forget`.

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;
use reqwest::Method;
use serde_json::Value;

use super::client::{Client, ServerArgument};
use super::names::JobName;
use super::show::{brief, id_of_path};
use super::streams::{NotRead, print_line, tell};

/// The arguments of each.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// The jobs: ids, beginnings of ids that no other job shares, or `last`
    #[arg(required = true, value_name = "JOB")]
    jobs: Vec<JobName>,
    /// Print each job as the API gives it, one a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    server: ServerArgument,
}

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Act {
    Cancel,
    Pause,
    Resume,
    Retry,
    Close,
    Forget,
}

impl Act {
    fn request(self) -> (Method, &'static str) {
        match self {
            Self::Cancel => (Method::POST, "/cancel"),
            Self::Pause => (Method::POST, "/pause"),
            Self::Resume => (Method::POST, "/resume"),
            Self::Retry => (Method::POST, "/retry"),
            Self::Close => (Method::POST, "/close"),
            Self::Forget => (Method::DELETE, ""),
        }
    }
}

pub(super) fn run(act: Act, arguments: &Arguments) -> Result<ExitCode> {
    arguments.server.run(async |client| {
        let mut code = ExitCode::SUCCESS;
        for job in &arguments.jobs {
            match one(&client, act, job, arguments.json).await {
                Err(error) if !error.is::<NotRead>() => {
                    tell(format_args!("{error:#}"));
                    code = ExitCode::FAILURE;
                }
                outcome => outcome?,
            }
        }
        Ok(code)
    })
}

async fn one(client: &Client, act: Act, job: &JobName, is_json: bool) -> Result<()> {
    let path = job.path(client).await?;
    let (method, end) = act.request();
    let answer = client.text(client.request(method, &format!("{path}{end}"))).await?;
    match act {
        Act::Forget if is_json => Ok(()),
        Act::Forget => print_line(format_args!("{}: forgotten", id_of_path(&path))),
        _ if is_json => print_line(&answer),
        _ => print_line(brief(&serde_json::from_str::<Value>(&answer)?)),
    }
}
