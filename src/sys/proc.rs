//! What `/proc` tells of processes.

use std::collections::HashMap;
use std::fs;
use std::time::Duration;

/// The most memory that process `pid` has held, in bytes; `None` once it has ended.
pub fn max_rss_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// Whether process `pid` waits to read its stdin, as far as one may know.
pub fn reads_stdin(pid: u32) -> bool {
    let call = fs::read_to_string(format!("/proc/{pid}/syscall")).unwrap_or_default();
    let mut words = call.split(' ');
    let number = words.next().and_then(|number| number.parse::<i64>().ok());
    number == Some(libc::SYS_read) && words.next() == Some("0x0")
}

/// The CPU time that process `pid` has used, with what the children used that it waited for.
pub fn cpu_time(pid: u32) -> Option<Duration> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let fields = behind_name(&stat)?;
    // utime, stime, cutime and cstime, the 14th to the 17th field; the first two stand before the name's end.
    let ticks: u64 = fields.skip(11).take(4).filter_map(|field| field.parse::<u64>().ok()).sum();
    Some(Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
}

/// What this process uses.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct OwnUsage {
    /// CPU time, without that of children, in seconds.
    pub cpu_seconds: f64,
    /// Memory, in bytes.
    pub resident_bytes: u64,
    /// Open descriptors.
    pub open_fds: u64,
    /// How many it may have open.
    pub max_fds: u64,
    /// When it started, in seconds since 1970.
    pub started_at_seconds: f64,
}

/// What this process uses; 0 where the system does not tell.
pub fn own_usage() -> OwnUsage {
    let pid = std::process::id();
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile);
    OwnUsage {
        cpu_seconds: super::process_cpu_ns(pid).unwrap_or(0) as f64 / 1e9,
        resident_bytes: resident_bytes(pid).unwrap_or(0),
        open_fds: fs::read_dir("/proc/self/fd").map_or(0, |fds| fds.count() as u64),
        max_fds: limit.current.unwrap_or(u64::MAX),
        started_at_seconds: started_at(pid).unwrap_or(0.0),
    }
}

fn started_at(pid: u32) -> Option<f64> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    // starttime, the 22nd field, in ticks since the boot.
    let ticks: f64 = behind_name(&stat)?.nth(19)?.parse().ok()?;
    let system = fs::read_to_string("/proc/stat").ok()?;
    let booted_at: f64 = system.lines().find_map(|line| line.strip_prefix("btime "))?.parse().ok()?;
    Some(booted_at + ticks / rustix::param::clock_ticks_per_second() as f64)
}

/// The memory that these processes hold together, in bytes: what they share counts once.
pub fn memory_bytes(pids: &[u32]) -> u64 {
    match pids {
        [pid] => resident_bytes(*pid).unwrap_or(0),
        pids => pids.iter().filter_map(|pid| proportional_bytes(*pid).or_else(|| resident_bytes(*pid))).sum(),
    }
}

/// The memory that these processes hold, in bytes: what they share counts for each. Quick, however much it is.
pub fn rss_bytes(pids: &[u32]) -> u64 {
    pids.iter().filter_map(|pid| resident_bytes(*pid)).sum()
}

fn resident_bytes(pid: u32) -> Option<u64> {
    let statm = fs::read_to_string(format!("/proc/{pid}/statm")).ok()?;
    Some(statm.split(' ').nth(1)?.parse::<u64>().ok()? * rustix::param::page_size() as u64)
}

/// Each page that several processes share counts for its part.
fn proportional_bytes(pid: u32) -> Option<u64> {
    let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// How often the kernel has killed a process for want of memory, on this machine.
pub fn oom_kills() -> Option<u64> {
    let vmstat = fs::read_to_string("/proc/vmstat").ok()?;
    vmstat.lines().find_map(|line| line.strip_prefix("oom_kill "))?.parse().ok()
}

/// The processes below `ancestor`, found from above: cheap where there are few of them.
pub fn below(ancestor: u32) -> Vec<u32> {
    let (mut found, mut next) = (Vec::new(), vec![ancestor]);
    while let Some(pid) = next.pop() {
        let tasks = fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        for children in tasks.filter_map(|task| fs::read_to_string(task.path().join("children")).ok()) {
            let children = children.split_ascii_whitespace().filter_map(|child| child.parse::<u32>().ok());
            next.extend(children.inspect(|child| found.push(*child)));
        }
    }
    found
}

/// The processes below `ancestor` that have not ended, in no order.
pub fn descendants(ancestor: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    for (pid, parent) in all().filter_map(|pid| Some((pid, parent_of(pid)?))) {
        children.entry(parent).or_default().push(pid);
    }
    let (mut found, mut next) = (Vec::new(), vec![ancestor]);
    while let Some(pid) = next.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(&below);
        next.extend(below);
    }
    found
}

fn all() -> impl Iterator<Item = u32> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

/// The fields of a process's `stat` from the third on. The name in the second may hold any byte, even `)`.
fn behind_name(stat: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let end = stat.iter().rposition(|byte| *byte == b')')? + 1;
    Some(std::str::from_utf8(&stat[end..]).ok()?.split_whitespace())
}

/// The parent of a process that has not ended.
fn parent_of(pid: u32) -> Option<u32> {
    let stat = fs::read(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = behind_name(&stat)?;
    let state = fields.next()?;
    if state == "Z" { None } else { fields.next()?.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_is_a_descendant_until_it_ends() {
        let mut child = std::process::Command::new("sleep").arg("100").spawn().unwrap();
        assert!(descendants(std::process::id()).contains(&child.id()));
        assert!(below(std::process::id()).contains(&child.id()));
        assert!(memory_bytes(&[std::process::id()]) > 100_000 && cpu_time(child.id()).is_some());
        assert!(memory_bytes(&[child.id(), std::process::id()]) > 100_000);
        assert!(max_rss_bytes(std::process::id()).unwrap() > 100_000);
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(!descendants(std::process::id()).contains(&child.id()));
    }
}
