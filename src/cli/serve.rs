//! `gristmill serve`.

use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Result;
use clap::Args;

use super::show::printable;
use super::streams::print_line;
use crate::config::{Config, RawConfig};
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
    let config = arguments.read()?;
    telemetry::start(config.log_format);
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(threads()).enable_all().build()?;
    runtime.block_on(app::serve(config, move || arguments.read(), |_| ()))
}

/// Threads for connections and decisions: half the CPUs, as the work itself is done by others. With one for each CPU they
/// mostly wake one another: on two CPUs, a task alone took a tenth longer, and a million tiny ones as well.
fn threads() -> usize {
    std::thread::available_parallelism().map_or(1, |cpus| (cpus.get() / 2).max(1))
}

/// Says what `serve` would do with these settings, and what is wrong with them.
pub(super) fn check(arguments: &Arguments) -> Result<()> {
    let config = arguments.read()?;
    print_line(format_args!(
        "listens on {}, keeps its data in {}",
        config.listen,
        config.data_dir.display()
    ))?;
    print_line(format_args!("{} slots ({})", config.slots, config.slots_reason))?;
    config.may_listen_on(config.listen)?;
    print_line(asked_for(&config))?;
    config.warnings().iter().for_each(|warning| eprintln!("warning: {warning}"));
    let mut wrong = 0;
    for (name, function) in &config.functions {
        let (mode, command) = (function.adapter.mode.as_str(), printable(&function.command.join(" ")));
        print_line(format_args!("function {name}: mode {mode}, {command}"))?;
        for problem in function.problems() {
            eprintln!("in [functions.{name}]: {problem}");
            wrong += 1;
        }
    }
    anyhow::ensure!(wrong == 0, "{wrong} of these would keep workers from starting");
    Ok(())
}

fn asked_for(config: &Config) -> String {
    match config.tokens.len() {
        0 => "asks nobody for a token".into(),
        1 => "asks for a token".into(),
        tokens => format!("asks for one of {tokens} tokens"),
    }
}

impl Arguments {
    pub(super) fn read(&self) -> Result<Config> {
        self.raw.clone().or(self.file()?).validate()
    }

    /// The address to listen on. The file is not read for one that stands elsewhere: it may have changed since the start.
    pub(super) fn listen(&self) -> Result<SocketAddr> {
        self.raw.listen.map_or_else(|| Ok(self.file()?.listen_address()), Ok)
    }

    fn file(&self) -> Result<RawConfig> {
        Ok(self.config.as_deref().map(RawConfig::from_file).transpose()?.unwrap_or_default())
    }
}
