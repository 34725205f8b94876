//! `[functions.NAME]`: the programs that the operator declares.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use serde::Deserialize;

use super::TOKEN_VARIABLE;
use crate::adapter::{self, Input, Mode, Output};
use crate::schema::Schema;
use crate::units;

const MAX_NAME_BYTES: usize = 64;
/// The largest output of a task, unless the function says otherwise.
pub const MAX_OUTPUT_BYTES: u64 = 16 << 20;

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
    input: Option<Input>,
    output: Option<Output>,
    timeout: Option<String>,
    start_timeout: Option<String>,
    grace: Option<String>,
    max_attempts: Option<u32>,
    max_output_bytes: Option<String>,
    retry_backoff: Option<String>,
    memory_soft: Option<String>,
    memory_hard: Option<String>,
    hang_after: Option<String>,
    max_tasks_per_worker: Option<u32>,
    max_worker_age: Option<String>,
    max_failed_starts: Option<u32>,
    processes: Option<u32>,
    input_schema: Option<toml::Value>,
    output_schema: Option<toml::Value>,
}

/// A valid declaration.
#[derive(Clone, PartialEq, Debug)]
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
    /// How long a failed task waits for its second attempt, unless the job says otherwise.
    pub retry_backoff: Duration,
    /// With more memory, a worker gets no more work. In bytes; of the worker and all below it, as the next one.
    pub memory_soft: Option<u64>,
    /// With more memory, a worker is killed.
    pub memory_hard: Option<u64>,
    /// A worker that uses no CPU time for so long while it has a task is killed.
    pub hang_after: Option<Duration>,
    /// A worker ends when it has run so many tasks.
    pub max_tasks_per_worker: Option<u32>,
    /// A worker gets no more work when it is so old.
    pub max_worker_age: Option<Duration>,
    /// So many failed starts in a row, and its jobs fail.
    pub max_failed_starts: u32,
    /// At most so many workers of it.
    pub processes: Option<u32>,
    /// What an input must be.
    pub input_schema: Option<Schema>,
    /// What an output must be.
    pub output_schema: Option<Schema>,
}

impl Function {
    /// What would keep its workers from starting, as far as can be seen now.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        if !self.cwd.is_dir() {
            problems.push(format!("cwd: there is no directory {}", self.cwd.display()));
        }
        let program = self.command.first().map_or("", String::as_str);
        if !adapter::is_program(program, &self.cwd) {
            problems.push(format!("command: there is no program {program:?} that may be run"));
        }
        problems
    }
}

impl RawFunction {
    /// Checks it and fills in the defaults. `dir` is where the file is; `grace` is the server's.
    pub(super) fn validate(self, name: &str, dir: &Path, grace: Duration) -> Result<Function> {
        check_name(name)?;
        let program =
            self.command.first().context("command is empty; it is the program and its arguments")?;
        ensure!(!program.is_empty(), "the program in command is empty");
        ensure!(
            !self.pass_env.iter().any(|name| name == TOKEN_VARIABLE),
            "pass_env: {TOKEN_VARIABLE} stays with the server"
        );
        self.check_forms()?;
        let counts = [
            ("max_attempts", self.max_attempts),
            ("processes", self.processes),
            ("max_tasks_per_worker", self.max_tasks_per_worker),
            ("max_failed_starts", self.max_failed_starts),
        ];
        for (key, value) in counts {
            ensure!(value != Some(0), "{key} is 0; it must be at least 1");
        }
        let duration = |key: &str, text: &Option<String>| {
            let parsed = text.as_deref().map(units::duration).transpose();
            parsed.map_err(|why| anyhow::anyhow!("{key}: {why}"))
        };
        let positive = |key: &str, text: &Option<String>| {
            let parsed = duration(key, text)?;
            ensure!(parsed != Some(Duration::ZERO), "{key} is zero; it must be longer");
            Ok(parsed)
        };
        let size = |key: &str, text: &Option<String>| {
            let parsed = text.as_deref().map(units::size).transpose();
            parsed.map_err(|why| anyhow::anyhow!("{key}: {why}"))
        };
        let (soft, hard) = (size("memory_soft", &self.memory_soft)?, size("memory_hard", &self.memory_hard)?);
        ensure!(
            soft.zip(hard).is_none_or(|(soft, hard)| soft <= hard),
            "memory_soft is above memory_hard; a worker would be killed before it could be replaced"
        );
        Ok(Function {
            adapter: adapter::Settings {
                mode: self.mode,
                input: self.input.unwrap_or_default(),
                output: self.output.unwrap_or_default(),
                max_output_bytes: size("max_output_bytes", &self.max_output_bytes)?
                    .unwrap_or(MAX_OUTPUT_BYTES),
            },
            description: self.description.unwrap_or_default(),
            cwd: dir.join(self.cwd.unwrap_or_default()),
            env: self.env,
            pass_env: self.pass_env,
            timeout: positive("timeout", &self.timeout)?,
            start_timeout: duration("start_timeout", &self.start_timeout)?.unwrap_or(Duration::from_secs(30)),
            grace: duration("grace", &self.grace)?.unwrap_or(grace),
            max_attempts: self.max_attempts,
            retry_backoff: duration("retry_backoff", &self.retry_backoff)?.unwrap_or_default(),
            memory_soft: soft,
            memory_hard: hard,
            hang_after: positive("hang_after", &self.hang_after)?,
            max_tasks_per_worker: self.max_tasks_per_worker,
            max_worker_age: positive("max_worker_age", &self.max_worker_age)?,
            max_failed_starts: self.max_failed_starts.unwrap_or(5),
            processes: self.processes,
            input_schema: schema("input_schema", self.input_schema, dir)?,
            output_schema: schema("output_schema", self.output_schema, dir)?,
            command: self.command,
        })
    }

    /// Sees that what it reads and writes is said only in the modes that leave a choice, and is one of theirs.
    fn check_forms(&self) -> Result<()> {
        ensure!(self.output.is_none() || self.mode == Mode::Exec, "output is for mode = \"exec\" only");
        let Some(input) = self.input else { return Ok(()) };
        let (fits, right) = match self.mode {
            Mode::Exec => (input != Input::Task, r#""json", "text" or "bytes""#),
            Mode::Lines => (matches!(input, Input::Json | Input::Task), r#""json" or "task""#),
            Mode::Batch | Mode::Frames => bail!(r#"input is for mode = "exec" and mode = "lines" only"#),
        };
        ensure!(fits, "input in mode = {:?} is {right}", self.mode.as_str());
        Ok(())
    }
}

/// A schema that stands in the file, or in a file of its own that is named there.
fn schema(key: &str, value: Option<toml::Value>, dir: &Path) -> Result<Option<Schema>> {
    let source = match value {
        None => return Ok(None),
        Some(toml::Value::String(path)) => {
            let path = dir.join(path);
            let text = std::fs::read(&path).with_context(|| format!("{key}: reading {}", path.display()))?;
            serde_json::from_slice(&text).with_context(|| format!("{key}: in {}", path.display()))?
        }
        Some(table) => serde_json::to_value(table)?,
    };
    Schema::new(source).map(Some).map_err(|why| anyhow::anyhow!("{key}: {why}"))
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
