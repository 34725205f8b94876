//! Clients at work while the server dies and comes back, what they were told, and whether all of it was true.
//!
//! A client sends a job until it is acknowledged, always under the same key, and reads results on from where it
//! is, as a stranger to every crash. At the end the whole history is held against what the server then says.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::{self, ScopedJoinHandle};
use std::time::{Duration, Instant};

use serde_json::Value;
use sha2::{Digest as _, Sha256};

use super::batch::Batch;
use super::random::Random;
use crate::common::Server;
use crate::common::client::Answer;
use crate::common::procs::{Proc, alive};

const CLIENTS: u64 = 4;
/// Far longer than a restart takes.
const PATIENCE: Duration = Duration::from_mins(1);

/// A job that was acknowledged, and what was read of its results.
struct Known {
    seed: u64,
    id: String,
    /// Of each line the digest, in the order of `seq`.
    read: Vec<[u8; 32]>,
}

/// All that the clients were told.
struct History {
    jobs: Vec<Known>,
    figures: Figures,
}

/// How much a run has seen.
#[derive(Default, Debug)]
pub(crate) struct Figures {
    pub(crate) jobs: usize,
    pub(crate) tasks: usize,
    /// Results that were read between the faults.
    pub(crate) read: usize,
    /// Submits and reads that had no answer, or one that says to come again.
    pub(crate) unanswered: usize,
    /// Submits sent again that had been accepted already.
    pub(crate) replayed: usize,
}

/// Ends the clients, also when the test has failed.
struct Stop<'a>(&'a AtomicBool);

impl Drop for Stop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Lets clients work through so many rounds of `fault`, after each of which the server has ended and is started
/// again; then checks their history.
pub(crate) fn survives(
    server: &Server,
    rounds: u64,
    mut fault: impl FnMut(&Server, &mut Random, u64),
) -> Figures {
    let seed = Random::seed();
    let stopped = AtomicBool::new(false);
    let histories = thread::scope(|scope| {
        let start = |number| {
            scope.spawn({
                let stopped = &stopped;
                move || Client::new(server, seed ^ (number << 48)).work(stopped)
            })
        };
        let clients: Vec<_> = (1..=CLIENTS).map(start).collect();
        let stop = Stop(&stopped);
        let mut random = Random(seed);
        for round in 1..=rounds {
            let earlier = server.processes();
            fault(server, &mut random, round);
            server.restart();
            assert!(!clients.iter().any(ScopedJoinHandle::is_finished), "a client has failed: see above");
            let left: Vec<&Proc> = earlier.iter().filter(|process| alive(process.pid)).collect();
            assert!(left.is_empty(), "of the server before, there still run {left:#?}");
        }
        drop(stop);
        clients.into_iter().map(|client| client.join().unwrap()).collect::<Vec<History>>()
    });
    check(server, histories)
}

struct Client<'s> {
    server: &'s Server,
    random: Random,
    history: History,
}

impl<'s> Client<'s> {
    fn new(server: &'s Server, seed: u64) -> Self {
        let history = History { jobs: Vec::new(), figures: Figures::default() };
        Self { server, random: Random(seed), history }
    }

    fn work(mut self, stopped: &AtomicBool) -> History {
        while !stopped.load(Ordering::Relaxed) {
            let seed = self.random.below(u64::MAX);
            let id = self.submit(seed);
            self.history.jobs.push(Known { seed, id, read: Vec::new() });
            for _ in 0..2 {
                let recent = self.random.below(self.history.jobs.len().min(8) as u64) as usize;
                let at = self.history.jobs.len() - 1 - recent;
                self.read_on(at);
            }
            if self.random.below(4) == 0 {
                let at = self.random.below(self.history.jobs.len() as u64) as usize;
                let again = self.submit(self.history.jobs[at].seed);
                assert_eq!(again, self.history.jobs[at].id, "the same key is the same job");
            }
        }
        self.history
    }

    /// Sends a job until it is acknowledged; gives its id.
    fn submit(&mut self, seed: u64) -> String {
        let start = Instant::now();
        while start.elapsed() < PATIENCE {
            match send(self.server, &Batch::of(seed)) {
                Some(answer) if answer.status == 202 => {
                    let replayed = !answer.header("idempotent-replayed").is_empty();
                    self.history.figures.replayed += usize::from(replayed);
                    return answer.json()["id"].as_str().unwrap().to_owned();
                }
                Some(answer) => assert!(answer.status >= 500, "{answer:#?}"),
                None => {}
            }
            self.history.figures.unanswered += 1;
            thread::sleep(Duration::from_millis(5));
        }
        panic!("a submit was not accepted within {PATIENCE:?}");
    }

