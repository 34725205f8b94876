//! `rainbow` computes chains of a rainbow table; `rainbow_lookup`, in `lookup`, finds passwords by them.
//!
//! Input, an object:
//! - `alphabet`: a string of 1 to 256 different characters (Unicode scalar values);
//! - `length`: how many characters a password has, 1 to 63; all passwords together must be under 2^64;
//! - `chain`: steps in each chain, 1 to 10,000,000;
//! - `start`: which password the first chain starts at; the others start at those that follow. Passwords are
//!   numbered from 0 in the order of the alphabet, the last character changing fastest;
//! - `count`: how many chains, 1 to 1,000,000.
//!
//! Output, an object: `chains`, an array of `[start, end]`, the first and last password of each chain.
//!
//! Errors: `BadInput` for anything else.
//!
//! The rule, from Oechslin, "Making a Faster Cryptanalytic Time-Memory Trade-Off", CRYPTO 2003: step c of a
//! chain, counted from 0, hashes a password with SHA-256 and reduces the hash to the next password in a way
//! that depends on c. Here that is password number `(first 8 bytes of the hash, big-endian, + c mod 2^64) mod
//! (number of passwords)`.

mod chain;
mod lookup;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::{Function, FunctionError, bad_input, write};
use chain::Space;
pub(super) use lookup::LOOKUP;

pub(super) const FUNCTION: Function = Function {
    name: "rainbow",
    description: "Computes chains of a rainbow table for SHA-256 and passwords of one length.",
    input: r#"{"alphabet": string, "length": integer, "chain": steps, "start": integer, "count": integer}"#,
    output: r#"{"chains": [[start password, end password], ...]}"#,
    example: (
        r#"{"alphabet":"abc","length":4,"chain":3,"start":0,"count":2}"#,
        r#"{"chains":[["aaaa","bbac"],["aaab","acbc"]]}"#,
    ),
    run,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    alphabet: String,
    length: u32,
    chain: u64,
    start: u64,
    count: u64,
}

#[derive(Serialize)]
struct Output {
    chains: Vec<(String, String)>,
}

const MOST_STEPS: u64 = 10_000_000;
const MOST_CHAINS: u64 = 1_000_000;

fn run(input: &RawValue, out: &mut Vec<u8>) -> Result<(), FunctionError> {
    let input: Input = FUNCTION.parse_object(input)?;
    check("chain", input.chain, 1, MOST_STEPS)?;
    check("count", input.count, 1, MOST_CHAINS)?;
    let space = Space::new(&input.alphabet, input.length)?;
    check("count", input.count, 1, space.size())?;
    check("start", input.start, 0, space.size() - input.count)?;
    let chain = |start| (space.word(start), space.word(space.walk(start, 0..input.chain)));
    let chains = (input.start..input.start + input.count).map(chain).collect();
    write(&Output { chains }, out);
    Ok(())
}

fn check(field: &str, value: u64, least: u64, most: u64) -> Result<(), FunctionError> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(bad_input(format!(r#""{field}" must be from {least} to {most}, not {value}"#)))
}

#[cfg(test)]
mod tests {
    use super::super::{call, refusal};

    /// Computed by a Python script of its own.
    #[test]
    fn agrees_with_an_independent_computation() {
        let letters = "abcdefghijklmnopqrstuvwxyz";
        let input = format!(r#"{{"alphabet":"{letters}","length":6,"chain":1000,"start":12345,"count":1}}"#);
        assert_eq!(call("rainbow", &input).as_deref(), Ok(r#"{"chains":[["aaasgv","vhnuws"]]}"#));
        let input = r#"{"alphabet":"aé漢😀","length":5,"chain":100,"start":77,"count":1}"#;
        assert_eq!(call("rainbow", input).as_deref(), Ok(r#"{"chains":[["aéa😀é","é😀漢aa"]]}"#));
    }

    #[test]
    fn takes_the_last_start_points() {
        let input = r#"{"alphabet":"ab","length":63,"chain":1,"start":9223372036854775807,"count":1}"#;
        assert!(call("rainbow", input).unwrap().contains(&"b".repeat(63)));
        let input = r#"{"alphabet":"ab","length":2,"chain":1,"start":0,"count":4}"#;
        assert!(call("rainbow", input).unwrap().contains(r#"["bb","#));
    }

    #[test]
    fn refuses_bad_input() {
        let input = |alphabet: &str, length, chain, start, count| {
            let text = format!(r#""length":{length},"chain":{chain},"start":{start},"count":{count}"#);
            refusal("rainbow", &format!(r#"{{"alphabet":"{alphabet}",{text}}}"#))
        };
        let many: String = ('\u{4e00}'..).take(257).collect();
        for (message, expected) in [
            (input("", 2, 1, 0, 1), r#""alphabet" must have 1 to 256 characters, not 0"#),
            (input(&many, 2, 1, 0, 1), r#""alphabet" must have 1 to 256 characters, not 257"#),
            (input("aba", 2, 1, 0, 1), r#""alphabet" must not repeat a character, such as 'a'"#),
            (input("ab", 0, 1, 0, 1), r#""length" must be from 1 to 63, not 0"#),
            (input("ab", 64, 1, 0, 1), r#""length" must be from 1 to 63, not 64"#),
            (input("abc", 41, 1, 0, 1), "3 characters to the power of 41 must be under 2^64 passwords"),
            (input("ab", 2, 0, 0, 1), r#""chain" must be from 1 to 10000000, not 0"#),
            (input("ab", 2, 10_000_001, 0, 1), r#""chain" must be from 1 to 10000000, not 10000001"#),
            (input("ab", 2, 1, 0, 0), r#""count" must be from 1 to 1000000, not 0"#),
            (input("ab", 2, 1, 0, 1_000_001), r#""count" must be from 1 to 1000000, not 1000001"#),
            (input("ab", 2, 1, 0, 5), r#""count" must be from 1 to 4, not 5"#),
            (input("ab", 2, 1, 3, 2), r#""start" must be from 0 to 2, not 3"#),
        ] {
            assert_eq!(message, expected);
        }
    }
}
