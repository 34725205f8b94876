//! Does a worker hold the `frames` protocol? A suite of checks, each against a live process.
//!
//! Imports `model`, `protocol`, `adapter`, `sys`. Deliberately absent: arguments and tables, which are the command
//! line's, and the pool: a chunk goes to the one worker as it is.

mod checks;
mod probes;
mod process;
mod session;
mod work;

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::time::Duration;

use serde::Serialize;

use crate::adapter::Mode;
use crate::sys::Family;
use checks::{Check, HANDSHAKE};
use session::Session;

/// What is checked, and with what.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The worker: a program that speaks the protocol, or the adapter before one that does not.
    pub argv: Vec<OsString>,
    /// Its whole environment.
    pub env: BTreeMap<String, OsString>,
    /// How the program behind it is spoken to.
    pub mode: Mode,
    /// Inputs that the function understands, as JSON; numbers from 0 on if there are none.
    pub inputs: Vec<String>,
    /// An input that the function refuses.
    pub bad_input: Option<String>,
    /// Whether odd inputs are tried as well.
    pub probes: bool,
    /// How long the worker may be silent over a task.
    pub timeout: Duration,
}

/// What came of a check.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Outcome {
    /// It is as the protocol wants it.
    Holds,
    /// It is not.
    Fails,
    /// It was not looked at.
    Skipped,
    /// Nothing is required here; it is good to know.
    Info,
}

/// A check and what came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Finding {
    /// Its name.
    pub check: &'static str,
    /// What came of it.
    pub outcome: Outcome,
    /// What it needs.
    pub needs: &'static str,
    /// What was seen.
    pub seen: String,
}

/// Checks one thing after the other and tells of each; whether all that is required holds. To be called before this
/// process has other threads or children.
pub fn run(settings: &Settings, mut tell: impl FnMut(Finding)) -> io::Result<bool> {
    let family = Family::found(false)?;
    let mut suite = Suite::new(settings, &family);
    let mut all_hold = true;
    for check in &checks::ALL {
        let (outcome, seen) = suite.judge(check);
        all_hold &= outcome != Outcome::Fails;
        tell(Finding { check: check.name, outcome, needs: check.needs, seen });
    }
    Ok(all_hold)
}

/// The checks' common ground.
struct Suite<'a> {
    settings: &'a Settings,
    family: &'a Family,
    /// The worker that the last check left alive.
    session: Option<Session<'a>>,
    was_ready: bool,
    stray: u64,
    /// How long a task takes.
    pace: Duration,
}

impl<'a> Suite<'a> {
    fn new(settings: &'a Settings, family: &'a Family) -> Self {
        Self { settings, family, session: None, was_ready: false, stray: 0, pace: Duration::ZERO }
    }

    fn judge(&mut self, check: &Check) -> (Outcome, String) {
        let frames = self.settings.mode == Mode::Frames;
        if let Some(why) = check.not_behind_adapter.filter(|_| !frames) {
            return (Outcome::Skipped, why.to_owned());
        }
        if !self.was_ready && check.name != HANDSHAKE {
            return (Outcome::Skipped, "it was never ready".to_owned());
        }
        let judged = (check.run)(self);
        judged.unwrap_or_else(|wrong| {
            self.end_session();
            (Outcome::Fails, wrong)
        })
    }

    /// The worker that runs, or a new one.
    fn session(&mut self) -> Result<&mut Session<'a>, String> {
        let session = match self.session.take() {
            Some(session) => session,
            None => Session::start(self.settings, self.family)?,
        };
        Ok(self.session.insert(session))
    }

    /// Kills the worker, unless it is gone.
    fn end_session(&mut self) {
        self.stray += self.session.take().map_or(0, |session| session.stray);
    }

    /// So many inputs that the function understands.
    fn inputs(&self, count: usize) -> Vec<String> {
        match &self.settings.inputs[..] {
            [] => (0..count).map(|number| number.to_string()).collect(),
            given => given.iter().cycle().take(count).cloned().collect(),
        }
    }

    /// As many inputs as it runs in about this time, but at least two.
    fn inputs_for(&self, time: Duration) -> Vec<String> {
        let count = time.as_nanos() / self.pace.as_nanos().max(1);
        self.inputs(count.clamp(2, checks::LARGEST_CHUNK as u128) as usize)
    }
}
