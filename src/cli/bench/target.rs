//! The server that is measured: an own one with the functions of the workloads, or any other.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde_json::{Value, json};

use super::wire::Wire;
use crate::cli::own_server::OwnServer;
use crate::sys;

const SHIM: &str = include_str!("../../../workers/python/gristmill.py");
const ECHO_PY: &str = "\
import gristmill

@gristmill.function
def echo(input):
    return input

gristmill.run()
";
const SHA256_PY: &str = "\
import gristmill
from hashlib import sha256

@gristmill.function
def digest(text):
    return sha256(text.encode()).hexdigest()

gristmill.run()
";
const FUNCTIONS: &str = r#"
[functions.bench-echo]
command = ["python3", "bench_echo.py"]
mode = "frames"

[functions.bench-sha256]
command = ["python3", "bench_sha256.py"]
mode = "frames"

[functions.bench-true]
command = ["/bin/true"]
mode = "exec"
output = "text"
"#;

/// A server, as far as a measurement has to know it.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// Where it listens.
    pub(super) address: String,
    /// Its process, if it is on this machine and ours.
    pub(super) pid: Option<u32>,
    /// A directory on the disk that its data is on, as far as is known.
    pub(super) dir: PathBuf,
    /// How many slots it has.
    pub(super) slots: u32,
    /// The functions that it offers.
    pub(super) functions: Vec<String>,
}

/// Where servers to measure come from.
#[derive(Clone, Debug)]
pub(super) struct Site {
    /// The address of the one there is, if there is one.
    pub(super) server: Option<String>,
    /// Where own ones keep their data.
    pub(super) dir: PathBuf,
}

/// A server that is measured; an own one ends with it.
pub(super) struct Served {
    /// The server.
    pub(super) target: Target,
    _own: Option<OwnServer>,
}

impl Site {
    /// A new server of our own, so that nothing of what was measured before is left in it; or the one there is.
    pub(super) fn open(&self) -> Result<Served> {
        if let Some(address) = &self.server {
            return Ok(Served { target: Target::new(address, None, &self.dir)?, _own: None });
        }
        let files = [
            ("gristmill.toml", FUNCTIONS),
            ("gristmill.py", SHIM),
            ("bench_echo.py", ECHO_PY),
            ("bench_sha256.py", SHA256_PY),
        ];
        let own = OwnServer::start("bench", &self.dir, &files)?;
        Ok(Served { target: Target::new(own.address(), Some(own.pid()), own.dir())?, _own: Some(own) })
    }
}

impl Target {
    /// Looks at a server.
    fn new(address: &str, pid: Option<u32>, dir: &Path) -> Result<Self> {
        let mut wire = Wire::open(address)?;
        let slots = wire.get("/v1/pool")?["slots"].as_u64().context("the pool has slots")? as u32;
        let functions = wire.get("/v1/functions")?;
        let functions = functions["items"].as_array().into_iter().flatten();
        let functions = functions.filter_map(|item| Some(item["name"].as_str()?.to_owned())).collect();
        Ok(Self { address: address.to_owned(), pid, dir: dir.to_owned(), slots, functions })
    }

    /// A new connection to it.
    pub(super) fn wire(&self) -> Result<Wire> {
        Wire::open(&self.address)
    }

    /// The CPU time that its process has used, in all its threads, in seconds: the kernel's CPU clock of the process,
    /// which counts nanoseconds and keeps what ended threads have used.
    pub(super) fn server_cpu_s(&self) -> Option<f64> {
        sys::process_cpu_ns(self.pid?).map(|ns| ns as f64 / 1e9)
    }

    /// The CPU time that the workers and guards have used that are alive, in seconds.
    pub(super) fn workers_cpu_s(&self) -> Option<f64> {
        let below = sys::proc::below(self.pid?);
        let ns: u64 = below.into_iter().filter_map(sys::process_cpu_ns).sum();
        Some(ns as f64 / 1e9)
    }

    /// The most memory that its process has held since [`Self::forget_peak_rss`].
    pub(super) fn peak_rss_bytes(&self) -> Option<f64> {
        sys::proc::max_rss_bytes(self.pid?).map(|bytes| bytes as f64)
    }

    /// Begins the peak anew: the kernel's `Documentation/filesystems/proc.rst`, `clear_refs`.
    pub(super) fn forget_peak_rss(&self) {
        if let Some(pid) = self.pid {
            // Without it the peak is that since the server's start, which is no less true.
            drop(fs::write(format!("/proc/{pid}/clear_refs"), "5"));
        }
    }

    /// Gives the pool at least so many slots, until what is returned is dropped.
    pub(super) fn widen(&self, slots: u32) -> Result<Widened<'_>> {
        resize(self, slots.max(self.slots))?;
        Ok(Widened(self))
    }
}

/// A pool that gets its old size back.
pub(super) struct Widened<'a>(&'a Target);

impl Drop for Widened<'_> {
    fn drop(&mut self) {
        if let Err(error) = resize(self.0, self.0.slots) {
            eprintln!("the pool keeps its size, not its {} slots: {error:#}", self.0.slots);
        }
    }
}

fn resize(target: &Target, slots: u32) -> Result<Value> {
    target.wire()?.call("PATCH", "/v1/pool", &json!({"slots": slots}).to_string())
}
