//! System calls of the server that fail or kill, by `strace`.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};

use super::{Server, eventually, skip};

/// A tracer of the thread that writes the store.
pub(crate) struct Tracer(Child);

impl Tracer {
    /// Injects a fault (as `strace` spells it) from now on; `None` where this user may not trace.
    pub(crate) fn inject(server: &Server, calls: &str, fault: &str) -> Option<Self> {
        let mut strace = Command::new("strace");
        strace.args(["-e", &format!("trace={calls}"), "-e", &format!("inject={calls}:{fault}")]);
        strace.args(["-p", &writer_thread(server.pid())]).stderr(Stdio::piped()).stdout(Stdio::null());
        let Ok(mut child) = strace.spawn() else {
            skip("strace is not installed");
            return None;
        };
        let mut stderr = BufReader::new(child.stderr.take().unwrap());
        let mut line = String::new();
        stderr.read_line(&mut line).unwrap();
        if !line.contains("attached") {
            // That takes a right that no package gives.
            eprintln!("skipped: {line}");
            return None;
        }
        // What it tells must go somewhere, or it waits.
        std::thread::spawn(move || std::io::copy(&mut stderr, &mut std::io::sink()));
        Some(Self(child))
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

/// The number of the thread; `strace` counts the calls of each thread by themselves.
fn writer_thread(pid: u32) -> String {
    let is_writer = |thread: &fs::DirEntry| {
        fs::read_to_string(thread.path().join("comm")).is_ok_and(|name| name.trim_end() == "store-writer")
    };
    // A thread that has just started has no name yet.
    let writer = eventually("the writer thread", || {
        let mut threads = fs::read_dir(format!("/proc/{pid}/task")).unwrap().map(|thread| thread.unwrap());
        threads.find(is_writer).ok_or("no thread of that name")
    });
    writer.file_name().into_string().unwrap()
}
