//! Who may call: tokens and their scopes, and which hosts and origins a browser may name.
//!
//! Imports nothing of the crate. Deliberately absent: HTTP, files, the environment.

mod browsers;
mod tokens;

pub use browsers::{Browsers, check_host, check_origin};
pub use tokens::{BadToken, Scope, Tokens};
