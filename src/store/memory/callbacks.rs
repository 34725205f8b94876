//! The last end of a job, as far as it is told.

use super::entry::Entry;
use crate::model::Timestamp;
use crate::store::callbacks::receiver_of;
use crate::store::{Callback, CallbackState, CallbackTry, DueCallback, TryOutcome};

/// A callback that has not been tried, to be tried at this time.
pub(super) fn waiting(next_at: Option<Timestamp>) -> Callback {
    Callback { state: CallbackState::Pending, attempts: 0, last_error: None, next_at }
}

impl Entry {
    pub(super) fn due_callback(&self, now: Timestamp) -> Option<DueCallback> {
        let (url, callback) = (self.job.spec.options.callback_url.as_ref()?, self.callback.as_ref()?);
        let due_at = callback.next_at.filter(|at| *at <= now)?;
        let (job, receiver) = (self.job.id, receiver_of(url).to_owned());
        Some(DueCallback { job, end: self.ends, attempts: callback.attempts, receiver, due_at })
    }

    pub(super) fn note_try(&mut self, made: CallbackTry) {
        let due = self.callback.as_mut().filter(|callback| callback.next_at.is_some());
        let Some(callback) = due.filter(|_| made.end == self.ends) else { return };
        let (state, error, next_at) = match made.outcome {
            TryOutcome::Delivered => (CallbackState::Delivered, None, None),
            TryOutcome::Again { error, at } => (CallbackState::Pending, Some(error), Some(at)),
            TryOutcome::GivenUp { error } => (CallbackState::Failed, Some(error), None),
        };
        let (attempts, last_error) = (callback.attempts + 1, error.or(callback.last_error.take()));
        *callback = Callback { state, attempts, last_error, next_at };
    }
}
