//! The connections that only read.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use rusqlite::{Connection, OpenFlags};
use tokio::sync::Semaphore;

use super::keep_plans;

const READERS: usize = 4;

/// Read-only connections, each used by one query at a time.
#[derive(Debug)]
pub(super) struct Readers {
    free: Mutex<Vec<Connection>>,
    permits: Semaphore,
}

impl Readers {
    /// Opens them to the database there.
    pub(super) fn open(path: &Path) -> rusqlite::Result<Self> {
        let free: Vec<_> = (0..READERS).map(|_| open_reader(path)).collect::<Result<_, _>>()?;
        Ok(Self { permits: Semaphore::new(free.len()), free: Mutex::new(free) })
    }

    /// Runs a query that takes some microseconds where it is: to have another thread woken for it takes longer.
    pub(super) async fn look_up<T>(
        &self,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T>,
    ) -> rusqlite::Result<T> {
        let _permit = self.permits.acquire().await.expect("the semaphore is never closed");
        let conn = self.lock().pop().expect("there is a connection for each permit");
        let answer = query(&conn);
        self.lock().push(conn);
        answer
    }

    /// Runs a query that may take long in a thread of its own.
    pub(super) async fn search<T: Send + 'static>(
        self: &Arc<Self>,
        query: impl FnOnce(&Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> rusqlite::Result<T> {
        let readers = Arc::clone(self);
        let runtime = tokio::runtime::Handle::current();
        let run = move || runtime.block_on(readers.look_up(query));
        tokio::task::spawn_blocking(run).await.expect("queries do not panic and are not aborted")
    }

    pub(super) fn lock(&self) -> std::sync::MutexGuard<'_, Vec<Connection>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let conn = Connection::open_with_flags(path, OpenFlags::SQLITE_OPEN_READ_ONLY)?;
    conn.execute_batch("PRAGMA cache_size = -4096; PRAGMA query_only = ON;")?;
    keep_plans(&conn)?;
    conn.busy_timeout(std::time::Duration::from_secs(5))?;
    Ok(conn)
}
