//! Tasks of very unequal length: the quantiles of a Pareto distribution, always the same.

use super::calibrate::Speeds;
use super::lines::Lines;

/// With it the largest of 1,000 is some 60 times the mean.
const SHAPE: f64 = 1.45;
const MEAN_MS: f64 = 2.0;
const SEED: u64 = 0x5eed;

/// Inputs of `count` that take 2 ms on average.
pub(super) fn counts(tasks: u64, ascending: bool, speeds: &Speeds) -> Lines {
    let mut costs = costs(tasks);
    if !ascending {
        shuffle(&mut costs);
    }
    Lines::each(tasks, |index| ((costs[index as usize] * MEAN_MS * speeds.counts_per_ms) as u64).to_string())
}

/// Costs with a mean of 1, ascending.
fn costs(tasks: u64) -> Vec<f64> {
    let quantile = |index: u64| (1.0 - (index as f64 + 0.5) / tasks as f64).powf(-1.0 / SHAPE);
    let costs: Vec<f64> = (0..tasks).map(quantile).collect();
    let mean = costs.iter().sum::<f64>() / tasks as f64;
    costs.into_iter().map(|cost| cost / mean).collect()
}

/// Fisher and Yates's shuffle with the generator `SplitMix64`.
fn shuffle(costs: &mut [f64]) {
    let mut state = SEED;
    for end in (1..costs.len()).rev() {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        costs.swap(end, ((mixed ^ (mixed >> 31)) % (end as u64 + 1)) as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_largest_is_some_sixty_times_the_mean() {
        let mut costs = costs(1000);
        assert!(costs.is_sorted() && (55.0..65.0).contains(&costs[999]), "{}", costs[999]);
        shuffle(&mut costs);
        assert!(!costs.is_sorted());
        assert!((costs.iter().sum::<f64>() / 1000.0 - 1.0).abs() < 1e-9);
    }
}
