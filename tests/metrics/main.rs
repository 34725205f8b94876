//! `/metrics`: the counts are the truth, the gauges are right after a crash, and every reader can read the page.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]
#![expect(clippy::float_cmp, reason = "the numbers compared are counts, which are exact")]

#[path = "../common/mod.rs"]
#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;
mod counts;
mod page;
mod queries;
mod scrape;
