//! Room on the disk: a reserve that is given up when the disk is full, so that what frees room can still be written.
//!
//! While it is full, nothing new is taken in: no submits, no leases, no logs. Results, cancels and deletes go on in the
//! reserve. When there is room for the reserve twice over, it is taken back, and all goes on as before.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{FallocateFlags, fallocate, statvfs};

const FILE_NAME: &str = "reserve";
const MOST_BYTES: u64 = 32 << 20;
const LEAST_BYTES: u64 = 512 << 10;
/// The reserve is this part of the disk, within the bounds above. The log is held to the same size, so that there is room
/// to move it into the database even then.
const PART: u64 = 16;
/// The disk is asked for its free room at most so often.
const LOOK_EVERY: Duration = Duration::from_millis(200);

/// The room on the disk that holds the database.
#[derive(Debug)]
pub(super) struct Space {
    dir: PathBuf,
    /// Since when it is full, and when that was last looked up.
    full: Option<Instant>,
}

impl Space {
    /// Takes the reserve, if there is room for it.
    pub(super) fn new(dir: &Path) -> Self {
        let space = Self { dir: dir.to_owned(), full: None };
        space.take_reserve();
        space
    }

    /// Gives the reserve of an earlier start up, so that a full disk does not keep a server from starting.
    pub(super) fn give_up_reserve(dir: &Path) {
        // There may be none.
        drop(fs::remove_file(dir.join(FILE_NAME)));
    }

    /// How large the reserve is, and the log may be, in bytes.
    pub(super) fn reserve_bytes(dir: &Path) -> u64 {
        let all = statvfs(dir).map_or(0, |disk| disk.f_blocks * disk.f_frsize);
        (all / PART).clamp(LEAST_BYTES, MOST_BYTES)
    }

    /// A write found no room.
    pub(super) fn ran_out(&mut self) {
        if self.full.is_none() {
            tracing::error!(
                dir = %self.dir.display(),
                "the disk is full: nothing new is taken in until there is room; results and deletes go on in a reserve"
            );
        }
        self.full.get_or_insert_with(Instant::now);
        Self::give_up_reserve(&self.dir);
    }

    /// Whether there is no room for anything new.
    pub(super) fn is_full(&mut self) -> bool {
        if self.full.is_some_and(|at| at.elapsed() >= LOOK_EVERY) {
            self.full = Some(Instant::now());
            if Self::free_bytes(&self.dir) >= 2 * Self::reserve_bytes(&self.dir) && self.take_reserve() {
                tracing::info!("there is room on the disk again");
                self.full = None;
            }
        }
        self.full.is_some()
    }

    /// Whether it was full when that was last looked up.
    pub(super) fn was_full(&self) -> bool {
        self.full.is_some()
    }

    fn take_reserve(&self) -> bool {
        let allocate = || {
            let file =
                File::options().write(true).create(true).truncate(false).open(self.dir.join(FILE_NAME))?;
            fallocate(&file, FallocateFlags::empty(), 0, Self::reserve_bytes(&self.dir))?;
            Ok::<(), std::io::Error>(())
        };
        let outcome = allocate();
        if let Err(error) = &outcome {
            Self::give_up_reserve(&self.dir);
            tracing::warn!(%error, "there is no room for a reserve on the disk");
        }
        outcome.is_ok()
    }

    /// How much room there is, in bytes.
    pub(super) fn free_bytes(dir: &Path) -> u64 {
        statvfs(dir).map_or(0, |disk| disk.f_bavail * disk.f_frsize)
    }
}
