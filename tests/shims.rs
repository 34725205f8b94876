//! A function of one's own in Python and in Node: each shim behind the real server.

#![expect(clippy::unwrap_used, reason = "where something is wrong, a test ends")]

#[expect(dead_code, reason = "each test file uses a part of the harness")]
mod common;

use std::fs;
use std::process::Command;

use common::job::Job;
use common::{Server, check, eventually, skip};
use serde_json::{Value, json};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// A server with the function `f`: a Python script with the body of a function of `x`, and code around it.
fn python(slots: u32, around: &str, body: &str) -> Server {
    let body = body.trim().replace('\n', "\n    ");
    let script = format!(
        "import gristmill, json, logging, os, subprocess, sys, time\n{around}\n@gristmill.function\ndef f(x):\n    \
         {body}\n\nif __name__ == '__main__':\n    gristmill.run()\n"
    );
    launch(slots, "python3", "f.py", &script)
}

/// A server with the function `f`, a JavaScript function; none where there is no Node.
fn node(slots: u32, function: &str) -> Option<Server> {
    if !has_node() {
        return None;
    }
    let shim = format!("{ROOT}/workers/node/gristmill.mjs");
    let script = format!(
        "import gristmill from {shim:?};\nimport fs from 'node:fs';\nimport {{ execFileSync }} from \
         'node:child_process';\ngristmill.run({function});\n"
    );
    Some(launch(slots, "node", "f.mjs", &script))
}

fn has_node() -> bool {
    let found = Command::new("node").arg("--version").output().is_ok();
    if !found {
        skip("there is no node on the PATH");
    }
    found
}

fn launch(slots: u32, program: &str, name: &str, script: &str) -> Server {
    let home = TempDir::new().unwrap();
    let path = home.path().join(name).to_str().unwrap().to_owned();
    fs::write(&path, script).unwrap();
    let config = home.path().join("gristmill.toml");
    let declared = format!(
        "processes = {slots}\n[functions.f]\ncommand = [{program:?}, {path:?}]\nmode = \"frames\"\n\
         env = {{ PYTHONPATH = \"{ROOT}/workers/python\", PYTHONDONTWRITEBYTECODE = \"1\" }}\n"
    );
    fs::write(&config, declared).unwrap();
    let config = config.to_str().unwrap().to_owned();
    Server::launch(home, &["--config", &config], &[]).unwrap_or_else(|refused| panic!("{refused:#?}"))
}

/// The outputs of a job that succeeds.
#[track_caller]
fn outputs(job: &Job<'_>) -> Vec<Value> {
    job.succeeds();
    job.results_by("order=input&fields=output")
}

/// The results in the order of the inputs, of a job that has ended.
#[track_caller]
fn ended(job: &Job<'_>) -> Vec<Value> {
    job.wait();
    job.by_input()
}

/// Every result but that of `bad` is a success of the first attempt.
#[track_caller]
fn only_one_fails(results: &[Value], bad: usize) {
    for (index, result) in results.iter().enumerate() {
        let want = if index == bad { "failed" } else { "succeeded" };
        assert_eq!(result["status"], want, "{result:#}");
        assert!(index == bad || result["attempt"] == 1, "{result:#}");
    }
}

/// The inputs 0, 1, 2 ….
fn numbers(count: u32) -> Value {
    json!((0..count).collect::<Vec<_>>())
}

const ODD_INPUTS: &str = r#"[1,"two",{"three":[3.5,null,true]},"\ud800 \u00e9",-0.0,[],""]"#;

