//! One suite for every store: what the trait promises, seen from outside.
//!
//! A third store joins with one `Kind` and one line of the macro at the end of `scenarios.rs`.

mod bench;
mod random;
mod scenarios;
