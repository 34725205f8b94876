//! `gristmill bench` in small: it reports every workload that it is asked for, and its outputs are right.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::os::unix::process::CommandExt as _;
use std::process::{Command, Output};

use rustix::process::{Pid, Signal, kill_process_group};
use serde_json::{Value, json};
use tempfile::TempDir;

fn bench(arguments: &[&str]) -> Output {
    let data = TempDir::new().unwrap();
    let output = Command::new(env!("CARGO_BIN_EXE_gristmill"))
        .args(["bench", "--runs", "1", "--data-dir"])
        .arg(data.path())
        .args(arguments)
        .output()
        .unwrap();
    assert_eq!(fs::read_dir(data.path()).unwrap().count(), 0, "something is left behind");
    output
}

fn report(arguments: &[&str]) -> Value {
    let output = bench(&[arguments, &["--json", "-"]].concat());
    assert!(output.status.success(), "{output:#?}");
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn every_workload_that_is_named_is_reported_with_all_its_outputs_checked() {
    let names = [
        "echo",
        "sha256",
        "count",
        "skewed-ascending",
        "large",
        "latency",
        "clients",
        "ten-million",
        "exec",
        "oversubscription",
    ];
    let flags: Vec<&str> = names.iter().flat_map(|name| ["--workload", name]).collect();
    let report = report(&[&flags[..], &["--scale", "0.001"]].concat());
    let workloads = report["workloads"].as_array().unwrap();
    let seen: Vec<&str> = workloads.iter().map(|workload| workload["name"].as_str().unwrap()).collect();
    assert_eq!(seen, names);
    for workload in workloads {
        assert_eq!(workload["outputs_checked"], true);
        assert_eq!(workload["runs"].as_array().unwrap().len(), 1);
        for number in ["wall_s", "tasks_per_s", "server_cpu_us_per_task", "server_peak_rss_bytes"] {
            assert!(workload["median"][number].as_f64().unwrap() > 0.0, "{number} of {workload}");
        }
        // A thousandth of the tasks says nothing of the bars.
        assert_eq!(workload["bars"], json!([]), "{workload}");
    }
    let figures = &workloads.last().unwrap()["median"]["figures"];
    let walls = figures.as_object().unwrap().keys().filter(|name| name.starts_with("wall_of_"));
    assert!(walls.count() >= 7 && figures["worst_over_best"].as_f64().unwrap() >= 1.0, "{figures}");
    assert!(report["machine"]["fdatasync_p50_ms"].is_f64() && report["machine"]["cpus"].is_u64());
}

#[test]
fn peers_run_beside_it() {
    let report = report(&["--workload", "echo", "--workload", "count", "--scale", "0.001", "--compare"]);
    for workload in report["workloads"].as_array().unwrap() {
        let peers = workload["peers"].as_array().unwrap();
        let names: Vec<&str> = peers.iter().map(|peer| peer["name"].as_str().unwrap()).collect();
        let all = ["Pool.map", "ProcessPoolExecutor", "FastAPI", "pipes + fsync"];
        assert_eq!(names, if workload["name"] == "echo" { &all[..] } else { &["threads"] });
        for peer in peers {
            // What is not installed says so.
            assert!(
                peer["missing"].is_string() || peer["gristmill_over_peer"].as_f64().unwrap() > 0.0,
                "{peer}"
            );
        }
    }
}

#[test]
fn the_scaling_experiment_gives_a_table_and_a_drawing() {
    let dir = TempDir::new().unwrap();
    let (inputs, svg) = (dir.path().join("inputs.ndjson"), dir.path().join("curve.svg"));
    fs::write(&inputs, "1000\n2000\n3000").unwrap();
    let files = ["--inputs", inputs.to_str().unwrap(), "--svg", svg.to_str().unwrap()];
    let output = bench(&[&["--scaling", "1,2", "--function", "count"], &files[..]].concat());
    assert!(output.status.success(), "{output:#?}");
    let table = String::from_utf8(output.stdout).unwrap();
    for word in ["3 tasks of count", "speed-up", "efficiency", "Recommended: "] {
        assert!(table.contains(word), "{table}");
    }
    let svg = fs::read_to_string(svg).unwrap();
    assert!(svg.starts_with("<svg ") && svg.ends_with("</svg>\n"), "{svg}");
    assert_eq!(svg.matches("<circle class=\"point\"").count(), 2);
    assert!(svg.contains("class=\"ideal\"") && !svg.contains("NaN"), "{svg}");
}

#[test]
fn a_workload_that_there_is_not_is_refused_with_those_there_are() {
    let output = bench(&["--workload", "eco"]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && message.contains("invalid value 'eco'"), "{message}");
    assert!(message.contains("echo-python") && message.contains("oversubscription"), "{message}");
}

#[test]
fn a_scale_that_leaves_no_tasks_or_too_many_is_not_valid() {
    for scale in ["0", "nan", "2000", "many"] {
        let output = bench(&["--scale", scale]);
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{message}");
        assert!(
            message.contains(&format!("invalid value '{scale}' for '--scale <F>': it is above 0")),
            "{message}"
        );
    }
}

#[test]
fn a_report_that_cannot_be_written_is_told_before_anything_is_measured() {
    let dir = TempDir::new().unwrap();
    let [inputs, nowhere] = ["inputs.ndjson", "nowhere/report"].map(|name| dir.path().join(name));
    fs::write(&inputs, "1000\n").unwrap();
    let (inputs, nowhere) = (inputs.to_str().unwrap(), nowhere.to_str().unwrap());
    let workload = ["--workload", "echo", "--scale", "0.001"];
    let scaling = ["--scaling", "1", "--function", "count", "--inputs", inputs];
    for (what, flag) in [(&workload[..], "--json"), (&scaling, "--json"), (&scaling, "--svg")] {
        let output = bench(&[what, &[flag, nowhere]].concat());
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!((output.status.code(), message.lines().count()), (Some(1), 1), "{message}");
        assert!(message.starts_with(&format!("gristmill: creating {nowhere}: ")), "{message}");
    }
}

#[test]
fn tasks_that_fail_are_an_error() {
    let dir = TempDir::new().unwrap();
    let inputs = dir.path().join("inputs.ndjson");
    fs::write(&inputs, "\"no number\"\n").unwrap();
    let output = bench(&["--scaling", "1", "--function", "count", "--inputs", inputs.to_str().unwrap()]);
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success() && message.contains("count wants an integer"), "{message}");
}

