//! The checks, in their order: what each needs, and how it is seen.

use std::time::{Duration, Instant};

use super::Outcome::{Fails, Holds, Info, Skipped};
use super::probes::{big_input, failed_task, large_numbers, unicode};
use super::work::Outcome as Task;
use super::{Outcome, Suite};
use crate::adapter::Mode;
use crate::model::Verdict;

pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) needs: &'static str,
    /// Why it makes no sense for a program behind an adapter, if it makes none.
    pub(super) not_behind_adapter: Option<&'static str>,
    /// What came of it and what was seen; or what is wrong with the worker, which is of no more use then.
    pub(super) run: fn(&mut Suite<'_>) -> Judged,
}

pub(super) type Judged = Result<(Outcome, String), String>;

pub(super) const HANDSHAKE: &str = "handshake";
pub(super) const LARGEST_CHUNK: usize = 10_000;
const FIRST_CHUNK: usize = 10;
/// How long a chunk takes where several are to be under way at once.
const SHORT: Duration = Duration::from_millis(50);
const SPEED_FOR: Duration = Duration::from_secs(1);
const fn check(name: &'static str, needs: &'static str, run: fn(&mut Suite<'_>) -> Judged) -> Check {
    Check { name, needs, not_behind_adapter: None, run }
}

pub(super) static ALL: [Check; 11] = [
    check(HANDSHAKE, "says `ready` with protocol 1 within 10 s", handshake),
    check("order", "a chunk is answered in order, each task once, with the right indexes", order),
    check("two chunks", "a chunk that waits in the pipe is answered behind the one before it", two_chunks),
    check(
        "failed task",
        "an input that the function refuses is answered `failed`; the worker lives",
        failed_task,
    ),
    check("unicode", "é, 🦀, U+0000 and a lone surrogate are answered; the worker lives", unicode),
    check(
        "large numbers",
        "a function that gives back its input gives 2^53 + 1 back as it went",
        large_numbers,
    ),
    check("big input", "a string of 1 MiB is answered; the worker lives", big_input),
    check("take back", "a chunk that is asked back is returned or run, never lost", take_back),
    check("speed", "nothing; how many tasks a second", speed),
    Check {
        not_behind_adapter: Some("the adapter ends, and ends the program"),
        ..check("end of input", "answers what it has, and exits with code 0 within 5 s", end_of_input)
    },
    Check {
        not_behind_adapter: Some("every line that the program writes is taken for an answer"),
        ..check("stray output", "nothing; how many lines on stdout are no messages", stray_output)
    },
];

fn handshake(suite: &mut Suite<'_>) -> Judged {
    let session = suite.session()?;
    let (ms, take_back) = (session.ready_after.as_millis(), session.take_back);
    suite.was_ready = true;
    let who = if suite.settings.mode == Mode::Frames { "ready" } else { "the adapter was ready" };
    Ok((Holds, format!("{who} after {ms} ms, take_back {take_back}")))
}

fn order(suite: &mut Suite<'_>) -> Judged {
    let (inputs, one) = (suite.inputs(FIRST_CHUNK), suite.inputs(1));
    let session = suite.session()?;
    let since = Instant::now();
    session.send(&inputs)?;
    let tasks = session.outcomes()?;
    suite.pace = since.elapsed() / FIRST_CHUNK as u32;
    // A surplus answer would come before the one to this.
    let session = suite.session()?;
    session.send(&one)?;
    session.outcomes()?;
    let mut failures = tasks.iter().filter_map(failure);
    let bad_output = failures.clone().find(|(verdict, _)| *verdict == Verdict::BadOutput);
    let all_failed = failures.clone().count() == FIRST_CHUNK;
    Ok(match (bad_output, failures.next()) {
        (Some((_, message)), _) => (Fails, message.to_owned()),
        (None, Some((_, message))) if all_failed => {
            (Fails, format!("every input failed; give one that works with --input. The first: {message}"))
        }
        _ => (Holds, tally(&tasks)),
    })
}

fn two_chunks(suite: &mut Suite<'_>) -> Judged {
    find_pace(suite)?;
    let inputs = suite.inputs_for(SHORT);
    let session = suite.session()?;
    session.send(&inputs)?;
    session.send(&inputs)?;
    let tasks = session.outcomes()?;
    Ok((Holds, tally(&tasks)))
}

fn take_back(suite: &mut Suite<'_>) -> Judged {
    let (inputs, one) = (suite.inputs_for(SHORT), suite.inputs(1));
    let session = suite.session()?;
    if !session.take_back {
        return Ok((Skipped, "it does not say that it takes back".to_owned()));
    }
    session.send(&inputs)?;
    let behind = session.send(&inputs)?;
    session.take_back(behind)?;
    // If the chunk were lost, this would be answered in its place.
    session.send(&one)?;
    let tasks = session.outcomes()?;
    let returned = tasks.iter().filter(|task| matches!(task, Task::Returned)).count();
    Ok((Holds, format!("{returned} of {} were returned", inputs.len())))
}

fn speed(suite: &mut Suite<'_>) -> Judged {
    let inputs = suite.inputs_for(SPEED_FOR / 2);
    let session = suite.session()?;
    let (since, mut count) = (Instant::now(), inputs.len());
    session.send(&inputs)?;
    while since.elapsed() < SPEED_FOR {
        session.send(&inputs)?;
        session.wait_for(1)?;
        count += inputs.len();
    }
    session.outcomes()?;
    let rate = count as f64 / since.elapsed().as_secs_f64();
    Ok((Info, format!("{rate:.0} tasks/s in chunks of {}", inputs.len())))
}

/// Measures how long a task takes. In a small chunk that is mostly the way there and back, so the chunks grow.
fn find_pace(suite: &mut Suite<'_>) -> Result<(), String> {
    for _ in 0..3 {
        let inputs = suite.inputs_for(SHORT);
        let session = suite.session()?;
        let since = Instant::now();
        session.send(&inputs)?;
        session.outcomes()?;
        suite.pace = since.elapsed() / inputs.len() as u32;
    }
    Ok(())
}

fn end_of_input(suite: &mut Suite<'_>) -> Judged {
    let inputs = suite.inputs(FIRST_CHUNK);
    let session = suite.session()?;
    session.send(&inputs)?;
    let Some(mut session) = suite.session.take() else { return Ok((Skipped, "it is gone".to_owned())) };
    let outcome = session.finish();
    suite.stray += session.stray;
    Ok((Holds, format!("exited with code 0, {} ms after its last answer", outcome?.as_millis())))
}

#[expect(clippy::unnecessary_wraps, reason = "the type of every check")]
fn stray_output(suite: &mut Suite<'_>) -> Judged {
    suite.end_session();
    Ok((Info, suite.stray.to_string()))
}

fn failure(task: &Task) -> Option<(Verdict, &str)> {
    match task {
        Task::Failed { verdict, message } => Some((*verdict, message)),
        Task::Output(_) | Task::Returned => None,
    }
}

/// How many outputs there are, and the first failure.
pub(super) fn tally(tasks: &[Task]) -> String {
    let outputs = tasks.iter().filter(|task| matches!(task, Task::Output(_))).count();
    let count = format!("{outputs} of {} gave an output", tasks.len());
    match tasks.iter().find_map(failure) {
        None => count,
        Some((_, message)) => format!("{count}; the first failure: {message}"),
    }
}
