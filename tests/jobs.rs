//! Jobs as a whole: their list, their end, their order, and how tasks may end.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use common::Server;
use common::job::Job;
use serde_json::{Value, json};

fn ids(page: &Value) -> Vec<String> {
    page["items"].as_array().unwrap().iter().map(|job| job["id"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn the_list_is_newest_first_and_pages_by_cursor() {
    let server = Server::start();
    let mut submitted: Vec<String> = (0..7).map(|n| server.map("echo", &json!([n])).id).collect();
    submitted.reverse();
    let list = |query: &str| server.get(&format!("/v1/jobs?{query}")).expect(200).json();
    assert_eq!(ids(&list("")), submitted);
    let (mut listed, mut page) = (Vec::new(), list("limit=3"));
    while !page["next"].is_null() {
        assert_eq!(page["items"].as_array().unwrap().len(), 3);
        listed.extend(ids(&page));
        page = list(&format!("limit=3&after={}", page["next"].as_str().unwrap()));
    }
    listed.extend(ids(&page));
    assert_eq!(listed, submitted);
}

#[test]
fn the_list_is_filtered_by_state_function_and_label() {
    let server = Server::start();
    let done = server.submit(&json!({"function": "echo", "inputs": [1], "labels": {"team": "x", "n": "1"}}));
    let failed = server.submit(&json!({"function": "sha256", "inputs": [1], "labels": {"team": "y"}}));
    let running = server.submit(&json!({"function": "sleep", "inputs": [60], "labels": {"team": "x"}}));
    done.wait();
    failed.wait();
    running.wait_for("its start", |status| status["state"] == "running");
    let listed = |query: &str| ids(&server.get(&format!("/v1/jobs?{query}")).expect(200).json());
    assert_eq!(listed("state=succeeded"), [done.id.as_str()]);
    assert_eq!(listed("state=failed"), [failed.id.as_str()]);
    assert_eq!(listed("state=running"), [running.id.as_str()]);
    assert_eq!(listed("function=sha256"), [failed.id.as_str()]);
    assert_eq!(listed("label=team=x"), [running.id.as_str(), done.id.as_str()]);
    assert_eq!(listed("label=team=x&state=succeeded"), [done.id.as_str()]);
    assert_eq!(listed("label=team=z"), Vec::<String>::new());
}

#[test]
fn the_last_of_long_tasks_does_not_begin_last() {
    let server = Server::start();
    server.resize(2);
    let job = server.map("sleep", &json!(vec![0.02; 40]));
    job.succeeds();
    // By their beginnings: one that begins first may be answered later.
    let timeline = server.get(&format!("{}/timeline", job.path())).expect(200).json();
    let (events, start) = (&timeline["traceEvents"], |slice: &&Value| slice["ts"].as_f64().unwrap());
    let mut slices: Vec<_> = events.as_array().unwrap().iter().filter(|event| event["ph"] == "X").collect();
    slices.sort_by(|one, other| start(one).total_cmp(&start(other)));
    let order: Vec<u64> = slices.iter().map(|slice| slice["args"]["index"].as_u64().unwrap()).collect();
    let place = |index: u64| order.iter().position(|its| *its == index).unwrap();
    assert!(place(39) < place(34) && place(38) < place(34), "{order:?}");
    assert!(place(0) < place(20) && place(20) < place(39), "{order:?}");
}

#[test]
fn a_job_is_forgotten_once_it_has_ended() {
    let server = Server::start();
    let job = server.map("sleep", &json!([60]));
    server.delete(&job.path()).problem(409, "not-ended");
    job.cancel();
    job.wait();
    server.delete(&job.path()).expect(204);
    server.get(&job.path()).problem(404, "unknown-job");
    server.get(&format!("{}/results", job.path())).problem(404, "unknown-job");
    server.delete(&job.path()).problem(404, "unknown-job");
    assert_eq!(server.get("/v1/jobs").json(), json!({"items": [], "next": null}));
}

#[test]
fn an_exception_that_is_not_worth_a_retry_fails_at_once() {
    let server = Server::start();
    let job = server.map("sha256", &json!(["abc", 5, "a"]));
    let status = job.wait();
    assert_eq!(status["state"], "failed");
    assert_eq!((&status["progress"]["succeeded"], &status["progress"]["failed"]), (&json!(2), &json!(1)));
    let failed = job.by_input().remove(1);
    assert_eq!((&failed["status"], &failed["attempt"]), (&json!("failed"), &json!(1)));
    assert_eq!(
        (&failed["error"]["verdict"], &failed["error"]["type"]),
        (&json!("exception"), &json!("BadInput"))
    );
    assert!(failed["error"]["message"].as_str().unwrap().contains('5'), "{failed:#}");
    assert!(failed.get("output").is_none());
}

#[test]
fn an_exception_is_retried_up_to_the_most_attempts() {
    let server = Server::start();
    for (max_attempts, expected) in [(None, 3), (Some(1), 1), (Some(5), 5)] {
        let inputs = json!([{"mode": "exception", "message": "no luck"}, {"mode": "stdout"}]);
        let job = server.submit(&match max_attempts {
            None => json!({"function": "fail", "inputs": inputs}),
            Some(most) => json!({"function": "fail", "inputs": inputs, "max_attempts": most}),
        });
        assert_eq!(job.wait()["state"], "failed");
        let results = job.by_input();
        assert_eq!((&results[0]["attempt"], &results[1]["attempt"]), (&json!(expected), &json!(1)));
        assert_eq!(results[0]["error"]["message"], "no luck");
        job.has_each_result_once(2);
    }
}

#[test]
fn a_task_over_its_time_is_ended_and_harms_no_other() {
    let server = Server::start();
    let body = json!({"function": "sleep", "inputs": [0, 60, 0.01], "timeout": "2s", "max_attempts": 1});
    let job = server.submit(&body);
    let status = job.wait();
    assert_eq!((&status["state"], &status["options"]["timeout_ms"]), (&json!("failed"), &json!(2000.0)));
    let results = job.by_input();
    assert_eq!((&results[1]["error"]["verdict"], &results[1]["attempt"]), (&json!("timeout"), &json!(1)));
    assert!(results[1]["error"]["message"].as_str().unwrap().contains("after 2 s"), "{:#}", results[1]);
    assert!(results[1]["duration_ms"].as_f64().unwrap() >= 2000.0);
    assert_eq!((&results[0]["status"], &results[2]["status"]), (&json!("succeeded"), &json!("succeeded")));
}

#[test]
fn a_task_over_its_time_is_tried_again() {
    let server = Server::start();
    let job = server.submit(&json!({"function": "fail", "inputs": [{"mode": "hang"}, {"mode": "spin"}],
                                    "timeout": 0.2, "max_attempts": 2}));
    assert_eq!(job.wait()["state"], "failed");
    for result in job.results() {
        assert_eq!((&result["error"]["verdict"], &result["attempt"]), (&json!("timeout"), &json!(2)));
    }
}

#[test]
fn a_job_that_stops_on_an_error_cancels_the_rest() {
    let server = Server::start();
    let mut inputs = vec![json!({"mode": "hang"}), json!({"mode": "exception", "retryable": false})];
    inputs.resize(40, json!({"mode": "hang"}));
    let job = server.submit(&json!({"function": "fail", "inputs": inputs, "on_error": "stop"}));
    let status = job.wait();
    assert_eq!(status["state"], "failed");
    assert_eq!((&status["progress"]["failed"], &status["progress"]["cancelled"]), (&json!(1), &json!(39)));
    job.has_each_result_once(40);
}

#[test]
fn without_that_an_error_leaves_the_others_alone() {
    let server = Server::start();
    let mut inputs = vec![json!({"mode": "exception", "retryable": false})];
    inputs.resize(40, json!({"mode": "stdout"}));
    let status = server.map("fail", &json!(inputs)).wait();
    assert_eq!((&status["progress"]["failed"], &status["progress"]["succeeded"]), (&json!(1), &json!(39)));
}

fn started_and_finished(status: &Value) -> (jiff::Timestamp, jiff::Timestamp) {
    let at = |key: &str| status["timings"][key].as_str().unwrap().parse().unwrap();
    (at("started_at"), at("finished_at"))
}

#[test]
fn jobs_of_a_higher_priority_go_first() {
    let server = Server::with(&["--processes=1"]);
    let blocker = server.map("sleep", &json!([60]));
    blocker.wait_for_running(1);
    let job = |priority: i32| {
        server.submit(&json!({"function": "sleep", "inputs": [0.02, 0.02, 0.02], "priority": priority}))
    };
    let (low, middle, high) = (job(-1), job(0), job(5));
    blocker.cancel();
    let [low, middle, high] = [low, middle, high].map(|job: Job<'_>| started_and_finished(&job.succeeds()));
    assert!(high.1 <= middle.0 && middle.1 <= low.0, "high {high:?}, middle {middle:?}, low {low:?}");
}

#[test]
fn a_small_job_does_not_wait_for_a_huge_one() {
    let server = Server::start();
    let huge = server.map("sleep", &json!(vec![0.02; 3000]));
    huge.wait_for_done(20);
    let small = server.map("echo", &json!(["quick"]));
    small.succeeds();
    let progress = huge.status()["progress"].clone();
    assert!(progress["ratio"].as_f64().unwrap() < 0.2, "{progress:#}");
    huge.cancel();
}

#[test]
fn what_waits_behind_a_task_that_takes_long_is_run_by_another_worker() {
    let server = Server::start();
    let naps: Vec<f64> = (0..400).map(|number| if number == 200 { 600.0 } else { 0.003 }).collect();
    let job = server.submit(&json!({"function": "sleep", "inputs": naps, "chunk_size": 1}));
    job.wait_for_done(399);
    job.cancel();
    // The same if each is a job of its own.
    let nap = |number| server.map("sleep", &json!([if number == 20 { 600.0 } else { 0.001 }]));
    let jobs: Vec<Job<'_>> = (0..60).map(nap).collect();
    jobs.iter().enumerate().filter(|(number, _)| *number != 20).for_each(|(_, job)| drop(job.succeeds()));
    jobs[20].cancel();
}

#[test]
fn timings_add_up() {
    let server = Server::start();
    let job = server.map("sleep", &json!(vec![0.05; 8]));
    let status = job.succeeds();
    let (timings, number) = (&status["timings"], |value: &Value| value.as_f64().unwrap());
    let task = |key: &str| number(&timings["task_ms"][key]);
    assert!(task("min") >= 50.0 && task("min") <= task("mean") && task("mean") <= task("max"), "{timings:#}");
    assert!(task("p50") <= task("p95") && task("p95") <= task("p99"), "{timings:#}");
    assert!(task("p50") >= 45.0 && task("sum") >= 400.0, "{timings:#}");
    let (started, finished) = started_and_finished(&status);
    let created: jiff::Timestamp = timings["created_at"].as_str().unwrap().parse().unwrap();
    assert!(created <= started && started <= finished && finished <= jiff::Timestamp::now());
    let is = |key: &str, value: f64| (number(&timings[key]) - value).abs() < 0.002;
    let ms = |from: jiff::Timestamp, to: jiff::Timestamp| to.duration_since(from).as_secs_f64() * 1e3;
    assert!(is("queued_ms", ms(created, started)) && is("wall_ms", ms(started, finished)), "{timings:#}");
    let (wall, speedup) = (number(&timings["wall_ms"]), number(&timings["speedup"]));
    assert!(wall >= 200.0 && speedup <= 2.0, "{timings:#}");
    assert!(is("speedup", task("sum") / wall) && is("efficiency", speedup / 2.0), "{timings:#}");
    let workers = status["workers"].as_array().unwrap();
    assert_eq!(workers.iter().map(|worker| worker["tasks"].as_u64().unwrap()).sum::<u64>(), 8);
    assert!(job.results().iter().all(|result| number(&result["duration_ms"]) >= 50.0));
}

#[test]
fn a_paused_job_holds_still_and_goes_on_when_resumed() {
    let server = Server::start();
    let job = server.map("sleep", &json!(vec![0.05; 100]));
    job.wait_for_done(4);
    let control = |verb: &str| server.post_json(&format!("{}/{verb}", job.path()), "");
    assert_eq!(control("pause").expect(200).json()["state"], "paused");
    job.wait_for("the running tasks to end", |status| status["running"] == json!([]));
    // What they came to is in the store before what a later job comes to.
    let later = || server.map("sleep", &json!([0.1])).succeeds();
    later();
    let done = job.status()["progress"]["done"].clone();
    assert!(done.as_u64() < Some(100));
    later();
    assert_eq!(job.status()["progress"]["done"], done, "nothing of it began meanwhile");
    server.kill9();
    server.restart();
    assert_eq!(job.status()["state"], "paused");
    assert_eq!(control("resume").expect(200).json()["state"], "running");
    job.succeeds();
    job.has_each_result_once(100);
    control("pause").problem(409, "wrong-state");
    server.post_json("/v1/jobs/nobody/resume", "").problem(404, "unknown-job");
}

#[test]
fn jobs_with_one_lock_take_turns() {
    let server = Server::with(&["--processes=3"]);
    let locked =
        |lock: Value| server.submit(&json!({"function": "sleep", "inputs": vec![0.1; 5], "lock": lock}));
    let jobs = [locked(json!("disk")), locked(json!({"name": "disk", "permits": 1}))];
    let free = server.map("sleep", &json!([0.1]));
    let mut most = 0;
    loop {
        let pool = server.pool();
        let at_work = |worker: &&Value| jobs.iter().any(|job| worker["job"] == job.id.as_str());
        let states: Vec<Value> = jobs.iter().map(|job| job.status()["state"].clone()).collect();
        most = most.max(pool["workers"].as_array().unwrap().iter().filter(at_work).count());
        if states.iter().all(|state| state == "succeeded") {
            break;
        }
    }
    free.succeeds();
    assert_eq!(most, 1, "so many held the lock at once");
    let refused = r#"{"function": "echo", "inputs": [], "lock": {"name": "disk", "permits": 0}}"#;
    server.post_json("/v1/jobs", refused).problem(400, "bad-request");
}

#[test]
fn the_same_key_is_the_same_job() {
    let server = Server::start();
    let send = |key: &str, body: &str| {
        let headers = [("Content-Type", common::client::JSON), ("Idempotency-Key", key)];
        server.client().call("POST", "/v1/jobs", &headers, body)
    };
    let body = r#"{"function": "echo", "inputs": [1, 2]}"#;
    let clients: Vec<String> = std::thread::scope(|scope| {
        let calls: Vec<_> = (0..16).map(|_| scope.spawn(|| send("\"order-7\"", body))).collect();
        calls.into_iter().map(|call| call.join().unwrap().expect(202).header("location").to_owned()).collect()
    });
    assert!(clients.iter().all(|location| *location == clients[0]), "{clients:?}");
    assert_eq!(server.get("/v1/jobs").json()["items"].as_array().unwrap().len(), 1);
    let other = send("order-7", r#"{"function": "echo", "inputs": [1, 3]}"#);
    other.problem(422, "key-reused");
    server.kill9();
    server.restart();
    let again = send("order-7", body).expect(202);
    assert_eq!(
        (again.header("location"), again.header("idempotent-replayed")),
        (clients[0].as_str(), "true")
    );
    server.get(&format!("{}?wait=30s", clients[0])).expect(200);
    server.delete(&clients[0]).expect(204);
    send("order-7", body).problem(410, "job-deleted");
    let stream = |body: &str| {
        let headers = [("Content-Type", common::client::NDJSON), ("Idempotency-Key", "stream")];
        server.client().call("POST", "/v1/jobs?function=echo", &headers, body).expect(202)
    };
    let long = "1\n".repeat(100_000);
    assert_eq!(stream(&long).header("location"), stream(&long).header("location"));
}

#[test]
fn a_full_queue_answers_429_and_takes_more_when_there_is_room() {
    let server = Server::with(&["--processes=1", "--max-queued-tasks=5"]);
    let job = server.map("sleep", &json!([60, 60, 60, 60]));
    let small = r#"{"function": "echo", "inputs": [1, 2]}"#;
    let refused = server.post_json("/v1/jobs", small);
    refused.problem(429, "queue-full");
    assert!(!refused.header("retry-after").is_empty());
    job.cancel();
    job.wait();
    server.post_json("/v1/jobs", small).expect(202);
}

#[test]
fn jobs_are_forgotten_when_they_have_been_kept_long_enough() {
    let server = Server::with(&["--processes=1", "--retention=1s"]);
    // Its end is waited for with the submit, as a later look might find it forgotten.
    let headers = [("Content-Type", common::client::JSON), ("Prefer", "wait=30")];
    let body = r#"{"function": "echo", "inputs": [1]}"#;
    let job = Job::of(&server, &server.client().call("POST", "/v1/jobs", &headers, body).expect(200));
    let running = server.map("sleep", &json!([60]));
    common::eventually("the job to be forgotten", || {
        common::check(server.get(&job.path()).status, |status| *status == 404)
    });
    server.get(&running.path()).expect(200);
}

#[test]
fn an_open_job_takes_inputs_until_it_is_closed_and_gives_results_meanwhile() {
    let server = Server::start();
    let job = server.submit(&json!({"function": "echo", "open": true}));
    let inputs = format!("{}/inputs", job.path());
    assert_eq!(job.status()["open"], true);
    server.post_json(&inputs, r#"{"inputs": [0, 1]}"#).expect(202);
    job.wait_for_done(2);
    server.kill9();
    server.restart();
    let keyed = || {
        let headers = [("Content-Type", common::client::NDJSON), ("Idempotency-Key", "second")];
        server.client().call("POST", &inputs, &headers, "2\n3\n4\n").expect(202).json()
    };
    assert_eq!(keyed()["progress"]["total"], 5);
    assert_eq!(keyed()["progress"]["total"], 5, "the same inputs once more are the same");
    job.wait_for_done(5);
    assert_eq!(job.results().len(), 5);
    assert_ne!(job.status()["state"], "succeeded", "it waits for more");
    let many: Vec<String> = (5..100_000).map(|n| n.to_string()).collect();
    server.post_ndjson(&inputs, &many.join("\n")).expect(202);
    server.post_json(&format!("{}/close", job.path()), "").expect(200);
    job.succeeds();
    let outputs = job.results_text("order=input&fields=output");
    assert!(outputs.lines().enumerate().all(|(at, line)| line == at.to_string()));
    assert_eq!(outputs.lines().count(), 100_000);
    server.post_json(&inputs, r#"{"inputs": [1]}"#).problem(409, "not-open");
    server.post_json("/v1/jobs/nobody/inputs", r#"{"inputs": [1]}"#).problem(404, "unknown-job");
    let at_once = server.submit(&json!({"function": "echo", "inputs": [], "open": true}));
    server.post_json(&format!("{}/close", at_once.path()), "").expect(200);
    at_once.succeeds();
    let cancelled = server.submit(&json!({"function": "sleep", "inputs": [60], "open": true}));
    cancelled.wait_for_running(1);
    cancelled.cancel();
    assert_eq!(cancelled.wait()["state"], "cancelled");
}
