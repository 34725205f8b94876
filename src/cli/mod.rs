//! The command line: arguments in, exit code out.
//!
//! `submit`, `status` and their kin are clients: they know of a server only what its HTTP API says, and what they print as
//! JSON is its answer as it came.

mod acts;
mod backup;
mod bar;
mod bench;
mod check_worker;
mod client;
mod demo;
mod exit;
mod failure;
mod follow;
mod functions;
mod health;
mod input;
mod jobs;
mod lines;
mod logs;
mod manual;
mod map;
mod names;
mod options;
mod output;
mod own_server;
mod pool;
mod reading;
mod results;
mod serve;
mod show;
mod signals;
mod status;
mod streams;
mod submit;
mod table;
mod top;

use std::process::ExitCode;

use anyhow::Result;
use clap::{CommandFactory as _, Parser, Subcommand};

use acts::Act;

/// Pool.map over HTTP, for any language, that loses nothing.
#[derive(Parser, Debug)]
#[command(version, arg_required_else_help = true, after_help = exit::help())]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand, Debug)]
enum Command {
    /// Serve jobs over HTTP
    Serve(Box<serve::Arguments>),
    /// Read the settings as `serve` would, and say what is wrong with them
    CheckConfig(Box<serve::Arguments>),
    /// Ask the server of these settings on this machine whether it takes work: exit code 0 if it does
    Health(Box<health::Arguments>),
    /// Submit a job; its id is printed when it is durable
    Submit(Box<submit::Arguments>),
    /// Give an open job more inputs
    Add(submit::AddArguments),
    /// Show how far a job is and which processes work on it, or follow it to its end
    Status(status::Arguments),
    /// Write a job's results, as they came or as the inputs were
    Results(results::Arguments),
    /// Write what a job's tasks printed
    Logs(logs::Arguments),
    /// Map a function over the lines of standard input: `Pool.map` as a filter
    Map(Box<map::Arguments>),
    /// List jobs, the newest first
    Jobs(jobs::Arguments),
    /// End jobs: what runs is stopped, what is done stays
    Cancel(acts::Arguments),
    /// Begin no more tasks of jobs; those that run go on
    Pause(acts::Arguments),
    /// Let paused jobs go on
    Resume(acts::Arguments),
    /// Run the failed tasks of ended jobs again
    Retry(acts::Arguments),
    /// Let open jobs take no more inputs, and end when they are done
    Close(acts::Arguments),
    /// Delete ended jobs and their results
    Forget(acts::Arguments),
    /// Show the slots and the workers; resize the pool, end a worker
    Pool(pool::Arguments),
    /// Watch the pool and the jobs, live
    Top(top::Arguments),
    /// List what may be called
    Functions(functions::Arguments),
    /// Write a consistent copy of all jobs and results, while a server may be at work
    Backup(Box<backup::Arguments>),
    /// See every core at work: a real batch on a server of its own, then its time by number of processes
    Demo(demo::Arguments),
    /// Measure this machine end to end: throughput, latency, CPU time and memory, beside peers if asked for
    Bench(Box<bench::Arguments>),
    /// Check that a program is a worker: what holds of the protocol, and how fast it is
    CheckWorker(check_worker::Arguments),
    /// Print the completions of these commands for a shell
    Completions(manual::CompletionsArguments),
    /// Print a manual page: `gristmill man submit | man -l -`
    Man(manual::ManArguments),
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    match run(Cli::parse().command) {
        Ok(code) => code,
        Err(error) if error.is::<streams::NotRead>() => exit::NOT_READ.into(),
        Err(error) => {
            streams::tell(format_args!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

fn run(command: Command) -> Result<ExitCode> {
    match command {
        Command::Serve(arguments) => serve::run(*arguments).map(done),
        Command::CheckConfig(arguments) => serve::check(&arguments).map(done),
        Command::Health(arguments) => health::run(&arguments).map(done),
        Command::Submit(arguments) => submit::run(&arguments),
        Command::Add(arguments) => submit::add(&arguments),
        Command::Status(arguments) => status::run(&arguments),
        Command::Results(arguments) => results::run(&arguments),
        Command::Logs(arguments) => logs::run(&arguments),
        Command::Map(arguments) => map::run(&arguments),
        Command::Jobs(arguments) => jobs::run(&arguments),
        Command::Cancel(arguments) => acts::run(Act::Cancel, &arguments),
        Command::Pause(arguments) => acts::run(Act::Pause, &arguments),
        Command::Resume(arguments) => acts::run(Act::Resume, &arguments),
        Command::Retry(arguments) => acts::run(Act::Retry, &arguments),
        Command::Close(arguments) => acts::run(Act::Close, &arguments),
        Command::Forget(arguments) => acts::run(Act::Forget, &arguments),
        Command::Pool(arguments) => pool::run(&arguments),
        Command::Top(arguments) => top::run(&arguments),
        Command::Functions(arguments) => functions::run(&arguments),
        Command::Backup(arguments) => backup::run(&arguments).map(done),
        Command::Demo(arguments) => demo::run(&arguments),
        Command::Bench(arguments) => bench::run(*arguments),
        Command::CheckWorker(arguments) => check_worker::run(arguments).map(done),
        Command::Completions(arguments) => manual::completions(&arguments, Cli::command()),
        Command::Man(arguments) => manual::man(&arguments, Cli::command()),
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}

/// Runs a client to its end.
fn block_on<T>(client: impl Future<Output = Result<T>>) -> Result<T> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let outcome = runtime.block_on(client);
    // The thread that reads standard input may wait for it for ever.
    runtime.shutdown_background();
    outcome
}
