//! The cgroups that this process is in, of both versions, as far as a container shows them.
//!
//! Source: the kernel's `Documentation/admin-guide/cgroup-v2.rst` and `cgroup-v1/cgroups.rst`.

use std::fs;
use std::path::{Path, PathBuf};

/// Where they are mounted.
const MOUNT: &str = "/sys/fs/cgroup";

/// The directories of this process's cgroups for one of the controllers of version 1, and of version 2; those above
/// them as well, up to the root that is seen from here. A directory may not exist: a container's own is often mounted
/// as the root.
pub(super) fn own(controller: &str) -> Vec<PathBuf> {
    let cgroups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    of(Path::new(MOUNT), &cgroups, controller)
}

/// The same with these mounts, and this content of `/proc/self/cgroup`.
pub(super) fn of(mount: &Path, cgroups: &str, controller: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in cgroups.lines() {
        let mut fields = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (fields.next(), fields.next()) else { continue };
        let roots = match controllers {
            "" => vec![mount.to_owned(), mount.join("unified")],
            list if list == controller => vec![mount.join(list)],
            list if list.split(',').any(|name| name == controller) => {
                vec![mount.join(controller), mount.join(list)]
            }
            _ => continue,
        };
        let group = Path::new(path.trim_start_matches('/'));
        let dirs = roots.iter().flat_map(|root| group.ancestors().map(|above| root.join(above)));
        found.extend(dirs);
    }
    found
}

/// The number in a file that holds nothing else. `max` is none.
pub(super) fn number(file: &Path) -> Option<u64> {
    fs::read_to_string(file).ok()?.trim().parse().ok()
}
