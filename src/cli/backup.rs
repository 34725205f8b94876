//! `gristmill backup`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::serve;
use super::streams::print_line;
use crate::store::sqlite;

/// The arguments of `backup`.
#[derive(Args, Debug)]
#[group(id = "backup")]
pub(super) struct Arguments {
    /// Where to write it; there must be no such file
    file: PathBuf,
    #[command(flatten)]
    serve: serve::Arguments,
}

/// Writes a copy of the store as it is at one moment, while a server may be at work on it.
pub(super) fn run(arguments: &Arguments) -> Result<()> {
    let dir = arguments.serve.read()?.data_dir;
    sqlite::backup(&dir, &arguments.file)?;
    let (file, name) = (arguments.file.display(), sqlite::FILE_NAME);
    print_line(format_args!(
        "{file} is a copy of {}: to use it, start on a directory that holds it as {name}",
        dir.display()
    ))
}
