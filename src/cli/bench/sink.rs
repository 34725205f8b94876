//! Where a report goes: opened before anything is measured, so that a path that cannot be written costs no measurement.

use std::fs::File;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use serde::Serialize;

use crate::cli::streams::print;

/// Standard output, or a file.
pub(super) enum Sink {
    /// Standard output.
    Stdout,
    /// A file, open and empty.
    File(PathBuf, File),
}

impl Sink {
    /// Standard output for `-`, or a file.
    pub(super) fn open(path: &Path) -> Result<Self> {
        if path == Path::new("-") { Ok(Self::Stdout) } else { Self::file(path) }
    }

    /// A file.
    pub(super) fn file(path: &Path) -> Result<Self> {
        let file = File::create(path).with_context(|| format!("creating {}", path.display()))?;
        Ok(Self::File(path.to_owned(), file))
    }

    /// Writes all that goes there.
    pub(super) fn write(self, text: &str) -> Result<()> {
        match self {
            Self::Stdout => print(text),
            Self::File(path, mut file) => {
                file.write_all(text.as_bytes()).with_context(|| format!("writing {}", path.display()))
            }
        }
    }

    /// Writes this as JSON.
    pub(super) fn write_json(self, json: &impl Serialize) -> Result<()> {
        self.write(&(serde_json::to_string_pretty(json)? + "\n"))
    }
}
