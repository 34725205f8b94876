//! Which runnable jobs of the store the pool does not know, and when it asks for them.
//!
//! A pool knows thousands of jobs at most. The store lists the others a page at a time, in passes over all that it has;
//! a pass pauses while enough are known. When slots are free that those could not use, as all wait for a lock or for
//! a worker, it goes on and leaves out what is blocked like them: nobody who could run waits behind those who cannot.

use crate::model::{Blocked, JobId};

/// With fewer jobs than this, a pass begins or goes on …
const FEW: usize = 4096;
/// … until so many are known.
pub(super) const MANY: usize = 8192;

/// A job's place in the store's order, by priority and then by id.
pub(super) type Place = (i32, JobId);

/// A page that the store is asked for.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Page {
    /// Behind this one; from the first on if there is none.
    pub(super) after: Option<Place>,
    /// Those that are left out.
    pub(super) without: Blocked,
}

/// What is not known of the store's jobs.
#[derive(Debug)]
pub(super) struct Listing {
    pass: Pass,
    /// What may be in the store besides.
    missing: Missing,
    /// Whether jobs are asked for until many are known.
    fills: bool,
    /// Whether the store has not answered.
    waits: bool,
}

/// Where a pass over the store's jobs goes on.
#[derive(Clone, Copy, Debug)]
enum Pass {
    /// None is under way.
    None,
    /// With the first of them.
    First,
    /// With those behind this one.
    Behind(Place),
}

#[derive(Debug)]
enum Missing {
    None,
    /// Jobs that this blocks.
    Blocked(Blocked),
    Any,
}

impl Default for Listing {
    /// Nothing is known.
    fn default() -> Self {
        Self { pass: Pass::None, missing: Missing::Any, fills: true, waits: false }
    }
}

impl Listing {
    /// The page that the store is to be asked for, if so many jobs are known, and these slots are free for others than
    /// the blocked.
    pub(super) fn wanted(&mut self, known: usize, free: u32, blocked: &Blocked) -> Option<Page> {
        self.fills = known < FEW || self.fills && known < MANY;
        if self.waits || !self.fills && free == 0 {
            return None;
        }
        let begins = match &self.missing {
            Missing::None => false,
            Missing::Blocked(missing) => self.fills || !missing.is_within(blocked),
            Missing::Any => true,
        };
        if let (Pass::None, true) = (self.pass, begins) {
            (self.pass, self.missing) = (Pass::First, Missing::None);
        }
        let after = match self.pass {
            Pass::None => return None,
            Pass::First => None,
            Pass::Behind(place) => Some(place),
        };
        let without = if self.fills { Blocked::default() } else { blocked.clone() };
        if !without.is_empty() {
            match &mut self.missing {
                Missing::None => self.missing = Missing::Blocked(without.clone()),
                Missing::Blocked(missing) => missing.join(&without),
                Missing::Any => {}
            }
        }
        self.waits = true;
        Some(Page { after, without })
    }

    /// The page has come; there may be more jobs behind its last one.
    pub(super) fn came(&mut self, last: Option<Place>, more: bool) {
        self.waits = false;
        self.pass = last.filter(|_| more).map_or(Pass::None, Pass::Behind);
    }

    /// A job of the store is not known, whatever pass is under way.
    pub(super) fn missed(&mut self) {
        self.missing = Missing::Any;
    }
}
