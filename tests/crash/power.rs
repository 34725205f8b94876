//! The power goes: what was not synced is gone.
//!
//! An ext4 of its own on a loop device is shut down as `FS_IOC_SHUTDOWN` does it, without writing its journal, while the
//! server is stopped and so can answer nobody; then it is mounted again.

use std::path::PathBuf;
use std::process::Command;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use tempfile::TempDir;

use crate::alone;
use crate::common::Server;
use crate::common::procs::signal;
use crate::common::tracer::Tracer;
use crate::faults::may_trace;
use crate::history::survives;

struct Disk {
    dir: TempDir,
}

/// `EXT4_IOC_SHUTDOWN` with `EXT4_GOING_FLAGS_NOLOGFLUSH`.
const SHUT_DOWN: &str = "import fcntl, os, struct, sys
fcntl.ioctl(os.open(sys.argv[1], os.O_RDONLY), 0x8004587d, struct.pack('I', 2))";

impl Disk {
    /// `None` where this user may not mount.
    fn new() -> Option<Self> {
        let disk = Self { dir: TempDir::new().unwrap() };
        std::fs::create_dir(disk.mounted()).unwrap();
        let image = std::fs::File::create(disk.image()).unwrap();
        image.set_len(1 << 30).unwrap();
        let made = run(Command::new("mkfs.ext4").arg("-q").arg(disk.image()));
        match made.and_then(|()| disk.mount()) {
            Ok(()) => Some(disk),
            Err(why) => {
                // That takes a right that no package gives.
                eprintln!("skipped: {why}");
                None
            }
        }
    }

    fn image(&self) -> PathBuf {
        self.dir.path().join("image")
    }

    fn mounted(&self) -> PathBuf {
        self.dir.path().join("disk")
    }

    fn mount(&self) -> Result<(), String> {
        run(Command::new("mount").args(["-o", "loop"]).arg(self.image()).arg(self.mounted()))
    }

    /// A server with its data on this disk.
    fn server(&self) -> Server {
        let data = self.mounted().join("data");
        Server::with(&["--processes=2", "--data-dir", data.to_str().unwrap()])
    }

    /// From now on nothing of what is in memory reaches the disk.
    fn cut(&self) {
        run(Command::new("python3").args(["-c", SHUT_DOWN]).arg(self.mounted())).unwrap();
    }

    /// As the machine finds it when it starts again.
    fn reappear(&self) {
        run(Command::new("umount").arg(self.mounted())).unwrap();
        self.mount().unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        drop(run(Command::new("umount").arg("--lazy").arg(self.mounted())));
    }
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    let words = String::from_utf8_lossy(&output.stderr);
    if output.status.success() { Ok(()) } else { Err(format!("{command:?}: {words}")) }
}

#[test]
#[ignore = "long, and takes the right to mount: 10 power cuts"]
fn power_cut_at_any_moment() {
    let _alone = alone();
    let Some(disk) = Disk::new() else { return };
    let start = Instant::now();
    let figures = survives(&disk.server(), 10, |server, random, _| {
        random.pause(Duration::from_secs(1));
        signal(server.pid(), Signal::STOP);
        disk.cut();
        server.kill9();
        server.leaves_nothing_running();
        disk.reappear();
    });
    eprintln!("10 power cuts, {:.1?}: {figures:?}", start.elapsed());
}

/// Without the cut, what a failed sync left in the system's memory would still be there for the next start.
#[test]
#[ignore = "long, and takes the rights to mount and to trace: 10 failed syncs, each before a power cut"]
fn power_cut_after_a_failed_sync() {
    let _alone = alone();
    let Some(disk) = Disk::new() else { return };
    if !may_trace() {
        return;
    }
    let start = Instant::now();
    let figures = survives(&disk.server(), 10, |server, _, round| {
        // All from then on, as the database is closed with a sync.
        let tracer = Tracer::inject(server, "fsync,fdatasync", &format!("error=EIO:when={}+", 2 * round));
        assert!(!server.ended().success());
        drop(tracer);
        server.leaves_nothing_running();
        disk.cut();
        disk.reappear();
    });
    eprintln!("10 failed syncs with power cuts, {:.1?}: {figures:?}", start.elapsed());
}
