//! Where a job stands in a distributed trace, as W3C Trace Context writes it (`traceparent`, level 1).

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A span that others are children of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct TraceParent {
    /// The trace, not 0.
    pub trace: u128,
    /// The span in it, not 0.
    pub span: u64,
    /// What the caller does with it.
    pub flags: u8,
}

impl TraceParent {
    /// Whether the caller records its part of the trace.
    pub fn is_sampled(self) -> bool {
        self.flags & 1 == 1
    }
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace, self.span, self.flags)
    }
}

impl FromStr for TraceParent {
    type Err = ();

    /// Of a version that is not known yet, what stands behind the four parts does not count.
    fn from_str(text: &str) -> Result<Self, ()> {
        let mut parts = text.splitn(5, '-');
        let mut part = |length: usize| {
            let part = parts.next().filter(|part| part.len() == length).ok_or(())?;
            let is_hex = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
            if part.bytes().all(is_hex) { u128::from_str_radix(part, 16).map_err(drop) } else { Err(()) }
        };
        let (version, trace, span, flags) = (part(2)?, part(32)?, part(16)? as u64, part(2)? as u8);
        let has_more = parts.next().is_some();
        if version == 0xff || version == 0 && has_more || trace == 0 || span == 0 {
            return Err(());
        }
        Ok(Self { trace, span, flags })
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(|()| serde::de::Error::custom("not a traceparent"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_valid_reads_back() {
        let text = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
        let parent: TraceParent = text.parse().unwrap();
        assert_eq!((parent.to_string().as_str(), parent.is_sampled()), (text, true));
        let json = serde_json::to_string(&parent).unwrap();
        assert_eq!(serde_json::from_str::<TraceParent>(&json).unwrap(), parent);
        let later = "42-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-and-more";
        assert_eq!(later.parse(), Ok(parent));
    }

    #[test]
    fn what_is_not_valid_is_none() {
        for text in [
            "",
            "00",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-more",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-1",
            "00-+bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\nX: y",
        ] {
            assert_eq!(text.parse::<TraceParent>(), Err(()), "{text:?}");
        }
    }
}
