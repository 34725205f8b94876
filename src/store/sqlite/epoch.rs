//! A node's start: a new epoch, and the end of what an earlier one had begun.

use rusqlite::{Connection, Result};

use super::control::cancel_unleased;
use super::rows::{self, Progress};
use crate::model::{Epoch, JobId, JobState, Timestamp};

/// Begins the next epoch: staged inputs of an earlier start are dropped, and its leases go back to the queue, free
/// of charge.
pub(super) fn begin_epoch(conn: &mut Connection, now: Timestamp) -> Result<Epoch> {
    let transaction = conn.transaction()?;
    transaction.execute_batch(
        "UPDATE node SET epoch = epoch + 1;
         UPDATE jobs SET state = 'deleted' WHERE state = 'staging';
         INSERT INTO retries (job, first, count, attempt, alone)
             SELECT job, first, count, attempt, attempt > 1 FROM leases;
         DELETE FROM leases;",
    )?;
    let epoch = transaction.query_row("SELECT epoch FROM node", [], |row| rows::u64(row, 0))?;
    transaction.commit()?;
    finish_cancels(conn, now)?;
    close_streams(conn, now)?;
    Ok(Epoch(epoch))
}

/// Jobs whose cancel a crash interrupted end now, as nothing of them runs any more.
fn finish_cancels(conn: &Connection, now: Timestamp) -> Result<()> {
    let transaction = conn.unchecked_transaction()?;
    let sql = "SELECT id FROM jobs WHERE state = 'cancelling'";
    let mut select = transaction.prepare(sql)?;
    let jobs: Vec<JobId> = select.query_map([], |row| rows::job_id(row, 0))?.collect::<Result<_>>()?;
    drop(select);
    for job in jobs {
        let mut progress =
            transaction.prepare_cached(Progress::SELECT)?.query_row([job.as_bytes()], Progress::read)?;
        cancel_unleased(&transaction, job, &mut progress)?;
        progress.state = progress.tally.final_state(progress.on_error);
        rows::save(&transaction, job, &progress, Some(now))?;
    }
    transaction.commit()
}

/// Jobs whose inputs came over a connection get no more, as it is gone.
fn close_streams(conn: &Connection, now: Timestamp) -> Result<()> {
    let transaction = conn.unchecked_transaction()?;
    let sql = "UPDATE jobs SET is_open = 0 WHERE is_open = 2 RETURNING id, state";
    let mut update = transaction.prepare(sql)?;
    let closed = update.query_map([], |row| Ok((rows::job_id(row, 0)?, rows::state(row, 1)?)))?;
    let closed: Vec<(JobId, JobState)> = closed.collect::<Result<_>>()?;
    drop(update);
    for (job, _) in closed.into_iter().filter(|(_, state)| !state.is_final()) {
        let mut progress =
            transaction.prepare_cached(Progress::SELECT)?.query_row([job.as_bytes()], Progress::read)?;
        if progress.is_complete() {
            progress.state = progress.tally.final_state(progress.on_error);
            rows::save(&transaction, job, &progress, Some(now))?;
        }
    }
    transaction.commit()
}
