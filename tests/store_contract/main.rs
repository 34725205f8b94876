//! One suite for every store: what the trait promises, seen from outside.
//!
//! A third store joins with one `Kind` and one module of the macro in `scenarios/mod.rs`.

#![expect(clippy::unwrap_used, reason = "a failing test may panic")]

mod bench;
mod random;
mod scenarios;
