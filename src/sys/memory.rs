//! How much memory the cgroups that this process is in may hold, and how much there is left: version 2 (`memory.max`)
//! and version 1 (`memory.limit_in_bytes`).
//!
//! When a cgroup is full and nothing in it can be reclaimed, the kernel kills: one process, or the whole cgroup.
//! Source: the kernel's `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/memory.rst`.

use std::fs;
use std::path::PathBuf;

use super::cgroups::{self, number};

/// Version 1 says "no limit" with a number near 2^63.
const NO_LIMIT: u64 = 1 << 60;

/// A cgroup whose memory is limited.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Group {
    dir: PathBuf,
    files: &'static Files,
}

/// What a look at a cgroup has shown, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Reading {
    /// How much it may hold.
    pub limit: u64,
    /// How much more it can take before the kernel has to kill: what can be reclaimed or swapped out counts.
    pub room: u64,
}

/// How the two versions name the same things.
#[derive(PartialEq, Eq, Debug)]
struct Files {
    limit: &'static str,
    held: &'static str,
    /// Has a line `oom_kill` with how often the kernel has killed in it.
    kills: &'static str,
    /// Limit and use of swap; in version 1 with memory.
    swap_limit: &'static str,
    swap_held: &'static str,
    swap_has_memory: bool,
    /// What of `memory.stat` is given back on demand: file pages, not those of a tmpfs, and the kernel's own caches.
    reclaimable: &'static [&'static str],
}

const V2: Files = Files {
    limit: "memory.max",
    held: "memory.current",
    kills: "memory.events",
    swap_limit: "memory.swap.max",
    swap_held: "memory.swap.current",
    swap_has_memory: false,
    reclaimable: &["active_file", "inactive_file", "slab_reclaimable"],
};
const V1: Files = Files {
    limit: "memory.limit_in_bytes",
    held: "memory.usage_in_bytes",
    kills: "memory.oom_control",
    swap_limit: "memory.memsw.limit_in_bytes",
    swap_held: "memory.memsw.usage_in_bytes",
    swap_has_memory: true,
    reclaimable: &["total_active_file", "total_inactive_file"],
};

/// The cgroups of this process that have a limit now.
pub fn limited() -> Vec<Group> {
    limited_among(cgroups::own("memory"))
}

fn limited_among(dirs: Vec<PathBuf>) -> Vec<Group> {
    let groups = dirs.into_iter().flat_map(|dir| [&V2, &V1].map(|files| Group { dir: dir.clone(), files }));
    groups.filter(|group| group.limit().is_some()).collect()
}

impl Group {
    /// Looks. `None` if it has no limit any more. `free_swap` is what the machine has of that, in bytes.
    pub fn read(&self, free_swap: u64) -> Option<Reading> {
        let limit = self.limit()?;
        let held = self.number(self.files.held)?;
        let stat = fs::read_to_string(self.dir.join("memory.stat")).unwrap_or_default();
        let used = held.saturating_sub(self.reclaimable(&stat));
        let room = limit.saturating_sub(used) + self.swap_room(limit, held).min(free_swap);
        Some(Reading { limit, room })
    }

    /// How often the kernel has killed a process in it for want of memory.
    pub fn kills(&self) -> u64 {
        let text = fs::read_to_string(self.dir.join(self.files.kills)).unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix("oom_kill "));
        line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
    }

    fn limit(&self) -> Option<u64> {
        self.number(self.files.limit).filter(|limit| *limit < NO_LIMIT)
    }

    fn reclaimable(&self, stat: &str) -> u64 {
        let fields = stat.lines().filter_map(|line| line.split_once(' '));
        let counted = fields.filter(|(name, _)| self.files.reclaimable.contains(name));
        counted.filter_map(|(_, bytes)| bytes.trim().parse::<u64>().ok()).sum()
    }

    /// How much more may be swapped out; where nothing limits that, any amount.
    fn swap_room(&self, limit: u64, held: u64) -> u64 {
        let both = (self.number(self.files.swap_limit), self.number(self.files.swap_held));
        let (Some(most), Some(swapped)) = both else { return u64::MAX };
        if self.files.swap_has_memory {
            most.saturating_sub(limit).saturating_sub(swapped.saturating_sub(held))
        } else {
            most.saturating_sub(swapped)
        }
    }

    fn number(&self, file: &str) -> Option<u64> {
        number(&self.dir.join(file))
    }
}

