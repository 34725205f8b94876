//! What is not taken is tried again, for as long as that makes sense; what an answer says counts.

use std::time::Duration;

use jiff::Timestamp;
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::common::procs::signal;
use crate::common::{Server, check, eventually, within};
use crate::receiver::{OK, Receiver};
use crate::{KEY, is_signed, secret, server, submit, wait_for_state, wait_for_tries};

/// How many seconds it is from now to the next try.
fn next_in(callback: &Value) -> f64 {
    let at: Timestamp = callback["next_at"].as_str().unwrap_or_else(|| panic!("{callback}")).parse().unwrap();
    at.duration_since(Timestamp::now()).as_secs_f64()
}

#[test]
fn what_is_not_taken_is_tried_again_after_kill_9_too() {
    let receiver = Receiver::start(&[Some("HTTP/1.1 500 No\r\n\r\n"), Some(OK)]);
    let server = server(&[&receiver]);
    let job = submit(&server, &receiver.url(), "echo", &json!([1]));
    let callback = wait_for_tries(&job, 1);
    assert_eq!(
        (&callback["state"], &callback["last_error"]),
        (&json!("pending"), &json!("the answer was 500"))
    );
    let next = next_in(&callback);
    assert!((1.0..6.1).contains(&next), "{next}");
    server.kill9();
    server.restart();
    let callback = wait_for_state(&job, "delivered");
    assert_eq!((&callback["attempts"], &callback["next_at"]), (&json!(2), &json!(null)));
    let got = receiver.got();
    got.iter().for_each(is_signed);
    assert_eq!((got.len(), &got[0].body), (2, &got[1].body));
    assert_eq!(got[0].header("webhook-id"), got[1].header("webhook-id"));
    let sent = |at: usize| got[at].header("webhook-timestamp").parse::<u64>().unwrap();
    assert!(sent(1) >= sent(0) + 4, "each try has its own time: {} and {}", sent(0), sent(1));
}

#[test]
fn an_end_that_kill_9_kept_from_being_told_is_told_at_the_next_start() {
    let receiver = Receiver::start(&[None, Some(OK)]);
    let server = server(&[&receiver]);
    let job = submit(&server, &receiver.url(), "echo", &json!([1]));
    receiver.wait_for(1);
    assert_eq!(wait_for_state(&job, "pending")["attempts"], 0, "there is no answer yet");
    server.kill9();
    server.restart();
    wait_for_state(&job, "delivered");
    let got = receiver.got();
    assert_eq!((got.len(), got[0].header("webhook-id")), (2, got[1].header("webhook-id")));
}

#[test]
fn an_answer_says_whether_and_when_to_come_again() {
    let gone = Receiver::start(&[Some("HTTP/1.1 410 Gone\r\n\r\n")]);
    let moved = Receiver::start(&[Some("HTTP/1.1 307 Moved\r\nLocation: /elsewhere\r\n\r\n")]);
    let busy = Receiver::start(&[Some("HTTP/1.1 429 Busy\r\nRetry-After: 3600\r\n\r\n")]);
    let server = server(&[&gone, &moved, &busy]);
    let jobs = [&gone, &moved, &busy].map(|receiver| submit(&server, &receiver.url(), "echo", &json!([])));
    let [gone_job, moved_job, busy_job] = &jobs;
    let callback = wait_for_state(gone_job, "failed");
    let expected = json!([1, null, "the answer was 410: the receiver wants no more"]);
    assert_eq!(json!([callback["attempts"], callback["next_at"], callback["last_error"]]), expected);
    let callback = wait_for_tries(moved_job, 1);
    assert_eq!(callback["last_error"], "the answer was 307; redirects are not followed");
    assert_eq!(moved.got().len(), 1);
    let next = next_in(&wait_for_tries(busy_job, 1));
    assert!((3500.0..3601.0).contains(&next), "{next}");
}

/// The numbers of `/metrics` about webhooks: tries that were taken, are made again, were the last; and what is untold.
fn counted(server: &Server) -> [u64; 4] {
    let page = server.get("/metrics").expect(200).text;
    let value = |sample: &str| {
        let line = page.lines().find_map(|line| line.strip_prefix(sample));
        line.unwrap_or_else(|| panic!("no {sample}: {page}")).trim().parse().unwrap()
    };
    let tries = |outcome: &str| value(&format!("gristmill_webhook_tries_total{{outcome=\"{outcome}\"}}"));
    [tries("delivered"), tries("retried"), tries("failed"), value("gristmill_webhooks_pending")]
}

