//! How large a chunk is: some milliseconds of work by the measured task time, smaller towards the end of the job so
//! that no slot idles at the tail (guided self-scheduling, Polychronopoulos and Kuck 1987).

use std::time::Duration;

/// A chunk is to take about this long unless its function says otherwise: dispatch costs some 0.1 ms, so this hides
/// it to about one part in a hundred.
pub(super) const CHUNK_TIME: Duration = Duration::from_millis(10);
/// Near the end of a job chunks shrink, but not below this part of that time.
const LEAST_PART: u32 = 16;
/// A chunk grows to at most so many times the one before, as a first measurement may mislead.
const GROWTH: u32 = 8;
/// No chunk is larger.
const MOST: u32 = 1 << 16;
/// Tasks that take less than this are pipelined: the next chunk waits in the worker's pipe.
pub(super) const PIPELINE_BELOW: Duration = Duration::from_millis(2);
/// Below this, the next single task is in the hands of whoever talks to the worker before it is done with the one it is
/// at: to be asked for it costs some 0.1 ms. It is no longer than a chunk, so that others wait no longer for their turn.
const PREFETCH_BELOW: Duration = CHUNK_TIME;

/// Chunks that take less than this are claimed some ahead, as each claim costs some 0.1 ms.
const AHEAD_BELOW: Duration = Duration::from_millis(64);

/// What is known of a job's task times.
#[derive(Clone, Copy, PartialEq, Debug)]
pub(super) struct TaskTime {
    chunk_time: Duration,
    mean_ns: Option<f64>,
    last_chunk: u32,
}

impl TaskTime {
    /// Nothing is known yet but how long a chunk is to take.
    pub(super) fn new(chunk_time: Duration) -> Self {
        Self { chunk_time, mean_ns: None, last_chunk: 0 }
    }

    /// Takes in that `count` tasks took `elapsed`; recent measurements weigh more.
    pub(super) fn observe(&mut self, count: u32, elapsed: Duration) {
        let sample = elapsed.as_nanos() as f64 / f64::from(count.max(1));
        self.mean_ns = Some(self.mean_ns.map_or(sample, |mean| 0.6 * mean + 0.4 * sample));
    }

    /// The size of the next chunks of a job with `unclaimed` tasks left and `workers` at work on it.
    pub(super) fn next_chunk(&mut self, unclaimed: u64, workers: u32) -> u32 {
        let Some(mean_ns) = self.mean_ns.map(|mean| mean.max(1.0)) else {
            self.last_chunk = 1;
            return 1;
        };
        let tasks_in = |time: Duration| (time.as_nanos() as f64 / mean_ns) as u64;
        let guided =
            unclaimed.div_ceil(2 * u64::from(workers.max(1))).max(tasks_in(self.chunk_time / LEAST_PART));
        let most = u64::from(self.last_chunk.max(1).saturating_mul(GROWTH).min(MOST));
        let size = tasks_in(self.chunk_time).min(guided).clamp(1, most) as u32;
        self.last_chunk = self.last_chunk.max(size);
        size
    }

    /// Whether tasks are so short that a worker should have its next chunk before it asks.
    pub(super) fn pipelines(&self) -> bool {
        self.takes_less_than(PIPELINE_BELOW)
    }

    /// Whether tasks are known to be so long that it matters in which order the last of them begin.
    pub(super) fn are_long(&self) -> bool {
        self.mean_ns.is_some() && !self.pipelines()
    }

    /// Whether its next single task should be at hand before a worker is done with the one it is at.
    pub(super) fn prefetches(&self) -> bool {
        self.takes_less_than(PREFETCH_BELOW)
    }

    /// Whether chunks of this size may be claimed ahead: they are as long as chunks are to be, and short enough to matter.
    pub(super) fn claims_ahead(&self, size: u32) -> bool {
        let takes = |tasks: u32| self.mean_ns.map_or(0.0, |mean| mean * f64::from(tasks));
        takes(size + 1) > self.chunk_time.as_nanos() as f64 && takes(size) < AHEAD_BELOW.as_nanos() as f64
    }

    fn takes_less_than(&self, time: Duration) -> bool {
        self.mean_ns.is_some_and(|mean| mean < time.as_nanos() as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLENTY: u64 = 10_000_000;

    #[test]
    fn the_first_chunk_is_one_task_and_the_next_grow() {
        let mut time = TaskTime::new(CHUNK_TIME);
        assert_eq!(time.next_chunk(PLENTY, 2), 1);
        time.observe(1, Duration::from_nanos(500));
        let sizes: Vec<u32> = (0..6).map(|_| time.next_chunk(PLENTY, 2)).collect();
        assert_eq!(sizes, [8, 64, 512, 4096, 20_000, 20_000]);
    }

    #[test]
    fn a_long_task_is_a_chunk_of_its_own() {
        let mut time = TaskTime::new(CHUNK_TIME);
        time.observe(1, Duration::from_mins(1));
        assert_eq!(time.next_chunk(PLENTY, 2), 1);
        assert!(!time.pipelines());
    }

    #[test]
    fn chunks_shrink_towards_the_end_but_not_below_some_half_a_millisecond() {
        let mut time = TaskTime { chunk_time: CHUNK_TIME, mean_ns: Some(100_000.0), last_chunk: 80 };
        assert_eq!(time.next_chunk(PLENTY, 2), 100);
        assert_eq!(time.next_chunk(100, 2), 25);
        assert_eq!(time.next_chunk(10, 2), 6);
        assert_eq!(time.next_chunk(1, 2), 6);
        assert!(time.pipelines());
    }
}
