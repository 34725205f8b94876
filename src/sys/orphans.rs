//! What a guard that was itself killed leaves behind: its worker dies with it, but what the worker started becomes a
//! child of this server, which is a subreaper too.

use std::fs;

use rustix::process::{Pid, Signal, WaitOptions, kill_process, set_child_subreaper, waitpid};

use super::{guard, proc};

/// Makes this process the parent of what its guards leave behind.
pub fn adopt() -> std::io::Result<()> {
    Ok(set_child_subreaper(Some(rustix::process::getpid()))?)
}

/// What one round kills may leave children to the next; no family is deeper than this.
const ROUNDS: u32 = 1000;

/// Kills and reaps the children of this process that are no guards, and all below them.
pub fn kill() {
    for _ in 0..ROUNDS {
        let orphans: Vec<u32> = children().filter(|pid| !is_ours(*pid)).collect();
        if orphans.is_empty() {
            return;
        }
        orphans.into_iter().for_each(kill_family);
    }
}

fn kill_family(orphan: u32) {
    let below = proc::descendants(orphan);
    for pid in below.into_iter().chain([orphan]).filter_map(|pid| Pid::from_raw(pid as i32)) {
        // It may have ended meanwhile.
        let _ = kill_process(pid, Signal::KILL);
    }
    let _ = waitpid(Pid::from_raw(orphan as i32), WaitOptions::empty());
}

fn children() -> impl Iterator<Item = u32> {
    let tasks = fs::read_dir("/proc/self/task").into_iter().flatten().flatten();
    let lists = tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok());
    let pids: Vec<u32> = lists
        .flat_map(|list| list.split(' ').filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
        .collect();
    pids.into_iter()
}

/// Whether it is a guard, or a fork of this process that is about to become one.
fn is_ours(pid: u32) -> bool {
    let command = |pid: &str| fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let its = command(&pid.to_string());
    its.split(|byte| *byte == 0).nth(1) == Some(guard::ARGUMENT.as_bytes()) || its == command("self")
}
