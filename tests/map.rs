//! Map: results come down while inputs go up, by curl and by `gristmill map`, over a durable job.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use common::Server;
use common::job::{Job, indices};
use rustix::process::Signal;
use serde_json::{Value, json};

/// Far longer than anything takes.
const DEADLINE: Duration = Duration::from_secs(30);

/// A client with its ends in our hands.
struct Client {
    process: Child,
    stdin: Option<ChildStdin>,
    lines: Receiver<String>,
}

/// How a client ended.
struct Ended {
    rest: Vec<String>,
    code: Option<i32>,
    stderr: String,
}

impl Client {
    fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut process = command.spawn().unwrap();
        let stdin = process.stdin.take();
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let (sender, received) = channel();
        std::thread::spawn(move || {
            // Whoever does not read on wants the pipe closed.
            lines.map_while(Result::ok).all(|line| sender.send(line).is_ok())
        });
        Self { process, stdin, lines: received }
    }

    fn curl(server: &Server, path: &str) -> Self {
        let url = format!("http://{}/v1/map/{path}", server.socket_address());
        // With `-T .` it looks for answers while it waits for input; with `-T -` it does not.
        Self::start(Command::new("curl").args(["-sNT", ".", &url]))
    }

    fn gristmill(server: &Server, arguments: &[&str]) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
        Self::start(command.arg("map").args(arguments).env("GRISTMILL_SERVER", server.socket_address()))
    }

    fn send(&mut self, text: &str) {
        let stdin = self.stdin.as_mut().unwrap();
        stdin.write_all(text.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    fn receive(&mut self) -> String {
        self.lines.recv_timeout(DEADLINE).unwrap()
    }

    fn end(mut self) -> Ended {
        drop(self.stdin.take());
        let rest = std::iter::from_fn(|| self.lines.recv_timeout(DEADLINE).ok()).collect();
        let mut stderr = String::new();
        self.process.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        Ended { rest, code: self.process.wait().unwrap().code(), stderr }
    }
}

fn numbers(range: std::ops::Range<u64>) -> String {
    range.fold(String::new(), |text, number| text + &number.to_string() + "\n")
}

fn newest_job(server: &Server) -> Job<'_> {
    let list = server.get("/v1/jobs?limit=1").expect(200).json();
    Job::with_id(server, list["items"][0]["id"].as_str().unwrap())
}

/// The newest job, once so many of its inputs are there.
fn newest_job_of(server: &Server, inputs: u64) -> Job<'_> {
    let is_there = |list: &Value| list["items"][0]["progress"]["total"] == inputs;
    let list = || common::check(server.get("/v1/jobs?limit=1").expect(200).json(), is_there);
    common::eventually("the inputs", list);
    newest_job(server)
}

/// A server that is at the same address when it is started again.
fn server_at_a_port() -> Server {
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    Server::with(&["--processes=2", &format!("--listen=127.0.0.1:{port}")])
}

#[test]
fn each_result_comes_down_before_the_next_input_goes_up() {
    let server = Server::start();
    // Not by curl: whether it looks for an answer while it waits for input is up to its version.
    for arguments in [["echo", "--order=input"], ["echo", "--order=completion"]] {
        let mut client = Client::gristmill(&server, &arguments);
        for number in 0..5 {
            client.send(&format!("{number}\n"));
            assert_eq!(client.receive(), number.to_string());
        }
        client.send("\"no line break\"");
        let ended = client.end();
        assert_eq!((ended.rest, ended.code), (vec!["\"no line break\"".to_owned()], Some(0)));
        let job = newest_job(&server).succeeds();
        assert_eq!((&job["open"], &job["progress"]["total"]), (&json!(false), &json!(6)));
    }
}

#[test]
fn many_come_back_in_the_order_asked_for() {
    let server = Server::start();
    let mut client = Client::curl(&server, "echo?fields=output");
    client.send(&numbers(0..100_000));
    let ended = client.end();
    assert!(ended.rest.iter().map(|line| line.parse::<u64>().unwrap()).eq(0..100_000));
    let mut client = Client::curl(&server, "sleep?order=completion");
    client.send("2\n0\n");
    let ended = client.end();
    let results: Vec<Value> = ended.rest.iter().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(indices(&results), [1, 0]);
}

#[test]
fn nothing_up_is_nothing_down() {
    let server = Server::start();
    let ended = Client::gristmill(&server, &["echo"]).end();
    assert_eq!((ended.rest.len(), ended.code), (0, Some(0)));
    newest_job(&server).succeeds();
}

#[test]
fn a_line_that_is_no_json_ends_the_map_behind_the_results_before_it() {
    let server = Server::start();
    let mut client = Client::curl(&server, "echo?fields=output");
    client.send("1\n2\n{\"a\": x}\n4\n");
    let ended = client.end();
    assert_eq!(ended.rest[..2], ["1", "2"]);
    let problem: Value = serde_json::from_str(&ended.rest[2]).unwrap();
    assert_eq!((&problem["status"], &problem["line"]), (&json!(400), &json!(3)));
    assert_eq!(ended.code, Some(18), "curl says that the transfer was cut");
    assert_eq!(newest_job(&server).succeeds()["progress"]["total"], 2);

    let mut client = Client::gristmill(&server, &["echo"]);
    client.send("1\n2\n{\"a\": x}\n4\n");
    let ended = client.end();
    assert_eq!((ended.rest, ended.code), (vec!["1".to_owned(), "2".to_owned()], Some(1)));
    assert!(ended.stderr.contains("line 3, column 7"), "{}", ended.stderr);
}

