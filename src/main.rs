//! The binary: a server and its command line; started again by itself, a guard, a built-in worker or an adapter; and
//! the first process of a container.

use std::ffi::OsString;
use std::io;
use std::process::ExitCode;

use gristmill::{adapter, app, cli, functions, sys};

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().skip(1).collect();
    name_process();
    if sys::init::is_needed() {
        return sys::init::main(&arguments);
    }
    let first = arguments.first().and_then(|argument| argument.to_str());
    match first {
        Some(sys::guard::ARGUMENT) => sys::guard::main(&arguments[1..]),
        Some(app::WORKER_ARGUMENT) => {
            exit_code(work(arguments.get(1).and_then(|name| name.to_str()).unwrap_or_default()))
        }
        Some(adapter::ARGUMENT) => exit_code(adapter::main(&arguments[1..])),
        _ => cli::main(),
    }
}

/// Started through `/proc/self/exe`, the process would be shown as `exe`.
fn name_process() {
    // Only what `ps` shows depends on it.
    let _ = rustix::thread::set_name(c"gristmill");
}

fn work(name: &str) -> io::Result<()> {
    let unknown = || io::Error::other(format!("there is no built-in function {name:?}"));
    functions::serve(functions::find(name).ok_or_else(unknown)?)
}

fn exit_code(outcome: io::Result<()>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        // The server has gone, and nobody is left to be told.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}
