//! The layers: a folder of `src/` uses only what stands behind its arrow in the design, and pure code stays pure.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// What each part of the crate may use of the others. `app`, `cli` and `main` stand above them all.
const MAY_USE: [(&str, &[&str]); 19] = [
    ("access", &[]),
    ("model", &[]),
    ("nearest", &[]),
    ("sys", &[]),
    ("protocol", &["model"]),
    ("pool", &["model"]),
    ("store", &["model"]),
    ("supervisor", &["model", "protocol", "pool", "store", "schema", "sys", "telemetry", "units"]),
    ("webhooks", &["model", "store", "telemetry"]),
    ("otel", &["model", "store", "supervisor"]),
    ("worker", &["model", "protocol"]),
    ("functions", &["model", "protocol", "worker"]),
    (
        "http",
        &[
            "access",
            "model",
            "protocol",
            "nearest",
            "schema",
            "store",
            "supervisor",
            "telemetry",
            "units",
            "webhooks",
        ],
    ),
    ("adapter", &["model", "protocol", "sys", "worker"]),
    ("check", &["adapter", "model", "protocol", "sys"]),
    ("schema", &[]),
    ("units", &[]),
    ("config", &["access", "adapter", "functions", "model", "nearest", "schema", "sys", "units", "webhooks"]),
    ("telemetry", &["config", "model", "sys"]),
];
const ABOVE_ALL: [&str; 4] = ["app", "cli", "main", "lib"];
/// Clocks, randomness, the environment, async and unordered maps have no place in pure code.
const PURE: [&str; 4] = ["model", "protocol", "pool", "webhooks/rules"];
const IMPURE: [&str; 9] =
    ["Instant::now", "SystemTime", "std::env", "std::fs", "HashMap", "HashSet", "async ", "tokio", "rand::"];

struct Source {
    path: PathBuf,
    text: String,
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// The files of each folder or top-level module of `src/`.
fn parts() -> Vec<(String, Vec<Source>)> {
    let entries = fs::read_dir(root()).unwrap().map(|entry| entry.unwrap().path());
    entries.map(|path| (path.file_stem().unwrap().to_str().unwrap().to_owned(), sources(&path))).collect()
}

fn sources(path: &Path) -> Vec<Source> {
    if path.is_file() {
        return vec![Source { path: path.to_owned(), text: fs::read_to_string(path).unwrap() }];
    }
    fs::read_dir(path).unwrap().flat_map(|entry| sources(&entry.unwrap().path())).collect()
}

/// The modules that a text names behind `crate::`, also in braces.
fn uses(text: &str) -> BTreeSet<String> {
    let code =
        text.lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n");
    code.split("crate::").skip(1).flat_map(first_names).collect()
}

fn first_names(path: &str) -> Vec<String> {
    let Some(group) = path.strip_prefix('{') else { return vec![first_word(path)] };
    let (mut depth, mut names) = (0, vec![first_word(group)]);
    for (at, letter) in group.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' if depth == 0 => break,
            '}' => depth -= 1,
            ',' if depth == 0 => names.push(first_word(&group[at + 1..])),
            _ => {}
        }
    }
    names
}

fn first_word(text: &str) -> String {
    text.trim_start().chars().take_while(|letter| letter.is_alphanumeric() || *letter == '_').collect()
}

#[test]
fn each_part_uses_only_what_it_may() {
    for (part, sources) in parts() {
        if ABOVE_ALL.contains(&part.as_str()) {
            continue;
        }
        let rule = MAY_USE.iter().find(|(name, _)| *name == part);
        let (_, may_use) = rule.unwrap_or_else(|| panic!("src/{part} has no place in the layers"));
        for source in sources {
            for used in uses(&source.text).into_iter().filter(|used| !used.is_empty() && *used != part) {
                let allowed = may_use.contains(&used.as_str());
                assert!(allowed, "{} uses {used}; {part} may use {may_use:?}", source.path.display());
            }
        }
    }
}

#[test]
fn every_part_of_the_table_exists() {
    let parts: BTreeSet<String> = parts().into_iter().map(|(part, _)| part).collect();
    for name in MAY_USE.iter().map(|(name, _)| *name).chain(ABOVE_ALL) {
        assert!(parts.contains(name), "src/{name} is gone");
    }
}

#[test]
fn pure_code_is_pure() {
    for folder in PURE {
        for Source { path, text } in sources(&root().join(folder)) {
            if path.file_name().is_some_and(|name| name == "tests.rs") {
                continue;
            }
            let product = text.split("#[cfg(test)]").next().unwrap();
            let code = product.lines().filter(|line| !line.trim_start().starts_with("//"));
            for (line, word) in code.flat_map(|line| IMPURE.map(|word| (line, word))) {
                assert!(!line.contains(word), "{}: {word:?} in {line:?}", path.display());
            }
        }
    }
}

#[test]
fn names_behind_crate_are_found() {
    let text = "use crate::model::Job;\nuse crate::{app, pool::{Lease, Pool},\n telemetry};\n// crate::http\nfn f(x: crate::store::X) {}";
    let expected = ["app", "model", "pool", "store", "telemetry"].map(str::to_owned);
    assert_eq!(uses(text), BTreeSet::from(expected));
}