    /// Reads a job's results from where this reader is, sometimes to the job's end, as far as the server lives.
    fn read_on(&mut self, at: usize) {
        let Known { id, read, .. } = &mut self.history.jobs[at];
        let (after, follow) = (read.len(), self.random.below(2) == 0);
        let path = format!("/v1/jobs/{id}/results?after={after}&follow={follow}");
        let Ok((status, lines)) = self.server.client().try_lines(&path) else {
            self.history.figures.unanswered += 1;
            return;
        };
        assert!(status == 200 || status >= 500, "{path}: {status}");
        if status != 200 {
            return;
        }
        for line in lines.map_while(Result::ok) {
            let result: Value = serde_json::from_str(&line).unwrap();
            assert_eq!(result["seq"], read.len() + 1, "{path}: the cursor missed or repeated something");
            read.push(Sha256::digest(&line).into());
        }
        self.history.figures.read += read.len() - after;
    }
}

fn send(server: &Server, batch: &Batch) -> Option<Answer> {
    let (path, kind, body) = batch.request();
    let headers = [("Content-Type", kind), ("Idempotency-Key", &batch.key)];
    server.client().try_call("POST", &path, &headers, &body).ok()
}

/// Holds what the clients were told against what the server says now.
fn check(server: &Server, histories: Vec<History>) -> Figures {
    let mut figures = Figures::default();
    let mut known = BTreeSet::new();
    for history in histories {
        for job in &history.jobs {
            figures.tasks += check_job(server, job);
            assert!(known.insert(job.id.clone()), "two keys are one job: {}", job.id);
        }
        figures.jobs += history.jobs.len();
        figures.read += history.figures.read;
        figures.unanswered += history.figures.unanswered;
        figures.replayed += history.figures.replayed;
    }
    assert_eq!(all_jobs(server), known, "left: the jobs there are; right: those that were acknowledged");
    server.terminate();
    assert!(server.ended().success());
    server.leaves_nothing_running();
    figures
}

/// An acknowledged job is there, is the job of its key, and has each result once, as it was read; gives their number.
fn check_job(server: &Server, known: &Known) -> usize {
    let path = format!("/v1/jobs/{}", known.id);
    let status = server.get(&format!("{path}?wait=30s")).expect(200).json();
    assert_eq!(status["state"], "succeeded", "{status:#}");
    let batch = Batch::of(known.seed);
    let same = send(server, &batch).unwrap().expect(202);
    assert_eq!(same.json()["id"], known.id.as_str(), "the same key is the same job");

    let text = server.get(&format!("{path}/results")).expect(200).text;
    let outputs = batch.outputs();
    let mut found = vec![None; outputs.len()];
    for (seq, line) in (1..).zip(text.lines()) {
        let result: Value = serde_json::from_str(line).unwrap();
        assert_eq!(result["seq"], seq, "{path}: a gap");
        assert_eq!(result["attempt"], 1, "{path}: a crash of the server costs no attempt: {line}");
        let earlier = found[result["index"].as_u64().unwrap() as usize].replace(result["output"].clone());
        assert_eq!(earlier, None, "{path}: two outcomes of one task: {line}");
    }
    let found: Vec<Value> = found
        .into_iter()
        .map(|output| output.unwrap_or_else(|| panic!("{path}: a task without an outcome")))
        .collect();
    assert!(found == outputs, "{path}: an output is wrong");

    let lines = text.lines().map(|line| <[u8; 32]>::from(Sha256::digest(line)));
    let same = known.read.iter().copied().eq(lines.take(known.read.len()));
    assert!(same, "{path}: what was read has changed");
    outputs.len()
}

fn all_jobs(server: &Server) -> BTreeSet<String> {
    let (mut jobs, mut after) = (BTreeSet::new(), String::new());
    loop {
        let page = server.get(&format!("/v1/jobs?limit=1000{after}")).expect(200).json();
        jobs.extend(
            page["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()),
        );
        let Some(next) = page["next"].as_str() else { return jobs };
        after = format!("&after={next}");
    }
}