#[test]
fn a_map_that_cannot_begin_says_why() {
    let server = Server::start();
    let put = |path: &str, headers: &[(&str, &str)]| server.client().call("PUT", path, headers, "1\n");
    let problem = put("/v1/map/ecco", &[]).problem(404, "unknown-function");
    assert_eq!(problem["nearest"], "echo");
    let says = |answer: common::client::Answer, status: u16, kind: &str, text: &str| {
        let detail = answer.problem(status, kind)["detail"].as_str().unwrap().to_owned();
        assert!(detail.contains(text), "{detail}");
    };
    says(put("/v1/map/echo?order=none", &[]), 400, "bad-request", "input or completion");
    says(put("/v1/map/echo?fields=none", &[]), 400, "bad-request", "all or output");
    says(put("/v1/map/echo?function=echo", &[]), 400, "bad-request", "the path names the function");
    says(put("/v1/map/echo?open=true", &[]), 400, "bad-request", "open as long as inputs come");
    says(put("/v1/map/echo?prcesses=2", &[]), 400, "bad-request", "did you mean \"processes\"");
    says(put("/v1/map/echo", &[("idempotency-key", "a")]), 400, "bad-request", "after=");
    let json = [("content-type", "application/json")];
    says(put("/v1/map/echo", &json), 415, "unsupported-media-type", "application/x-ndjson");
    let ended = Client::gristmill(&server, &["ecco"]).end();
    assert_eq!(ended.code, Some(1));
    assert!(ended.stderr.contains("did you mean \"echo\""), "{}", ended.stderr);
}

#[test]
fn a_client_that_goes_away_leaves_a_job_that_ends() {
    let server = Server::start();
    let mut client = Client::gristmill(&server, &["echo"]);
    client.send("1\n2\n3\n4");
    assert_eq!([client.receive(), client.receive(), client.receive()], ["1", "2", "3"]);
    client.process.kill().unwrap();
    let job = newest_job(&server);
    assert_eq!(job.succeeds()["progress"]["total"], 3, "the fourth line had no end");
    assert_eq!(job.results_text("order=input&fields=output&after=1"), "2\n3\n");
}

#[test]
fn after_kill_9_the_job_ends_with_what_was_taken() {
    let server = Server::start();
    let mut client = Client::curl(&server, "sleep?fields=output");
    client.send("0\n0.5\n0\n0\n");
    newest_job_of(&server, 4).wait_for_done(1);
    server.kill9();
    server.restart();
    assert_ne!(client.end().code, Some(0));
    let job = newest_job(&server).succeeds();
    assert_eq!((&job["open"], &job["progress"]["total"]), (&json!(false), &json!(4)));
}

#[test]
fn the_command_reads_on_when_the_server_is_back() {
    let server = server_at_a_port();
    let mut client = Client::gristmill(&server, &["sleep"]);
    client.send("0\n3.0\n0.0\n0.00\n");
    drop(client.stdin.take());
    assert_eq!(client.receive(), "0");
    server.kill9();
    server.restart();
    let ended = client.end();
    assert_eq!(
        (ended.rest, ended.code),
        (vec!["3.0".into(), "0.0".into(), "0.00".into()], Some(0)),
        "{}",
        ended.stderr
    );
    assert!(ended.stderr.contains("going on after"), "{}", ended.stderr);
}

#[test]
fn the_command_reads_on_behind_a_server_that_was_told_to_end() {
    let server = server_at_a_port();
    let mut client = Client::gristmill(&server, &["sleep"]);
    client.send("0\n1.0\n0.0\n1.5\n");
    drop(client.stdin.take());
    assert_eq!(client.receive(), "0");
    newest_job(&server).wait_for("all inputs", |job| job["open"] == json!(false));
    server.terminate();
    server.ended();
    server.restart();
    let ended = client.end();
    let rest = ["1.0", "0.0", "1.5"].map(str::to_owned).to_vec();
    assert_eq!((ended.rest, ended.code), (rest, Some(0)), "{}", ended.stderr);
}

#[test]
fn a_map_whose_job_is_cancelled_ends_though_more_could_come() {
    let server = Server::start();
    let mut client = Client::gristmill(&server, &["sleep"]);
    client.send("0\n3600\n");
    assert_eq!(client.receive(), "0");
    newest_job(&server).cancel().expect(202);
    assert_eq!(client.receive(), "null");
    assert_eq!(client.process.wait().unwrap().code(), Some(1), "its input is still open");
    let ended = client.end();
    assert!(ended.stderr.contains("takes no more inputs"), "{}", ended.stderr);
}

