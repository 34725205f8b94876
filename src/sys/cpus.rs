//! How many CPUs this process may really use, and why that many: the affinity mask, clamped by the CPU quota of the
//! cgroups it is in, version 2 (`cpu.max`) and version 1 (`cpu.cfs_quota_us`).
//!
//! Beside `std::thread::available_parallelism`, which some builds answer with the host's count in a container.
//! Source: the kernel's `Documentation/admin-guide/cgroup-v2.rst` and `Documentation/scheduler/sched-bwc.rst`.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use super::cgroups;

/// How many CPUs, and where the number comes from.
#[derive(Clone, PartialEq, Debug)]
pub struct Cpus {
    /// The number, at least 1.
    pub count: u32,
    /// Where it comes from.
    pub reason: Reason,
}

/// Where the number of CPUs comes from.
#[derive(Clone, PartialEq, Debug)]
pub enum Reason {
    /// The CPUs that this process may run on.
    Affinity,
    /// A cgroup's quota, in CPUs, below the affinity's count.
    Quota {
        /// The file that says so.
        file: PathBuf,
        /// The quota in CPUs; slots are its whole part, at least one.
        cpus: f64,
    },
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Affinity => f.write_str("the CPUs this process may run on"),
            Self::Quota { file, cpus } => write!(f, "the CPU quota of {cpus:.2} in {}", file.display()),
        }
    }
}

/// The CPUs that this process may use now.
pub fn available() -> Cpus {
    let affinity = rustix::thread::sched_getaffinity(None).map_or(1, |set| set.count()).max(1);
    let quota = quotas(&cgroups::own("cpu")).into_iter().min_by(|a, b| a.1.total_cmp(&b.1));
    match quota {
        Some((file, cpus)) if cpus < f64::from(affinity) => {
            Cpus { count: (cpus as u32).max(1), reason: Reason::Quota { file, cpus } }
        }
        _ => Cpus { count: affinity, reason: Reason::Affinity },
    }
}

/// The quotas of these cgroups, in CPUs, with the file that says so.
fn quotas(groups: &[PathBuf]) -> Vec<(PathBuf, f64)> {
    groups.iter().filter_map(|group| quota(group)).collect()
}

fn quota(group: &Path) -> Option<(PathBuf, f64)> {
    let number = |file: &Path| fs::read_to_string(file).ok()?.trim().parse::<f64>().ok();
    let v2 = group.join("cpu.max");
    if let Ok(text) = fs::read_to_string(&v2) {
        let (quota, period) = text.trim().split_once(' ')?;
        return Some((v2, quota.parse::<f64>().ok()? / period.parse::<f64>().ok()?));
    }
    let v1 = group.join("cpu.cfs_quota_us");
    let quota = number(&v1).filter(|quota| *quota > 0.0)?;
    Some((v1, quota / number(&group.join("cpu.cfs_period_us"))?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lowest_quota_of_the_group_and_those_above_it_counts() {
        let dir = std::env::temp_dir().join(format!("gristmill-cpus-{}", std::process::id()));
        let write = |path: &str, text: &str| {
            let path = dir.join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        write("pod/cpu.max", "150000 100000\n");
        write("pod/box/cpu.max", "max 100000\n");
        write("cpu/old/cpu.cfs_quota_us", "50000\n");
        write("cpu/old/cpu.cfs_period_us", "100000\n");
        let cpus = |cgroups: &str| {
            quotas(&cgroups::of(&dir, cgroups, "cpu")).into_iter().map(|(_, cpus)| cpus).collect::<Vec<_>>()
        };
        assert_eq!(cpus("0::/pod/box\n"), [1.5]);
        assert_eq!(cpus("4:cpu,cpuacct:/old\n3:memory:/old\n"), [0.5]);
        assert!(cpus("0::/elsewhere\n").is_empty());
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn there_is_at_least_one() {
        assert!(available().count >= 1);
    }
}
