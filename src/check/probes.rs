//! The checks that send odd inputs: to answer them with `failed` is fine, to die of them is not.

use serde_json::Value;

use super::Outcome::{Fails, Holds, Info, Skipped};
use super::checks::{Judged, tally};
use super::work::Outcome as Task;
use super::{Outcome, Suite};

const BIG: usize = 1 << 20;
/// é, an emoji, U+0000 and a lone surrogate, as they are or as escapes.
const UNICODE: [&str; 6] =
    [r#""é""#, r#""\u00e9""#, r#""🦀""#, r#""\ud83e\udd80""#, r#""a\u0000b""#, r#""\ud800""#];
/// The first whole number that a double does not hold.
const LARGE_NUMBER: &str = "9007199254740993";

pub(super) fn failed_task(suite: &mut Suite<'_>) -> Judged {
    let Some(bad) = suite.settings.bad_input.clone() else {
        return Ok((Skipped, "give such an input with --bad-input".to_owned()));
    };
    let tasks = probe(suite, &[bad])?;
    Ok(match tasks.first() {
        Some(Task::Failed { message, .. }) if !message.is_empty() => (Holds, format!("failed: {message}")),
        Some(Task::Failed { .. }) => (Fails, "it failed without a message".to_owned()),
        Some(Task::Output(output)) => (Fails, format!("it gave an output: {output}")),
        Some(Task::Returned) | None => (Fails, "it was not run".to_owned()),
    })
}

pub(super) fn unicode(suite: &mut Suite<'_>) -> Judged {
    if !suite.settings.probes {
        return Ok(not_probed());
    }
    let tasks = probe(suite, &UNICODE.map(str::to_owned))?;
    Ok((Holds, tally(&tasks)))
}

pub(super) fn large_numbers(suite: &mut Suite<'_>) -> Judged {
    if !suite.settings.probes {
        return Ok(not_probed());
    }
    let tasks = probe(suite, &[UNICODE[0].to_owned(), LARGE_NUMBER.to_owned()])?;
    Ok(match &tasks[..] {
        [Task::Output(text), Task::Output(number)] if is_same(text, UNICODE[0]) => {
            // A language whose numbers are all floats cannot do better, so it is only told.
            let outcome = if is_same(number, LARGE_NUMBER) { Holds } else { Info };
            (outcome, format!("{LARGE_NUMBER} came back as {number}"))
        }
        _ => (Info, "the function does not give back its input".to_owned()),
    })
}

pub(super) fn big_input(suite: &mut Suite<'_>) -> Judged {
    if !suite.settings.probes {
        return Ok(not_probed());
    }
    let tasks = probe(suite, &[format!("\"{}\"", "x".repeat(BIG))])?;
    Ok((Holds, tally(&tasks)))
}

/// Runs odd inputs, then an ordinary one, so that the worker is seen to live.
fn probe(suite: &mut Suite<'_>, inputs: &[String]) -> Result<Vec<Task>, String> {
    let one = suite.inputs(1);
    let session = suite.session()?;
    session.send(inputs)?;
    let tasks = session.outcomes()?;
    session.send(&one)?;
    session.outcomes()?;
    Ok(tasks)
}

fn not_probed() -> (Outcome, String) {
    (Skipped, "not tried beside --input; --probe does".to_owned())
}

/// Whether two texts are the same JSON value.
fn is_same(left: &str, right: &str) -> bool {
    let value = |text| serde_json::from_str::<Value>(text).ok();
    value(left).is_some_and(|left| Some(left) == value(right))
}
