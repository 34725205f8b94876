//! The manual pages and the completions, which are made from the commands themselves, and docs/cli.md, which is not.

use std::fs;
use std::process::Command;

use tempfile::TempDir;

use super::common::skip;

const CODES: [&str; 8] = ["0", "1", "2", "3", "4", "130", "141", "143"];

fn gristmill(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_gristmill")).args(arguments).output().unwrap();
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// The commands as the help lists them.
fn commands() -> Vec<String> {
    let help = gristmill(&["help"]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let first = |line: &str| line.split_whitespace().next().unwrap().to_owned();
    list.lines().map(first).filter(|name| name != "help").collect()
}

#[test]
fn each_command_has_a_manual_page() {
    let home = TempDir::new().unwrap();
    // As on a machine where nobody has pages of their own yet.
    let dir = home.path().join("share/man/man1");
    gristmill(&["man", "--dir", dir.to_str().unwrap()]);
    for command in commands() {
        let page = fs::read_to_string(dir.join(format!("gristmill-{command}.1"))).unwrap();
        assert_eq!(gristmill(&["man", &command]), page);
        assert!(page.starts_with(&format!(".TH GRISTMILL-{} 1 ", command.to_uppercase())), "{page}");
    }
    assert!(dir.join("gristmill-pool-resize.1").exists());
    let whole = fs::read_to_string(dir.join("gristmill.1")).unwrap();
    let codes = whole.split(".SH \"EXIT STATUS\"").nth(1).unwrap();
    assert!(CODES.iter().all(|code| codes.contains(&format!(".TP\n{code}\n"))), "{codes}");
    let pages = fs::read_dir(&dir).unwrap().map(|page| page.unwrap().path());
    match Command::new("mandoc").args(["-T", "lint", "-W", "error"]).args(pages).output() {
        Ok(lint) => assert!(lint.status.success(), "{}", String::from_utf8_lossy(&lint.stdout)),
        Err(_) => skip("there is no mandoc"),
    }
}

#[test]
fn the_shell_completes_commands_and_options() {
    let script = gristmill(&["completions", "bash"]);
    let complete = |words: &str, at: usize| {
        let ask = format!(
            "{script}\nCOMP_WORDS=({words}); COMP_CWORD={at}; _gristmill gristmill \"${{COMP_WORDS[{at}]}}\"; echo \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").args(["-c", &ask]).output().unwrap();
        assert!(output.stderr.is_empty(), "{output:?}");
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(complete("gristmill subm", 1), "submit\n");
    assert!(complete("gristmill submit --pr", 2).contains("--priority"));
    for shell in ["zsh", "fish"] {
        assert!(gristmill(&["completions", shell]).contains("idempotency-key"));
    }
}

#[test]
fn each_option_of_a_job_is_a_flag() {
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/http.md")).unwrap();
    let table = docs.split("| option | meaning | default |").nth(1).unwrap().split("\n\n").next().unwrap();
    let firsts = table.lines().filter_map(|row| row.split('|').nth(1));
    let names = firsts.flat_map(|cell| cell.split('`').skip(1).step_by(2));
    let help = gristmill(&["submit", "--help"]);
    for name in names.filter(|name| *name != "function") {
        let flag = format!("--{}", if name == "labels" { "label" } else { name }).replace('_', "-");
        assert!(help.split_whitespace().any(|word| word == flag), "{flag} is missing");
    }
}

#[test]
fn the_help_and_the_docs_tell_the_exit_codes() {
    let docs = fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/cli.md")).unwrap();
    for help in
        [&["--help"][..], &["submit", "--help"], &["status", "-h"], &["results", "-h"], &["map", "-h"]]
    {
        let help = gristmill(help);
        let codes = help.split("Exit codes:\n").nth(1).unwrap();
        for (line, code) in codes.lines().zip(CODES) {
            let (told, meaning) = line.trim().split_once(' ').unwrap();
            assert_eq!(told, code);
            assert!(docs.contains(&format!("| {code} | {}", meaning.trim())), "docs/cli.md: {line}");
        }
    }
    for command in commands() {
        assert!(docs.contains(&format!("`{command}")), "docs/cli.md does not tell of {command}");
    }
}
