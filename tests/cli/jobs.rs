//! Submit, status, results, jobs: what they take and what they print.

use std::fs;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::common::Server;
use super::common::job::{Job, indices, seqs};
use super::{gristmill, run, run_with, submit};

#[test]
fn a_job_is_submitted_and_followed_by_its_id() {
    let server = Server::start();
    let id = submit(&server, &["sha256", "\"a\"", "\"b\""]);
    let ended = run(&server, &["status", &id, "--follow"]).quietly();
    for fact in ["state      succeeded", "tasks      2, 100 % done: 2 succeeded", "worker-"] {
        assert!(ended.contains(fact), "{fact}: {ended}");
    }
    let api = server.get(&format!("/v1/jobs/{id}")).expect(200).text;
    assert_eq!(run(&server, &["status", &id, "--json"]).quietly(), api + "\n");
    let outputs = run(&server, &["results", &id, "--outputs", "--order=input"]).quietly();
    assert_eq!(outputs, Job::with_id(&server, &id).results_text("order=input&fields=output"));
    assert_eq!(run(&server, &["results", &id]).quietly(), Job::with_id(&server, &id).results_text(""));
}

#[test]
fn a_job_is_named_by_what_tells_it_from_the_others() {
    let server = Server::start();
    let ids = [(); 3].map(|()| submit(&server, &["echo", "1", "--wait"]));
    let named = |name: &str| run(&server, &["status", "--json", name]);
    for name in [&ids[1], &format!("/v1/jobs/{}", ids[1]), &ids[1][..35], &ids[1].replace('-', "")[..31]] {
        assert_eq!(named(name).json()["id"], ids[1].as_str(), "{name}");
    }
    assert_eq!(named("last").json()["id"], ids[2].as_str());
    let several = named(&ids[0][..4]).ends(1, "several jobs begin with");
    assert!(ids.iter().all(|id| several.stderr.contains(id)), "{several:?}");
    named("00000000").ends(1, "there is no job whose id begins with 00000000");
    named("ffff").ends(1, "there is no job whose id begins with ffff");
    named("ffffffff-ffff-ffff-ffff-ffffffffffff").ends(1, "gristmill jobs");
    named("nightly").ends(2, "write a job's id");
    named("019").ends(2, "at least the first 4 characters");
}

#[test]
fn last_of_no_jobs_is_none() {
    run(&Server::start(), &["status", "last"]).ends(1, "there are no jobs yet");
}

#[test]
fn each_option_reaches_the_job() {
    let server = Server::start();
    let options =
        ["--processes=1", "--priority", "-3", "--timeout=1m30s", "--max-attempts=7", "--retry-backoff=2s"];
    let more =
        ["--on-error=stop", "--lock=disk", "--chunk-size=9", "--name=n", "--label=a=b=c", "--label=d=e"];
    let id = submit(&server, &[&["echo", "1"], &options[..], &more[..]].concat());
    let job = Job::with_id(&server, &id).succeeds();
    let expected = json!({
        "processes": {"requested": 1, "granted": 1}, "priority": -3, "timeout_ms": 90_000.0, "max_attempts": 7,
        "on_error": "stop", "retry_backoff_ms": 2000.0, "chunk_size": 9, "lock": {"name": "disk", "permits": 1}
    });
    assert_eq!(job["options"], expected);
    assert_eq!((&job["name"], &job["labels"]), (&json!("n"), &json!({"a": "b=c", "d": "e"})));
    let told = ["submit", "echo", "1", "--callback-url=https://hooks.example.com/"];
    run(&server, &told).ends(1, "callbacks are off");
    let id = submit(&server, &["echo", "1", "-o", "priority=5"]);
    assert_eq!(Job::with_id(&server, &id).succeeds()["options"]["priority"], 5);
    let lock = json!({"name": "disk", "permits": 2});
    let id = submit(&server, &["echo", "1", "--lock", &lock.to_string()]);
    assert_eq!(Job::with_id(&server, &id).succeeds()["options"]["lock"], lock);
    run(&server, &["submit", "echo", "1", "--lock={}"]).ends(1, "it can be a name, or {\"name\": \"disk\"");
    run(&server, &["submit", "echo", "1", "-o", "prority=5"]).ends(1, "did you mean \"priority\"?");
    for wrong in ["--processes=0", "--timeout=soon", "--on-error=halt", "--label=a", "--prority=1"] {
        run(&server, &["submit", "echo", "1", wrong]).ends(2, wrong.split('=').next().unwrap());
    }
}

