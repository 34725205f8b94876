//! Splits a stream of bytes into lines, whatever the pieces it comes in, and never holds more than one line.

/// A line is longer than it may be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error("a line is longer than {max} bytes")]
pub struct LineTooLong {
    /// The longest line allowed, in bytes.
    pub max: usize,
}

/// The state between two pieces of a stream.
#[derive(Debug)]
pub struct LineSplitter {
    partial: Vec<u8>,
    max: usize,
}

impl LineSplitter {
    /// A splitter for lines of at most `max` bytes, not counting the line break.
    pub fn new(max: usize) -> Self {
        Self { partial: Vec::new(), max }
    }

    /// Calls `each` for every line that `piece` completes, without its line break; stops at the first error.
    pub fn feed<E: From<LineTooLong>>(
        &mut self,
        mut piece: &[u8],
        mut each: impl FnMut(&[u8]) -> Result<(), E>,
    ) -> Result<(), E> {
        while let Some(end) = memchr::memchr(b'\n', piece) {
            let (line, rest) = (&piece[..end], &piece[end + 1..]);
            self.check(line.len())?;
            if self.partial.is_empty() {
                each(line)?;
            } else {
                self.partial.extend_from_slice(line);
                let whole = std::mem::take(&mut self.partial);
                each(&whole)?;
                self.partial = whole;
                self.partial.clear();
            }
            piece = rest;
        }
        self.check(piece.len())?;
        self.partial.extend_from_slice(piece);
        Ok(())
    }

    /// The last line, if the stream ended without a line break.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        Some(std::mem::take(&mut self.partial)).filter(|line| !line.is_empty())
    }

    fn check(&self, more: usize) -> Result<(), LineTooLong> {
        if self.partial.len() + more > self.max { Err(LineTooLong { max: self.max }) } else { Ok(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(pieces: &[&str], max: usize) -> Result<Vec<String>, LineTooLong> {
        let mut splitter = LineSplitter::new(max);
        let mut lines = Vec::new();
        for piece in pieces {
            splitter.feed(piece.as_bytes(), |line| {
                lines.push(String::from_utf8(line.to_vec()).unwrap());
                Ok::<(), LineTooLong>(())
            })?;
        }
        lines.extend(splitter.finish().map(|line| String::from_utf8(line).unwrap()));
        Ok(lines)
    }

    #[test]
    fn lines_are_the_same_whatever_the_pieces() {
        let text = "one\n\nthree\nfour";
        for at in 0..=text.len() {
            assert_eq!(split(&[&text[..at], &text[at..]], 5).unwrap(), ["one", "", "three", "four"], "{at}");
        }
        let bytes: Vec<String> = text.chars().map(String::from).collect();
        let pieces: Vec<&str> = bytes.iter().map(String::as_str).collect();
        assert_eq!(split(&pieces, 5).unwrap(), ["one", "", "three", "four"]);
    }

    #[test]
    fn a_line_over_the_limit_is_refused_before_its_end() {
        assert_eq!(split(&["123", "45", "6"], 5), Err(LineTooLong { max: 5 }));
        assert_eq!(split(&["123456\n"], 5), Err(LineTooLong { max: 5 }));
        assert_eq!(split(&["12345\n12345"], 5).unwrap().len(), 2);
    }
}
