//! One JSON value as one line: validity, depth, and white space that would break the line.
//!
//! Values are kept byte for byte: numbers beyond 2^53 and escapes of lone surrogates pass as they came.

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::model::limits::MAX_DEPTH;

/// Why some bytes are not an input.
#[derive(Debug, thiserror::Error)]
pub enum BadJson {
    /// Not JSON; line and column within the value.
    #[error(transparent)]
    Syntax(#[from] serde_json::Error),
    /// Arrays and objects nest too deeply.
    #[error("nested deeper than {MAX_DEPTH} arrays and objects")]
    TooDeep,
}

/// Checks that `text` is one JSON value that nests no deeper than [`MAX_DEPTH`].
pub fn check(text: &[u8]) -> Result<(), BadJson> {
    if is_plain(text) {
        return Ok(());
    }
    parse::<&RawValue>(text)?;
    if is_too_deep(text) { Err(BadJson::TooDeep) } else { Ok(()) }
}

/// Reads a value. That it is UTF-8 is seen once for all of it, where `serde_json` would look at each raw value in it.
pub fn parse<'a, T: Deserialize<'a>>(text: &'a [u8]) -> Result<T, serde_json::Error> {
    match std::str::from_utf8(text) {
        Ok(text) => serde_json::from_str(text),
        // It says where.
        Err(_) => serde_json::from_slice(text),
    }
}

/// Whether this is a whole number without a sign or a string of plain ASCII: what most inputs are, and seen at a glance.
fn is_plain(text: &[u8]) -> bool {
    // Without a way out of the loops the compiler can look at many bytes at once.
    let all = |text: &[u8], is: fn(u8) -> bool| text.iter().fold(true, |all, byte| all & is(*byte));
    match text {
        [b'"', inside @ .., b'"'] => {
            all(inside, |byte| matches!(byte, b' ' | b'!' | b'#'..=b'[' | b']'..=b'~'))
        }
        [b'1'..=b'9', rest @ ..] => all(rest, |byte| byte.is_ascii_digit()),
        _ => text == b"0",
    }
}

/// Whether arrays and objects nest deeper than [`MAX_DEPTH`] in `text`, which need not be valid JSON.
pub fn is_too_deep(text: &[u8]) -> bool {
    if text.len() <= MAX_DEPTH {
        return false;
    }
    let (mut depth, mut at) = (0_usize, 0);
    while let Some(byte) = text.get(at) {
        match byte {
            b'[' | b'{' => depth += 1,
            b']' | b'}' => depth = depth.saturating_sub(1),
            b'"' => at += string_len(&text[at + 1..]),
            _ => {}
        }
        if depth > MAX_DEPTH {
            return true;
        }
        at += 1;
    }
    false
}

/// The bytes up to and with the closing quote.
fn string_len(text: &[u8]) -> usize {
    let mut at = 0;
    while let Some(found) = memchr::memchr2(b'"', b'\\', &text[at..]) {
        at += found + 1;
        if text[at - 1] == b'"' {
            return at;
        }
        at += 1;
        if at > text.len() {
            break;
        }
    }
    text.len()
}

/// Appends a valid JSON value as a line: a raw line break can only be white space, so it becomes a space.
pub fn push_line(block: &mut Vec<u8>, value: &[u8]) {
    let start = block.len();
    block.extend_from_slice(value);
    // Few values have any control character; of this question the compiler makes one about many bytes at once.
    if value.iter().fold(u8::MAX, |least, byte| least.min(*byte)) < b' ' {
        block[start..].iter_mut().filter(|b| matches!(b, b'\n' | b'\r')).for_each(|b| *b = b' ');
    }
    block.push(b'\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nested(depth: usize) -> Vec<u8> {
        [vec![b'['; depth], vec![b']'; depth]].concat()
    }

    #[test]
    fn depth_is_counted_outside_strings() {
        assert!(check(&nested(MAX_DEPTH)).is_ok());
        assert!(matches!(check(&nested(MAX_DEPTH + 1)), Err(BadJson::TooDeep)));
        assert!(matches!(check(&nested(100_000)), Err(BadJson::TooDeep)));
        let brackets = format!("\"{}\\\"{}\"", "[".repeat(100), "{".repeat(100));
        assert!(check(brackets.as_bytes()).is_ok());
        assert!(
            check(br#"["a\\", "[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[[["]"#)
                .is_ok()
        );
        let flat = format!("[{}]", vec!["[]"; 200].join(","));
        assert!(check(flat.as_bytes()).is_ok());
    }

    #[test]
    fn odd_values_pass_as_they_came() {
        for text in ["9007199254740993", "1e400", r#""\ud800""#, r#""\u0000""#, "-0.0", "\"\u{7f}\""] {
            assert!(check(text.as_bytes()).is_ok(), "{text}");
        }
        for text in ["", "01", "nul", "\"\x00\"", "[1,]", "1 2", "\"\\x\"", "NaN", "'a'", "\"\\"] {
            assert!(check(text.as_bytes()).is_err(), "{text:?}");
        }
        assert!(check(b"\"\xff\"").is_err());
    }

    #[test]
    fn what_is_seen_at_a_glance_is_what_the_parser_says() {
        let pieces =
            ["\"", "\\", "0", "1", "9", "-", ".", "e", "a", " ", "~", "\u{7f}", "\u{1f}", "é", "n", "[", "]"];
        let mut texts = vec![String::new()];
        for _ in 0..4 {
            let longer =
                texts.iter().flat_map(|text| pieces.iter().map(move |piece| format!("{text}{piece}")));
            texts.extend(longer.collect::<Vec<_>>());
            texts.sort_unstable();
            texts.dedup();
        }
        let plain = texts.iter().filter(|text| is_plain(text.as_bytes()));
        plain.clone().for_each(|text| assert!(serde_json::from_str::<&RawValue>(text).is_ok(), "{text:?}"));
        assert!(plain.count() > 200);
    }

    #[test]
    fn a_line_has_no_line_break_inside() {
        let mut block = Vec::new();
        push_line(&mut block, b"{\r\n \"a\": \"\\n\"\n}");
        assert_eq!(block, b"{   \"a\": \"\\n\" }\n");
    }
}