#[test]
fn inputs_come_from_arguments_files_and_standard_input() {
    let server = Server::start();
    let dir = TempDir::new().unwrap();
    let file = |name: &str, text: &str| {
        fs::write(dir.path().join(name), text).unwrap();
        dir.path().join(name).to_str().unwrap().to_owned()
    };
    let (first, second) = (file("1", "1\n\n2"), file("2", "\r\n3\n"));
    let outputs = |arguments: &[&str], stdin: &str| {
        let arguments = [&["submit", "echo", "--outputs", "--order=input"], arguments].concat();
        run_with(gristmill(&server, &arguments), stdin).ends(0, "job ").stdout
    };
    assert_eq!(outputs(&["-1", "\"a\"", "{\"b\":\n 2}"], ""), "-1\n\"a\"\n{\"b\":  2}\n");
    assert_eq!(outputs(&["-f", &first, "--file", &second], ""), "1\n2\n3\n");
    assert_eq!(outputs(&["-f", &first, "-f", "-"], "4\n5"), "1\n2\n4\n5\n");
    assert_eq!(outputs(&[], "6\n7"), "6\n7\n");
    assert_eq!(outputs(&[], ""), "");
    assert_eq!(outputs(&["--text", "a\nb", "7", "\"", "--"], ""), "\"a\\nb\"\n\"7\"\n\"\\\"\"\n");
    assert_eq!(outputs(&["-tf", &second, "-f", &first], ""), "\"\"\n\"3\"\n\"1\"\n\"\"\n\"2\"\n");
    assert_eq!(outputs(&["--text"], "a \"b\"\r\nc\\"), "\"a \\\"b\\\"\"\n\"c\\\\\"\n");
}

#[test]
fn inputs_that_cannot_be_read_are_named() {
    let server = Server::start();
    let refused = |arguments: &[&str], code: i32, says: &str| {
        run(&server, &[&["submit", "echo"], arguments].concat()).ends(code, says);
    };
    refused(&["1", "x"], 1, "input 2 is x, which is no JSON");
    refused(&["-f", "/nonexistent"], 1, "reading /nonexistent: No such file");
    refused(&["-f", "/"], 1, "reading /: Is a directory");
    refused(&["1", "-f", "/"], 2, "cannot be used with");
    let bad = run_with(gristmill(&server, &["submit", "echo"]), "1\n{\"a\": x}\n");
    bad.ends(1, "line 2, column 7");
    assert_eq!(server.get("/v1/jobs").json()["items"], json!([]), "nothing was accepted");
}

#[test]
fn the_exit_code_is_the_outcome_where_the_end_is_waited_for() {
    let server = Server::start();
    let codes = |arguments: &[&str]| {
        let submitted = run(&server, &[&["submit"], arguments].concat());
        let followed = run(&server, &["results", "last", "--follow"]).code;
        (submitted.code, followed, run(&server, &["status", "last", "--wait"]).code, submitted)
    };
    let (submitted, followed, waited, ran) = codes(&["echo", "1", "--wait"]);
    assert_eq!((submitted, followed, waited, ran.stderr), (Some(0), Some(0), Some(0), String::new()));
    let (submitted, followed, waited, ran) = codes(&["sha256", "7", "\"a\"", "--wait"]);
    assert_eq!((submitted, followed, waited), (Some(3), Some(3), Some(3)));
    assert!(ran.stderr.contains("1 of 2 tasks failed"), "{ran:#?}");
    assert!(ran.stderr.contains("task 0: exception: sha256 wants a string"), "{ran:#?}");
    assert_eq!(ran.stdout.len(), 37, "the id is printed all the same");
    assert_eq!(run(&server, &["status", "last"]).code, Some(0), "to look is no failure");

    let id = submit(&server, &["sleep", "3600"]);
    let waiting = gristmill(&server, &["status", &id, "--follow", "--json"]).spawn().unwrap();
    Job::with_id(&server, &id).cancel().expect(202);
    let ended = waiting.wait_with_output().unwrap();
    assert_eq!(ended.status.code(), Some(4), "{ended:?}");
    assert_eq!(serde_json::from_slice::<Value>(&ended.stdout).unwrap()["state"], "cancelled");
}