#[test]
fn tries_and_what_is_untold_are_counted() {
    let good = Receiver::start(&[Some(OK)]);
    let gone = Receiver::start(&[Some("HTTP/1.1 410 Gone\r\n\r\n")]);
    let busy = Receiver::start(&[Some("HTTP/1.1 429 Busy\r\nRetry-After: 3600\r\n\r\n")]);
    let server = server(&[&good, &gone, &busy]);
    assert_eq!(counted(&server), [0, 0, 0, 0]);
    let told = [&good, &gone, &busy, &good].map(|it| submit(&server, &it.url(), "echo", &json!([])));
    told.iter().for_each(|job| drop(wait_for_tries(job, 1)));
    // A count follows the commit that readers see at once.
    let becomes = |expected: [u64; 4]| {
        eventually("the counts", || check(counted(&server), |counted| *counted == expected));
    };
    becomes([2, 1, 1, 1]);
    server.kill9();
    server.restart();
    assert_eq!(counted(&server), [0, 0, 0, 1], "what is untold is known at once, what was tried is not");
    server.delete(&told[2].path()).expect(204);
    becomes([0, 0, 0, 0]);
}

#[test]
fn a_receiver_that_talks_nonsense_harms_nobody() {
    let nonsense = Receiver::start(&[Some("\0\u{1}what?\r\n\r\n")]);
    let nothing = Receiver::start(&[Some("")]);
    let cut = Receiver::start(&[Some("HTTP/1.1 200 OK\r\nContent-Length: 99\r\n\r\nx")]);
    let server = server(&[&nonsense, &nothing, &cut]);
    for receiver in [&nonsense, &nothing] {
        let callback = wait_for_tries(&submit(&server, &receiver.url(), "echo", &json!([])), 1);
        let error = callback["last_error"].as_str().unwrap();
        assert!(error.starts_with("no HTTP answer: "), "{error}");
    }
    wait_for_state(&submit(&server, &cut.url(), "echo", &json!([])), "delivered");
}

#[test]
fn a_receiver_that_does_not_answer_does_not_hold_up_others() {
    let (deaf, good) = (Receiver::start(&[None]), Receiver::start(&[Some(OK)]));
    let server = server(&[&deaf, &good]);
    let waiting: Vec<_> = (0..40).map(|_| submit(&server, &deaf.url(), "echo", &json!([]))).collect();
    deaf.wait_for(8);
    // Long before the first of those gets no answer for good, after 20 s.
    let job = submit(&server, &good.url(), "echo", &json!([]));
    within(Duration::from_secs(10), "the end to be told", || {
        check(job.status()["callback"].clone(), |callback| callback["state"] == "delivered")
    });
    assert_eq!(deaf.got().len(), 8, "no more at once");
    assert_eq!(waiting[39].status()["callback"]["attempts"], 0);
}

#[test]
fn a_host_that_is_no_longer_allowed_is_told_nothing_more() {
    let receiver = Receiver::start(&[Some("HTTP/1.1 500 No\r\n\r\n"), Some(OK)]);
    let home = TempDir::new().unwrap();
    let config = home.path().join("gristmill.toml");
    let allow = |host: &str| std::fs::write(&config, format!("callback_hosts = ['{host}']")).unwrap();
    allow(&format!("http://127.0.0.1:{}", receiver.port));
    let environment = [("GRISTMILL_CALLBACK_SECRET", &*secret(&KEY))];
    let server = Server::launch(home, &["--config", config.to_str().unwrap()], &environment).unwrap();
    let job = submit(&server, &receiver.url(), "echo", &json!([]));
    wait_for_tries(&job, 1);
    allow("hooks.example.com");
    signal(server.pid(), Signal::HUP);
    server.wait_for_log("are read again");
    let error = wait_for_tries(&job, 2)["last_error"].as_str().unwrap().to_owned();
    assert!(error.ends_with("is not among what the operator allows: https://hooks.example.com"), "{error}");
    assert_eq!(receiver.got().len(), 1);
}

#[test]
fn nothing_is_told_of_a_job_that_is_forgotten() {
    let receiver = Receiver::start(&[Some("HTTP/1.1 500 No\r\n\r\n"), Some(OK)]);
    let server = server(&[&receiver]);
    let job = submit(&server, &receiver.url(), "echo", &json!([]));
    let next = next_in(&wait_for_tries(&job, 1));
    server.delete(&job.path()).expect(204);
    // The next one is first tried when the forgotten one would have been.
    std::thread::sleep(Duration::from_secs_f64(next.max(0.0)));
    let later = submit(&server, &receiver.url(), "echo", &json!([]));
    wait_for_state(&later, "delivered");
    let ids: Vec<_> = receiver.got().iter().map(|got| got.json()["data"]["id"].clone()).collect();
    assert_eq!(ids, [json!(job.id), json!(later.id)]);
}