fn maps_odd_inputs(server: &Server) {
    let job = server.post_json("/v1/jobs", &format!(r#"{{"function": "f", "inputs": {ODD_INPUTS}}}"#));
    let job = Job::of(server, &job.expect(202));
    job.succeeds();
    let text = job.results_text("order=input&fields=output").to_lowercase();
    assert_eq!(format!("[{}]", text.trim().replace('\n', ",")).replace('é', "\\u00e9"), ODD_INPUTS);
    let job = server.map("f", &numbers(20_000));
    assert_eq!(json!(outputs(&job)), numbers(20_000));
}

#[test]
fn a_python_function_is_mapped() {
    let server = python(2, "", "return x");
    maps_odd_inputs(&server);
    let text = format!(r#"{{"function": "f", "inputs": [9007199254740993, 1{}]}}"#, "0".repeat(40));
    let job = Job::of(&server, &server.post_json("/v1/jobs", &text).expect(202));
    job.succeeds();
    let want = format!("9007199254740993\n1{}\n", "0".repeat(40));
    assert_eq!(job.results_text("order=input&fields=output"), want);
}

#[test]
fn a_python_exception_is_told_with_its_traceback() {
    let server = python(
        1,
        "class Lost(Exception):\n    retryable = False\n",
        "if x == 1: raise ValueError('one \\ud800')\nif x == 2: raise gristmill.Permanent('two')\n\
         if x == 3: raise Lost('three')\nif x == 4: next(iter(()))\nreturn x",
    );
    let results = ended(&server.map("f", &json!([0, 1, 2, 3, 4, 5])));
    let errors =
        [("ValueError", "one", 3), ("Permanent", "two", 1), ("Lost", "three", 1), ("StopIteration", "", 3)];
    for (result, (kind, message, attempt)) in results[1..].iter().zip(errors) {
        let error = &result["error"];
        assert_eq!((&error["verdict"], &error["type"]), (&json!("exception"), &json!(kind)), "{result:#}");
        assert!(error["message"].as_str().unwrap().starts_with(message), "{result:#}");
        let stack = error["stack"].as_str().unwrap();
        assert!(stack.contains(", in f\n") && !stack.contains("gristmill.py"), "{stack}");
        assert_eq!(result["attempt"], attempt, "{result:#}");
    }
    assert!([0, 5].iter().all(|&at: &usize| results[at]["output"] == at), "{results:#?}");
}

#[test]
fn what_a_python_task_prints_harms_nothing() {
    let server = python(
        2,
        "print('at the start')",
        "print('out', x, '\\ud800')\nprint('part of a line', end='')\nprint('err', file=sys.stderr)\n\
         sys.stdout.buffer.write(b'\\xff\\x1e{}\\n')\nlogging.warning('a record')\n\
         if x % 50 == 0:\n    os.write(1, b'from C\\n\\x1e{}\\n')\n    subprocess.run(['echo', 'from a child'])\n    \
         if os.fork() == 0:\n        print('from a fork', flush=True)\n        os._exit(0)\n    os.wait()\n\
         print('y' * 100_000)\nreturn [x, sys.stdin.read()]",
    );
    let job = server.map("f", &numbers(200));
    let want: Vec<Value> = (0..200).map(|n| json!([n, ""])).collect();
    assert_eq!(outputs(&job), want);
    assert!(job.results().iter().all(|result| result["attempt"] == 1));
}

#[test]
fn what_python_printed_last_is_told_of_a_crash() {
    let server = python(1, "", "print('the last words')\nlogging.error('of task %d', x)\nos.abort()");
    let results = ended(&server.map("f", &json!([7])));
    let stack = results[0]["error"]["stack"].as_str().unwrap();
    assert!(stack.contains("the last words\nof task 7"), "{results:#?}");
}

#[test]
fn a_python_initializer_runs_once_in_each_worker() {
    let server = python(
        2,
        "@gristmill.initializer\ndef warm():\n    global seen\n    seen = [os.getpid(), gristmill.task()]\n",
        "seen.append(x)\nreturn [seen[0], seen[1], os.getpid(), len(seen) > 2]",
    );
    for _ in 0..3 {
        let job = server.map("f", &numbers(100));
        for (output, result) in outputs(&job).iter().zip(job.by_input()) {
            assert_eq!(*output, json!([result["pid"], null, result["pid"], true]));
        }
    }
}

#[test]
fn a_python_initializer_that_raises_is_a_failed_start() {
    let server =
        python(1, "@gristmill.initializer\ndef warm():\n    raise OSError('no model here')\n", "return x");
    let job = server.map("f", &json!([1]));
    let status = job.wait_for("why nothing starts", |status| {
        let message = status["start_failure"]["message"].as_str();
        message.is_some_and(|message| message.contains("OSError: no model here"))
    });
    assert_eq!(status["progress"]["done"], 0);
    job.cancel();
}

#[test]
fn a_python_output_that_is_no_json_fails_its_task_alone() {
    let server = python(1, "", "return {5: float('nan'), 6: {1, 2}, 7: [float('inf')], 8: b''}.get(x, x)");
    let results = ended(&server.map("f", &numbers(30)));
    for (at, kind) in [(5, "ValueError"), (6, "TypeError"), (7, "ValueError"), (8, "TypeError")] {
        let error = &results[at]["error"];
        assert_eq!((&error["verdict"], &error["type"]), (&json!("bad_output"), &json!(kind)), "{error:#}");
        assert!(error["message"].as_str().unwrap().starts_with("the output is no JSON: "), "{error:#}");
    }
    let fine = results.iter().filter(|result| result["status"] == "succeeded").count();
    assert_eq!(fine, 26, "{results:#?}");
    assert!(results.iter().all(|result| result["attempt"] == 1 && result["pid"] == results[0]["pid"]));
}

#[test]
fn a_python_task_that_ends_its_worker_is_charged_alone() {
    for end in ["os._exit(3)", "sys.exit(3)"] {
        let server = python(2, "", &format!("if x == 70: {end}\nreturn x"));
        let results = ended(&server.map("f", &numbers(200)));
        only_one_fails(&results, 70);
        let error = &results[70]["error"];
        assert_eq!((&error["verdict"], &results[70]["attempt"]), (&json!("crash"), &json!(3)), "{error:#}");
        assert!(error["message"].as_str().unwrap().contains("code 3"), "{error:#}");
    }
}

#[test]
fn a_slow_python_task_does_not_hold_back_those_behind_it() {
    let server = python(2, "", "while x == 100: pass\nreturn x");
    let job = server.map("f", &numbers(5_000));
    job.wait_for_done(4_999);
    assert_eq!(job.wait_for_running(1)[0]["index"], 100);
    job.cancel();
}

#[test]
fn an_output_that_python_changes_later_is_as_it_was_returned() {
    let server = python(1, "state = {}", "state['x'] = x\nreturn state if x % 2 else x");
    let want: Vec<Value> = (0..500).map(|n| if n % 2 == 1 { json!({"x": n}) } else { json!(n) }).collect();
    assert_eq!(outputs(&server.map("f", &json!((0..500).collect::<Vec<_>>()))), want);
}

#[test]
fn a_python_task_knows_which_it_is() {
    let server = python(1, "", "gristmill.progress(x, 10)\nprint(x)\nreturn gristmill.task()");
    let job = server.map("f", &numbers(50));
    let want: Vec<Value> = (0..50).map(|n| json!([job.id, n, 1, null])).collect();
    assert_eq!(outputs(&job), want);
}

#[test]
fn large_python_outputs_pass() {
    let server = python(1, "", "return 'x' * x");
    let sizes = [10, 5_000_000, 3, 5_000_000, 2_000_000].repeat(4);
    let lengths: Vec<_> =
        outputs(&server.map("f", &json!(sizes))).iter().map(|text| text.as_str().unwrap().len()).collect();
    assert_eq!(lengths, sizes);
}

#[test]
fn an_idle_python_worker_does_nothing() {
    let server = python(1, "", "return x");
    server.map("f", &numbers(1_000)).succeeds();
    let ticks = || server.processes().iter().map(|process| process.cpu_ticks).sum::<u64>();
    eventually("a second without work", || {
        let before = ticks();
        // Idleness is no state that could be waited for.
        std::thread::sleep(std::time::Duration::from_secs(1));
        check(ticks() - before, |used| *used <= 1)
    });
}

/// The blocks of `docs/workers.md` in this language.
fn documented(language: &str) -> Vec<&'static str> {
    let blocks = include_str!("../docs/workers.md").split("```").skip(1).step_by(2);
    blocks.filter_map(|block| block.strip_prefix(language)?.strip_prefix('\n')).collect()
}

#[test]
fn the_documented_functions_work_as_written() {
    let home = TempDir::new().unwrap();
    let write = |name: &str, text: &str| fs::write(home.path().join(name), text).unwrap();
    write("gristmill.py", include_str!("../workers/python/gristmill.py"));
    write("gristmill.mjs", include_str!("../workers/node/gristmill.mjs"));
    write("words.py", documented("python")[0]);
    write("words.mjs", documented("js")[0]);
    write("gristmill.toml", &documented("toml").concat());
    let config = home.path().join("gristmill.toml").to_str().unwrap().to_owned();
    let server = Server::launch(home, &["--config", &config], &[]).unwrap();
    let texts = json!([{"text": " a b c"}, {"text": ""}]);
    for (function, inputs, want) in [
        ("words", &texts, json!([3, 0])),
        ("js_words", &texts, json!([3, 0])),
        ("factor", &json!([12, "97"]), json!(["12: 2 2 3", "97: 97"])),
        ("shout", &json!(["abc"]), json!(["ABC"])),
        ("british", &json!(["color", ["colors"]]), json!(["colour", ["colours"]])),
        ("twice", &json!([1, 2, 3]), json!([2, 4, 6])),
    ] {
        if function != "js_words" || has_node() {
            assert_eq!(json!(outputs(&server.map(function, inputs))), want, "{function}");
        }
    }
}

#[test]
fn a_node_function_is_mapped() {
    for function in ["(x) => x", "async (x) => x"] {
        let Some(server) = node(2, function) else { return };
        let job = server.map("f", &numbers(20_000));
        assert_eq!(json!(outputs(&job)), numbers(20_000));
        let odd = json!([1, "two", {"three": [3.5, null, true]}, "é", [], ""]);
        assert_eq!(json!(outputs(&server.map("f", &odd))), odd);
    }
}

#[test]
fn a_node_error_is_told_with_its_stack() {
    let function = "(x) => { if (x === 1) throw new RangeError('one \\ud800');
        if (x === 2) throw Object.assign(new Error('two'), { retryable: false });
        return { 3: NaN, 4: [Infinity], 5: 10n, 6: () => 1 }[x] ?? x; }";
    let Some(server) = node(1, function) else { return };
    let results = ended(&server.map("f", &numbers(9)));
    let errors = [
        ("RangeError", "one", 3),
        ("Error", "two", 1),
        ("TypeError", "the output is no JSON", 1),
        ("TypeError", "the output is no JSON", 1),
        ("TypeError", "", 3),
        ("TypeError", "the output is no JSON", 1),
    ];
    for (result, (kind, message, attempt)) in results[1..].iter().zip(errors) {
        assert_eq!(
            (&result["error"]["type"], &result["attempt"]),
            (&json!(kind), &json!(attempt)),
            "{result:#}"
        );
        assert!(result["error"]["message"].as_str().unwrap().starts_with(message), "{result:#}");
    }
    let stack = results[1]["error"]["stack"].as_str().unwrap();
    assert!(stack.contains("f.mjs") && !stack.contains("gristmill.mjs"), "{stack}");
    assert!([0, 7, 8].iter().all(|&at: &usize| results[at]["output"] == at), "{results:#?}");
}

#[test]
fn what_a_node_task_prints_harms_nothing() {
    let function = "async (x, task) => { console.log('out', x); console.error('err'); process.stdout.write('part');
        gristmill.progress(x, 200); console.log('y'.repeat(100000));
        if (x % 50 === 0) { fs.writeSync(1, 'from C\\n'); execFileSync('echo', ['from a child'], { stdio: 'inherit' }); }
        await null; return [x, task.index]; }";
    let Some(server) = node(2, function) else { return };
    let job = server.map("f", &numbers(200));
    assert_eq!(outputs(&job), (0..200).map(|n| json!([n, n])).collect::<Vec<_>>());
    assert!(job.results().iter().all(|result| result["attempt"] == 1));
}

