//! The lanes of a trace: a process for each node, and in it a thread for each process of a worker.

use std::collections::HashMap;

use serde_json::json;

use super::events::{Events, Slice, SliceKind};
use crate::model::{Job, WorkerName};

/// So many processes have a lane each; behind them, those of one name share one.
pub(super) const MOST_LANES: usize = 200;

/// A place in [`Lanes`].
#[derive(Clone, Copy)]
pub(super) struct LaneId(usize);

pub(super) struct Lanes {
    /// The names of the nodes, this one first, and whether they have been told.
    nodes: Vec<(String, bool)>,
    /// On which other node a process was.
    elsewhere: HashMap<(String, u32), usize>,
    /// By worker and process; those that share one, by the worker alone.
    ids: HashMap<(String, Option<u32>), LaneId>,
    all: Vec<Lane>,
}

struct Lane {
    node: usize,
    end_ns: i64,
    /// What may still grow.
    open: Option<Slice>,
}

impl Lanes {
    pub(super) fn new(job: &Job, here: &str) -> Self {
        let (mut nodes, mut elsewhere) = (vec![(here.to_owned(), false)], HashMap::new());
        for share in job.workers.iter().filter(|share| share.node != here) {
            let known = nodes.iter().position(|(node, _)| *node == share.node);
            let node = known.unwrap_or_else(|| {
                nodes.push((share.node.clone(), false));
                nodes.len() - 1
            });
            elsewhere.insert((share.worker.clone(), share.pid), node);
        }
        Self { nodes, elsewhere, ids: HashMap::new(), all: Vec::new() }
    }

    /// Makes the lanes that are known, in the order of their names.
    pub(super) fn announce(&mut self, job: &Job, events: &mut Events) {
        for share in job.workers.iter().take(MOST_LANES) {
            self.of(&share.worker, share.pid, events);
        }
    }

    /// The lane of a process.
    pub(super) fn of(&mut self, worker: &str, pid: u32, events: &mut Events) -> LaneId {
        let process = (worker.to_owned(), Some(pid));
        if let Some(id) = self.ids.get(&process) {
            return *id;
        }
        let is_full = self.all.len() >= MOST_LANES;
        let key = if is_full { (worker.to_owned(), None) } else { process };
        if let Some(id) = self.ids.get(&key) {
            return *id;
        }
        let node = self.elsewhere.get(&(worker.to_owned(), pid)).copied().unwrap_or(0);
        let id = LaneId(self.all.len());
        self.all.push(Lane { node, end_ns: i64::MIN, open: None });
        self.ids.insert(key, id);
        let name = if is_full { format!("{worker} (others)") } else { format!("{worker} (PID {pid})") };
        self.describe(id, &name, worker, events);
        id
    }

    fn describe(&mut self, id: LaneId, name: &str, worker: &str, events: &mut Events) {
        let (node, (process, thread)) = (self.all[id.0].node, self.numbers(id));
        let (host, is_told) = &mut self.nodes[node];
        if !std::mem::replace(is_told, true) {
            events.describe("process_name", process, 0, &json!({"name": format!("node {host}")}));
        }
        events.describe("thread_name", process, thread, &json!({"name": name}));
        if let Ok(WorkerName(number)) = worker.parse() {
            events.describe("thread_sort_index", process, thread, &json!({"sort_index": number}));
        }
    }

    /// What the trace calls its process and its thread.
    fn numbers(&self, id: LaneId) -> (usize, usize) {
        (self.all[id.0].node + 1, id.0 + 1)
    }

    /// Puts a slice on a lane, behind what is there.
    pub(super) fn put(&mut self, id: LaneId, mut slice: Slice, events: &mut Events) {
        let lane = &mut self.all[id.0];
        // Two may overlap only if the clock was set back between them.
        slice.start_ns = slice.start_ns.max(lane.end_ns);
        slice.end_ns = slice.end_ns.max(slice.start_ns);
        lane.end_ns = slice.end_ns;
        let (process, thread) = self.numbers(id);
        events.push(process, thread, &slice);
    }

    /// As [`Self::put`]; slices that together are no longer than `most_ns` become one.
    pub(super) fn merge(&mut self, id: LaneId, slice: Slice, most_ns: i64, events: &mut Events) {
        let open = &mut self.all[id.0].open;
        let before = match open {
            Some(open) if slice.end_ns - open.start_ns <= most_ns => {
                open.end_ns = open.end_ns.max(slice.end_ns);
                open.count += slice.count;
                open.failed += slice.failed;
                open.busy_ns += slice.busy_ns;
                open.attempt = open.attempt.max(slice.attempt);
                open.kind = SliceKind::Merged;
                return;
            }
            open => open.replace(slice),
        };
        if let Some(before) = before {
            self.put(id, before, events);
        }
    }

    /// Nothing more of what may grow comes.
    pub(super) fn finish(&mut self, events: &mut Events) {
        for id in (0..self.all.len()).map(LaneId) {
            if let Some(open) = self.all[id.0].open.take() {
                self.put(id, open, events);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::timeline::testing::{job, slice};

    #[test]
    fn behind_the_most_lanes_the_processes_of_a_name_share_one() {
        let (mut events, mut lanes) = (Events::default(), Lanes::new(&job(), "here"));
        for pid in 0..2 * MOST_LANES as u32 {
            let id = lanes.of(if pid % 2 == 0 { "worker-1" } else { "worker-2" }, pid, &mut events);
            let at = i64::from(pid) * 10;
            lanes.put(id, slice(at, at + 10), &mut events);
        }
        assert_eq!(lanes.all.len(), MOST_LANES + 2);
        let text = events.take();
        assert_eq!(text.matches("thread_name").count(), MOST_LANES + 2);
        assert_eq!(text.matches("worker-2 (others)").count(), 1);
        assert_eq!(text.matches("process_name").count(), 1);
    }

    #[test]
    fn slices_never_overlap_and_short_ones_become_one() {
        let (mut events, mut lanes) = (Events::default(), Lanes::new(&job(), "here"));
        let id = lanes.of("worker-1", 42, &mut events);
        events.take();
        // The clock was set back behind the first.
        lanes.put(id, slice(5_000, 9_000), &mut events);
        lanes.put(id, slice(1_000, 2_000), &mut events);
        let text = events.take();
        assert!(
            text.contains(r#""ts":5.000,"dur":4.000"#) && text.contains(r#""ts":9.000,"dur":0.000"#),
            "{text}"
        );
        for at in [10_000, 11_000, 12_000, 20_000] {
            lanes.merge(id, slice(at, at + 500), 2_500, &mut events);
        }
        lanes.finish(&mut events);
        let text = events.take();
        assert!(text.contains(r#""ts":10.000,"dur":2.500,"cat":"succeeded","name":"3 tasks""#), "{text}");
        assert!(text.contains(r#""ts":20.000,"dur":0.500,"cat":"succeeded","name":"task 0""#), "{text}");
    }
}
