//! Identifiers. Each is a type of its own, so that two of them cannot be swapped, and prints as people say it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// A job's identifier: a UUID of version 7, so that ids sort by the time of their making.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct JobId(pub Uuid);

impl JobId {
    /// The 16 bytes that stores keep.
    pub fn as_bytes(&self) -> &[u8; 16] {
        self.0.as_bytes()
    }

    /// The id of these 16 bytes.
    pub fn from_bytes(bytes: [u8; 16]) -> Self {
        Self(Uuid::from_bytes(bytes))
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.hyphenated().fmt(f)
    }
}

impl FromStr for JobId {
    type Err = uuid::Error;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Uuid::try_parse(text).map(Self)
    }
}

/// One lease of a chunk; never used again, so a stale answer is told from a fresh one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct LeaseId(pub u64);

impl fmt::Display for LeaseId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lease-{}", self.0)
    }
}

/// How often this node has started; grows by one with each start and fences off what an earlier start leased.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct Epoch(pub u64);

/// A worker as people name it: `worker-1`, `worker-2` … A replacement takes the number that became free.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct WorkerName(pub u32);

impl fmt::Display for WorkerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "worker-{}", self.0)
    }
}

impl FromStr for WorkerName {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let number = text.strip_prefix("worker-").ok_or(())?;
        let name = number.parse().map(Self).map_err(drop)?;
        // As it prints, and not otherwise: `worker-01` is nobody.
        if name.to_string() == text { Ok(name) } else { Err(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_print_and_parse_as_people_say_them() {
        let id = JobId(Uuid::from_u128(0x0190_b5f7_7c4d_7abc_8def_0123_4567_89ab));
        assert_eq!(id.to_string(), "0190b5f7-7c4d-7abc-8def-0123456789ab");
        assert_eq!(id.to_string().parse::<JobId>().unwrap(), id);
        assert_eq!(JobId::from_bytes(*id.as_bytes()), id);
        assert!("../etc/passwd".parse::<JobId>().is_err());
        assert_eq!(WorkerName(3).to_string(), "worker-3");
        assert_eq!("worker-3".parse(), Ok(WorkerName(3)));
        assert!("3".parse::<WorkerName>().is_err());
    }
}
