//! Cgroups for a server to be in: files that look like one, and real ones.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use crate::common::Server;

/// Files in the place of the cgroups, which only this server sees.
pub(crate) struct Fixture(TempDir);

impl Fixture {
    pub(crate) fn new(files: &[(&str, &str)]) -> Self {
        let fixture = Self(TempDir::new().unwrap());
        files.iter().for_each(|(name, text)| fixture.write(name, text));
        fixture
    }

    pub(crate) fn write(&self, name: &str, text: &str) {
        let path = self.0.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        // In one step: it is read all the time.
        fs::write(self.0.path().join("new"), text).unwrap();
        fs::rename(self.0.path().join("new"), path).unwrap();
    }

    /// A server that sees it; `None` where nothing may be mounted.
    pub(crate) fn server(&self, flags: &[&str]) -> Option<Server> {
        let mount = format!("mount --bind {} /sys/fs/cgroup && exec \"$@\"", self.0.path().display());
        for unshare in [&["unshare", "--mount"][..], &["unshare", "--mount", "--map-root-user"]] {
            let wrapper = [unshare, &["sh", "-c", &mount, "sh"]].concat();
            let tried = Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").output();
            if tried.is_ok_and(|output| output.status.success()) {
                return Some(Server::wrapped(&wrapper, TempDir::new().unwrap(), flags, &[]).unwrap());
            }
        }
        // That takes a right that no package gives, so it is not asked for on CI either.
        eprintln!("skipped: nothing can be mounted here");
        None
    }
}

/// A cgroup of this test's own, which goes with it.
pub(crate) struct Cgroup {
    pub(crate) dir: PathBuf,
    pub(crate) is_v2: bool,
}

impl Cgroup {
    /// One that limits this; `None` where none can be made.
    pub(crate) fn limiting(controller: &str) -> Option<Self> {
        let name = format!("gristmill-test-{controller}-{}", std::process::id());
        let v2 = fs::read_to_string("/sys/fs/cgroup/cgroup.subtree_control").unwrap_or_default();
        let is_v2 = v2.split_whitespace().any(|name| name == controller);
        let root = Path::new("/sys/fs/cgroup").join(if is_v2 { "" } else { controller });
        let dir = root.join(name);
        // A directory anywhere else has no such file in it.
        if fs::create_dir(&dir).is_ok() && dir.join("cgroup.procs").exists() {
            return Some(Self { dir, is_v2 });
        }
        eprintln!("skipped: no cgroup for {controller} can be made here");
        None
    }

    pub(crate) fn write(&self, v2: &str, v1: &str, text: &str) {
        fs::write(self.dir.join(if self.is_v2 { v2 } else { v1 }), text).unwrap();
    }

    pub(crate) fn server(&self, flags: &[&str]) -> Server {
        let enter = format!("echo $$ > {}/cgroup.procs && exec \"$@\"", self.dir.display());
        Server::wrapped(&["sh", "-c", &enter, "sh"], TempDir::new().unwrap(), flags, &[]).unwrap()
    }

    /// How often the kernel has killed in it for want of memory.
    pub(crate) fn oom_kills(&self) -> u64 {
        let file = if self.is_v2 { "memory.events" } else { "memory.oom_control" };
        let text = fs::read_to_string(self.dir.join(file)).unwrap();
        text.lines().find_map(|line| line.strip_prefix("oom_kill ")).unwrap().parse().unwrap()
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // The server in it ends when the test does; one of version 1 knows no way to be told when it is empty.
        let _ = fs::remove_dir(&self.dir);
    }
}
