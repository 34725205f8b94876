//! A job and its results, as a client follows them.

use std::collections::BTreeSet;

use serde_json::Value;

use super::client::{Answer, JSON};
use super::{DEADLINE, Server, check, eventually, within};

/// A job that was accepted.
#[derive(Clone)]
pub(crate) struct Job<'s> {
    server: &'s Server,
    pub(crate) id: String,
}

impl<'s> Job<'s> {
    /// The job that an answer speaks of.
    pub(crate) fn of(server: &'s Server, answer: &Answer) -> Self {
        Self::with_id(server, answer.json()["id"].as_str().unwrap())
    }

    pub(crate) fn with_id(server: &'s Server, id: &str) -> Self {
        Self { server, id: id.to_owned() }
    }

    pub(crate) fn path(&self) -> String {
        format!("/v1/jobs/{}", self.id)
    }

    pub(crate) fn status(&self) -> Value {
        self.server.get(&self.path()).expect(200).json()
    }

    /// Waits until it is as wanted; gives the status.
    pub(crate) fn wait_for(&self, what: &str, right: impl Fn(&Value) -> bool) -> Value {
        eventually(what, || check(self.status(), &right))
    }

    pub(crate) fn wait_for_done(&self, count: u64) -> Value {
        self.wait_for("so many tasks done", |status| status["progress"]["done"].as_u64() >= Some(count))
    }

    pub(crate) fn wait_for_running(&self, count: usize) -> Vec<Value> {
        let running = |status: &Value| status["running"].as_array().unwrap().clone();
        let has_pids = |tasks: &[Value]| tasks.iter().all(|task| task["pid"].is_u64());
        let status = self.wait_for("so many tasks running", |status| {
            running(status).len() == count && has_pids(&running(status))
        });
        running(&status)
    }

    /// Waits for its end; gives the status.
    pub(crate) fn wait(&self) -> Value {
        let look = || self.server.get(&format!("{}?wait=30s", self.path())).expect(200).json();
        within(2 * DEADLINE, "the end of the job", || {
            check(look(), |status| status["timings"]["finished_at"].is_string())
        })
    }

    /// Waits for its end, which must be a success.
    #[track_caller]
    pub(crate) fn succeeds(&self) -> Value {
        let status = self.wait();
        assert_eq!(status["state"], "succeeded", "{status:#}");
        status
    }

    pub(crate) fn cancel(&self) -> Answer {
        self.server.post_json(&format!("{}/cancel", self.path()), "")
    }

    /// The results as text, with these parameters.
    pub(crate) fn results_text(&self, query: &str) -> String {
        let answer = self.server.get(&format!("{}/results?{query}", self.path())).expect(200);
        assert_eq!(answer.header("content-type"), "application/x-ndjson");
        answer.text
    }

    /// The results with these parameters.
    pub(crate) fn results_by(&self, query: &str) -> Vec<Value> {
        self.results_text(query).lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// All results there are, in the order of completion.
    pub(crate) fn results(&self) -> Vec<Value> {
        self.results_by("")
    }

    /// All results there are, in the order of the inputs.
    pub(crate) fn by_input(&self) -> Vec<Value> {
        self.results_by("order=input")
    }

    /// A page of the results as one JSON object.
    pub(crate) fn page(&self, query: &str) -> Value {
        let path = format!("{}/results?{query}", self.path());
        self.server.client().call("GET", &path, &[("Accept", JSON)], "").expect(200).json()
    }

    /// Every index has one result, and the places in the queue have no gap.
    #[track_caller]
    pub(crate) fn has_each_result_once(&self, count: u64) {
        let results = self.results();
        assert_eq!(seqs(&results), (1..=count).collect::<Vec<_>>(), "{results:#?}");
        assert_eq!(
            indices(&results).into_iter().collect::<BTreeSet<_>>(),
            (0..count).collect(),
            "{results:#?}"
        );
        assert_eq!(indices(&self.by_input()), (0..count).collect::<Vec<_>>());
    }
}

pub(crate) fn seqs(results: &[Value]) -> Vec<u64> {
    results.iter().map(|result| result["seq"].as_u64().unwrap()).collect()
}

pub(crate) fn indices(results: &[Value]) -> Vec<u64> {
    results.iter().map(|result| result["index"].as_u64().unwrap()).collect()
}
