//! Bugs, planted one at a time at the borders of pool, store and shell. Each must be found.

/// What is wrong.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bug {
    /// The pool does not hear of writes that put tasks back.
    DropSettled,
    /// The pool hears so, but not of how many tasks.
    LoseRequeued,
    /// The pool hears of each answer twice.
    AnswerTwice,
    /// Leases that are given back stay with nobody.
    ForgetRelease,
    /// Tasks of a lease that does not hold are not queued again.
    ForgetVoid,
    /// A job whose workers do not start is left alone.
    NeverFail,
    /// An answer counts though its lease does not hold.
    NoFencing,
    /// All that a dead worker had is charged.
    ChargeInnocents,
    /// A poisonous task is tried for ever.
    TryForever,
    /// A worker gets work before it is ready.
    SendToStarting,
    /// The same tasks are leased twice.
    ClaimTwice,
    /// A number is left out of the queue of results.
    SkipSeq,
    /// A result that was there is gone when its task runs again.
    RewriteResults,
    /// Outputs stand one task off.
    ShiftOutputs,
    /// The caps are not heard of.
    IgnoreProcesses,
    IgnoreLocks,
    IgnoreWorkers,
    IgnoreMaxTasks,
    IgnorePriority,
    /// Small jobs go behind all others.
    StarveSmall,
    /// What an earlier start leased stays leased.
    KeepLeases,
    /// A worker gives back the task that it is at.
    ReturnOneMore,
    /// A worker gives back all but one of what it should.
    ReturnOneLess,
    /// When there is room again, late writes go in the wrong order.
    WriteBackwards,
    /// Nobody looks again at tasks that wait.
    ForgetLater,
    /// A shrunken pool is not heard of.
    IgnoreResize,
    /// What a cancelled job runs goes on to its end.
    IgnoreStop,
    /// A retired worker gets work.
    IgnoreRetire,
}

impl Bug {
    pub(crate) const ALL: [Self; 28] = [
        Self::DropSettled,
        Self::LoseRequeued,
        Self::AnswerTwice,
        Self::ForgetRelease,
        Self::ForgetVoid,
        Self::NeverFail,
        Self::NoFencing,
        Self::ChargeInnocents,
        Self::TryForever,
        Self::SendToStarting,
        Self::ClaimTwice,
        Self::SkipSeq,
        Self::RewriteResults,
        Self::ShiftOutputs,
        Self::IgnoreProcesses,
        Self::IgnoreLocks,
        Self::IgnoreWorkers,
        Self::IgnoreMaxTasks,
        Self::IgnorePriority,
        Self::StarveSmall,
        Self::KeepLeases,
        Self::ReturnOneMore,
        Self::ReturnOneLess,
        Self::WriteBackwards,
        Self::ForgetLater,
        Self::IgnoreResize,
        Self::IgnoreStop,
        Self::IgnoreRetire,
    ];
}
