//! Durations and sizes as people write them.

use std::time::Duration;

/// A duration such as `500ms`, `30s` or `1m30s`, or a plain number of seconds.
pub fn duration(text: &str) -> Result<Duration, String> {
    let wrong =
        || format!("{text:?} is no duration; write it as 500ms, 30s or 1m30s, or as a number of seconds");
    let is_plain = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    if let Some(seconds) = text.parse::<f64>().ok().filter(|_| is_plain) {
        return Duration::try_from_secs_f64(seconds).map_err(|_| wrong());
    }
    if let Some((days, rest)) = text.split_once('d')
        && let Ok(days) = days.trim().parse::<u32>()
    {
        let rest = if rest.trim().is_empty() { Duration::ZERO } else { duration(rest.trim())? };
        return Ok(Duration::from_hours(24) * days + rest);
    }
    let parsed = text.parse::<jiff::SignedDuration>().map_err(|_| wrong())?;
    Duration::try_from(parsed).map_err(|_| wrong())
}

/// A number of bytes such as `512MiB`, `64kB` or `1000`. Units with an `i` count by 1,024, the others by 1,000.
pub fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no size; write it as 512MiB, 64kB or a number of bytes");
    let digits = text.find(|letter: char| !letter.is_ascii_digit()).unwrap_or(text.len());
    let factor: u64 = match text[digits..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "kb" | "k" => 1_000,
        "mb" | "m" => 1_000_000,
        "gb" | "g" => 1_000_000_000,
        "kib" => 1 << 10,
        "mib" => 1 << 20,
        "gib" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    number.checked_mul(factor).ok_or_else(wrong)
}

/// A number of bytes for people: `1.9 GiB`.
pub fn show_size(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let step = (bytes.max(1).ilog2() / 10).min(4);
    if step == 0 {
        format!("{bytes} bytes")
    } else {
        format!("{:.1} {}", bytes as f64 / (1_u64 << (10 * step)) as f64, UNITS[step as usize])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, ms) in [("30s", 30_000), ("500ms", 500), ("1m30s", 90_000), ("2", 2_000), ("0.5", 500)] {
            assert_eq!(duration(text), Ok(Duration::from_millis(ms)), "{text}");
        }
        assert_eq!(duration("7d"), Ok(Duration::from_hours(168)));
        assert_eq!(duration("1d 12h"), Ok(Duration::from_hours(36)));
        for text in ["", "-1", "1e3", "+1", ".", "d", "-1d", "soon", "-5s", "NaN", "inf", "1e300"] {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_are_shown_as_people_read_them() {
        for (bytes, text) in
            [(0, "0 bytes"), (1023, "1023 bytes"), (1024, "1.0 KiB"), (2_040_109_466, "1.9 GiB")]
        {
            assert_eq!(show_size(bytes), text);
        }
    }

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in
            [("512MiB", 512 << 20), ("64kB", 64_000), ("1000", 1_000), ("2 GiB", 2 << 30), ("7b", 7)]
        {
            assert_eq!(size(text), Ok(bytes), "{text}");
        }
        for text in ["", "MiB", "-1", "1.5GiB", "12 parsecs", "99999999999999GiB"] {
            assert!(size(text).is_err(), "{text}");
        }
    }
}
