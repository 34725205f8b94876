//! The machine that figures are from: without it they mean little.

use std::fs;
use std::process::Command;

use anyhow::Result;
use serde::Serialize;

use super::disk;
use super::measure::percentile;
use super::target::Target;
use crate::sys;

const SYNCS: u64 = 100;

/// What figures depend on.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Machine {
    /// CPUs that this process may use.
    cpus: u32,
    /// What they are.
    cpu_model: Option<String>,
    /// The kernel's release.
    kernel: String,
    /// This program's version.
    gristmill: &'static str,
    /// Python's version.
    python: Option<String>,
    /// The server's slots.
    slots: u32,
    /// The median time to append 4 KiB and have it on disk.
    fdatasync_p50_ms: f64,
    /// Whether the data is in memory, so that being durable costs nothing.
    data_in_memory: bool,
}

impl Machine {
    /// Looks around.
    pub(super) fn look(target: &Target) -> Result<Self> {
        Ok(Self {
            cpus: sys::cpus::available().count,
            cpu_model: cpu_model(),
            kernel: rustix::system::uname().release().to_string_lossy().into_owned(),
            gristmill: env!("CARGO_PKG_VERSION"),
            python: python(),
            slots: target.slots,
            fdatasync_p50_ms: percentile(&disk::syncs_ms(&target.dir, SYNCS)?, 0.5),
            data_in_memory: disk::is_in_memory(&target.dir),
        })
    }

    /// Whether Python is installed.
    pub(super) fn has_python(&self) -> bool {
        self.python.is_some()
    }
}

impl std::fmt::Display for Machine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "gristmill {} · {} CPUs ({}) · {} slots · Linux {} · Python {} · fdatasync p50 {:.2} ms{}",
            self.gristmill,
            self.cpus,
            self.cpu_model.as_deref().unwrap_or("of an unknown kind"),
            self.slots,
            self.kernel,
            self.python.as_deref().unwrap_or("not installed"),
            self.fdatasync_p50_ms,
            if self.data_in_memory { " (the data is in memory: syncs cost nothing)" } else { "" },
        )
    }
}

fn cpu_model() -> Option<String> {
    let text = fs::read_to_string("/proc/cpuinfo").ok()?;
    let line = text.lines().find(|line| line.starts_with("model name"))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn python() -> Option<String> {
    let output = Command::new("python3").arg("--version").output().ok()?;
    Some(String::from_utf8_lossy(&output.stdout).trim().trim_start_matches("Python ").to_owned())
}
