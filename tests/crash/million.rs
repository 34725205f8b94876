//! A queue of a million tasks does not hold up a restart.

use std::time::{Duration, Instant};

use crate::alone;
use crate::common::Server;
use crate::common::client::NDJSON;
use crate::common::job::Job;

/// The promise is a second, for the optimized server; this is the bound for any build on a busy machine.
const SOON: Duration = Duration::from_secs(3);
const TASKS: u64 = 1_000_000;

#[test]
#[ignore = "long: a million inputs"]
fn serves_soon_after_a_kill_with_a_million_tasks_in_the_queue() {
    let _alone = alone();
    let server = Server::start();
    let first = server.map("sleep", &serde_json::json!([600, 600]));
    first.wait_for_running(2);
    let inputs = "0\n".repeat(TASKS as usize);
    let answer =
        server.client().post_stream("/v1/jobs?function=sleep", NDJSON, inputs.as_bytes()).expect(202);
    let job = Job::of(&server, &answer);
    assert_eq!(job.status()["progress"]["queued"], TASKS);
    server.kill9();
    let start = Instant::now();
    server.restart();
    server.get("/readyz").expect(200);
    let took = start.elapsed();
    eprintln!("ready again {took:.2?} after the restart, with {TASKS} tasks in the queue");
    assert!(took < SOON, "{took:?}");
    assert_eq!(job.status()["progress"]["total"], TASKS);
}
