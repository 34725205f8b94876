//! Programs that do not speak the `frames` protocol: each stands behind an adapter, which is this binary once more, a
//! worker to the server and a parent to the program.
//!
//! Imports `model`, `protocol`, `worker`, `sys`. Deliberately absent: limits of time and memory, which the server
//! holds for the adapter and all below it, and retries.

mod batch;
mod exec;
mod form;
mod lines;
mod program;
mod template;

use std::ffi::OsString;
use std::io;
use std::path::Path;

use rustix::fs::Access;
use serde::{Deserialize, Serialize};

use crate::sys::Family;
use crate::worker;
pub use form::{Input, Output};

/// The first argument that makes this binary an adapter; mode, forms and limit follow, then the program's argv.
pub const ARGUMENT: &str = "__adapter";

/// How a program is spoken to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// One process a task: input on stdin or in the arguments, output on stdout, the exit code the verdict.
    Exec,
    /// A warm filter: one JSON line in, one JSON line out, in order.
    Lines,
    /// A process for a chunk of tasks: lines in, the end of its input, lines out.
    Batch,
    /// The full protocol.
    Frames,
}

impl Mode {
    /// The word in the configuration.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Exec => "exec",
            Self::Lines => "lines",
            Self::Batch => "batch",
            Self::Frames => "frames",
        }
    }
}

/// What an adapter must know besides the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize, Serialize)]
pub struct Settings {
    /// How the program is spoken to; an adapter has no use for [`Mode::Frames`].
    pub mode: Mode,
    /// What a program in `exec` or `lines` mode reads for a task.
    pub input: Input,
    /// What a program in `exec` mode writes for a task.
    pub output: Output,
    /// The largest output of a task, in bytes.
    pub max_output_bytes: u64,
}

impl Settings {
    /// The argv of a worker that runs this program.
    pub fn worker_argv(&self, program: &[String]) -> Vec<OsString> {
        let program = program.iter().map(OsString::from);
        if self.mode == Mode::Frames {
            return program.collect();
        }
        let settings = serde_json::to_string(self).expect("words and a number always serialise");
        ["/proc/self/exe".into(), ARGUMENT.into(), settings.into()].into_iter().chain(program).collect()
    }
}

/// Serves as an adapter until stdin ends. `arguments` are the settings and the program's argv.
pub fn main(arguments: &[OsString]) -> io::Result<()> {
    let wrong = || io::Error::other("an adapter is started by the server only");
    let texts: Option<Vec<&str>> = arguments.iter().map(|argument| argument.to_str()).collect();
    let texts = texts.ok_or_else(wrong)?;
    let (settings, argv) = texts.split_first().ok_or_else(wrong)?;
    let settings: Settings = serde_json::from_str(settings)?;
    find(argv.first().ok_or_else(wrong)?)?;
    let argv = argv.iter().map(|argument| (*argument).to_owned()).collect();
    let host = Host { family: Family::found(true)?, argv, max_output: settings.max_output_bytes as usize };
    match settings.mode {
        Mode::Exec => worker::serve(&mut exec::Exec::new(host, settings.input, settings.output)),
        Mode::Lines => worker::serve(&mut lines::Lines::new(host, settings.input)),
        Mode::Batch => worker::serve(&mut batch::Batch::new(host)),
        Mode::Frames => Err(wrong()),
    }
}

/// Sees that there is such a program before any task needs it; one whose name an input gives is not known yet.
fn find(program: &str) -> io::Result<()> {
    if is_program(program, Path::new("")) || program.contains("{input") {
        return Ok(());
    }
    Err(io::Error::new(io::ErrorKind::NotFound, format!("there is no program {program:?} that may be run")))
}

/// Whether there is such a program, for one who starts it in `cwd` with this process's `PATH`.
pub fn is_program(program: &str, cwd: &Path) -> bool {
    let is_there = |path: &Path| rustix::fs::access(path, Access::EXEC_OK).is_ok() && path.is_file();
    if program.contains('/') {
        return is_there(&cwd.join(program));
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|dir| is_there(&dir.join(program)))
}

/// What every kind of adapter needs.
#[derive(Debug)]
struct Host {
    family: Family,
    argv: Vec<String>,
    max_output: usize,
}
