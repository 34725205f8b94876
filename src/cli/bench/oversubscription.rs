//! More processes than slots: they may only take turns, and should cost nothing.

use std::collections::BTreeMap;

use anyhow::Result;

use super::measure::{self, Run};
use super::target::Target;
use super::workloads::Batch;

const PROCESSES: [u32; 7] = [1, 2, 4, 7, 8, 10, 16];

/// The batch by each number of processes, up and down again, so that a clock that drifts favours none; the wall of a
/// number is the mean of its two, that of the run is the best one's.
pub(super) fn once(target: &Target, batch: &Batch) -> Result<Run> {
    let counts = counts(target.slots);
    let most = counts.iter().copied().max().unwrap_or(1);
    let _widened = target.widen(most)?;
    measure::warm_up(target, batch, most)?;
    let (mut best, mut walls) = (None::<Run>, BTreeMap::new());
    for count in counts.iter().chain(counts.iter().rev()) {
        let run = measure::job(target, batch, Some(*count))?;
        *walls.entry(figure(*count)).or_default() += run.wall_s / 2.0;
        if best.as_ref().is_none_or(|best| run.wall_s < best.wall_s) {
            best = Some(run);
        }
    }
    let mut best = best.unwrap_or_default();
    // The task times of that one count tell nothing of the others.
    best.figures = walls;
    Ok(best)
}

/// The longest wall of those with at least a process for each slot, over the best of all.
pub(super) fn worst_over_best(median: &Run, slots: u32) -> f64 {
    let walls: Vec<(u32, f64)> = counts(slots)
        .into_iter()
        .filter_map(|count| Some((count, *median.figures.get(&figure(count))?)))
        .collect();
    let best = walls.iter().map(|(_, wall)| *wall).fold(f64::INFINITY, f64::min);
    walls.iter().filter(|(count, _)| *count >= slots).map(|(_, wall)| wall / best).fold(0.0, f64::max)
}

fn counts(slots: u32) -> Vec<u32> {
    let mut counts = PROCESSES.to_vec();
    counts.push(slots);
    counts.sort_unstable();
    counts.dedup();
    counts
}

fn figure(count: u32) -> String {
    format!("wall_of_{count:02}_processes_s")
}
