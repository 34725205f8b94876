//! What is said when something is wrong, and the code it ends with.

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::Command;

use tempfile::TempDir;

use super::common::Server;
use super::{Ran, gristmill, run, run_with, submit};

const TOKEN: &str = "0123456789abcdef";

/// The command with another server.
fn at(address: &str, arguments: &[&str]) -> Ran {
    let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    command.args(arguments).env_clear().args(["--server", address]);
    command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    run_with(command, "")
}

#[test]
fn where_no_server_is_it_says_how_to_start_one() {
    // Another test may be given a port that is free, but never this one.
    let address = "127.0.0.1:1";
    for arguments in
        [&["jobs"][..], &["submit", "echo", "1"], &["map", "echo"], &["status", "last"], &["top"]]
    {
        let ran = at(address, arguments).ends(1, &format!("no server answers at http://{address}"));
        assert!(ran.stderr.contains("Connection refused"), "{ran:?}");
        assert!(
            ran.stderr.contains(&format!("`gristmill serve --listen {address}` starts one there")),
            "{ran:?}"
        );
        assert_eq!((ran.stdout.as_str(), ran.stderr.lines().count()), ("", 1));
    }
    at("https://localhost", &["jobs"]).ends(2, "TLS");
    at("local host", &["jobs"]).ends(2, "write it as http://127.0.0.1:8080");
}

#[test]
fn what_is_no_gristmill_server_is_told_so() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        for answer in
            ["404 Not Found\r\nContent-Length: 4\r\n\r\nnope", "200 OK\r\nContent-Length: 4\r\n\r\n<ok>", ""]
        {
            let (mut stream, _) = listener.accept().unwrap();
            let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
            while lines.next().is_some_and(|line| !line.unwrap().is_empty()) {}
            if !answer.is_empty() {
                write!(stream, "HTTP/1.1 {answer}").unwrap();
            }
        }
    });
    at(&address, &["status", "last"]).ends(1, "answers 404, and not as a gristmill server does");
    at(&address, &["status", "last"]).ends(1, "answers 200, and not as a gristmill server does");
    at(&address, &["submit", "echo", "1"]).ends(1, "whether the inputs were accepted is not known");
}

#[test]
fn tokens_come_from_the_environment() {
    let server = Server::launch(TempDir::new().unwrap(), &[], &[("GRISTMILL_TOKEN", TOKEN)]).unwrap();
    run(&server, &["jobs"]).ends(1, "set GRISTMILL_TOKEN");
    let with = |token: &str| {
        let mut command = gristmill(&server, &["jobs", "-q"]);
        command.env("GRISTMILL_TOKEN", token);
        run_with(command, "")
    };
    with("fedcba9876543210").ends(1, "the token is none of this server's");
    assert_eq!(with(TOKEN).quietly(), "");
}

#[test]
fn what_is_misspelled_is_met_with_what_is_meant() {
    let server = Server::start();
    run(&server, &["submit", "sha265", "1"]).ends(1, "did you mean \"sha256\"?");
    run(&server, &["submit", "nonsense", "1"]).ends(1, "gristmill functions");
    run(&server, &["submti"]).ends(2, "submit");
    run(&server, &["jobs", "--state=runing"]).ends(2, "running");
    run(&server, &["jobs", "--limit=2000"]).ends(1, "it can be 1 to 1000");
    let id = submit(&server, &["echo", "1", "--wait"]);
    run(&server, &["results", &id, "--order=none"]).ends(2, "completion");
    run(&server, &["jobs", "--after=nonsense"]).ends(1, "in the query");
}