#[test]
fn results_and_outputs_of_a_submit_are_streamed() {
    let server = Server::start();
    let results = run(&server, &["submit", "sleep", "2", "0", "--results"]).ends(0, "job ");
    let results: Vec<Value> =
        results.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!((seqs(&results), indices(&results)), (vec![1, 2], vec![1, 0]));
    let outputs = run(&server, &["submit", "sha256", "7", "\"a\"", "--outputs", "--order=input"]);
    let outputs = outputs.ends(3, "task 0: exception");
    assert!(outputs.stdout.starts_with("null\n\"ca978112"), "{outputs:?}");
    let waited = run(&server, &["submit", "echo", "1", "--json", "--wait"]);
    assert_eq!(waited.json()["state"], "succeeded");
    assert_eq!(run(&server, &["submit", "echo", "1", "--json"]).json()["progress"]["total"], 1);
}

#[test]
fn results_are_read_by_cursor() {
    let server = Server::start();
    let id = submit(&server, &["echo", "1", "2", "3", "4", "--wait"]);
    let read =
        |arguments: &[&str]| run(&server, &[&["results", &id, "--outputs"], arguments].concat()).quietly();
    assert_eq!(read(&["--order=input", "--after=1", "--limit=2"]), "2\n3\n");
    assert_eq!(read(&["--after=4"]), "");
    assert_eq!(read(&["--limit=4", "--follow", "--order=input"]), "1\n2\n3\n4\n");
    run(&server, &["results", &id, "--limit=0"]).ends(2, "0 is not in 1..");
}

#[test]
fn what_the_tasks_printed_is_told_by_task() {
    let server = Server::start();
    let id = submit(
        &server,
        &["fail", "{\"mode\": \"stderr\"}", "{\"mode\": \"stdout\"}", "--processes=1", "--wait"],
    );
    let api = server.get(&format!("/v1/jobs/{id}/logs")).expect(200).text;
    assert_eq!(run(&server, &["logs", &id, "--json"]).quietly(), api);
    let [all, one] =
        [&["logs", &id][..], &["logs", &id, "--index=1"]].map(|args| run(&server, args).quietly());
    assert!(all.lines().any(|line| line.starts_with("task 0: ")), "{all}");
    assert!(!one.is_empty() && one.lines().all(|line| line.starts_with("task 1: ")), "{one}");
}

#[test]
fn a_submit_under_the_same_key_is_the_same_job() {
    let server = Server::start();
    let send = |input: &str| run(&server, &["submit", "echo", input, "--idempotency-key=k"]);
    let first = send("1").quietly();
    assert_eq!(send("1").ends(0, "accepted before").stdout, first);
    send("2").ends(1, "another request was sent under this Idempotency-Key");
}

#[test]
fn jobs_are_listed_by_what_they_are() {
    let server = Server::start();
    let kept = submit(&server, &["echo", "1", "--name=\u{1b}[31mred", "--label=a=b", "--wait"]);
    let other = submit(&server, &["sha256", "\"a\"", "--wait"]);
    let list = |arguments: &[&str]| run(&server, &[&["jobs"], arguments].concat()).quietly();
    assert_eq!(list(&["-q"]), format!("{other}\n{kept}\n"));
    for filter in [["--label", "a=b"], ["--function", "echo"], ["--after", &other]] {
        assert_eq!(list(&["-q", filter[0], filter[1]]), format!("{kept}\n"), "{filter:?}");
    }
    assert_eq!(list(&["-q", "--state=failed"]), "");
    let api = server.get("/v1/jobs?limit=1").expect(200).text;
    assert_eq!(list(&["--json", "--limit=1"]), api + "\n");
    let table = list(&[]);
    let rows: Vec<&str> = table.lines().collect();
    assert!(rows[0].starts_with("JOB ") && rows[0].ends_with("NAME"), "{table}");
    assert!(rows[1].starts_with(&other) && rows[1].contains("succeeded"), "{table}");
    assert!(rows[2].starts_with(&kept) && rows[2].ends_with("\u{fffd}[31mred"), "{table}");
}
