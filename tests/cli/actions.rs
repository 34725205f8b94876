//! What is done to jobs and to the pool.

use serde_json::Value;

use super::common::Server;
use super::common::job::Job;
use super::{run, submit};

#[test]
fn jobs_are_ended_held_and_forgotten() {
    let server = Server::start();
    let act = |act: &str, job: &str| run(&server, &[act, job]);
    let id = submit(&server, &["sleep", "3600", "3600", "3600", "3600"]);
    assert_eq!(act("pause", &id).quietly(), format!("{id}: paused, 0/4 tasks done\n"));
    assert!(act("resume", "last").quietly().starts_with(&format!("{id}: ")));
    act("resume", &id).quietly();
    act("forget", &id).ends(1, "gristmill cancel");
    act("retry", &id).ends(1, "when it has ended");
    assert!(act("cancel", &id).quietly().starts_with(&format!("{id}: cancel")));
    Job::with_id(&server, &id).wait();
    act("pause", &id).ends(1, "cannot be paused");
    let failed = submit(&server, &["sha256", "7"]);
    Job::with_id(&server, &failed).wait();
    assert!(act("retry", &failed).quietly().starts_with(&failed));
    assert_eq!(Job::with_id(&server, &failed).wait()["state"], "failed");

    let both = run(&server, &["forget", &id, "00000000", &failed]);
    let both = both.ends(1, "begins with 00000000");
    assert_eq!(
        both.stdout,
        format!("{id}: forgotten\n{failed}: forgotten\n"),
        "one does not stop the others"
    );
    run(&server, &["cancel"]).ends(2, "<JOB>");
}

#[test]
fn what_was_done_to_a_job_is_told_as_json() {
    let server = Server::start();
    let id = submit(&server, &["sleep", "3600"]);
    let cancelled = run(&server, &["cancel", "--json", &id]);
    assert_eq!(cancelled.json()["id"], id.as_str());
    Job::with_id(&server, &id).wait();
    assert_eq!(run(&server, &["forget", "--json", &id]).quietly(), "");
}

#[test]
fn an_open_job_takes_more_until_it_is_closed() {
    let server = Server::start();
    let id = submit(&server, &["echo", "--open"]);
    assert_eq!(run(&server, &["add", &id, "1", "2"]).quietly(), format!("{id}\n"));
    assert_eq!(run(&server, &["add", "last", "--text", "c", "--json"]).json()["progress"]["total"], 3);
    let status = run(&server, &["status", &id]).quietly();
    assert!(status.contains(", open for more inputs"), "{status}");
    assert!(run(&server, &["close", &id]).quietly().starts_with(&id));
    run(&server, &["add", &id, "4"]).ends(1, "takes no more inputs");
    let followed = run(&server, &["results", &id, "--follow", "--outputs", "--order=input"]);
    assert_eq!(followed.quietly(), "1\n2\n\"c\"\n");
}

#[test]
fn the_pool_is_shown_and_resized_and_a_worker_ended() {
    let server = Server::start();
    let id = submit(&server, &["sleep", "3600"]);
    let pid = Job::with_id(&server, &id).wait_for_running(1)[0]["pid"].to_string();
    let pool = run(&server, &["pool"]).quietly();
    assert!(pool.contains("2 slots (as configured) · 1 busy") && pool.contains("worker-1"), "{pool}");
    assert!(pool.contains(&pid) && pool.contains(&format!("{id} task 0 for ")), "{pool}");
    let status = run(&server, &["status", &id]).quietly();
    assert!(status.contains(&pid) && status.contains("task 0 for "), "{status}");

    assert!(run(&server, &["pool", "resize", "3"]).quietly().contains("3 slots"));
    assert_eq!(run(&server, &["pool", "--json"]).json()["slots"], 3);
    assert_eq!(run(&server, &["pool", "resize", "2", "--json"]).json()["slots"], 2);
    run(&server, &["pool", "resize", "0"]).ends(2, "<SLOTS>");
    run(&server, &["pool", "resize", "5000"]).ends(1, "it can be 1 to 4096");

    assert_eq!(run(&server, &["pool", "end", &pid]).quietly(), format!("{pid}: is being ended\n"));
    run(&server, &["pool", "end", "worker-99"]).ends(1, "there is no worker \"worker-99\"");
    run(&server, &["pool", "end", "a/b ?#%2e"]).ends(1, "there is no");
    let other = |pool: &Value| {
        let pid_of = |worker: &Value| worker["pid"].to_string();
        pool["workers"].as_array().unwrap().iter().any(|w| w["state"] == "busy" && pid_of(w) != pid)
    };
    server.wait_for_pool("another worker at the task", other);
    run(&server, &["cancel", &id]).quietly();
}

#[test]
fn functions_are_listed() {
    let server = Server::start();
    let table = run(&server, &["functions"]).quietly();
    assert!(table.contains("sha256") && table.contains("100 → 25"), "{table}");
    let api = server.get("/v1/functions").expect(200).text;
    assert_eq!(run(&server, &["functions", "--json"]).quietly(), api + "\n");
}
