//! A server over a temporary directory, for commands that try things out.

use std::fs;
use std::io::{self, BufRead as _, BufReader, Read as _};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::sys;

/// A server of this binary; it ends and its directory goes when it is dropped.
pub(super) struct OwnServer {
    process: Child,
    address: String,
    dir: PathBuf,
}

impl OwnServer {
    /// Starts one with its directory below `under`. `files` are put there first; one named `gristmill.toml` holds settings.
    pub(super) fn start(name: &str, under: &Path, files: &[(&str, &str)]) -> Result<Self> {
        let dir = under.join(format!("gristmill-{name}-{}", std::process::id()));
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        for (name, text) in files {
            fs::write(dir.join(name), text)?;
        }
        let (mut process, log) = spawn(&dir)?;
        // The log goes on to be read, so that the server never waits for room in the pipe.
        let mut log = BufReader::new(log);
        let address = log.by_ref().lines().map_while(Result::ok).find_map(|line| {
            let event: Value = serde_json::from_str(&line).ok()?;
            Some(event["address"].as_str()?.to_owned())
        });
        std::thread::spawn(move || io::copy(&mut log, &mut io::sink()));
        let Some(address) = address else {
            drop(process.wait());
            drop(fs::remove_dir_all(&dir));
            anyhow::bail!("the server did not start");
        };
        Ok(Self { process, address, dir })
    }

    /// Where it listens, such as `http://127.0.0.1:8080`.
    pub(super) fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    pub(super) fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Its directory.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

fn spawn(dir: &Path) -> Result<(Child, std::process::ChildStderr)> {
    let mut command = Command::new("/proc/self/exe");
    // What the caller's environment says, tokens among it, is for another server.
    for (name, _) in std::env::vars_os() {
        if name.as_encoded_bytes().starts_with(b"GRISTMILL_") {
            command.env_remove(name);
        }
    }
    command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--grace", "0s", "--data-dir"]);
    command.arg(dir.join("data")).stdin(Stdio::null()).stderr(Stdio::piped());
    // Ctrl-C is for the command, with which its server ends.
    command.process_group(0);
    let settings = dir.join("gristmill.toml");
    if settings.exists() {
        command.arg("--config").arg(settings);
    }
    sys::before_worker_exec(&mut command, std::process::id());
    let mut process = command.spawn().context("starting the server")?;
    let log = process.stderr.take().context("its log is piped")?;
    Ok((process, log))
}

impl Drop for OwnServer {
    fn drop(&mut self) {
        if let Some(pid) = Pid::from_raw(self.process.id() as i32) {
            let _ = kill_process(pid, Signal::TERM);
        }
        drop(self.process.wait());
        drop(fs::remove_dir_all(&self.dir));
    }
}