#[test]
fn a_signal_ends_it_or_a_demo_by_its_code_and_leaves_nothing_behind() {
    let many = ["bench", "--workload", "echo", "--scale", "0.1", "--runs", "1000"];
    for (arguments, begun) in [(&many[..], "echo: run 1:"), (&["demo"], "The batch:")] {
        for (signal, code) in [(Signal::INT, 130), (Signal::TERM, 143)] {
            let temporary = TempDir::new().unwrap();
            let (output, said) = std::io::pipe().unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_gristmill"));
            // Where temporary files are in memory, `bench` takes the current directory.
            command.args(arguments).env("TMPDIR", temporary.path()).current_dir(temporary.path());
            command.stdout(said.try_clone().unwrap()).stderr(said).process_group(0);
            let mut process = command.spawn().unwrap();
            drop(command);
            let mut lines = BufReader::new(output).lines().map(Result::unwrap);
            assert!(lines.any(|line| line.starts_with(begun)));
            // As a terminal sends it.
            kill_process_group(Pid::from_child(&process), signal).unwrap();
            assert_eq!(process.wait().unwrap().code(), Some(code), "{arguments:?}");
            let rest: Vec<String> = lines.filter(|line| line.starts_with("gristmill: ")).collect();
            assert!(rest.is_empty(), "{rest:?}");
            assert_eq!(fs::read_dir(temporary.path()).unwrap().count(), 0, "something is left behind");
        }
    }
}
