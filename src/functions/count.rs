//! `count` counts to a number one by one: pure CPU time, in proportion to its input.
//!
//! Input: n, an integer from 0 to 2^64 - 1. Output: n. Errors: `BadInput` for anything else.

use std::hint::black_box;

use serde_json::value::RawValue;

use super::{Function, FunctionError, write};

pub(super) const FUNCTION: Function = Function {
    name: "count",
    description: "Counts from 0 to n one by one and gives n.",
    input: "n: integer >= 0",
    output: "n: integer",
    example: ("1000", "1000"),
    run,
};

fn run(input: &RawValue, out: &mut Vec<u8>) -> Result<(), FunctionError> {
    let n = FUNCTION.parse(input, "an integer from 0 to 18446744073709551615")?;
    write(&count_to(n), out);
    Ok(())
}

fn count_to(n: u64) -> u64 {
    let mut counted = 0;
    while counted < n {
        // Without the black box the compiler would replace the loop by its result.
        counted = black_box(counted + 1);
    }
    counted
}

#[cfg(test)]
mod tests {
    use super::super::{call, refusal};

    #[test]
    fn counts() {
        for n in ["0", "1", "1000000"] {
            assert_eq!(call("count", n).as_deref(), Ok(n));
        }
    }

    #[test]
    fn says_what_it_wants() {
        for bad in [r#""x""#, "-1", "1.5", "18446744073709551616", "null", "[1]"] {
            let message = format!("count wants an integer from 0 to 18446744073709551615, not {bad}");
            assert_eq!(refusal("count", bad), message);
        }
    }
}
