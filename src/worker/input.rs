//! Lines from stdin: waited for, or only if they are there.

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

const READ_BYTES: usize = 1 << 18;

/// What has been read of stdin and not been taken.
#[derive(Default)]
pub(super) struct Input {
    bytes: Vec<u8>,
    /// So many of them hold no line break.
    scanned: usize,
    ended: bool,
}

impl Input {
    /// Waits for the next line; `None` at the end.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            match self.take_line() {
                Some(line) => return Ok(Some(line)),
                None if self.ended => return Ok(None),
                None => self.read()?,
            }
        }
    }

    /// The next line, if the whole of it is there.
    pub(super) fn next_if_there(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            if let Some(line) = self.take_line() {
                return Ok(Some(line));
            }
            let stdin = io::stdin();
            let mut fds = [PollFd::new(&stdin, PollFlags::IN)];
            if self.ended || poll(&mut fds, Some(&Timespec { tv_sec: 0, tv_nsec: 0 }))? == 0 {
                return Ok(None);
            }
            self.read()?;
        }
    }

    fn take_line(&mut self) -> Option<Vec<u8>> {
        let Some(found) = memchr::memchr(b'\n', &self.bytes[self.scanned..]) else {
            self.scanned = self.bytes.len();
            return None;
        };
        let rest = self.bytes.split_off(self.scanned + found + 1);
        self.scanned = 0;
        Some(std::mem::replace(&mut self.bytes, rest))
    }

    fn read(&mut self) -> io::Result<()> {
        let start = self.bytes.len();
        self.bytes.resize(start + READ_BYTES, 0);
        let outcome = rustix::io::read(io::stdin(), &mut self.bytes[start..]);
        self.bytes.truncate(start + outcome.unwrap_or(0));
        match outcome {
            Ok(count) => self.ended = count == 0,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }
}
