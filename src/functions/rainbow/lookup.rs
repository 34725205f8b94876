//! `rainbow_lookup` finds a password of a given hash by the chains that `rainbow` computed.
//!
//! Input, an object: `alphabet`, `length` and `chain` as they were given to `rainbow`; `chains`, up to
//! 1,000,000 of the `[start, end]` pairs it gave; and `hash`, a SHA-256 hash as 64 hexadecimal digits.
//!
//! Output, an object: `password`, one of that hash, or null if these chains hold none; `candidates`, how many
//! chains were walked from their start because their end matched; and `false_alarms`, how many of those did
//! not hold the hash.
//!
//! Errors: `BadInput` for anything else.
//!
//! The method is Oechslin's (CRYPTO 2003, section 3): for each step from the last to the first, suppose that
//! the hash arose there and take the rest of the chain; where that leads to a known end, walk that chain from
//! its start. The work grows with the square of `chain`: half of it, in hashes, for a hash that is not there.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::super::{Function, FunctionError, bad_input, clip, hex, write};
use super::chain::{self, Space};
use super::{MOST_CHAINS, MOST_STEPS, check};

pub(in super::super) const LOOKUP: Function = Function {
    name: "rainbow_lookup",
    description: "Finds a password of a given SHA-256 hash by chains of a rainbow table.",
    input: concat!(
        r#"{"alphabet": string, "length": integer, "chain": steps, "#,
        r#""chains": [[start password, end password], ...], "hash": 64 hex digits}"#,
    ),
    output: r#"{"password": string or null, "candidates": chains walked, "false_alarms": integer}"#,
    example: (
        concat!(
            r#"{"alphabet":"abc","length":4,"chain":3,"chains":[["aaaa","bbac"],["aaab","acbc"]],"#,
            r#""hash":"b68af3b8f67990d0b2fbad5dc277c905d1a1045404006ce5ded98348b2f35387"}"#,
        ),
        r#"{"password":"acbb","candidates":1,"false_alarms":0}"#,
    ),
    run,
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Input {
    alphabet: String,
    length: u32,
    chain: u64,
    chains: Vec<(String, String)>,
    hash: String,
}

#[derive(Serialize, Default)]
struct Output {
    password: Option<String>,
    candidates: u64,
    false_alarms: u64,
}

fn run(input: &RawValue, out: &mut Vec<u8>) -> Result<(), FunctionError> {
    let input: Input = LOOKUP.parse_object(input)?;
    let table = Table::new(&input)?;
    let hash = hex::decode(&input.hash).ok_or_else(|| {
        bad_input(format!(r#""hash" must be 64 hex digits, not {:?}"#, clip(&input.hash, 80)))
    })?;
    write(&table.look_up(&hash), out);
    Ok(())
}

struct Table {
    space: Space,
    steps: u64,
    chains: Vec<Chain>,
}

/// The numbers of a chain's two passwords; chains sort by their end, to be found by it.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Chain {
    end: u64,
    start: u64,
}

impl Table {
    fn new(input: &Input) -> Result<Self, FunctionError> {
        check("chain", input.chain, 1, MOST_STEPS)?;
        check("number of chains", input.chains.len() as u64, 0, MOST_CHAINS)?;
        let space = Space::new(&input.alphabet, input.length)?;
        let number = |word: &str| {
            space.number(word).ok_or_else(|| {
                let word = clip(word, 80);
                bad_input(format!(
                    r#""chains" must hold passwords of this alphabet and length, not {word:?}"#
                ))
            })
        };
        let chain = |(start, end): &(String, String)| Ok(Chain { end: number(end)?, start: number(start)? });
        let mut chains = input.chains.iter().map(chain).collect::<Result<Vec<_>, _>>()?;
        chains.sort_unstable();
        Ok(Self { space, steps: input.chain, chains })
    }

    fn look_up(&self, hash: &[u8; 32]) -> Output {
        let mut output = Output::default();
        for step in (0..self.steps).rev() {
            let end = self.space.walk(self.space.reduce(hash, step), step + 1..self.steps);
            for chain in self.ending_at(end) {
                output.candidates += 1;
                let password = self.space.word(self.space.walk(chain.start, 0..step));
                if chain::hash(&password) == *hash {
                    output.password = Some(password);
                    return output;
                }
                output.false_alarms += 1;
            }
        }
        output
    }

    fn ending_at(&self, end: u64) -> impl Iterator<Item = &Chain> {
        let first = self.chains.partition_point(|chain| chain.end < end);
        self.chains[first..].iter().take_while(move |chain| chain.end == end)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::super::super::{call, refusal};
    use super::*;

    const STEPS: u64 = 20;

    fn chains() -> Value {
        let input = json!({"alphabet": "abcd", "length": 5, "chain": STEPS, "start": 100, "count": 30});
        let output: Value = serde_json::from_str(&call("rainbow", &input.to_string()).unwrap()).unwrap();
        output["chains"].clone()
    }

    fn input(hash: &[u8; 32]) -> Value {
        let mut digits = Vec::new();
        hex::push(hash, &mut digits);
        let hash = String::from_utf8(digits).unwrap();
        json!({"alphabet": "abcd", "length": 5, "chain": STEPS, "chains": chains(), "hash": hash})
    }

    fn look_up(hash: &[u8; 32]) -> Value {
        serde_json::from_str(&call("rainbow_lookup", &input(hash).to_string()).unwrap()).unwrap()
    }

    #[test]
    fn finds_every_password_that_the_chains_cover() {
        let space = Space::new("abcd", 5).unwrap();
        for start in 100..130 {
            for step in 0..STEPS {
                let password = space.word(space.walk(start, 0..step));
                let output = look_up(&chain::hash(&password));
                assert_eq!(output["password"], password);
                assert_eq!(output["candidates"], output["false_alarms"].as_u64().unwrap() + 1);
            }
        }
    }

    #[test]
    fn gives_null_for_other_hashes() {
        let outputs: Vec<Value> = (0..20).map(|i| look_up(&chain::hash(&format!("outside {i}")))).collect();
        assert!(outputs.iter().all(|output| output["password"].is_null()));
        assert!(outputs.iter().all(|output| output["candidates"] == output["false_alarms"]));
        assert!(outputs.iter().any(|output| output["false_alarms"] != 0), "some should end like a chain");
    }

    #[test]
    fn refuses_bad_input() {
        let with = |field: &str, value: Value| {
            let mut input = input(&[0; 32]);
            input[field] = value;
            refusal("rainbow_lookup", &input.to_string())
        };
        assert_eq!(with("hash", json!("00")), r#""hash" must be 64 hex digits, not "00""#);
        assert_eq!(with("chain", json!(0)), r#""chain" must be from 1 to 10000000, not 0"#);
        let message = r#""chains" must hold passwords of this alphabet and length, not "xyz""#;
        assert_eq!(with("chains", json!([["aaaaa", "xyz"]])), message);
        assert!(with("chains", json!([["aaaaa"]])).contains("tuple of size 2"));
    }
}
