//! x
use anyhow::Result;
#[derive(clap::Args, Debug)]
pub(super) struct Arguments {}
pub(super) fn run(_: &Arguments) -> Result<()> {
    Ok(())
}
