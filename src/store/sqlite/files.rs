//! The database as a file: is it there, is it whole, and a copy of it.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags, params};

use super::payloads::{self, Lines, PayloadDir};
use super::{FILE_NAME, OpenError};

/// Says that a directory has had a database.
const MARK: &str = "store";
/// A copy is begun so often, if jobs are forgotten while it is made.
const COPIES: u32 = 10;
/// A database up to this size is checked page by page at a start, in bytes.
const CHECKED_BYTES: u64 = 64 << 20;

/// Sees that the database is there if there was one, so that a lost one is not taken for a first start.
pub(super) fn see_that_it_is_there(dir: &Path) -> Result<(), OpenError> {
    let path = dir.join(FILE_NAME);
    let is_there = fs::metadata(&path).is_ok_and(|file| file.len() > 0);
    if dir.join(MARK).exists() && !is_there {
        return Err(OpenError::Missing { path, mark: dir.join(MARK) });
    }
    Ok(())
}

/// Notes that there is a database from now on.
pub(super) fn mark(dir: &Path) {
    let path = dir.join(MARK);
    if !path.exists() {
        // On a full disk the next start does it.
        drop(fs::write(
            path,
            format!("The jobs and results of gristmill are in {FILE_NAME} and payloads, beside this file.\n"),
        ));
    }
}

/// Reads a database that is not too large from end to end.
pub(super) fn see_that_it_is_whole(conn: &Connection, path: &Path) -> Result<(), OpenError> {
    if fs::metadata(path).is_ok_and(|file| file.len() > CHECKED_BYTES) {
        return Ok(());
    }
    let check = || conn.query_row("PRAGMA quick_check(1)", [], |row| row.get::<_, String>(0));
    match check() {
        Ok(word) if word == "ok" => Ok(()),
        Ok(word) => Err(OpenError::Corrupt(path.to_owned(), word)),
        Err(error) => Err(OpenError::Sqlite(path.to_owned(), error)),
    }
}

/// Why there is no backup.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The target is there already.
    #[error("{0} exists already; a backup overwrites nothing")]
    Exists(PathBuf),
    /// SQLite says no.
    #[error("{0}: {1}")]
    Sqlite(PathBuf, #[source] rusqlite::Error),
    /// Jobs with large payloads are forgotten faster than a copy can be made.
    #[error("jobs are forgotten while the copy is made, time and again; try when there are fewer deletes")]
    Unsettled,
    /// A file could not be read, or the copy not be put in its place.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] std::io::Error),
}

/// Writes a copy of the store in `dir` as it is at one moment to `file`, which appears when it is whole. What is in payload
/// files comes into it, so that the copy is one file.
pub fn backup(dir: &Path, file: &Path) -> Result<(), BackupError> {
    if file.exists() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let partial = file.with_added_extension("partial");
    for _ in 0..COPIES {
        let Some(payloads) = copy(dir, &partial)? else { continue };
        take_in(&partial, &payloads)?;
        let place = || {
            File::open(&partial)?.sync_all()?;
            fs::rename(&partial, file)?;
            file.parent()
                .filter(|dir| !dir.as_os_str().is_empty())
                .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
        };
        return place().map_err(|error| BackupError::File(file.to_owned(), error));
    }
    Err(BackupError::Unsettled)
}

/// Copies the database, and opens the payload files that the copy names, so that they are there to be read even if their
/// jobs are forgotten meanwhile. `None` if one was before it could be opened.
fn copy(dir: &Path, partial: &Path) -> Result<Option<BTreeMap<i64, File>>, BackupError> {
    let source = dir.join(FILE_NAME);
    let failed = |error| BackupError::Sqlite(source.clone(), error);
    let conn = Connection::open_with_flags(&source, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    conn.busy_timeout(std::time::Duration::from_secs(10)).map_err(failed)?;
    // One that an earlier try left.
    drop(fs::remove_file(partial));
    conn.execute("VACUUM INTO ?1", [partial.to_string_lossy()]).map_err(failed)?;
    let copy = Connection::open(partial).map_err(failed)?;
    let mut payloads = BTreeMap::new();
    for number in payloads::named(&copy).map_err(failed)?.into_keys() {
        let path = PayloadDir::of(dir).file(number);
        match File::open(&path) {
            Ok(file) => payloads.insert(number, file),
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(BackupError::File(path, error)),
        };
    }
    Ok(Some(payloads))
}

/// Brings the lines that are in payload files into the rows of a copy.
fn take_in(partial: &Path, payloads: &BTreeMap<i64, File>) -> Result<(), BackupError> {
    let take_in = || -> rusqlite::Result<()> {
        let mut copy = Connection::open(partial)?;
        // If this does not go through, there is no backup; at the end the whole file is synced.
        copy.execute_batch("PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF")?;
        let transaction = copy.transaction()?;
        for table in ["inputs", "results"] {
            let mut select = transaction
                .prepare(&format!("SELECT rowid, {} FROM {table} WHERE file IS NOT NULL", Lines::COLUMNS))?;
            let rows = select.query_map([], |row| Ok((row.get::<_, i64>(0)?, Lines::read(row, 1)?)))?;
            let rows: Vec<(i64, Option<Lines>)> = rows.collect::<rusqlite::Result<_>>()?;
            let sql = format!(
                "UPDATE {table} SET lines = ?2, file = NULL, file_at = NULL, file_size = NULL WHERE rowid = ?1"
            );
            let mut update = transaction.prepare(&sql)?;
            for (row, lines) in rows {
                let Some(Lines::There(place)) = lines else { continue };
                let lines = place.read(|number| payloads.get(&number)).map_err(payloads::failed)?;
                update.execute(params![row, &lines[..]])?;
            }
        }
        transaction.execute("DELETE FROM files", [])?;
        transaction.commit()
    };
    take_in().map_err(|error| BackupError::Sqlite(partial.to_owned(), error))
}
