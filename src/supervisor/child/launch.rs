//! How a worker's process is started: by a guard, with three pipes and nothing else of the server.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};

use crate::model::{Timestamp, WorkerName};
use crate::schema::Schema;
use crate::supervisor::WorkerLimits;
use crate::sys::{guard, pass_fds};

/// Pipes of this size take most chunks in one write.
const PIPE_BYTES: usize = 1 << 18;

/// All that a start needs.
#[derive(Debug)]
pub(in crate::supervisor) struct Launch {
    pub(in crate::supervisor) name: WorkerName,
    /// The program and its arguments.
    pub(in crate::supervisor) argv: Vec<OsString>,
    /// The whole environment of the worker.
    pub(in crate::supervisor) env: BTreeMap<String, OsString>,
    /// The directory it runs in.
    pub(in crate::supervisor) cwd: PathBuf,
    /// The lock on the data directory, which the guard holds as well.
    pub(in crate::supervisor) lock: OwnedFd,
    /// How long it may take until it is ready.
    pub(in crate::supervisor) start_timeout: Duration,
    /// How long it has from being asked to end to being killed.
    pub(in crate::supervisor) grace: Duration,
    /// What it and all below it may use.
    pub(in crate::supervisor) limits: WorkerLimits,
    /// What its outputs must be.
    pub(in crate::supervisor) output_schema: Option<Schema>,
    /// The wall clock, for what it prints.
    pub(in crate::supervisor) now: fn() -> Timestamp,
}

impl Launch {
    /// Starts the guard, which starts the worker; gives the guard with the worker's pipes, and the socket to it.
    pub(super) fn start(&self) -> io::Result<(Child, UnixStream)> {
        let (control, theirs) = UnixStream::pair()?;
        let mut command = Command::new("/proc/self/exe");
        command.arg0("gristmill").arg(guard::ARGUMENT).args(&self.argv);
        command.env_clear().envs(&self.env).current_dir(&self.cwd);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        pass_fds(&mut command, vec![theirs.into(), self.lock.try_clone()?]);
        let child = command.spawn()?;
        if let Some(pipe) = &child.stdin {
            prepare(pipe)?;
        }
        if let Some(pipe) = &child.stdout {
            prepare(pipe)?;
        }
        if let Some(pipe) = &child.stderr {
            prepare(pipe)?;
        }
        Ok((child, control))
    }
}

/// Our end does not block, and the pipe is large where the system lets us have that.
fn prepare(pipe: &impl AsFd) -> io::Result<()> {
    let _ = rustix::pipe::fcntl_setpipe_size(pipe, PIPE_BYTES);
    fcntl_setfl(pipe, fcntl_getfl(pipe)? | OFlags::NONBLOCK)?;
    Ok(())
}
