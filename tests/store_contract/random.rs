//! Random histories: whatever is done to a store in whatever order, every index ends with one outcome, `seq` has no
//! gap, and the two stores agree on it.

use std::collections::BTreeMap;

use gristmill::model::{JobId, JobState};
use gristmill::store::{Chunk, JobWatch, Requeue};

use crate::bench::{Bench, Kind, Seen, options, stop_on_error};

/// A small generator (`SplitMix64`, Steele, Lea and Flood 2014): a seed is a history.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}

/// One history on one store.
struct History {
    bench: Bench,
    random: Random,
    jobs: Vec<JobId>,
    /// Leases that hold, with the index of their next task.
    held: Vec<(Chunk, u64)>,
    /// What was seen of each job's queue so far; it may only grow.
    seen: BTreeMap<JobId, Vec<Seen>>,
    /// A watched job's writes are committed at once.
    watches: Vec<JobWatch>,
}

impl History {
    async fn step(&mut self) {
        match self.random.below(100) {
            0..10 => self.submit().await,
            10..45 => self.claim().await,
            45..75 => self.complete().await,
            75..90 => self.release().await,
            90..93 => self.cancel().await,
            93..95 => self.restart(),
            _ => self.look().await,
        }
    }

    async fn submit(&mut self) {
        // A job's number says what it is, so that the two stores can be compared.
        let number = self.jobs.len() as u64;
        let options = if number % 4 == 3 { stop_on_error() } else { options() };
        let job = self.bench.submit_with(number * 7 % 40, options).await;
        self.watches.push(self.bench.store().watch(job));
        self.jobs.push(job);
    }

    async fn claim(&mut self) {
        if self.jobs.is_empty() {
            return;
        }
        let job = self.jobs[self.random.below(self.jobs.len() as u64) as usize];
        let (chunks, tasks) = (1 + self.random.below(3) as u32, 1 + self.random.below(8) as u32);
        let claimed = match self.random.below(4) {
            0 => self.bench.claim_backwards(job, chunks).await,
            _ => self.bench.claim(job, chunks, tasks).await,
        };
        for chunk in claimed {
            let first = chunk.first;
            self.held.push((chunk, first));
        }
    }

    /// A lease, the index of its next task, and some of its tasks.
    fn some(&mut self) -> Option<(usize, Chunk, u64, u32)> {
        let at = self.random.below(self.held.len().max(1) as u64) as usize;
        let (chunk, next) = self.held.get(at)?.clone();
        let left = chunk.first + u64::from(chunk.count) - next;
        Some((at, chunk, next, 1 + self.random.below(left) as u32))
    }

    fn advance(&mut self, at: usize, count: u32) {
        let (chunk, next) = &mut self.held[at];
        *next += u64::from(count);
        if *next == chunk.first + u64::from(chunk.count) {
            self.held.swap_remove(at);
        }
    }

    async fn complete(&mut self) {
        let Some((at, chunk, next, count)) = self.some() else { return };
        // Whether a task fails is its own affair, so that both stores see the same.
        let failed: Vec<u64> = (next..next + u64::from(count)).filter(|index| index % 13 == 5).collect();
        assert!(self.bench.complete_some(&chunk, next, count, &failed).await.held);
        self.advance(at, count);
    }

    async fn release(&mut self) {
        let Some((at, chunk, next, count)) = self.some() else { return };
        let how = [Requeue::AsBefore, Requeue::Alone, Requeue::Charged][self.random.below(3) as usize];
        assert!(self.bench.release(&chunk, next, count, how).await.held);
        self.advance(at, count);
    }

    async fn cancel(&mut self) {
        if let Some(job) = self.jobs.get(self.random.below(1 + self.jobs.len() as u64) as usize) {
            self.bench.store().cancel(*job, self.bench.now()).await.unwrap();
        }
    }

    fn restart(&mut self) {
        self.bench.restart();
        self.held.clear();
        self.watches = self.jobs.iter().map(|job| self.bench.store().watch(*job)).collect();
    }

