//! Tokens: kept as SHA-256 hashes only, and compared in constant time.

use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

/// A shorter token could be guessed.
const MIN_CHARS: usize = 16;

/// What a token permits; each scope permits what the ones before it do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Scope {
    /// To look.
    Read,
    /// To submit jobs, and do with them whatever can be done with a job.
    Submit,
    /// All: the pool and its workers too.
    Admin,
}

impl Scope {
    const ALL: [Self; 3] = [Self::Read, Self::Submit, Self::Admin];

    /// Its name in a token file.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Submit => "submit",
            Self::Admin => "admin",
        }
    }
}

/// Why a text is no token. It never has the text, which may be a secret all the same.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum BadToken {
    /// It could be guessed.
    #[error("a token has at least {MIN_CHARS} characters; `openssl rand -hex 32` makes a good one")]
    TooShort,
    /// It could not stand in a header.
    #[error("a token has only visible ASCII characters, and no spaces")]
    Characters,
    /// It is none of the two forms of a line.
    #[error(
        "a line has a token, or a scope (read, submit or admin) and a token; comments have lines of their own"
    )]
    Line,
}

/// The tokens that are known; none: nobody is asked for one.
#[derive(Clone, PartialEq, Debug, Default)]
pub struct Tokens(Vec<Token>);

#[derive(Clone, PartialEq, Debug)]
struct Token {
    hash: [u8; 32],
    scope: Scope,
}

impl Tokens {
    /// One token that permits all.
    pub fn one(token: &str) -> Result<Self, BadToken> {
        Ok(Self(vec![Token::new(token.trim(), Scope::Admin)?]))
    }

    /// One a line, after its scope if it has less than all; empty lines and those that begin with `#` say nothing.
    /// An error comes with the number of its line.
    pub fn parse(text: &str) -> Result<Self, (usize, BadToken)> {
        let lines = text.lines().map(str::trim).zip(1..);
        let said = lines.filter(|(line, _)| !line.is_empty() && !line.starts_with('#'));
        said.map(|(line, number)| Token::parse(line).map_err(|why| (number, why)))
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// What this token permits, if it is known. The time that takes does not depend on how much of it is right.
    pub fn scope_of(&self, token: &str) -> Option<Scope> {
        let hash = hash(token);
        let known = self.0.iter().filter(|token| bool::from(token.hash.ct_eq(&hash)));
        known.map(|token| token.scope).max()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Nobody is asked for one.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Token {
    fn new(token: &str, scope: Scope) -> Result<Self, BadToken> {
        if !token.chars().all(|letter| letter.is_ascii_graphic()) {
            return Err(BadToken::Characters);
        }
        if token.len() < MIN_CHARS {
            return Err(BadToken::TooShort);
        }
        Ok(Self { hash: hash(token), scope })
    }

    fn parse(line: &str) -> Result<Self, BadToken> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [token] => Self::new(token, Scope::Admin),
            [scope, token] => {
                let scope = Scope::ALL.into_iter().find(|known| known.as_str() == scope);
                Self::new(token, scope.ok_or(BadToken::Line)?)
            }
            _ => Err(BadToken::Line),
        }
    }
}

fn hash(token: &str) -> [u8; 32] {
    Sha256::digest(token).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_a_token_or_a_scope_and_a_token() {
        let file = "# people\n\nread reader-0123456789\n  submit\tsubmitter-01234567\nboss-0123456789abc\n\
                    admin other-0123456789abc";
        let tokens = Tokens::parse(file).unwrap();
        assert_eq!(tokens.len(), 4);
        assert_eq!(tokens.scope_of("reader-0123456789"), Some(Scope::Read));
        assert_eq!(tokens.scope_of("submitter-01234567"), Some(Scope::Submit));
        assert_eq!(tokens.scope_of("boss-0123456789abc"), Some(Scope::Admin));
        assert_eq!(tokens.scope_of("other-0123456789abc"), Some(Scope::Admin));
        for wrong in ["", "read", "# people", "reader-012345678", "reader-01234567890", "READER-0123456789"] {
            assert_eq!(tokens.scope_of(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_with_its_line() {
        let refused = |text: &str| Tokens::parse(text).unwrap_err();
        assert_eq!(refused("# a\nfifteen-letters"), (2, BadToken::TooShort));
        assert_eq!(refused("read"), (1, BadToken::TooShort));
        assert_eq!(refused("\u{e9}23456789012345678"), (1, BadToken::Characters));
        assert_eq!(refused("write 0123456789abcdef"), (1, BadToken::Line));
        assert_eq!(refused("read 0123456789abcdef # mine"), (1, BadToken::Line));
        assert_eq!(Tokens::one("read 0123456789abcdef"), Err(BadToken::Characters));
        assert!(
            Tokens::one("0123456789abcdef\n")
                .is_ok_and(|tokens| tokens.scope_of("0123456789abcdef").is_some())
        );
    }

    #[test]
    fn the_greatest_scope_of_a_token_counts() {
        let tokens = Tokens::parse("submit 0123456789abcdef\nread 0123456789abcdef").unwrap();
        assert_eq!(tokens.scope_of("0123456789abcdef"), Some(Scope::Submit));
    }
}
