//! The bars: what each workload is to come to.

use serde::Serialize;

use super::measure::Run;
use super::peers::{EXECUTOR, FASTAPI, POOL, PeerRuns, THREADS};
use super::workloads::Workload;

/// By how much wall a task of ten million takes, over that of a million.
pub(super) const OVER_ECHO: &str = "wall_per_task_over_echo";
/// What more processes than slots cost.
pub(super) const OVER_BEST: &str = "worst_over_best";

/// A bar, and what was seen.
#[derive(Serialize, Clone, Debug)]
pub(super) struct Bar {
    /// What is asked.
    pub(super) words: String,
    /// What was measured, in the bar's unit.
    pub(super) value: f64,
    /// Whether that is enough.
    pub(super) met: bool,
}

/// What a bar is about.
#[derive(Clone, Copy)]
enum Of {
    /// The wall over a peer's.
    Peer(&'static str),
    /// A figure of the workload, in words.
    Figure(&'static str, &'static str),
    /// CPU time of the server, in microseconds a task.
    ServerCpu,
    /// Tasks a second, at least.
    Rate,
    /// The server's peak memory in megabytes.
    PeakRss,
}

fn bars_of(workload: Workload) -> &'static [(Of, f64)] {
    match workload {
        Workload::Echo => &[(Of::Peer(POOL), 1.5), (Of::ServerCpu, 0.6)],
        Workload::EchoPython => &[(Of::Peer(POOL), 2.0), (Of::Peer(EXECUTOR), 1.0)],
        Workload::Sha256 => &[(Of::Peer(POOL), 0.5)],
        Workload::Sha256Python => &[(Of::Peer(POOL), 1.3)],
        Workload::Count | Workload::Mine => &[(Of::Peer(THREADS), 1.04)],
        Workload::Skewed => &[(Of::Figure("wall_over_least", "× sum / slots"), 1.03)],
        Workload::SkewedAscending => &[(Of::Figure("wall_over_least", "× sum / slots"), 1.05)],
        Workload::Large => &[(Of::Peer(POOL), 1.5), (Of::Peer(FASTAPI), 1.0)],
        Workload::Latency => &[(Of::Figure("p50_over_bar", "× (3 fdatasync + 0.2 ms)"), 1.0)],
        Workload::Clients => &[(Of::Rate, 5000.0)],
        Workload::TenMillion => {
            &[(Of::Figure(OVER_ECHO, "× echo's wall a task"), 1.15), (Of::PeakRss, 128.0)]
        }
        Workload::Exec => &[(Of::Rate, 1000.0)],
        Workload::Oversubscription => &[(Of::Figure(OVER_BEST, "× the best"), 1.03)],
    }
}

/// The bars of a workload that can be judged by what was seen: none by a part of its tasks.
pub(super) fn judge(workload: Workload, scale: f64, median: &Run, peers: &[PeerRuns]) -> Vec<Bar> {
    if scale < 1.0 {
        return Vec::new();
    }
    let judged = bars_of(workload).iter().filter_map(|(of, limit)| {
        let value = of.value(median, peers)?;
        let met = if matches!(of, Of::Rate) { value >= *limit } else { value <= *limit };
        Some(Bar { words: of.words(*limit), value, met })
    });
    judged.collect()
}

impl Of {
    fn value(self, median: &Run, peers: &[PeerRuns]) -> Option<f64> {
        match self {
            Self::Peer(name) => peers.iter().find(|peer| peer.name == name)?.gristmill_over_peer,
            Self::Figure(name, _) => median.figures.get(name).copied(),
            Self::ServerCpu => median.server_cpu_us_per_task,
            Self::Rate => Some(median.tasks_per_s),
            Self::PeakRss => median.server_peak_rss_bytes.map(|bytes| bytes / 1e6),
        }
    }

    fn words(self, limit: f64) -> String {
        match self {
            Self::Peer(name) => format!("≤ {limit} × {name}"),
            Self::Figure(_, words) => format!("≤ {limit} {words}"),
            Self::ServerCpu => format!("≤ {limit} µs of the server a task"),
            Self::Rate => format!("≥ {limit} a second"),
            Self::PeakRss => format!("≤ {limit} MB"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bar_is_judged_only_by_what_was_seen() {
        let run = Run { server_cpu_us_per_task: Some(0.5), tasks_per_s: 4000.0, ..Run::default() };
        let alone = judge(Workload::Echo, 1.0, &run, &[]);
        assert_eq!((alone.len(), alone[0].met), (1, true));
        let peer =
            PeerRuns { name: POOL, runs_s: vec![1.0], gristmill_over_peer: Some(1.6), ..PeerRuns::default() };
        let beside = judge(Workload::Echo, 1.0, &run, &[peer]);
        assert_eq!((beside[0].words.as_str(), beside[0].met), ("≤ 1.5 × Pool.map", false));
        assert!(!judge(Workload::Clients, 2.0, &run, &[])[0].met);
        assert!(judge(Workload::Exec, 1.0, &run, &[])[0].met);
        assert!(judge(Workload::Exec, 0.99, &run, &[]).is_empty());
    }
}
