//! The functions that there are, built in and declared: how their workers are started, and how clients see them.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::time::Duration;

use super::WORKER_ARGUMENT;
use crate::adapter::Mode;
use crate::config::{Config, Function, MAX_OUTPUT_BYTES};
use crate::functions;
use crate::http::{FunctionOptions, FunctionView};
use crate::pool::Rules;
use crate::supervisor::{WorkerCommand, WorkerLimits};

/// How long a chunk is to take in `batch` mode.
const BATCH_CHUNK_TIME: Duration = Duration::from_millis(200);
/// What of the server's environment a worker gets.
const PASSED_ENV: [&str; 6] = ["PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "TZ"];
/// The variables by which numeric libraries are told how many threads to start.
const ONE_THREAD: [&str; 6] = [
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "RAYON_NUM_THREADS",
];

fn offered(config: &Config) -> impl Iterator<Item = &'static functions::Function> {
    let enable_fail = config.enable_fail;
    functions::all().iter().filter(move |function| enable_fail || function.name != "fail")
}

/// How the workers of each function are started.
pub(super) fn worker_commands(config: &Config) -> BTreeMap<String, WorkerCommand> {
    let built_in =
        offered(config).map(|function| (function.name.to_owned(), built_in(function.name, config.grace)));
    let declared = config.functions.iter().map(|(name, function)| (name.clone(), declared(function)));
    built_in.chain(declared).collect()
}

/// A worker of a built-in function is this binary again.
fn built_in(name: &str, grace: Duration) -> WorkerCommand {
    WorkerCommand {
        argv: vec!["/proc/self/exe".into(), WORKER_ARGUMENT.into(), name.into()],
        env: environment(&[], &BTreeMap::new()),
        cwd: "/".into(),
        start_timeout: Duration::from_secs(30),
        grace,
        limits: WorkerLimits {
            memory_soft: None,
            memory_hard: None,
            hang_after: None,
            max_age: None,
            max_output_bytes: MAX_OUTPUT_BYTES,
        },
        rules: Rules::default(),
        output_schema: None,
    }
}

/// A program that speaks the protocol is started as it is, another one behind an adapter.
fn declared(function: &Function) -> WorkerCommand {
    WorkerCommand {
        argv: function.adapter.worker_argv(&function.command),
        env: environment(&function.pass_env, &function.env),
        cwd: function.cwd.clone(),
        start_timeout: function.start_timeout,
        grace: function.grace,
        limits: WorkerLimits {
            memory_soft: function.memory_soft,
            memory_hard: function.memory_hard,
            hang_after: function.hang_after,
            max_age: function.max_worker_age,
            max_output_bytes: function.adapter.max_output_bytes,
        },
        rules: Rules {
            workers: function.processes,
            max_tasks_per_worker: function.max_tasks_per_worker,
            max_failed_starts: function.max_failed_starts,
            chunk_time: match function.adapter.mode {
                // Each chunk starts a process, which may take longer than its tasks.
                Mode::Batch => BATCH_CHUNK_TIME,
                Mode::Exec | Mode::Lines | Mode::Frames => Rules::default().chunk_time,
            },
        },
        output_schema: function.output_schema.clone(),
    }
}

/// A clean environment, and what the operator adds. Libraries with thread pools of their own get one thread each, as
/// there is a worker for each CPU already.
pub(crate) fn environment(pass: &[String], set: &BTreeMap<String, String>) -> BTreeMap<String, OsString> {
    let threads = ONE_THREAD.iter().map(|name| ((*name).to_owned(), "1".into()));
    let names = PASSED_ENV.iter().copied().chain(pass.iter().map(String::as_str));
    let passed = names.filter_map(|name| Some((name.to_owned(), std::env::var_os(name)?)));
    let set = set.iter().map(|(name, value)| (name.clone(), value.into()));
    threads.chain(passed).chain(set).collect()
}

pub(super) fn function_views(config: &Config) -> Vec<FunctionView> {
    let built_in = offered(config).map(|function| {
        let json = |text| serde_json::from_str(text).unwrap_or(serde_json::Value::Null);
        let (input, output) = function.example;
        FunctionView {
            name: function.name.to_owned(),
            description: function.description.to_owned(),
            mode: "built-in",
            input: Some(function.input.to_owned()),
            output: Some(function.output.to_owned()),
            example: Some(serde_json::json!({"input": json(input), "output": json(output)})),
            input_schema: None,
            output_schema: None,
            options: FunctionOptions::default(),
        }
    });
    let declared = config.functions.iter().map(|(name, function)| FunctionView {
        name: name.clone(),
        description: function.description.clone(),
        mode: function.adapter.mode.as_str(),
        input: None,
        output: None,
        example: None,
        input_schema: function.input_schema.clone(),
        output_schema: function.output_schema.clone(),
        options: FunctionOptions {
            timeout_ms: function.timeout.map(|timeout| timeout.as_secs_f64() * 1e3),
            max_attempts: function.max_attempts,
            retry_backoff_ms: function.retry_backoff.as_secs_f64() * 1e3,
            processes: function.processes,
        },
    });
    built_in.chain(declared).collect()
}