#[test]
fn a_node_task_that_ends_its_worker_is_charged_alone() {
    for end in ["process.exit(3)", "process.abort()"] {
        let Some(server) = node(2, &format!("(x) => {{ if (x === 70) {end}; return x; }}")) else { return };
        let results = ended(&server.map("f", &numbers(200)));
        only_one_fails(&results, 70);
        assert_eq!(results[70]["error"]["verdict"], "crash", "{:#}", results[70]);
    }
}

/// The checks of `gristmill check-worker` that do not hold; its exit code says whether there is one.
fn failed_checks(command: &[&str]) -> Vec<String> {
    let mut check = Command::new(env!("CARGO_BIN_EXE_gristmill"));
    let output = check.args(["check-worker", "--json", "--"]).args(command).output().unwrap();
    let findings = String::from_utf8(output.stdout.clone()).unwrap();
    let findings: Vec<Value> = findings.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let failed = findings.iter().filter(|finding| finding["outcome"] == "fails");
    let failed: Vec<String> = failed.map(|finding| finding["check"].as_str().unwrap().to_owned()).collect();
    assert!(!findings.is_empty() && output.status.success() == failed.is_empty(), "{output:?}");
    failed
}

#[test]
fn the_python_shim_is_a_worker() {
    let script = format!(
        "import sys\nsys.path.insert(0, {:?})\nimport gristmill\ngristmill.function(lambda x: x)\ngristmill.run()",
        format!("{ROOT}/workers/python")
    );
    assert_eq!(failed_checks(&["python3", "-c", &script]), [""; 0]);
}

#[test]
fn the_node_shim_is_a_worker_for_all_but_large_numbers() {
    if !has_node() {
        return;
    }
    let failed = |function: &str| {
        let script = format!(
            "--eval=import gristmill from '{ROOT}/workers/node/gristmill.mjs'; gristmill.run({function})"
        );
        failed_checks(&["node", "--input-type=module", &script])
    };
    assert_eq!(failed("(x) => ({ x })"), [""; 0]);
    // JavaScript's own numbers lose digits beyond 2^53, which the check tells and forgives.
    assert_eq!(failed("(x) => x"), [""; 0]);
}
