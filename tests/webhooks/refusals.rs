//! Who may not be told, and what the operator is told about it.

use serde_json::json;
use tempfile::TempDir;

use crate::common::Server;
use crate::receiver::{OK, Receiver};
use crate::{KEY, secret, server_with, submit, wait_for_state, wait_for_tries};

/// What is said to a submit with this URL.
fn refusal(server: &Server, url: &str) -> String {
    let body = json!({"function": "echo", "inputs": [1], "callback_url": url});
    let problem = server.post_json("/v1/jobs", &body.to_string()).problem(422, "callback-refused");
    problem["detail"].as_str().unwrap().to_owned()
}

#[test]
fn a_url_that_is_not_allowed_is_refused_with_what_would_be_right() {
    let server = server_with(&["--callback-hosts=hooks.example.com,*.example.org:8443"]);
    let detail = refusal(&server, "https://evil.example/x");
    let expected = "callback_url: https://evil.example is not among what the operator allows: https://hooks.example.com, \
                    https://*.example.org:8443";
    assert_eq!(detail, expected);
    for url in ["http://hooks.example.com/", "https://127.0.0.1/", "https://hooks.example.com:8443/"] {
        assert!(refusal(&server, url).contains("is not among"), "{url}");
    }
    let detail = refusal(&server, "https://me:hunter2@hooks.example.com/");
    assert!(detail.contains("user info") && !detail.contains("hunter2"), "{detail}");
    assert!(refusal(&server, "hooks").contains("write it as https://hooks.example.com/path"));
    let query = "/v1/jobs?function=echo&callback_url=https://evil.example";
    server.post_ndjson(query, "1\n").problem(422, "callback-refused");
    assert_eq!(server.get("/v1/jobs").json()["items"], json!([]), "nothing of it is there");
}

#[test]
fn without_hosts_callbacks_are_off() {
    let server = Server::start();
    assert!(
        refusal(&server, "https://hooks.example.com/")
            .contains("the operator turns them on with callback_hosts")
    );
    assert_eq!(server.map("echo", &json!([1])).succeeds().get("callback"), None);
}

#[test]
fn a_name_that_leads_to_this_machine_is_refused_unless_its_network_is_allowed() {
    let receiver = Receiver::start(&[Some(OK)]);
    let host = format!("--callback-hosts=http://localhost:{}", receiver.port);
    let url = format!("http://localhost:{}/", receiver.port);
    let server = server_with(&[&host]);
    let callback = wait_for_tries(&submit(&server, &url, "echo", &json!([])), 1);
    let expected =
        "localhost resolves to a loopback address; the operator can allow its network with callback_networks";
    assert_eq!((&callback["state"], &callback["last_error"]), (&json!("pending"), &json!(expected)));
    assert!(receiver.got().is_empty());
    let server = server_with(&[&host, "--callback-networks=127.0.0.0/8,::1/128"]);
    wait_for_state(&submit(&server, &url, "echo", &json!([])), "delivered");
}

#[test]
fn what_the_operator_gets_wrong_is_told_at_the_start() {
    let good = secret(&KEY);
    let host = "--callback-hosts=hooks.example.com";
    let cases: [(&[&str], &str, &str); 6] = [
        (&[host], "", "callback_hosts is set, but no secret to sign with"),
        (&["--callback-hosts=*"], &good, "\"*\" is no host"),
        (&[host, "--callback-networks=10/8"], &good, "\"10/8\" is no network"),
        (&[host], "whsec_dGhpcyBpcyBzaG9ydA==", "24 to 64 random bytes"),
        (&[host, "--callback-ca-file=/dev/null"], &good, "there is no certificate in it"),
        (&[host, "--callback-secret-file=/nowhere"], &good, "callback_secret_file /nowhere"),
    ];
    for (flags, secret, expected) in cases {
        let environment = [("GRISTMILL_CALLBACK_SECRET", secret)];
        let refused = Server::launch(TempDir::new().unwrap(), flags, &environment).err().unwrap();
        assert!(refused.log.contains(expected), "{flags:?}: {}", refused.log);
        assert!(!refused.log.contains("dGhpcyBpcyBzaG9ydA"), "a secret is in the log: {}", refused.log);
    }
}
