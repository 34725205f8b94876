//! What a seed's history holds: functions, jobs, what each of their tasks does, and what befalls the node.

use std::time::Duration;

use gristmill::model::{JobId, JobOptions, JobSpec, Lock, OnError};
use gristmill::pool::Rules;
use uuid::Uuid;

use crate::random::Random;

const MILLI: Duration = Duration::from_millis(1);
const FUNCTIONS: [&str; 4] = ["count", "sha256", "mine", "broken"];

/// A function and how its workers start.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) rules: Rules,
    /// So many starts of a hundred fail.
    pub(crate) fails: u64,
    pub(crate) start_time: Duration,
}

/// What running a task comes to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Succeeds,
    /// It answers with an error; another attempt would be no better.
    Fails,
    /// So many attempts answer with an error.
    FailsAtFirst(u32),
    /// It ends its worker.
    Poison,
}

#[derive(Clone, Debug)]
pub(crate) struct Job {
    pub(crate) id: JobId,
    pub(crate) spec: JobSpec,
    pub(crate) total: u64,
    seed: u64,
    /// How long its tasks take, more or less.
    task_time: Duration,
    /// So many tasks of a hundred have something wrong with them.
    bad: u64,
    /// So many of a hundred take far longer than the others.
    slow: u64,
}

/// What befalls the node.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Action {
    Submit(usize),
    Cancel(usize),
    Resize(u32),
    /// Someone ends a worker through the API.
    End,
    /// A worker has grown too old.
    Wear,
    /// A worker is killed from outside.
    Kill,
    FillDisk,
    FreeDisk,
    Drain,
    Interrupt,
    /// The node loses its power.
    Crash,
}

#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) slots: u32,
    pub(crate) functions: Vec<(&'static str, Function)>,
    pub(crate) jobs: Vec<Job>,
    pub(crate) actions: Vec<(Duration, Action)>,
    /// Whether nothing goes wrong, and so every job gets its fair share soon.
    pub(crate) fair: bool,
}

impl Job {
    /// How long a task takes, and what it comes to.
    pub(crate) fn task(&self, index: u64) -> (Duration, Kind) {
        let mut random = Random(self.seed ^ (index << 32));
        let time = self.task_time / 2 + random.time(self.task_time);
        let time = if random.percent(self.slow) { time * 100 } else { time };
        let bad = [Kind::Fails, Kind::FailsAtFirst(1), Kind::FailsAtFirst(9), Kind::Poison];
        (time, if random.percent(self.bad) { random.pick(&bad) } else { Kind::Succeeds })
    }

    pub(crate) fn input(&self, index: u64) -> String {
        (self.seed % 1000 + index).to_string()
    }

    /// What all functions do.
    pub(crate) fn output(input: &[u8]) -> Vec<u8> {
        let number: u64 = std::str::from_utf8(input).unwrap().parse().unwrap();
        (number * 3 + 1).to_string().into_bytes()
    }
}

/// A lock of so many permits.
fn lock(permits: u32) -> Lock {
    Lock { name: format!("lock of {permits}"), permits }
}

fn job(random: &mut Random, number: usize, function: &str, total: u64) -> Job {
    let options = JobOptions {
        processes: random.pick(&[None, None, Some(1), Some(2)]),
        priority: random.pick(&[0, 0, 0, 5]),
        timeout: None,
        max_attempts: random.pick(&[1, 2, 3]),
        on_error: random.pick(&[OnError::Continue, OnError::Continue, OnError::Stop]),
        retry_backoff: random.pick(&[Duration::ZERO, 200 * MILLI, Duration::from_secs(5)]),
        chunk_size: random.pick(&[None, None, Some(3), Some(1000)]),
        lock: random.pick(&[None, None, Some(1), Some(2)]).map(lock),
        trace: None,
        callback_url: None,
    };
    let spec = JobSpec { function: function.into(), name: None, labels: [].into(), options };
    let times = [MILLI / 1000, MILLI / 20, MILLI, 10 * MILLI, 200 * MILLI, Duration::from_mins(1)];
    let (task_time, bad, slow) = (random.pick(&times), random.pick(&[0, 0, 8, 30]), random.pick(&[0, 6]));
    Job {
        id: JobId(Uuid::from_u128(number as u128 + 1)),
        spec,
        total,
        seed: random.next(),
        task_time,
        bad,
        slow,
    }
}

fn function(random: &mut Random, name: &'static str) -> (&'static str, Function) {
    let rules = Rules {
        workers: random.pick(&[None, None, Some(1), Some(2)]),
        max_tasks_per_worker: random.pick(&[None, None, Some(1), Some(7)]),
        max_failed_starts: random.pick(&[2, 5]),
        ..Rules::default()
    };
    let fails = if name == "broken" { 100 } else { random.pick(&[0, 0, 20]) };
    (name, Function { rules, fails, start_time: random.pick(&[MILLI, 50 * MILLI, 2000 * MILLI]) })
}