#[test]
fn results_that_were_freed_before_they_were_read_are_no_end() {
    let server = Server::start();
    let mut client = Client::curl(&server, "sleep?fields=output");
    client.send("3600\n0\n0\n0\n");
    drop(client.stdin.take());
    let job = newest_job_of(&server, 4);
    job.wait_for_done(3);
    let freed = server.client().call("DELETE", &format!("{}/results?through=3", job.path()), &[], "");
    assert_eq!(freed.expect(200).json()["freed_through"], 3);
    job.cancel();
    let ended = client.end();
    assert_eq!((ended.rest[0].as_str(), ended.rest.len(), ended.code), ("null", 2, Some(18)));
    assert!(ended.rest[1].contains("urn:gristmill:problem:results-freed"), "{}", ended.rest[1]);
}

#[test]
fn the_command_says_which_inputs_a_lost_server_has_not_taken() {
    let server = server_at_a_port();
    let mut client = Client::gristmill(&server, &["echo"]);
    client.send("1\n2\n");
    assert_eq!([client.receive(), client.receive()], ["1", "2"]);
    server.kill9();
    client.send("3\n");
    server.restart();
    let ended = client.end();
    assert_eq!((ended.rest.len(), ended.code), (0, Some(1)));
    assert!(ended.stderr.contains("took 2 inputs"), "{}", ended.stderr);
}

#[test]
fn failed_tasks_are_the_exit_code_of_the_command() {
    let server = Server::start();
    let mut client = Client::gristmill(&server, &["sha256"]);
    client.send("\"a\"\n7\n\"b\"\n");
    let ended = client.end();
    assert_eq!((ended.rest[1].as_str(), ended.rest.len(), ended.code), ("null", 3, Some(3)));
    assert!(ended.stderr.contains("1 of 3 tasks failed"), "{}", ended.stderr);
    assert!(ended.stderr.contains("task 1: exception: sha256 wants"), "{}", ended.stderr);
    let options = ["sha256", "--results", "--order", "completion", "-o", "name=n", "-o", "label=a=b"];
    let mut client = Client::gristmill(&server, &options);
    client.send("\"a\"\n");
    let result: Value = serde_json::from_str(&client.end().rest[0]).unwrap();
    assert_eq!(result["status"], "succeeded");
    let job = newest_job(&server).succeeds();
    assert_eq!((&job["name"], &job["labels"]), (&json!("n"), &json!({"a": "b"})));
}

#[test]
fn an_interrupted_command_cancels_its_job() {
    let server = Server::start();
    let mut client = Client::gristmill(&server, &["sleep"]);
    client.send("0\n3600\n");
    assert_eq!(client.receive(), "0");
    common::procs::signal(client.process.id(), Signal::INT);
    assert_eq!(client.end().code, Some(130));
    assert_eq!(newest_job(&server).wait()["state"], "cancelled");
}

#[test]
fn a_command_whose_output_is_not_read_cancels_its_job() {
    let server = Server::start();
    let mut client = Client::gristmill(&server, &["sleep"]);
    client.send("0\n");
    assert_eq!(client.receive(), "0");
    let Client { mut process, stdin, lines } = client;
    drop(lines);
    let mut stdin = stdin.unwrap();
    // The first of these has its reader note that nobody wants it, the next finds the pipe closed; some may be written
    // together.
    stdin.write_all(b"0\n0.5\n1\n1.5\n3600\n").unwrap();
    assert_eq!(process.wait().unwrap().code(), Some(141));
    assert_eq!(newest_job(&server).wait()["state"], "cancelled");
}

#[test]
fn a_reader_that_does_not_read_holds_the_upload() {
    const PIECE: usize = 1 << 20;
    let server = Server::start();
    let mut stream = TcpStream::connect(server.socket_address()).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(3))).unwrap();
    let head =
        "POST /v1/map/echo?fields=output HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n";
    stream.write_all(head.as_bytes()).unwrap();
    let line = format!("\"{}\"\n", "x".repeat(PIECE / 16 - 3));
    let piece = format!("{PIECE:x}\r\n{}\r\n", line.repeat(16));
    let sent = (0..200).take_while(|_| stream.write_all(piece.as_bytes()).is_ok()).count();
    assert!((64..120).contains(&sent), "{sent} MiB were taken");
    drop(stream);
    newest_job(&server).succeeds();
}

#[test]
fn an_upload_waits_for_room_in_the_queue() {
    let server = Server::with(&["--max-queued-tasks", "2000"]);
    let mut client = Client::curl(&server, "echo?fields=output");
    let mut stdin = client.stdin.take().unwrap();
    let sender = std::thread::spawn(move || {
        for first in (0..50_000).step_by(100) {
            stdin.write_all(numbers(first..first + 100).as_bytes()).unwrap();
        }
    });
    let ended = client.end();
    sender.join().unwrap();
    assert!(
        ended.rest.iter().map(|line| line.parse::<u64>().unwrap()).eq(0..50_000),
        "{:?}",
        ended.rest.last()
    );
}
