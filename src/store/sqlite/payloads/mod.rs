//! Payloads too large for the database: the lines of large segments, in files beside it that only grow. In the database
//! their bytes would be written twice, to the log and from there into the pages.
//!
//! The truth stays in the database: a row for each file, and in a segment's row the place of its lines. Bytes that no row
//! names are a torn tail and mean nothing. What a transaction names is synced before it commits, and files that it
//! forgets are unlinked after that.

mod ahead;
mod place;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use rusqlite::{Connection, Result, params};

use super::writer::full;
use super::{OpenError, rows};
use crate::model::JobId;
use ahead::SyncAhead;
use place::Place;
pub(super) use place::{Kept, Lines, PayloadDir};

/// A transaction keeps no more files open than this; one more is synced at once.
const MAX_OPEN: usize = 16;
/// So many files are written on; those of the oldest jobs are left at their length.
const MAX_TAILS: usize = 1024;

/// What the lines are of: inputs and results are not forgotten together.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) enum Kind {
    Inputs,
    Results,
}

/// A file that is written on.
#[derive(Debug)]
struct Tail {
    file: i64,
    size: u64,
}

/// The files, to write them. Only the writer thread has it.
#[derive(Debug)]
pub(super) struct Payloads {
    pub(super) dir: PayloadDir,
    /// Lines of at least so many bytes go to a file.
    large_bytes: usize,
    /// A file is not written on beyond this, in bytes.
    most_bytes: u64,
    /// The number of the last file. It must not come again, even if its transaction is undone.
    last: i64,
    tails: BTreeMap<(JobId, Kind), Tail>,
    /// Written in this transaction, and not synced.
    unsynced: BTreeMap<i64, File>,
    ahead: SyncAhead,
    /// The directory itself.
    names: File,
    /// Whether it has a new name that is not synced.
    has_new_names: bool,
    /// Forgotten by this transaction.
    forgotten: Vec<i64>,
    /// Whether a write was undone, so that there may be files without a row.
    has_strays: bool,
}

impl Payloads {
    /// Sees that all files that the database names are there and whole, and removes the others.
    pub(super) fn open(
        data_dir: &Path,
        conn: &Connection,
        large_bytes: usize,
        most_bytes: u64,
    ) -> Result<Self, OpenError> {
        let dir = PayloadDir::of(data_dir);
        let failed = |error| OpenError::File(dir.path.to_path_buf(), error);
        fs::create_dir_all(&dir.path).map_err(failed)?;
        let named = named(conn).map_err(|error| OpenError::Sqlite(data_dir.to_owned(), error))?;
        for (file, size) in &named {
            let there = fs::metadata(dir.file(*file)).map_or(0, |file| file.len());
            if there < *size {
                return Err(OpenError::Torn { path: dir.file(*file), there, size: *size });
            }
        }
        dir.remove_all_but(&named).map_err(failed)?;
        let directory = File::open(&dir.path).map_err(failed)?;
        let last = named.keys().next_back().copied().unwrap_or(0);
        let (tails, unsynced, forgotten) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Ok(Self {
            dir,
            large_bytes,
            most_bytes,
            last,
            tails,
            unsynced,
            ahead: SyncAhead::start(),
            names: directory,
            has_new_names: false,
            forgotten,
            has_strays: false,
        })
    }

