//! Where lines are, and how they are read from there.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;
use rusqlite::{Result, Row};

/// The directory, below that of the database.
const DIR_NAME: &str = "payloads";

/// Where in which file some lines are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(in super::super) struct Place {
    pub(super) file: i64,
    pub(super) at: i64,
    pub(super) size: i64,
}

impl Place {
    /// Reads the lines; `file` gives the file of a number.
    pub(in super::super) fn read<'a>(self, file: impl FnOnce(i64) -> Option<&'a File>) -> io::Result<Bytes> {
        let Self { file: number, at, size } = self;
        let file = file(number).ok_or(io::ErrorKind::NotFound)?;
        let (mut bytes, size) = (Vec::with_capacity(size as usize), size as usize);
        while bytes.len() < size {
            let offset = at as u64 + bytes.len() as u64;
            if rustix::io::pread(file, rustix::buffer::spare_capacity(&mut bytes), offset)? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        bytes.truncate(size);
        Ok(bytes.into())
    }
}

/// Lines as a segment's row has them.
#[derive(Clone, Debug)]
pub(in super::super) enum Lines {
    Here(Bytes),
    There(Place),
}

impl Lines {
    /// The columns that [`Self::read`] wants.
    pub(in super::super) const COLUMNS: &str = "lines, file, file_at, file_size";

    /// Reads a row whose columns from `first` on are [`Self::COLUMNS`].
    pub(in super::super) fn read(row: &Row<'_>, first: usize) -> Result<Option<Self>> {
        if let Some(file) = row.get(first + 1)? {
            return Ok(Some(Self::There(Place { file, at: row.get(first + 2)?, size: row.get(first + 3)? })));
        }
        Ok(row.get::<_, Option<Vec<u8>>>(first)?.map(|lines| Self::Here(lines.into())))
    }

    /// How many bytes they are.
    pub(in super::super) fn size(&self) -> usize {
        match self {
            Self::Here(lines) => lines.len(),
            Self::There(place) => place.size as usize,
        }
    }
}

/// What a row is to hold of some lines, in the order of [`Lines::COLUMNS`].
#[derive(Clone, Copy, Debug, Default)]
pub(in super::super) struct Kept<'a> {
    pub(in super::super) lines: Option<&'a [u8]>,
    pub(in super::super) file: Option<i64>,
    pub(in super::super) at: Option<i64>,
    pub(in super::super) size: Option<i64>,
}

/// The directory of the files, to read them.
#[derive(Clone, Debug)]
pub(in super::super) struct PayloadDir {
    pub(super) path: Arc<Path>,
}

impl PayloadDir {
    pub(in super::super) fn of(data_dir: &Path) -> Self {
        Self { path: data_dir.join(DIR_NAME).into() }
    }

    /// The file of this number.
    pub(in super::super) fn file(&self, file: i64) -> PathBuf {
        self.path.join(file.to_string())
    }

    /// Reads lines from where they are.
    pub(in super::super) fn lines(&self, lines: Lines) -> io::Result<Bytes> {
        match lines {
            Lines::Here(lines) => Ok(lines),
            Lines::There(place) => {
                let file = File::open(self.file(place.file))?;
                place.read(|_| Some(&file))
            }
        }
    }

    /// Removes all files but these.
    pub(super) fn remove_all_but(&self, named: &BTreeMap<i64, u64>) -> io::Result<()> {
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name();
            let file = name.to_str().and_then(|name| name.parse().ok());
            if let Some(file) = file.filter(|file| !named.contains_key(file)) {
                self.unlink(file);
            }
        }
        Ok(())
    }

    pub(super) fn unlink(&self, file: i64) {
        // What cannot be unlinked now is a stray at the next start.
        let gone = |error: &io::Error| error.kind() == io::ErrorKind::NotFound;
        if let Err(error) = fs::remove_file(self.file(file))
            && !gone(&error)
        {
            tracing::warn!(%error, path = %self.file(file).display(), "a payload file could not be removed");
        }
    }
}
