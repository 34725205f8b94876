//! The locks on a data directory: one server at a time, and no server beside the workers of an earlier one.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use rustix::fs::{FlockOperation, flock};

/// A server that was killed while it started a process leaves its lock with that process for a moment: between its
/// `fork` and its `exec`.
const SERVER_LOCK_WAIT: Duration = Duration::from_secs(1);
/// How long the workers of an earlier server that died have to go.
const LOCK_WAIT: Duration = Duration::from_secs(12);

/// The locks on a data directory. A process that dies gives its locks back, however it dies.
pub(super) struct Locks {
    /// Held by the one server.
    _server: File,
    /// Held by the server and by each of its guards: free once every worker is gone.
    pub(super) workers: File,
}

/// Takes both locks: the first within a moment or not at all, the second when the workers of a server that died are gone.
pub(super) fn lock_data_dir(dir: &Path) -> Result<Locks> {
    let mut server = open_lock(&dir.join("lock"))?;
    let until = Instant::now() + SERVER_LOCK_WAIT;
    while flock(&server, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= until {
            let holder = fs::read_to_string(dir.join("lock")).unwrap_or_default();
            bail!("{} is in use by another gristmill server (process {holder})", dir.display());
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    server.set_len(0)?;
    server.write_all(std::process::id().to_string().as_bytes())?;
    let workers = open_lock(&dir.join("workers.lock"))?;
    let until = Instant::now() + LOCK_WAIT;
    let mut says_so_at = Some(Instant::now() + Duration::from_secs(1));
    while flock(&workers, FlockOperation::NonBlockingLockExclusive).is_err() {
        if Instant::now() >= until {
            bail!(
                "workers of an earlier server on {} are still there: ps -ef shows their guards",
                dir.display()
            );
        }
        if says_so_at.take_if(|at| *at <= Instant::now()).is_some() {
            tracing::warn!("workers of an earlier server are still there; waiting for their end");
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    Ok(Locks { _server: server, workers })
}

fn open_lock(path: &Path) -> Result<File> {
    let opened = File::options().read(true).write(true).create(true).truncate(false).open(path);
    opened.with_context(|| format!("opening {}", path.display()))
}
