//! Bytes as hexadecimal digits, two a byte, and back.

/// Appends a digest in lowercase digits.
pub(super) fn push(digest: &[u8; 32], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let mut pairs = [[0; 2]; 32];
    for (pair, byte) in pairs.iter_mut().zip(digest) {
        *pair = [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
    }
    out.extend_from_slice(pairs.as_flattened());
}

/// The bytes that exactly 2 * N digits of either case stand for.
pub(super) fn decode<const N: usize>(digits: &str) -> Option<[u8; N]> {
    let (pairs, rest) = digits.as_bytes().as_chunks();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let mut bytes = [0; N];
    for (byte, &[high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = value(high)? << 4 | value(low)?;
    }
    Some(bytes)
}

fn value(digit: u8) -> Option<u8> {
    char::from(digit).to_digit(16).map(|value| value as u8)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goes_there_and_back() {
        let bytes: [u8; 32] = std::array::from_fn(|i| 8 * i as u8 + i as u8 / 4);
        let mut digits = Vec::new();
        push(&bytes, &mut digits);
        let digits = String::from_utf8(digits).unwrap();
        assert!(digits.starts_with("00081018") && digits.ends_with("e7eff7ff"), "{digits}");
        assert_eq!(decode(&digits), Some(bytes));
        assert_eq!(decode(&digits.to_uppercase()), Some(bytes));
    }

    #[test]
    fn refuses_other_text() {
        for bad in ["", "0", "000", "0000", "+f", "0g", "é"] {
            assert_eq!(decode::<1>(bad), None, "{bad}");
        }
    }
}
