//! How much work of the built-in functions makes a millisecond on this machine.

use std::time::Instant;

use anyhow::{Context as _, Result};
use serde_json::value::RawValue;

use super::workloads::mine_input;
use crate::functions;

const LONG_ENOUGH_MS: f64 = 20.0;
const TRIES: usize = 5;

/// Work a millisecond, undisturbed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Speeds {
    /// What `count` counts to.
    pub(super) counts_per_ms: f64,
    /// How many nonces `mine` tries.
    pub(super) hashes_per_ms: f64,
}

impl Speeds {
    /// Measures them in this process.
    pub(super) fn measure() -> Result<Self> {
        let counts_per_ms = speed("count", |n| n.to_string())?;
        let hashes_per_ms = speed("mine", |n| mine_input(0, n))?;
        Ok(Self { counts_per_ms, hashes_per_ms })
    }
}

fn speed(name: &str, input: impl Fn(u64) -> String) -> Result<f64> {
    let function = functions::find(name).context("it is built in")?;
    let took_ms = |n: u64| -> Result<f64> {
        let input = RawValue::from_string(input(n))?;
        let since = Instant::now();
        (function.run)(&input, &mut Vec::new())?;
        Ok(since.elapsed().as_secs_f64() * 1e3)
    };
    let mut n = 1000;
    while took_ms(n)? < LONG_ENOUGH_MS {
        n *= 2;
    }
    let best = (0..TRIES).map(|_| took_ms(n)).collect::<Result<Vec<_>>>()?;
    Ok(n as f64 / best.into_iter().fold(f64::INFINITY, f64::min))
}
