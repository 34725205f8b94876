//! The passwords of a rainbow table, and the walk along its chains, whose rule the parent module gives.

use std::ops::Range;

use sha2::{Digest, Sha256};

use super::super::{FunctionError, bad_input};
use super::check;

/// All passwords of one length over one alphabet, numbered from 0.
pub(super) struct Space {
    alphabet: Vec<char>,
    length: usize,
    size: u64,
}

/// With two characters, the most that keeps the number of passwords under 2^64.
const LONGEST: usize = 63;

impl Space {
    pub(super) fn new(alphabet: &str, length: u32) -> Result<Self, FunctionError> {
        let alphabet = distinct(alphabet)?;
        check("length", length.into(), 1, LONGEST as u64)?;
        let base = alphabet.len();
        let size = (base as u64).checked_pow(length).ok_or_else(|| {
            bad_input(format!("{base} characters to the power of {length} must be under 2^64 passwords"))
        })?;
        Ok(Self { alphabet, length: length as usize, size })
    }

    pub(super) fn size(&self) -> u64 {
        self.size
    }

    /// The password of this number.
    pub(super) fn word(&self, number: u64) -> String {
        let mut word = String::new();
        self.spell(number, &mut word);
        word
    }

    /// The number of this password, if it is one.
    pub(super) fn number(&self, word: &str) -> Option<u64> {
        if word.chars().count() != self.length {
            return None;
        }
        word.chars().try_fold(0, |number, letter| {
            let digit = self.alphabet.iter().position(|&other| other == letter)?;
            Some(number * self.alphabet.len() as u64 + digit as u64)
        })
    }

    /// Takes these steps of a chain from a password's number to another's.
    pub(super) fn walk(&self, from: u64, steps: Range<u64>) -> u64 {
        let mut word = String::new();
        steps.fold(from, |number, step| {
            self.spell(number, &mut word);
            self.reduce(&hash(&word), step)
        })
    }

    /// The number of the password that a hash leads to at this step.
    pub(super) fn reduce(&self, hash: &[u8; 32], step: u64) -> u64 {
        let first = hash.first_chunk().expect("32 bytes begin with 8");
        u64::from_be_bytes(*first).wrapping_add(step) % self.size
    }

    /// Puts the password of this number in place of what `word` holds, whose memory serves again.
    fn spell(&self, mut number: u64, word: &mut String) {
        let base = self.alphabet.len() as u64;
        let mut digits = [0; LONGEST];
        let digits = &mut digits[..self.length];
        for digit in digits.iter_mut().rev() {
            *digit = (number % base) as u8;
            number /= base;
        }
        word.clear();
        word.extend(digits.iter().map(|&digit| self.alphabet[usize::from(digit)]));
    }
}

pub(super) fn hash(word: &str) -> [u8; 32] {
    Sha256::digest(word).into()
}

fn distinct(alphabet: &str) -> Result<Vec<char>, FunctionError> {
    let alphabet: Vec<char> = alphabet.chars().collect();
    if !(1..=256).contains(&alphabet.len()) {
        let message = format!(r#""alphabet" must have 1 to 256 characters, not {}"#, alphabet.len());
        return Err(bad_input(message));
    }
    let repeated = alphabet.iter().enumerate().find(|(i, letter)| alphabet[..*i].contains(letter));
    match repeated {
        Some((_, letter)) => {
            Err(bad_input(format!(r#""alphabet" must not repeat a character, such as {letter:?}"#)))
        }
        None => Ok(alphabet),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_words_in_positional_order() {
        let space = Space::new("aé漢", 3).unwrap();
        assert_eq!(space.size(), 27);
        assert_eq!([0, 1, 3, 26].map(|number| space.word(number)), ["aaa", "aaé", "aéa", "漢漢漢"]);
        assert!((0..27).all(|number| space.number(&space.word(number)) == Some(number)));
        assert_eq!(["", "aa", "aaaa", "aab"].map(|word| space.number(word)), [None; 4]);
    }

    #[test]
    fn takes_the_widest_spaces() {
        let bytes: String = ('\u{100}'..).take(256).collect();
        for (alphabet, length) in [("ab", 63), ("a", 63), (&bytes, 7)] {
            let space = Space::new(alphabet, length).unwrap();
            let last = space.size() - 1;
            assert_eq!(space.number(&space.word(last)), Some(last));
        }
        assert!(Space::new(&bytes, 8).is_err());
    }

    #[test]
    fn a_walk_in_parts_is_the_same_walk() {
        let space = Space::new("0123456789", 8).unwrap();
        assert_eq!(space.walk(space.walk(42, 0..30), 30..100), space.walk(42, 0..100));
    }
}
