//! What the disk makes of 4 KiB that are to be durable: the floor under every answered submit.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::Path;
use std::time::Instant;

use anyhow::{Context as _, Result};

const BLOCK: [u8; 4096] = [0x5a; 4096];
/// `TMPFS_MAGIC` of the kernel's `include/uapi/linux/magic.h`.
const TMPFS: u64 = 0x0102_1994;

/// Appends 4 KiB and calls fdatasync, so many times; the milliseconds that each took.
pub(super) fn syncs_ms(dir: &Path, times: u64) -> Result<Vec<f64>> {
    let path = dir.join(format!("gristmill-bench-sync-{}", std::process::id()));
    let file = File::create(&path).with_context(|| format!("making {}", path.display()))?;
    let outcome = (0..times).map(|_| sync_ms(&file)).collect();
    fs::remove_file(&path)?;
    outcome
}

fn sync_ms(mut file: &File) -> Result<f64> {
    let since = Instant::now();
    file.write_all(&BLOCK)?;
    file.sync_data()?;
    Ok(since.elapsed().as_secs_f64() * 1e3)
}

/// Whether the directory is in memory, where a sync costs nothing.
pub(super) fn is_in_memory(dir: &Path) -> bool {
    rustix::fs::statfs(dir).is_ok_and(|stat| stat.f_type as u64 == TMPFS)
}
