//! The inputs and the expected outputs of a batch: lines, ready in memory or made on the way.

use std::borrow::Cow;

use anyhow::{Result, ensure};

const NUMBERS_A_BLOCK: u64 = 1 << 17;

/// Lines, each with its line break.
#[derive(Debug)]
pub(super) enum Lines {
    /// In memory.
    Ready(Vec<u8>),
    /// The numbers from 0 on, so many of them, made a block at a time.
    Numbers(u64),
}

impl Lines {
    /// A line for each index below `count`.
    pub(super) fn each(count: u64, mut line: impl FnMut(u64) -> String) -> Self {
        let mut text = Vec::new();
        for index in 0..count {
            text.extend_from_slice(line(index).as_bytes());
            text.push(b'\n');
        }
        Self::Ready(text)
    }

    /// All of them, a large block at a time.
    pub(super) fn blocks(&self) -> Box<dyn Iterator<Item = Cow<'_, [u8]>> + '_> {
        match self {
            Self::Ready(text) => Box::new(std::iter::once(Cow::Borrowed(text.as_slice()))),
            Self::Numbers(count) => Box::new(
                (0..*count)
                    .step_by(NUMBERS_A_BLOCK as usize)
                    .map(|first| Cow::Owned(numbers(first, (first + NUMBERS_A_BLOCK).min(*count)))),
            ),
        }
    }

    /// The first lines, `count` at most.
    pub(super) fn first(&self, count: usize) -> Vec<u8> {
        let block = self.blocks().next().unwrap_or_default();
        block.split_inclusive(|byte| *byte == b'\n').take(count).flatten().copied().collect()
    }
}

fn numbers(from: u64, to: u64) -> Vec<u8> {
    let (mut text, mut digits) = (Vec::with_capacity(1 << 20), itoa::Buffer::new());
    for number in from..to {
        text.extend_from_slice(digits.format(number).as_bytes());
        text.push(b'\n');
    }
    text
}

/// Compares outputs with what is expected as they come, which costs less than to keep them.
pub(super) struct Checker<'a> {
    blocks: Box<dyn Iterator<Item = Cow<'a, [u8]>> + 'a>,
    block: Cow<'a, [u8]>,
    at: usize,
    seen: u64,
}

impl<'a> Checker<'a> {
    /// A checker that expects these lines.
    pub(super) fn new(lines: &'a Lines) -> Self {
        Self { blocks: lines.blocks(), block: Cow::Borrowed(&[]), at: 0, seen: 0 }
    }

    /// Takes in the next bytes.
    pub(super) fn check(&mut self, mut piece: &[u8]) -> Result<()> {
        while !piece.is_empty() {
            if self.at == self.block.len() {
                self.at = 0;
                self.block = self.blocks.next().unwrap_or_default();
                ensure!(!self.block.is_empty(), "there are more outputs than inputs");
            }
            let expected = &self.block[self.at..];
            let same = expected.len().min(piece.len());
            let (head, rest) = piece.split_at(same);
            ensure!(head == &expected[..same], "a wrong output, behind byte {} of all outputs", self.seen);
            (self.at, self.seen, piece) = (self.at + same, self.seen + same as u64, rest);
        }
        Ok(())
    }

    /// Says that there are no more.
    pub(super) fn finish(mut self) -> Result<()> {
        let complete = self.at == self.block.len() && self.blocks.next().is_none();
        ensure!(complete, "outputs are missing behind byte {} of all outputs", self.seen);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn outcome(lines: &Lines, pieces: &[&str]) -> Result<()> {
        let mut checker = Checker::new(lines);
        for piece in pieces {
            checker.check(piece.as_bytes())?;
        }
        checker.finish()
    }

    #[test]
    fn outputs_are_compared_whatever_pieces_they_come_in() {
        for lines in [Lines::Numbers(12), Lines::each(12, |index| index.to_string())] {
            outcome(&lines, &["0\n1", "\n2\n3\n4\n5\n6\n7\n", "8\n9\n10\n11\n"]).unwrap();
            for wrong in ["0\n2\n", "0\n1\n", "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n11\n12\n"] {
                outcome(&lines, &[wrong]).unwrap_err();
            }
        }
    }

    #[test]
    fn numbers_made_on_the_way_are_all_of_them() {
        let count = NUMBERS_A_BLOCK + 5;
        let made: Vec<u8> = Lines::Numbers(count).blocks().flat_map(Cow::into_owned).collect();
        let Lines::Ready(all) = Lines::each(count, |index| index.to_string()) else { unreachable!() };
        assert!(made == all);
        assert_eq!(Lines::Numbers(count).first(3), b"0\n1\n2\n");
    }
}
