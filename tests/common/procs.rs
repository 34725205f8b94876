//! Processes as `/proc` shows them, and signals to them.

use std::collections::BTreeMap;
use std::fs;

use rustix::process::{Pid, Signal, kill_process};

/// A process that runs, as it was seen.
#[derive(Clone, Debug)]
pub(crate) struct Proc {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    pub(crate) name: String,
    pub(crate) arguments: String,
    /// In user and in kernel mode, in clock ticks (hundredths of a second).
    pub(crate) cpu_ticks: u64,
}

impl Proc {
    /// The process of this number, unless it has ended; a zombie has ended.
    pub(crate) fn find(pid: u32) -> Option<Self> {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        // The name stands in parentheses and may hold any character.
        let (head, tail) = stat.rsplit_once(") ")?;
        let fields: Vec<&str> = tail.split(' ').collect();
        if matches!(fields[0], "Z" | "X") {
            return None;
        }
        let number = |at: usize| fields[at].parse::<u64>().unwrap();
        Some(Self {
            pid,
            parent: number(1) as u32,
            name: head.split_once('(')?.1.to_owned(),
            arguments: fs::read_to_string(format!("/proc/{pid}/cmdline")).ok()?.replace('\0', " "),
            cpu_ticks: number(11) + number(12),
        })
    }

    /// Every process whose environment holds this text.
    pub(crate) fn with_environment(text: &str) -> Vec<Self> {
        let has_it = |pid: &u32| {
            let environment = fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environment.windows(text.len()).any(|window| window == text.as_bytes())
        };
        let numbers =
            fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
        numbers.filter(has_it).filter_map(Self::find).collect()
    }

    /// The most memory that it has held, in bytes.
    pub(crate) fn most_memory(pid: u32) -> u64 {
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }
}

/// Whether the process runs.
pub(crate) fn alive(pid: u32) -> bool {
    Proc::find(pid).is_some()
}

/// Sends a signal as `kill` does.
pub(crate) fn signal(pid: u32, signal: Signal) {
    kill_process(Pid::from_raw(pid as i32).unwrap(), signal).unwrap();
}

/// How often each thread of a process has gone to sleep by itself: how often it was woken.
pub(crate) fn wake_ups(pid: u32) -> BTreeMap<u32, u64> {
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else { return BTreeMap::new() };
    let count = |thread: &str| {
        let status = fs::read_to_string(format!("/proc/{pid}/task/{thread}/status")).ok()?;
        let line = status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:"))?;
        Some((thread.parse().ok()?, line.trim().parse().ok()?))
    };
    threads.filter_map(|entry| count(entry.ok()?.file_name().to_str()?)).collect()
}

/// How many bytes a process has read so far, from files that are in memory too.
pub(crate) fn bytes_read(pid: u32) -> u64 {
    let counts = fs::read_to_string(format!("/proc/{pid}/io")).unwrap();
    counts.lines().find_map(|line| line.strip_prefix("rchar: ")).unwrap().parse().unwrap()
}

/// Waits until a worker sleeps in its task. One that is killed before it has read the task is not charged with it.
pub(crate) fn wait_for_sleep(pid: u32) {
    let state = || fs::read_to_string(format!("/proc/{pid}/wchan")).unwrap_or_default();
    super::eventually("the worker to sleep", || super::check(state(), |state| state.contains("nanosleep")));
}
