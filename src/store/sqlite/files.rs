//! The database as a file: is it there, is it whole, and a copy of it.

use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::{FILE_NAME, OpenError};

/// Says that a directory has had a database.
const MARK: &str = "store";
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
            format!("The jobs and results of gristmill are in {FILE_NAME}, beside this file.\n"),
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
    /// The copy could not be put in its place.
    #[error("{0}: {1}")]
    File(PathBuf, #[source] std::io::Error),
}

/// Writes a copy of the database in `dir` as it is at one moment to `file`, which appears when it is whole.
pub fn backup(dir: &Path, file: &Path) -> Result<(), BackupError> {
    if file.exists() {
        return Err(BackupError::Exists(file.to_owned()));
    }
    let (source, partial) = (dir.join(FILE_NAME), file.with_added_extension("partial"));
    let failed = |error| BackupError::Sqlite(source.clone(), error);
    let conn = Connection::open_with_flags(&source, OpenFlags::SQLITE_OPEN_READ_WRITE).map_err(failed)?;
    conn.busy_timeout(std::time::Duration::from_secs(10)).map_err(failed)?;
    // One that an earlier try left.
    drop(fs::remove_file(&partial));
    conn.execute("VACUUM INTO ?1", [partial.to_string_lossy()]).map_err(failed)?;
    let place = || {
        File::open(&partial)?.sync_all()?;
        fs::rename(&partial, file)?;
        file.parent()
            .filter(|dir| !dir.as_os_str().is_empty())
            .map_or(Ok(()), |dir| File::open(dir)?.sync_all())
    };
    place().map_err(|error| BackupError::File(file.to_owned(), error))
}
