//! `fail` goes wrong in a way of your choice: for trying out what happens then.
//!
//! Input: an object with a `mode` and, for some, more fields:
//!
//! | mode        | what happens                                  | fields (all optional)         |
//! |-------------|-----------------------------------------------|-------------------------------|
//! | `exception` | the function fails with the error `Exception` | `retryable` (true), `message` |
//! | `panic`     | the function panics                           |                               |
//! | `abort`     | the process aborts (SIGABRT)                  |                               |
//! | `segfault`  | the process dies of SIGSEGV                   |                               |
//! | `exit`      | the process ends in good order                | `code` (1), 0 to 255          |
//! | `hang`      | sleeps for ever                               |                               |
//! | `spin`      | keeps a CPU busy for ever                     |                               |
//! | `leak`      | takes 16 MiB after 16 MiB and keeps it all    | `bytes` (no end)              |
//! | `stdout`    | prints a stray line to standard output        |                               |
//! | `stderr`    | writes log lines, of which it cuts the last   | `bytes` (100)                 |
//! | `orphan`    | leaves `sleep 1000` in a session of its own   |                               |
//!
//! Output, where there is one: the number of bytes for `leak`, the process id for `orphan`, null for `stdout`
//! and `stderr`. Errors: `Exception`, as asked for or when the operating system refuses what a mode needs;
//! `BadInput` for any other input.

use std::io::{self, Write};
use std::process::{self, Command, Stdio};
use std::time::Duration;
use std::{hint, thread};

use rustix::process::{Signal, getpid, kill_process};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Function, FunctionError, write};