    /// Keeps lines of this job: in a file if they are large, else in the row itself.
    pub(super) fn keep<'a>(
        &mut self,
        conn: &Connection,
        job: JobId,
        kind: Kind,
        lines: &'a [u8],
    ) -> Result<Kept<'a>> {
        if lines.len() < self.large_bytes {
            return Ok(Kept { lines: Some(lines), ..Kept::default() });
        }
        match self.append(conn, job, kind, lines) {
            Ok(Place { file, at, size }) => {
                Ok(Kept { lines: Some(&[]), file: Some(file), at: Some(at), size: Some(size) })
            }
            // Clients hold all descriptors. What was done is kept all the same.
            Err(error) if is_out_of_descriptors(&error) => Ok(Kept { lines: Some(lines), ..Kept::default() }),
            Err(error) => Err(error),
        }
    }

    fn append(&mut self, conn: &Connection, job: JobId, kind: Kind, lines: &[u8]) -> Result<Place> {
        let fits = |tail: &Tail| tail.size + lines.len() as u64 <= self.most_bytes;
        let Tail { file, size } = match self.tails.remove(&(job, kind)).filter(fits) {
            Some(tail) => tail,
            None => self.begin(conn, job)?,
        };
        self.write(file, size, lines).map_err(failed)?;
        let tail = Tail { file, size: size + lines.len() as u64 };
        let sql = "UPDATE files SET size = ?2 WHERE id = ?1";
        conn.prepare_cached(sql)?.execute(params![file, tail.size as i64])?;
        self.tails.insert((job, kind), tail);
        if self.tails.len() > MAX_TAILS {
            self.tails.pop_first();
        }
        Ok(Place { file, at: size as i64, size: lines.len() as i64 })
    }

    fn begin(&mut self, conn: &Connection, job: JobId) -> Result<Tail> {
        self.last += 1;
        let sql = "INSERT INTO files (id, job, size) VALUES (?1, ?2, 0)";
        conn.prepare_cached(sql)?.execute(params![self.last, job.as_bytes()])?;
        self.has_new_names = true;
        Ok(Tail { file: self.last, size: 0 })
    }

    fn write(&mut self, number: i64, at: u64, lines: &[u8]) -> io::Result<()> {
        if !self.unsynced.contains_key(&number) {
            let path = self.dir.file(number);
            let file = File::options().write(true).create(true).truncate(false).open(path)?;
            if self.unsynced.len() >= MAX_OPEN
                && let Some((_, oldest)) = self.unsynced.pop_first()
            {
                oldest.sync_data()?;
            }
            self.unsynced.insert(number, file);
        }
        let file = self.unsynced.get(&number).expect("it is opened above");
        file.write_all_at(lines, at)?;
        self.ahead.wrote(at, lines.len(), || self.dir.file(number));
        Ok(())
    }

    /// No more lines of this kind will come of this job.
    pub(super) fn no_more(&mut self, job: JobId, kind: Kind) {
        self.tails.remove(&(job, kind));
    }

    /// Inputs that were staged are this job's from now on.
    pub(super) fn hand_over(&mut self, conn: &Connection, staged: JobId, job: JobId) -> Result<()> {
        self.no_more(staged, Kind::Inputs);
        let sql = "UPDATE files SET job = ?2 WHERE job = ?1";
        conn.prepare_cached(sql)?.execute([staged.as_bytes(), job.as_bytes()]).map(drop)
    }

    /// Forgets these files, if no result is left in them.
    pub(super) fn forget_emptied(&mut self, conn: &Connection, files: &BTreeSet<i64>) -> Result<()> {
        let sql = "DELETE FROM files WHERE id = ?1 AND NOT EXISTS (SELECT 1 FROM results WHERE file = ?1)";
        for file in files {
            if conn.prepare_cached(sql)?.execute([file])? > 0 {
                self.tails.retain(|_, tail| tail.file != *file);
                self.forgotten.push(*file);
            }
        }
        Ok(())
    }

    /// Forgets the files of a job that is forgotten itself.
    pub(super) fn forget(&mut self, conn: &Connection, job: JobId) -> Result<()> {
        let sql = "DELETE FROM files WHERE job = ?1 RETURNING id";
        let mut delete = conn.prepare_cached(sql)?;
        let files = delete.query_map([job.as_bytes()], |row| row.get(0))?;
        self.forgotten.extend(files.collect::<Result<Vec<i64>>>()?);
        self.no_more(job, Kind::Inputs);
        self.no_more(job, Kind::Results);
        Ok(())
    }

    /// Makes what this transaction wrote durable; before its commit.
    pub(super) fn sync(&mut self) -> Result<()> {
        let mut sync = || -> io::Result<()> {
            while let Some((_, file)) = self.unsynced.pop_first() {
                file.sync_data()?;
            }
            if std::mem::take(&mut self.has_new_names) {
                self.names.sync_all()?;
            }
            Ok(())
        };
        sync().map_err(failed)
    }

    /// Removes what this transaction forgot; after its commit.
    pub(super) fn committed(&mut self) {
        for file in std::mem::take(&mut self.forgotten) {
            self.dir.unlink(file);
        }
    }

    /// How much this transaction has forgotten.
    pub(super) fn forgotten(&self) -> usize {
        self.forgotten.len()
    }

    /// A request was undone, before which so much was forgotten. What it wrote stands in files on which nobody is to
    /// write on.
    pub(super) fn request_undone(&mut self, forgotten: usize) {
        self.forgotten.truncate(forgotten);
        self.tails.clear();
        self.has_strays = true;
    }

    /// The transaction was undone.
    pub(super) fn undone(&mut self) {
        self.request_undone(0);
        self.unsynced.clear();
    }

    /// Between transactions: removes the files of writes that were undone.
    pub(super) fn remove_strays(&mut self, conn: &Connection) -> Result<()> {
        if std::mem::take(&mut self.has_strays) {
            self.dir.remove_all_but(&named(conn)?).map_err(failed)?;
        }
        Ok(())
    }
}

/// The files that the database names, and how much of each it does.
pub(super) fn named(conn: &Connection) -> Result<BTreeMap<i64, u64>> {
    let mut select = conn.prepare("SELECT id, size FROM files")?;
    let files = select.query_map([], |row| Ok((row.get(0)?, rows::u64(row, 1)?)))?;
    files.collect()
}

/// An error of a file as one of the database, as which it is treated.
#[expect(clippy::needless_pass_by_value, reason = "the signature that `map_err` asks for")]
pub(super) fn failed(error: io::Error) -> rusqlite::Error {
    let is_out_of_descriptors = matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE));
    let code = match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => return full(),
        _ if is_out_of_descriptors => rusqlite::ffi::SQLITE_CANTOPEN,
        _ => rusqlite::ffi::SQLITE_IOERR,
    };
    let why = Some(format!("a payload file: {error}"));
    rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), why)
}

/// Whether all descriptors that there may be are taken.
pub(super) fn is_out_of_descriptors(error: &rusqlite::Error) -> bool {
    error.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen)
}
