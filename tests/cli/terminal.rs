//! On a terminal: colours unless they are not wanted, bars, and `top`.

use std::io::{Read as _, Write as _};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

use serde_json::json;

use super::common::job::Job;
use super::common::{Server, eventually};
use super::{run, submit};

/// A command on a terminal of its own, 80 columns wide.
struct Terminal {
    process: Child,
    drawn: Receiver<Vec<u8>>,
    seen: String,
}

impl Terminal {
    fn start(server: &Server, command: &str, environment: &[(&str, &str)]) -> Self {
        let line = format!("stty cols 80 rows 24; exec {} {command}", env!("CARGO_BIN_EXE_gristmill"));
        let mut script = Command::new("script");
        script.args(["-qec", &line, "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm");
        script.env("GRISTMILL_SERVER", server.socket_address()).envs(environment.iter().copied());
        let mut process = script.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let (mut stdout, (sender, drawn)) = (process.stdout.take().unwrap(), channel());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = stdout.read(&mut piece) {
                drop(sender.send(piece[..length].to_vec()));
            }
        });
        Self { process, drawn, seen: String::new() }
    }

    /// Waits until this is drawn.
    #[track_caller]
    fn shows(&mut self, text: &str) {
        let what = format!("{text:?} to be drawn");
        eventually(&what, || {
            let drawn: Vec<u8> = self.drawn.try_iter().flatten().collect();
            self.seen += &String::from_utf8_lossy(&drawn);
            if self.seen.contains(text) { Ok(()) } else { Err(self.seen.clone()) }
        });
    }

    /// Waits until this is drawn once more.
    #[track_caller]
    fn shows_more(&mut self, text: &str) {
        self.seen.clear();
        self.shows(text);
    }

    fn types(&mut self, keys: &str) {
        let stdin = self.process.stdin.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).unwrap();
        stdin.flush().unwrap();
    }

    /// All that was drawn, and the exit code.
    fn ends(mut self) -> (String, Option<i32>) {
        let rest: Vec<u8> = self.drawn.iter().flatten().collect();
        self.seen += &String::from_utf8_lossy(&rest);
        (self.seen, self.process.wait().unwrap().code())
    }
}

#[test]
fn colours_are_for_terminals_and_only_if_wanted() {
    let server = Server::start();
    let id = submit(&server, &["echo", "1", "--wait"]);
    let (seen, code) = Terminal::start(&server, "jobs", &[]).ends();
    assert!(code == Some(0) && seen.contains("\u{1b}[1mJOB") && seen.contains(&id[..13]), "{seen:?}");
    assert!(!seen.contains(&id), "people see as much of an id as tells it from others: {seen:?}");
    assert!(seen.contains("\u{1b}[2m"), "a job that has ended is dim: {seen:?}");
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        let (seen, code) = Terminal::start(&server, "jobs", &[(name, value)]).ends();
        assert!(code == Some(0) && seen.contains("JOB") && !seen.contains('\u{1b}'), "{seen:?}");
    }
    assert!(!run(&server, &["jobs"]).quietly().contains('\u{1b}'));
}

#[test]
fn no_line_is_wider_than_the_terminal() {
    let server = Server::start();
    submit(&server, &["echo", "1", "--wait", "--name", &"wide".repeat(50)]);
    let (seen, _) = Terminal::start(&server, "jobs", &[("NO_COLOR", "1")]).ends();
    assert!(seen.lines().all(|line| line.chars().count() <= 80) && seen.contains('…'), "{seen:?}");
}

#[test]
fn a_job_is_followed_with_a_bar_and_its_pids() {
    let server = Server::start();
    let id = submit(&server, &["sleep", "0", "3600"]);
    let job = Job::with_id(&server, &id);
    job.wait_for_done(1);
    let pid = job.wait_for_running(1)[0]["pid"].to_string();
    let mut terminal = Terminal::start(&server, "status last --follow", &[]);
    terminal.shows(&format!("PIDs {pid}"));
    terminal.shows("1/2");
    terminal.types("\u{3}");
    let (seen, code) = terminal.ends();
    assert!(code == Some(130) && seen.contains("the job goes on"), "{seen:?}");
    run(&server, &["cancel", &id]).quietly();
}

#[test]
fn whoever_is_to_type_inputs_is_told_so() {
    let server = Server::start();
    let mut terminal = Terminal::start(&server, "submit echo --outputs", &[]);
    terminal.shows("type the inputs, one JSON value a line");
    terminal.types("12345\n\u{4}");
    let (seen, code) = terminal.ends();
    assert!(code == Some(0) && seen.matches("12345").count() == 2, "{seen:?}");
    let mut terminal = Terminal::start(&server, "submit echo --open", &[]);
    terminal.shows("0 tasks of echo");
    assert_eq!(terminal.ends().1, Some(0), "an open job begins without inputs");
}

#[test]
fn top_is_drawn_until_a_key_ends_it() {
    let server = Server::start();
    let id = submit(&server, &["sleep", "3600"]);
    let pid = Job::with_id(&server, &id).wait_for_running(1)[0]["pid"].to_string();
    for key in ["q", "\u{3}"] {
        let mut terminal = Terminal::start(&server, "top --interval 100ms", &[]);
        for text in ["\u{1b}[?1049h", "jobs: 1 running", &pid, &id[..13], "2 slots"] {
            terminal.shows(text);
        }
        for _ in 0..2 {
            terminal.shows_more("\u{1b}[?2026h");
        }
        terminal.types(key);
        let (seen, code) = terminal.ends();
        assert!(code == Some(0) && seen.ends_with("\u{1b}[?25h\u{1b}[?1049l"), "{seen:?}");
    }
    run(&server, &["cancel", &id]).quietly();
}

#[test]
fn top_waits_for_a_server_that_is_away() {
    let server = Server::start();
    let mut terminal = Terminal::start(&server, "top -i 100ms", &[]);
    terminal.shows("2 slots");
    server.kill9();
    terminal.shows("as it was: no server answers at");
    terminal.types("q");
    assert_eq!(terminal.ends().1, Some(0));
}

#[test]
fn top_is_plain_where_there_is_no_terminal() {
    let server = Server::start();
    let id = submit(&server, &["sleep", "3600", "--name=nightly"]);
    let running = Job::with_id(&server, &id).wait_for_running(1);
    let top = run(&server, &["top"]).quietly();
    assert!(top.contains(&running[0]["pid"].to_string()) && top.contains("nightly"), "{top}");
    assert!(!top.contains('\u{1b}') && top.contains("CPU"), "{top}");
    server.patch("/v1/pool", &json!({"slots": 4}).to_string()).expect(200);
    assert!(run(&server, &["top"]).quietly().contains("4 slots"));
    run(&server, &["cancel", &id]).quietly();
}
