//! Standard input as the body of a request.

use std::io::Read as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures_util::stream;
use reqwest::Body;
use tokio::sync::mpsc::{Receiver, Sender, channel};

const PIECE_BYTES: usize = 1 << 16;
/// So many pieces are read ahead of the connection.
const PIECES: usize = 4;

/// How far standard input has been read.
#[derive(Debug, Default)]
pub(super) struct Input {
    lines: AtomicU64,
    at_end: AtomicBool,
}

type Piece = std::io::Result<Vec<u8>>;

impl Input {
    /// Reads it in a thread of its own, no faster than the body is sent.
    pub(super) fn start() -> (Arc<Self>, Body) {
        let (pieces, sent) = channel(PIECES);
        let input = Arc::new(Self::default());
        let its = input.clone();
        std::thread::spawn(move || its.read(&pieces));
        let body =
            stream::unfold(sent, |mut sent: Receiver<Piece>| async { Some((sent.recv().await?, sent)) });
        (input, Body::wrap_stream(body))
    }

    /// How many lines there were so far.
    pub(super) fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Whether there are no more.
    pub(super) fn is_at_end(&self) -> bool {
        self.at_end.load(Ordering::Acquire)
    }

    fn read(&self, pieces: &Sender<Piece>) {
        let (mut stdin, mut in_line) = (std::io::stdin().lock(), false);
        loop {
            let mut piece = vec![0; PIECE_BYTES];
            let outcome = stdin.read(&mut piece);
            let length = *outcome.as_ref().unwrap_or(&0);
            piece.truncate(length);
            let at_end = outcome.is_ok() && length == 0;
            // Blank lines are no inputs.
            self.lines.fetch_add(
                count_inputs(&piece, &mut in_line) + u64::from(at_end && in_line),
                Ordering::Relaxed,
            );
            if at_end {
                self.at_end.store(true, Ordering::Release);
                return;
            }
            let is_error = outcome.is_err();
            if pieces.blocking_send(outcome.map(|_| piece)).is_err() || is_error {
                return;
            }
        }
    }
}

/// How many lines that are not blank end in this piece; `in_line` says whether something of the next is there.
fn count_inputs(piece: &[u8], in_line: &mut bool) -> u64 {
    let (mut count, mut start) = (0, 0);
    for end in memchr::memchr_iter(b'\n', piece) {
        count += u64::from(*in_line || !piece[start..end].trim_ascii().is_empty());
        (*in_line, start) = (false, end + 1);
    }
    *in_line |= !piece[start..].trim_ascii().is_empty();
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_are_no_inputs() {
        let mut in_line = false;
        assert_eq!(count_inputs(b"1\n\n \r\n2\n3", &mut in_line), 2);
        assert!(in_line);
        assert_eq!((count_inputs(b"\n", &mut in_line), in_line), (1, false));
    }
}
