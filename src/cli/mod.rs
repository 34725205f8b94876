//! The command line: arguments in, exit code out.

mod backup;
mod bench;
mod check_worker;
mod client;
mod demo;
mod health;
mod map;
mod own_server;
mod serve;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// Pool.map over HTTP, for any language, that loses nothing.
#[derive(Parser, Debug)]
#[command(version, arg_required_else_help = true)]
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
    /// Map a function over the lines of standard input, on a running server: `Pool.map` as a filter
    Map(map::Arguments),
    /// Write a consistent copy of all jobs and results, while a server may be at work
    Backup(Box<backup::Arguments>),
    /// See every core at work: a real batch on a server of its own, then its time by number of processes
    Demo(demo::Arguments),
    /// Measure this machine end to end: throughput, latency, CPU time and memory, beside peers if asked for
    Bench(Box<bench::Arguments>),
    /// Check that a program is a worker: what holds of the protocol, and how fast it is
    CheckWorker(check_worker::Arguments),
}

/// Does what the arguments say.
pub fn main() -> ExitCode {
    let outcome = match Cli::parse().command {
        Command::Serve(arguments) => serve::run(*arguments).map(done),
        Command::CheckConfig(arguments) => serve::check(&arguments).map(done),
        Command::Health(arguments) => health::run(&arguments).map(done),
        Command::Map(arguments) => map::run(&arguments),
        Command::Backup(arguments) => backup::run(&arguments).map(done),
        Command::Demo(arguments) => demo::run(&arguments).map(done),
        Command::Bench(arguments) => bench::run(*arguments).map(done),
        Command::CheckWorker(arguments) => check_worker::run(arguments).map(done),
    };
    match outcome {
        Ok(code) => code,
        Err(error) => {
            eprintln!("gristmill: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn done((): ()) -> ExitCode {
    ExitCode::SUCCESS
}
