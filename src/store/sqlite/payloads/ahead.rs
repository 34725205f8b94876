//! Large payloads begin their way to the disk while more of them come, so that the sync before a commit finds little to do.

use std::fs::File;
use std::path::PathBuf;
use std::sync::mpsc::{SyncSender, sync_channel};

/// A file is synced each time that it has grown by so many bytes.
const STEP: u64 = 4 << 20;
/// No more than so many files wait for that.
const QUEUE: usize = 8;

/// A thread that syncs files, for no other purpose than to have it done early: nobody relies on it.
#[derive(Debug)]
pub(super) struct SyncAhead {
    files: SyncSender<PathBuf>,
}

impl SyncAhead {
    /// Starts the thread, which ends by itself once this is dropped.
    pub(super) fn start() -> Self {
        let (files, incoming) = sync_channel::<PathBuf>(QUEUE);
        let run = move || {
            for path in incoming {
                // Opened anew: an error that is reported here is then reported again before the commit. A file that
                // is gone needs no sync.
                drop(File::open(path).and_then(|file| file.sync_data()));
            }
        };
        let thread = std::thread::Builder::new().name("store-sync-ahead".into()).spawn(run);
        thread.expect("a thread can be started while the server starts");
        Self { files }
    }

    /// So many bytes have been written there in a file.
    pub(super) fn wrote(&self, at: u64, size: usize, file: impl FnOnce() -> PathBuf) {
        if at / STEP != (at + size as u64) / STEP {
            // While many wait, the disk has enough to do.
            drop(self.files.try_send(file()));
        }
    }
}
