//! Whole histories on virtual time: the real pool over the reference store, with workers that start late, crash, are
//! killed and give work back, a disk that is full at times, and a node that ends and starts again. A seed is a history:
//! `GRISTMILL_SEED=123 cargo test --test simulation` replays one.
//!
//! That the checks can see is tested as well: each planted bug must be found.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

mod bugs;
mod checks;
mod child;
mod disk;
mod plan;
mod random;
mod results;
mod shell;
mod world;

use bugs::Bug;

/// So many histories are enough to find a planted bug.
const TO_FIND_A_BUG: u64 = 600;

const HISTORIES: u64 = 10_000;

/// The first of these seeds whose history goes wrong, and how.
fn first_wrong(seeds: impl IntoIterator<Item = u64>, bug: Option<Bug>) -> Option<(u64, String)> {
    seeds.into_iter().find_map(|seed| world::run(seed, bug).err().map(|wrong| (seed, wrong)))
}

#[test]
fn nothing_is_lost_doubled_or_forgotten_in_any_history() {
    if let Ok(seed) = std::env::var("GRISTMILL_SEED") {
        let seed = seed.parse().expect("a seed is a number");
        return world::run_told(seed, None, true).unwrap();
    }
    let half = |first: u64| move || first_wrong((first..HISTORIES).step_by(2), None);
    let wrong = std::thread::scope(|scope| {
        let halves = [scope.spawn(half(0)), scope.spawn(half(1))];
        halves.into_iter().filter_map(|half| half.join().unwrap()).min()
    });
    if let Some((seed, wrong)) = wrong {
        panic!("{wrong}\nreplay it: GRISTMILL_SEED={seed} cargo test --test simulation");
    }
}

#[test]
fn every_planted_bug_is_found() {
    let mut missed = Vec::new();
    for bug in Bug::ALL {
        match first_wrong(0..TO_FIND_A_BUG, Some(bug)) {
            Some((seed, wrong)) => println!("{bug:?}: seed {seed}: {wrong}"),
            None => missed.push(bug),
        }
    }
    assert!(missed.is_empty(), "not found: {missed:?}");
}