pub(super) const FUNCTION: Function = Function {
    name: "fail",
    description: "Goes wrong in a way of your choice.",
    input: r#"{"mode": exception, panic, abort, segfault, exit, hang, spin, leak, stdout, stderr or orphan}"#,
    output: "null or an integer, for modes that give an output at all",
    example: (r#"{"mode":"stdout"}"#, "null"),
    run,
};

#[derive(Deserialize)]
#[serde(tag = "mode", rename_all = "lowercase", deny_unknown_fields)]
enum Failure {
    Exception {
        #[serde(default = "default_retryable")]
        retryable: bool,
        #[serde(default = "default_message")]
        message: String,
    },
    // The braces make serde refuse unknown fields, which it lets pass for a variant without them.
    Panic {},
    Abort {},
    Segfault {},
    Exit {
        #[serde(default = "default_code")]
        code: u8,
    },
    Hang {},
    Spin {},
    Leak {
        #[serde(default = "no_end")]
        bytes: u64,
    },
    Stdout {},
    Stderr {
        #[serde(default = "default_log")]
        bytes: u64,
    },
    Orphan {},
}

fn default_retryable() -> bool {
    true
}

fn default_message() -> String {
    "fail was asked for this exception".to_owned()
}

fn default_code() -> u8 {
    1
}

fn no_end() -> u64 {
    u64::MAX
}

fn default_log() -> u64 {
    100
}

fn run(input: &RawValue, out: &mut Vec<u8>) -> Result<(), FunctionError> {
    let output = happen(FUNCTION.parse_object(input)?)?;
    write(&output, out);
    Ok(())
}

fn happen(failure: Failure) -> Result<Option<u64>, FunctionError> {
    match failure {
        Failure::Exception { retryable, message } => {
            Err(FunctionError { kind: "Exception", message, retryable })
        }
        Failure::Panic {} => panic!("fail was asked for this panic"),
        Failure::Abort {} => process::abort(),
        Failure::Segfault {} => segfault(),
        Failure::Exit { code } => process::exit(code.into()),
        Failure::Hang {} => hang(),
        Failure::Spin {} => spin(),
        Failure::Leak { bytes } => Ok(Some(leak(bytes))),
        Failure::Stdout {} => {
            println!("fail was asked for this stray line");
            Ok(None)
        }
        Failure::Stderr { bytes } => log(bytes).map(|()| None).map_err(exception),
        Failure::Orphan {} => orphan().map(Some).map_err(exception),
    }
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn exception(error: io::Error) -> FunctionError {
    FunctionError { kind: "Exception", message: error.to_string(), retryable: true }
}

fn segfault() -> ! {
    // The first signal only removes the handler by which Rust's runtime reports stack overflows.
    loop {
        let _ = kill_process(getpid(), Signal::SEGV);
        thread::sleep(Duration::from_millis(1));
    }
}

fn hang() -> ! {
    loop {
        thread::sleep(Duration::MAX);
    }
}

fn spin() -> ! {
    loop {
        hint::spin_loop();
    }
}

fn leak(bytes: u64) -> u64 {
    const STEP: u64 = 16 * 1024 * 1024;
    let mut held = 0;
    while held < bytes {
        let step = STEP.min(bytes - held);
        // Ones, since the operating system gives zeros without giving memory.
        hint::black_box(vec![1_u8; step as usize].leak());
        held += step;
    }
    held
}

fn log(bytes: u64) -> io::Result<()> {
    const LINE: &[u8] = b"fail was asked for this log line\n";
    let mut left = bytes;
    while left > 0 {
        let part = left.min(LINE.len() as u64);
        io::stderr().write_all(&LINE[..part as usize])?;
        left -= part;
    }
    Ok(())
}

fn orphan() -> io::Result<u64> {
    let child = Command::new("setsid")
        .args(["sleep", "1000"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    Ok(child.id().into())
}

#[cfg(test)]
mod tests {
    use std::env;
    use std::io::{BufRead as _, BufReader};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{Child, ExitStatus};

    use rustix::process::{Pid, WaitOptions, waitpid};

    use super::super::{call, refusal};
    use super::*;

    const INPUT: &str = "GRISTMILL_TEST_FAIL";
    const BEGUN: &str = "it has begun";

    /// What the process does that `start` starts; in a plain run of the tests, nothing.
    #[test]
    fn in_a_process_of_its_own() {
        if let Ok(input) = env::var(INPUT) {
            println!("{BEGUN}");
            let _ = call("fail", &input);
        }
    }

    fn start(input: &str) -> Child {
        let (_, module) = module_path!().split_once("::").unwrap();
        Command::new(env::current_exe().unwrap())
            .args(["--exact", &format!("{module}::in_a_process_of_its_own"), "--nocapture"])
            .env(INPUT, input)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }

    fn end(input: &str) -> ExitStatus {
        start(input).wait_with_output().unwrap().status
    }

    #[test]
    fn stray_output_goes_where_asked() {
        let stdout = start(r#"{"mode":"stdout"}"#).wait_with_output().unwrap().stdout;
        assert!(String::from_utf8(stdout).unwrap().contains("this stray line\n"));
        let stderr = start(r#"{"mode":"stderr"}"#).wait_with_output().unwrap().stderr;
        assert_eq!((stderr.len(), &stderr[..33]), (100, &b"fail was asked for this log line\n"[..]));
    }

    #[test]
    fn processes_die_as_asked() {
        assert_eq!(end(r#"{"mode":"panic"}"#).code(), Some(101));
        assert_eq!(end(r#"{"mode":"exit"}"#).code(), Some(1));
        assert_eq!(end(r#"{"mode":"exit","code":77}"#).code(), Some(77));
        assert_eq!(end(r#"{"mode":"abort"}"#).signal(), Some(Signal::ABORT.as_raw()));
        assert_eq!(end(r#"{"mode":"segfault"}"#).signal(), Some(Signal::SEGV.as_raw()));
    }

    #[test]
    fn processes_stay_as_asked() {
        for input in [r#"{"mode":"hang"}"#, r#"{"mode":"spin"}"#] {
            let mut child = start(input);
            let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
            assert!(lines.any(|line| line.unwrap().ends_with(BEGUN)));
            thread::sleep(Duration::from_millis(300));
            assert!(child.try_wait().unwrap().is_none());
            child.kill().unwrap();
            child.wait().unwrap();
        }
    }

    #[test]
    fn raises_exceptions() {
        let error = |input| call("fail", input).unwrap_err();
        let plain = error(r#"{"mode":"exception"}"#);
        assert_eq!((plain.kind, plain.retryable), ("Exception", true));
        let own = error(r#"{"mode":"exception","retryable":false,"message":"no"}"#);
        assert_eq!(own, FunctionError { kind: "Exception", message: "no".to_owned(), retryable: false });
    }

    #[test]
    fn returns_what_it_leaked() {
        assert_eq!(call("fail", r#"{"mode":"leak","bytes":17000000}"#).as_deref(), Ok("17000000"));
    }

    #[test]
    fn leaves_an_orphan() {
        let pid = call("fail", r#"{"mode":"orphan"}"#).unwrap().parse().unwrap();
        let pid = Pid::from_raw(pid).unwrap();
        assert!(waitpid(Some(pid), WaitOptions::NOHANG).unwrap().is_none());
        kill_process(pid, Signal::KILL).unwrap();
        waitpid(Some(pid), WaitOptions::empty()).unwrap();
    }

    #[test]
    fn refuses_bad_input() {
        for bad in [
            "null",
            "{}",
            r#"{"mode":"dance"}"#,
            r#"{"mode":"panic","code":1}"#,
            r#"{"mode":"exit","code":256}"#,
            r#"{"mode":"leak","bytes":-1}"#,
        ] {
            assert!(refusal("fail", bad).starts_with(r#"fail wants {"mode": exception, "#));
        }
    }
}
