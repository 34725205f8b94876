//! What the queue of results must be: numbered without a gap, unchanged for ever, one outcome for each task, and the
//! right one.

use std::collections::{BTreeMap, BTreeSet};

use gristmill::model::segment::{ResultBody, lines};
use gristmill::model::{JobId, ResultSegment};
use gristmill::store::Order;

use crate::disk::Disk;
use crate::plan::{Job, Kind, Plan};

/// What was seen of a job.
#[derive(Debug, Default)]
struct Seen {
    results: Vec<ResultSegment>,
    /// Which attempt is a task's next, if it is not the first.
    attempts: BTreeMap<u64, u32>,
    /// Tasks with an outcome, and whether that is a failure.
    failed: BTreeMap<u64, bool>,
    retries: u32,
    /// Tasks that someone else's deed was put down to.
    suspects: BTreeSet<u64>,
}

#[derive(Debug, Default)]
pub(crate) struct Results {
    jobs: BTreeMap<JobId, Seen>,
}

fn check(holds: bool, what: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(what()) }
}

impl Results {
    fn seen(&mut self, job: JobId) -> &mut Seen {
        self.jobs.entry(job).or_default()
    }

    pub(crate) fn attempt(&self, job: JobId, index: u64) -> u32 {
        self.jobs.get(&job).and_then(|seen| seen.attempts.get(&index)).copied().unwrap_or(1)
    }

    pub(crate) fn charge(&mut self, job: JobId, index: u64) {
        *self.seen(job).attempts.entry(index).or_insert(1) += 1;
    }

    pub(crate) fn suspect(&mut self, job: JobId, index: u64) {
        self.seen(job).suspects.insert(index);
    }

    pub(crate) fn retries_of(&self, job: JobId) -> u32 {
        self.jobs.get(&job).map_or(0, |seen| seen.retries)
    }

    /// All that has failed is to run again.
    pub(crate) fn retried(&mut self, job: JobId) {
        let seen = self.seen(job);
        seen.retries += 1;
        for (index, _) in seen.failed.extract_if(.., |_, failed| *failed) {
            let last = seen.results.iter().rfind(|result| result.first_index == index);
            seen.attempts.insert(index, last.map_or(1, |result| result.attempt + 1));
        }
    }

    /// Reads on behind what was seen.
    pub(crate) fn look(&mut self, job: JobId, disk: &Disk, plan: &Plan) -> Result<(), String> {
        let job = plan.job(job);
        let seen = self.seen(job.id);
        for segment in disk.results(job.id, Order::Completion, seen.results.len() as u64) {
            for at in 0..segment.count {
                let result = segment.part(at, 1);
                let (seq, next) = (result.first_seq, seen.results.len() as u64 + 1);
                check(seq == next, || format!("seq {seq} came where {next} was next"))?;
                seen.take(job, &result).map_err(|wrong| format!("job {}, {result:?}: {wrong}", job.id))?;
                seen.results.push(result);
            }
        }
        Ok(())
    }

    /// A job that is left alone has ended, with one outcome for each task, and what was seen of it is as it was.
    pub(crate) fn whole(&mut self, job: &Job, disk: &Disk) -> Result<(), String> {
        let id = job.id;
        let its = disk.job(id).ok_or_else(|| format!("job {id} is not there"))?;
        check(its.state.is_final(), || format!("job {id} is forgotten, {}: {:?}", its.state, its.tally))?;
        let seen = self.seen(id);
        check(seen.failed.len() as u64 == job.total, || format!("job {id} has tasks without outcomes"))?;
        let failed = seen.failed.values().filter(|failed| **failed).count() as u64;
        check(its.tally.failed == failed && its.tally.done() == job.total, || format!("{:?}", its.tally))?;
        check(disk.results(id, Order::Completion, 0) == seen.results, || "results have changed".into())?;
        let ordered = disk.results(id, Order::Input, 0).into_iter().map(|result| result.first_index);
        check(ordered.eq(0..job.total), || format!("job {id} is not whole in the order of its inputs"))
    }
}

impl Seen {
    /// Takes in a result.
    fn take(&mut self, job: &Job, result: &ResultSegment) -> Result<(), String> {
        let index = result.first_index;
        let (line, failed) = match &result.body {
            ResultBody::Cancelled => (None, false),
            ResultBody::NotRun { .. } => (None, true),
            ResultBody::Ran { outcomes, lines: block, .. } => {
                (Some(lines(block).next().ok_or("it has no line")?), outcomes.failed() > 0)
            }
        };
        check(index < job.total, || "no such task".into())?;
        check(self.failed.insert(index, failed).is_none(), || "it had an outcome".into())?;
        let Some(line) = line else { return Ok(()) };
        let attempt = self.attempts.get(&index).copied().unwrap_or(1);
        check(result.attempt == attempt, || format!("it was at attempt {attempt}"))?;
        let most = job.spec.options.max_attempts;
        check(attempt <= most + self.retries, || format!("it had {most} attempts"))?;
        if failed {
            let hopeless = job.task(index).1 == Kind::Fails;
            let may_fail = job.task(index).1 != Kind::Succeeds || self.suspects.contains(&index);
            check(may_fail, || "nothing is wrong with it".into())?;
            check(hopeless || attempt >= most, || format!("it may have {most} attempts"))
        } else {
            let fails = match job.task(index).1 {
                Kind::Succeeds => false,
                Kind::Fails | Kind::Poison => true,
                Kind::FailsAtFirst(times) => attempt <= times,
            };
            check(!fails, || "it fails, always".into())?;
            check(line == Job::output(job.input(index).as_bytes()), || "it is another task's output".into())
        }
    }
}
