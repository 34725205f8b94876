//! Standard output and standard error, either of which may have lost its reader.

use std::io::{ErrorKind, IsTerminal as _, Write as _};

use anyhow::{Context as _, Result};

/// Nobody reads standard output any more: no mistake, and nobody needs to be told.
#[derive(thiserror::Error, Debug)]
#[error("nobody reads the output")]
pub(super) struct NotRead;

/// Writes to standard output at once.
pub(super) fn print(text: impl AsRef<[u8]>) -> Result<()> {
    let mut stdout = std::io::stdout().lock();
    match stdout.write_all(text.as_ref()).and_then(|()| stdout.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Err(NotRead.into()),
        written => written.context("writing to standard output"),
    }
}

/// As [`print`], with the end of the line.
pub(super) fn print_line(text: impl std::fmt::Display) -> Result<()> {
    print(format!("{text}\n"))
}

/// Tells people something on standard error.
pub(super) fn tell(text: impl std::fmt::Display) {
    // Whom that does not reach cannot be told so either.
    drop(writeln!(std::io::stderr(), "gristmill: {text}"));
}

/// Whether people read standard output.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// Whether people read standard output, and in colours.
pub(super) fn is_coloured() -> bool {
    let is_unset = |name: &str| std::env::var_os(name).is_none_or(|value| value.is_empty());
    is_terminal() && is_unset("NO_COLOR") && std::env::var_os("TERM").is_none_or(|term| term != "dumb")
}

/// Columns and rows of the terminal that standard output is, if it is one.
pub(super) fn size() -> Option<(usize, usize)> {
    let (rows, columns) = console::Term::stdout().size_checked()?;
    Some((usize::from(columns), usize::from(rows)))
}
