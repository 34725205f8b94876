//! The end of a stream: however much comes, so much is kept.

use std::collections::VecDeque;

/// The last bytes of a stream.
#[derive(Debug)]
pub struct Tail {
    bytes: VecDeque<u8>,
    most: usize,
    dropped: u64,
}

impl Tail {
    /// Keeps `most` bytes.
    pub fn new(most: usize) -> Self {
        Self { bytes: VecDeque::new(), most, dropped: 0 }
    }

    /// Adds bytes at the end.
    pub fn push(&mut self, bytes: &[u8]) {
        let all = self.bytes.len() + bytes.len();
        self.dropped += all.saturating_sub(self.most) as u64;
        let bytes = &bytes[bytes.len().saturating_sub(self.most)..];
        let surplus = (self.bytes.len() + bytes.len()).saturating_sub(self.most);
        self.bytes.drain(..surplus);
        self.bytes.extend(bytes);
    }

    /// Whether nothing is kept.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What is kept, and how many bytes before it were dropped; begins anew.
    pub fn take(&mut self) -> (String, u64) {
        let text = self.text();
        self.bytes.clear();
        (text, std::mem::take(&mut self.dropped))
    }

    /// What is kept, with U+FFFD for what is not UTF-8.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.bytes.make_contiguous()).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_end_is_kept() {
        let mut tail = Tail::new(4);
        for bytes in [&b"ab"[..], b"", b"cdefgh", b"i"] {
            tail.push(bytes);
        }
        assert_eq!(tail.text(), "fghi");
        assert_eq!(tail.take(), ("fghi".into(), 5));
        assert!(tail.is_empty());
        tail.push(b"fghi");
        tail.push(b"\xff");
        assert_eq!(tail.text(), "ghi\u{fffd}");
    }
}