/// The machine's free swap, in bytes.
pub fn free_swap() -> u64 {
    let info = rustix::system::sysinfo();
    info.freeswap * u64::from(info.mem_unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Fixture(tempfile::TempDir);

    impl Fixture {
        fn new(files: &[(&str, &str)]) -> Self {
            let dir = tempfile::TempDir::new().unwrap();
            for (path, text) in files {
                let path = dir.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, text).unwrap();
            }
            Self(dir)
        }

        fn limited(&self, cgroups: &str) -> Vec<Group> {
            limited_among(cgroups::of(self.0.path(), cgroups, "memory"))
        }

        fn read(&self, cgroups: &str, free_swap: u64) -> Vec<(u64, u64)> {
            let read = |group: Group| group.read(free_swap).map(|reading| (reading.limit, reading.room));
            self.limited(cgroups).into_iter().filter_map(read).collect()
        }
    }

    const STAT: &str =
        "anon 500\nfile 330\nshmem 30\nactive_file 100\ninactive_file 200\nslab_reclaimable 7\n";

    #[test]
    fn version_2_counts_what_cannot_be_reclaimed() {
        let fixture = Fixture::new(&[
            ("memory.max", "1000\n"),
            ("memory.current", "900\n"),
            ("memory.stat", STAT),
            ("memory.swap.max", "50\n"),
            ("memory.swap.current", "10\n"),
        ]);
        assert_eq!(fixture.read("0::/\n", 0), [(1000, 407)]);
        assert_eq!(fixture.read("0::/\n", 1 << 30), [(1000, 447)], "what may be swapped out");
        // A container often sees the path of its cgroup on the host, and its own as the root.
        assert_eq!(fixture.read("0::/kubepods/pod1\n", 0), [(1000, 407)]);
        let unlimited = Fixture::new(&[("memory.max", "max\n"), ("memory.current", "900\n")]);
        assert!(unlimited.limited("0::/\n").is_empty());
    }

    #[test]
    fn version_1_counts_what_cannot_be_reclaimed() {
        let stat = "cache 300\nactive_file 1\ntotal_active_file 100\ntotal_inactive_file 200\n";
        let fixture = Fixture::new(&[
            ("memory/box/memory.limit_in_bytes", "1000\n"),
            ("memory/box/memory.usage_in_bytes", "900\n"),
            ("memory/box/memory.stat", stat),
            ("memory/box/memory.memsw.limit_in_bytes", "1500\n"),
            ("memory/box/memory.memsw.usage_in_bytes", "1000\n"),
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
        ]);
        assert_eq!(fixture.read("4:memory:/box\n0::/\n", 0), [(1000, 400)]);
        assert_eq!(fixture.read("4:memory:/box\n", 1 << 30), [(1000, 800)]);
    }

    #[test]
    fn both_versions_count_what_the_kernel_has_killed() {
        let v2 = [("memory.max", "1000"), ("memory.events", "oom 9\noom_kill 3\noom_group_kill 0\n")];
        let v1 = [
            ("memory/memory.limit_in_bytes", "1000"),
            ("memory/memory.oom_control", "under_oom 0\noom_kill 2\n"),
        ];
        assert_eq!(Fixture::new(&v2).limited("0::/\n")[0].kills(), 3);
        assert_eq!(Fixture::new(&v1).limited("4:memory:/\n")[0].kills(), 2);
    }

    #[test]
    fn every_limit_above_counts() {
        let fixture = Fixture::new(&[
            ("pod/memory.max", "1000"),
            ("pod/memory.current", "0"),
            ("pod/box/memory.max", "2000"),
            ("pod/box/memory.current", "100"),
        ]);
        assert_eq!(fixture.read("0::/pod/box\n", 0), [(2000, 1900), (1000, 1000)]);
    }
}
