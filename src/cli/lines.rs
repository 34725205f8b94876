//! Lines of input, counted, and lines of text turned into JSON strings; piece by piece, however long a line is.

/// How many lines that are not blank end in this piece; `in_line` says whether something of the next is there.
pub(super) fn count_inputs(piece: &[u8], in_line: &mut bool) -> u64 {
    let (mut count, mut start) = (0, 0);
    for end in memchr::memchr_iter(b'\n', piece) {
        count += u64::from(*in_line || !piece[start..end].trim_ascii().is_empty());
        (*in_line, start) = (false, end + 1);
    }
    *in_line |= !piece[start..].trim_ascii().is_empty();
    count
}

/// Turns lines of text into JSON strings.
#[derive(Default)]
pub(super) struct Lines {
    in_line: bool,
    /// A carriage return may belong to the end of its line.
    held_return: bool,
}

impl Lines {
    /// The next piece of the text.
    pub(super) fn quote(&mut self, piece: &[u8]) -> Vec<u8> {
        let mut quoted = Vec::with_capacity(piece.len() + piece.len() / 8 + 8);
        for &byte in piece {
            if !self.in_line {
                quoted.push(b'"');
                self.in_line = true;
            }
            if std::mem::take(&mut self.held_return) && byte != b'\n' {
                quoted.extend(br"\r");
            }
            match byte {
                b'\n' => {
                    quoted.extend(b"\"\n");
                    self.in_line = false;
                }
                b'\r' => self.held_return = true,
                b'"' | b'\\' => quoted.extend([b'\\', byte]),
                0..0x20 => quoted.extend(format!("\\u{byte:04x}").bytes()),
                _ => quoted.push(byte),
            }
        }
        quoted
    }

    /// What ends the last line, if the text does not.
    pub(super) fn end(&mut self) -> Vec<u8> {
        self.held_return = false;
        if std::mem::take(&mut self.in_line) { b"\"".to_vec() } else { Vec::new() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blank_lines_are_no_inputs() {
        let mut in_line = false;
        assert_eq!(count_inputs(b"1\n\n \r\n2\n3", &mut in_line), 2);
        assert!(in_line);
        assert_eq!((count_inputs(b"\n", &mut in_line), in_line), (1, false));
    }

    #[test]
    fn each_line_of_text_is_a_json_string_wherever_it_is_cut() {
        let text = "a\n\n \"b\\\t\u{1}\r\nü\rc\r";
        let whole = "\"a\"\n\"\"\n\" \\\"b\\\\\\u0009\\u0001\"\n\"ü\\rc\"";
        for size in 1..=text.len() {
            let mut lines = Lines::default();
            let mut quoted: Vec<u8> =
                text.as_bytes().chunks(size).flat_map(|piece| lines.quote(piece)).collect();
            quoted.extend(lines.end());
            assert_eq!(String::from_utf8(quoted).unwrap(), whole);
        }
    }
}
