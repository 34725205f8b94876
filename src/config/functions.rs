//! `[functions.NAME]`: the programs that the operator declares.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use crate::adapter::{self, Form, Mode};
use crate::units;

const MAX_NAME_BYTES: usize = 64;

/// A declaration as it stands in the file.
#[derive(Deserialize, Clone, Debug)]
#[serde(deny_unknown_fields)]
pub struct RawFunction {
    command: Vec<String>,
    mode: Mode,
    description: Option<String>,
    cwd: Option<PathBuf>,
    #[serde(default)]
    env: BTreeMap<String, String>,
    #[serde(default)]
    pass_env: Vec<String>,
    input: Option<Form>,
    output: Option<Form>,
    timeout: Option<String>,
    start_timeout: Option<String>,
    grace: Option<String>,
    max_attempts: Option<u32>,
    max_output_bytes: Option<String>,
    processes: Option<u32>,
}

/// A valid declaration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Function {
    /// The program and its arguments; no shell reads them.
    pub command: Vec<String>,
    /// How it is spoken to.
    pub adapter: adapter::Settings,
    /// What it does, for people.
    pub description: String,
    /// Where it runs.
    pub cwd: PathBuf,
    /// Variables that it gets.
    pub env: BTreeMap<String, String>,
    /// Variables that it gets from the server's environment.
    pub pass_env: Vec<String>,
    /// The hard limit of one task's run, unless the job says otherwise.
    pub timeout: Option<Duration>,
    /// How long a worker may take until it is ready.
    pub start_timeout: Duration,
    /// How long a worker has from being asked to end to being killed.
    pub grace: Duration,
    /// How often a task is tried in all, unless the job says otherwise.
    pub max_attempts: Option<u32>,
    /// At most so many workers of it.
    pub processes: Option<u32>,
}

impl RawFunction {
    /// Checks it and fills in the defaults. `dir` is where the file is; `grace` is the server's.
    pub(super) fn validate(self, name: &str, dir: &Path, grace: Duration) -> Result<Function> {
        check_name(name)?;
        let program =
            self.command.first().context("command is empty; it is the program and its arguments")?;
        ensure!(!program.is_empty(), "the program in command is empty");
        let has_forms = self.input.is_some() || self.output.is_some();
        ensure!(!has_forms || self.mode == Mode::Exec, "input and output are for mode = \"exec\" only");
        for (key, value) in [("max_attempts", self.max_attempts), ("processes", self.processes)] {
            ensure!(value != Some(0), "{key} is 0; it must be at least 1");
        }
        let duration = |key: &str, text: &Option<String>| {
            let parsed = text.as_deref().map(units::duration).transpose();
            parsed.map_err(|why| anyhow::anyhow!("{key}: {why}"))
        };
        let timeout = duration("timeout", &self.timeout)?;
        ensure!(timeout != Some(Duration::ZERO), "timeout is zero; it must be longer");
        let max_output_bytes = self.max_output_bytes.as_deref().map_or(Ok(16 << 20), units::size);
        Ok(Function {
            adapter: adapter::Settings {
                mode: self.mode,
                input: self.input.unwrap_or_default(),
                output: self.output.unwrap_or_default(),
                max_output_bytes: max_output_bytes
                    .map_err(|why| anyhow::anyhow!("max_output_bytes: {why}"))?,
            },
            description: self.description.unwrap_or_default(),
            cwd: dir.join(self.cwd.unwrap_or_default()),
            env: self.env,
            pass_env: self.pass_env,
            timeout,
            start_timeout: duration("start_timeout", &self.start_timeout)?.unwrap_or(Duration::from_secs(30)),
            grace: duration("grace", &self.grace)?.unwrap_or(grace),
            max_attempts: self.max_attempts,
            processes: self.processes,
            command: self.command,
        })
    }
}

fn check_name(name: &str) -> Result<()> {
    let fits = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | '-' | '.');
    if name.is_empty() || name.len() > MAX_NAME_BYTES || !name.chars().all(fits) {
        bail!("a function's name has 1 to {MAX_NAME_BYTES} letters, digits, '_', '-' or '.'");
    }
    if crate::functions::find(name).is_some() {
        bail!("{name:?} is built in; give yours another name");
    }
    Ok(())
}