    /// The counts are what is there to be counted.
    async fn count(&self) {
        let (mut jobs, mut unfinished) = (BTreeMap::new(), 0);
        for id in &self.jobs {
            let job = self.bench.job(*id).await;
            *jobs.entry(job.state).or_default() += 1;
            unfinished += job.tally.total - job.tally.done();
        }
        let counts = self.bench.store().counts();
        let tasks = counts.tasks.values().map(|tasks| tasks.unfinished).sum::<u64>();
        assert_eq!((counts.jobs, tasks), (jobs, unfinished));
    }

    /// What was seen before is still there, unchanged.
    async fn look(&mut self) {
        for job in &self.jobs {
            let queue = self.bench.queue(*job).await;
            let before = self.seen.insert(*job, queue.clone()).unwrap_or_default();
            assert_eq!(queue[..before.len()], before);
            assert_eq!(self.bench.job(*job).await.tally.done(), queue.len() as u64);
        }
    }

    async fn finish(&mut self) {
        self.bench.settle().await;
        self.count().await;
        self.restart();
        self.count().await;
        for job in self.jobs.clone() {
            while !self.bench.state(job).await.is_final() {
                self.claim_all(job).await;
            }
            self.bench.assert_whole(job).await;
        }
        self.count().await;
        self.look().await;
    }

    async fn claim_all(&mut self, job: JobId) {
        for chunk in self.bench.claim(job, 5, 5).await {
            let first = chunk.first;
            self.held.push((chunk, first));
        }
        while !self.held.is_empty() {
            self.complete().await;
        }
    }

    /// The outcome of each task of the jobs that nothing cut short, by the job's number, in the order of the inputs.
    async fn outcomes(&self) -> BTreeMap<usize, Vec<(u64, Option<String>, bool)>> {
        let mut all = BTreeMap::new();
        for (number, job) in self.jobs.iter().enumerate() {
            if matches!(self.bench.state(*job).await, JobState::Succeeded | JobState::Failed)
                && self.bench.job(*job).await.tally.cancelled == 0
            {
                let mut results: Vec<_> =
                    self.bench.queue(*job).await.into_iter().map(|s| (s.index, s.line, s.failed)).collect();
                results.sort();
                all.insert(number, results);
            }
        }
        all
    }
}

async fn history(kind: Kind, seed: u64, steps: usize) -> History {
    let (bench, random) = (Bench::new(kind), Random(seed));
    let mut history = History {
        bench,
        random,
        jobs: Vec::new(),
        held: Vec::new(),
        seen: BTreeMap::new(),
        watches: Vec::new(),
    };
    for _ in 0..steps {
        history.step().await;
    }
    history.finish().await;
    history
}

/// The seeds to try; `GRISTMILL_TEST_SEED` replays one.
fn seeds() -> Vec<u64> {
    match std::env::var("GRISTMILL_TEST_SEED") {
        Ok(seed) => vec![seed.parse().expect("a seed is a number")],
        Err(_) => (0..12).collect(),
    }
}

#[tokio::test]
async fn every_history_ends_whole_on_both_stores() {
    for seed in seeds() {
        eprintln!("seed {seed} (replay it with GRISTMILL_TEST_SEED={seed})");
        let memory = history(Kind::Memory, seed, 400).await;
        // The one half of the seeds with all payloads in files, the other with none.
        let kind = if seed % 2 == 0 { Kind::Sqlite } else { Kind::SqliteFiles };
        let sqlite = history(kind, seed, 400).await;
        let (memory, mut sqlite) = (memory.outcomes().await, sqlite.outcomes().await);
        sqlite.retain(|number, _| memory.contains_key(number));
        assert!(!sqlite.is_empty(), "the histories have whole jobs in common");
        assert!(sqlite.iter().all(|(number, outcomes)| memory[number] == *outcomes));
    }
}
