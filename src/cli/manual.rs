//! `gristmill man` and `gristmill completions`, both made from the arguments as they are declared.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::{Args, Command};
use clap_complete::Shell;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, roman};

use super::exit;
use super::streams::print;

/// The arguments of `man`.
#[derive(Args, Debug)]
pub(super) struct ManArguments {
    /// The page of this command, such as `submit` or `pool resize`
    command: Vec<String>,
    /// Write the pages of all commands into this directory, which is made if need be, as gristmill.1, gristmill-submit.1 …
    #[arg(long, value_name = "DIR", conflicts_with = "command")]
    dir: Option<PathBuf>,
}

/// The arguments of `completions`.
#[derive(Args, Debug)]
pub(super) struct CompletionsArguments {
    /// The shell
    shell: Shell,
}

pub(super) fn man(arguments: &ManArguments, mut cli: Command) -> Result<ExitCode> {
    cli = cli.disable_help_subcommand(true);
    cli.build();
    if let Some(dir) = &arguments.dir {
        std::fs::create_dir_all(dir).with_context(|| format!("making {}", dir.display()))?;
        write_all(&cli, dir)?;
        return Ok(ExitCode::SUCCESS);
    }
    let mut command = &cli;
    for name in &arguments.command {
        let known = || command.get_subcommands().map(Command::get_name).collect::<Vec<_>>().join(", ");
        let unknown = || format!("there is no command {name:?}; there are {}", known());
        command = command.find_subcommand(name).with_context(unknown)?;
    }
    print(page(command)?)?;
    Ok(ExitCode::SUCCESS)
}

pub(super) fn completions(arguments: &CompletionsArguments, mut cli: Command) -> Result<ExitCode> {
    let mut script = Vec::new();
    let name = cli.get_name().to_owned();
    clap_complete::generate(arguments.shell, &mut cli, name, &mut script);
    print(script)?;
    Ok(ExitCode::SUCCESS)
}

fn write_all(command: &Command, dir: &Path) -> Result<()> {
    for inner in command.get_subcommands() {
        write_all(inner, dir)?;
    }
    let file = dir.join(Man::new(command.clone()).get_filename());
    std::fs::write(&file, page(command)?).with_context(|| format!("writing {}", file.display()))
}

/// A page in roff. The exit codes, which help texts have at their end, are a section here.
fn page(command: &Command) -> Result<Vec<u8>> {
    let man = Man::new(command.clone());
    let mut page = title(command).into_bytes();
    man.render_name_section(&mut page)?;
    man.render_synopsis_section(&mut page)?;
    man.render_description_section(&mut page)?;
    if command.get_arguments().next().is_some() {
        man.render_options_section(&mut page)?;
    }
    if command.has_subcommands() {
        man.render_subcommands_section(&mut page)?;
    }
    if command.get_after_help().is_some() {
        exit_status().to_writer(&mut page)?;
    }
    if command.get_version().is_some() {
        man.render_version_section(&mut page)?;
    }
    Ok(page)
}

/// The page has no date, so that the same program has the same page.
fn title(command: &Command) -> String {
    let name = command.get_display_name().unwrap_or(command.get_name()).to_uppercase();
    let version = env!("CARGO_PKG_VERSION");
    format!(".TH {name} 1 \"\" \"gristmill {version}\" \"gristmill\"\n")
}

fn exit_status() -> Roff {
    let mut section = Roff::new();
    section.control("SH", ["EXIT STATUS"]);
    for (code, meaning) in exit::CODES {
        section.control("TP", []).text([roman(code.to_string())]).text([roman(meaning)]);
    }
    section
}
