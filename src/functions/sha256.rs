//! `sha256` gives the SHA-256 digest of a text (FIPS 180-4).
//!
//! Input: a string; what is hashed is its UTF-8 bytes. Output: the digest as a string of 64 lowercase
//! hexadecimal digits. Errors: `BadInput` for what is not a string, and for a string with half of a surrogate
//! pair, which has no UTF-8 bytes.

use std::borrow::Cow;

use serde::Deserialize;
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};

use super::{Function, FunctionError, hex};

pub(super) const FUNCTION: Function = Function {
    name: "sha256",
    description: "Gives the SHA-256 digest of a string's UTF-8 bytes.",
    input: "string",
    output: "64 lowercase hex digits",
    example: (r#""abc""#, r#""ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad""#),
    run,
};

/// Borrows its text from the input if no escape stands in the way.
#[derive(Deserialize)]
struct Text<'a>(#[serde(borrow)] Cow<'a, str>);

fn run(input: &RawValue, out: &mut Vec<u8>) -> Result<(), FunctionError> {
    let Text(text) = FUNCTION.parse(input, "a string of whole Unicode characters")?;
    out.push(b'"');
    hex::push(&Sha256::digest(text.as_bytes()).into(), out);
    out.push(b'"');
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::{call, refusal};

    fn digest(text: &str) -> String {
        let quoted = call("sha256", &serde_json::to_string(text).unwrap()).unwrap();
        serde_json::from_str(&quoted).unwrap()
    }

    /// The examples of FIPS 180 and NIST.
    #[test]
    fn agrees_with_the_standard() {
        let two_blocks = "abcdbcdecdefdefgefghfghighijhijkijkljklmklmnlmnomnopnopq";
        let known = [
            ("", "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"),
            ("abc", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"),
            (two_blocks, "248d6a61d20638b8e5c026930c3e6039a33ce45964ff2167f6ecedd419db06c1"),
            (&"a".repeat(1_000_000), "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0"),
        ];
        for (text, expected) in known {
            assert_eq!(digest(text), expected);
        }
    }

    #[test]
    fn hashes_what_escapes_stand_for() {
        assert_eq!(call("sha256", r#""\u0061bc""#).unwrap(), call("sha256", r#""abc""#).unwrap());
        assert_eq!(digest("é\n😀").len(), 64);
    }

    #[test]
    fn refuses_what_has_no_bytes() {
        for bad in ["5", "null", r#"["abc"]"#, r#""\ud800""#, r#""\udc00x""#] {
            let message = format!("sha256 wants a string of whole Unicode characters, not {bad}");
            assert_eq!(refusal("sha256", bad), message);
        }
    }
}
