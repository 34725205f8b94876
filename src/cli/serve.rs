//! `gristmill serve`.

use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use crate::config::RawConfig;
use crate::{app, telemetry};

/// The arguments of `serve`.
#[derive(Args, Debug)]
pub(super) struct Arguments {
    /// A file of settings; its keys are the names of the flags, with underscores
    #[arg(long, env = "GRISTMILL_CONFIG", value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(flatten)]
    raw: RawConfig,
}

pub(super) fn run(arguments: Arguments) -> Result<()> {
    let file = arguments.config.as_deref().map(RawConfig::from_file).transpose()?;
    let config = arguments.raw.or(file.unwrap_or_default()).validate()?;
    telemetry::start(config.log_format);
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(app::serve(config, |_| ()))
}
