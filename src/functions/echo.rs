//! `echo` gives any JSON value back as it came: the benchmark of what everything around a function costs.
//!
//! Input and output: any value, byte for byte, except that line ends between tokens become spaces, since an
//! output is one line. Errors: none.

use serde_json::value::RawValue;

use super::{Function, FunctionError};

pub(super) const FUNCTION: Function = Function {
    name: "echo",
    description: "Gives its input back.",
    input: "any value",
    output: "the same value",
    example: (r#"{"any": [1, 2.50, "x"]}"#, r#"{"any": [1, 2.50, "x"]}"#),
    run,
};

#[expect(clippy::unnecessary_wraps, reason = "the type of every function's run")]
fn run(input: &RawValue, out: &mut Vec<u8>) -> Result<(), FunctionError> {
    let from = out.len();
    out.extend_from_slice(input.get().as_bytes());
    // A string in valid JSON holds no raw line end, so this only ever changes whitespace.
    // Writing every byte rather than those alone lets the compiler take many at once.
    for byte in &mut out[from..] {
        *byte = if matches!(*byte, b'\n' | b'\r') { b' ' } else { *byte };
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::call;

    #[test]
    fn keeps_every_byte() {
        for text in ["null", "1.0e+05", r#""\u00e9\ud800 é\n""#, "[ 1,\t2 ]", r#"{"a":1,"a":2}"#] {
            assert_eq!(call("echo", text).as_deref(), Ok(text));
        }
    }

    #[test]
    fn gives_one_line() {
        assert_eq!(call("echo", "[1,\r\n \"\\n\"]").as_deref(), Ok("[1,   \"\\n\"]"));
    }
}
