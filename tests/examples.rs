//! Each folder of `examples/` behind the real server: what its README shows is what it says, command by command.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "this file needs a part of the harness")]
mod common;

use std::fs;
use std::process::{Command, Output};

use common::{Server, skip};
use tempfile::TempDir;

/// Runs the example; `needs` is a command that shows that its programs are installed.
fn works_as_shown(example: &str, needs: &str) {
    let Some(path) = path_that_has(needs) else {
        return skip(&format!("examples/{example} needs what this shows: {needs}"));
    };
    let dir = format!("{}/examples/{example}", env!("CARGO_MANIFEST_DIR"));
    let readme = fs::read_to_string(format!("{dir}/README.md")).unwrap();
    let config = format!("{dir}/gristmill.toml");
    let declared = fs::read_to_string(&config).unwrap();
    assert!(readme.contains(&format!("```toml\n{declared}```")), "the README shows another gristmill.toml");

    let flags = ["--processes=2", "--config", &config];
    let server = Server::launch(TempDir::new().unwrap(), &flags, &[("PATH", &path)]).unwrap();
    let shown: String = blocks(&readme, "console").concat();
    let script = script(&shown).replace("localhost:8080", &server.socket_address());
    let home = TempDir::new().unwrap();
    let output = bash(&script, &path).current_dir(home.path()).output().unwrap();
    let seen = said(&output).replace(&server.socket_address(), "localhost:8080");
    assert!(output.status.success(), "{output:#?}");
    assert!(shown == seen, "--- README\n{shown}\n--- seen\n{seen}");
}

/// The blocks of a README in this language.
fn blocks<'a>(readme: &'a str, language: &str) -> Vec<&'a str> {
    let blocks = readme.split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

/// The commands of a session, each of which is said before it is run. One begins with `$ `, and its other lines with
/// four spaces.
fn script(session: &str) -> String {
    let session = format!("\n{session}");
    let commands = session.split("\n$ ").skip(1).map(|shown| {
        let of_command = |(at, line): &(usize, &str)| *at == 0 || line.starts_with("    ");
        let lines = shown.lines().enumerate().take_while(of_command).map(|(_, line)| line);
        let command = lines.collect::<Vec<_>>().join("\n");
        format!("cat <<'SHOWN'\n$ {command}\nSHOWN\n{command}\n")
    });
    commands.collect::<Vec<_>>().concat()
}

/// The `PATH` with which the command succeeds: the one there is, or else the distribution's programs before all others.
fn path_that_has(needs: &str) -> Option<String> {
    let path = std::env::var("PATH").unwrap();
    let paths = [path.clone(), format!("/usr/bin:{path}")];
    paths.into_iter().find(|path| bash(needs, path).output().unwrap().status.success())
}

fn bash(script: &str, path: &str) -> Command {
    let mut bash = Command::new("bash");
    bash.args(["-euo", "pipefail", "-c", script]).env("PATH", path);
    bash
}

fn said(output: &Output) -> String {
    String::from_utf8(output.stdout.clone()).unwrap()
}

#[test]
fn thumbnails() {
    works_as_shown("thumbnails", "python3 -c 'import PIL' && jq --version");
}

#[test]
fn node_json() {
    works_as_shown("node-json", "node --version");
}

#[test]
fn jq() {
    works_as_shown("jq", "jq --version");
}

#[test]
fn imagemagick() {
    works_as_shown("imagemagick", "convert -version && identify -version");
}

#[test]
fn shell_filter() {
    works_as_shown("shell-filter", "numfmt --version && stdbuf --version");
}

#[test]
fn every_example_is_listed_and_tested() {
    let root = format!("{}/examples", env!("CARGO_MANIFEST_DIR"));
    let (list, tests) =
        (fs::read_to_string(format!("{root}/README.md")).unwrap(), include_str!("examples.rs"));
    for entry in fs::read_dir(root).unwrap().map(Result::unwrap).filter(|entry| entry.path().is_dir()) {
        let name = entry.file_name().into_string().unwrap();
        assert!(list.contains(&format!("[{name}]({name}/)")), "{name} is not listed");
        assert!(tests.contains(&format!("works_as_shown(\"{name}\"")), "{name} is not tested");
    }
}