impl Plan {
    pub(crate) fn of(seed: u64) -> Self {
        let mut random = Random(seed);
        match seed % 16 {
            7 => Self::fair(&mut random),
            3 | 11 => Self::crowded(&mut random),
            _ => Self::wild(&mut random),
        }
    }

    fn wild(random: &mut Random) -> Self {
        let functions = FUNCTIONS.iter().map(|name| function(random, name)).collect();
        let mut jobs = Vec::new();
        let mut actions = Vec::new();
        let span = random.pick(&[20 * MILLI, 500 * MILLI, 5000 * MILLI]);
        for number in 0..2 + random.below(4) as usize {
            let name = if random.percent(8) { "broken" } else { random.pick(&FUNCTIONS[..3]) };
            let most = random.pick(&[1, 6, 20, 40]);
            let total = random.below(most + 1);
            jobs.push(job(random, number, name, total));
            actions.push((random.time(span), Action::Submit(number)));
            if random.percent(12) {
                actions.push((random.time(span * 2), Action::Cancel(number)));
            }
        }
        actions.extend(Self::trouble(random, span));
        Self { slots: 1 + random.below(4) as u32, functions, jobs, actions, fair: false }
    }

    /// What goes wrong meanwhile.
    fn trouble(random: &mut Random, span: Duration) -> Vec<(Duration, Action)> {
        let mut actions = Vec::new();
        for _ in 0..random.pick(&[0, 2, 6, 12]) {
            let what = [Action::Resize(1 + random.below(4) as u32), Action::End, Action::Wear, Action::Kill];
            let end = [Action::Drain, Action::Interrupt, Action::Crash];
            let action = match random.below(10) {
                0 => random.pick(&end),
                1 => Action::FillDisk,
                _ => random.pick(&what),
            };
            let at = random.time(span * 2);
            actions.push((at, action));
            if action == Action::FillDisk {
                actions.push((at + random.time(2000 * MILLI), Action::FreeDisk));
            }
        }
        actions
    }

    /// Many jobs of a task each, most of them short: what is next for a worker is of another job.
    fn crowded(random: &mut Random) -> Self {
        let functions = FUNCTIONS[..2].iter().map(|name| {
            let (name, function) = function(random, name);
            (name, Function { start_time: MILLI, ..function })
        });
        let (functions, mut jobs, mut actions) = (functions.collect(), Vec::new(), Vec::new());
        let span = random.pick(&[2 * MILLI, 5 * MILLI, 20 * MILLI]);
        for number in 0..10 + random.below(40) as usize {
            let name = FUNCTIONS[usize::from(random.percent(10))];
            let total = if random.percent(90) { 1 } else { 5 };
            let mut job = job(random, number, name, total);
            job.spec.options.lock.take_if(|_| random.percent(90));
            job.task_time = if random.percent(90) { MILLI / 20 } else { 200 * MILLI };
            jobs.push(job);
            actions.push((random.time(span), Action::Submit(number)));
            if random.percent(5) {
                actions.push((random.time(span * 2), Action::Cancel(number)));
            }
        }
        actions.extend(Self::trouble(random, span));
        Self { slots: 1 + random.below(4) as u32, functions, jobs, actions, fair: false }
    }

    /// A huge job, then one of a single task, then one of a higher priority.
    fn fair(random: &mut Random) -> Self {
        let (rules, slots) = (Rules::default(), 1 + random.below(3) as u32);
        let functions = vec![("count", Function { rules, fails: 0, start_time: MILLI })];
        let task_time = random.pick(&[3 * MILLI / 2, 5 * MILLI]);
        let mut jobs = Vec::new();
        for (number, (total, priority)) in
            [(200 * u64::from(slots), 0), (1, 0), (20, 5)].into_iter().enumerate()
        {
            let mut job = job(random, number, "count", total);
            job.spec.options = JobOptions { priority, ..JobOptions::default() };
            jobs.push(Job { task_time, bad: 0, slow: 0, ..job });
        }
        let all = task_time * 200;
        let actions = vec![
            (Duration::ZERO, Action::Submit(0)),
            (all / 4 + random.time(all / 8), Action::Submit(1)),
            (all * 3 / 4 + random.time(all / 8), Action::Submit(2)),
        ];
        Self { slots, functions, jobs, actions, fair: true }
    }

    pub(crate) fn function(&self, name: &str) -> &Function {
        self.functions.iter().find(|(its, _)| *its == name).map(|(_, function)| function).unwrap()
    }

    pub(crate) fn job(&self, id: JobId) -> &Job {
        &self.jobs[id.0.as_u128() as usize - 1]
    }
}
