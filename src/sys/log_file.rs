//! SQLite's log (the WAL) as a file that gathers what is written to it until it is synced.
//!
//! For each page of a commit SQLite writes a head of 24 bytes, then the page, by a system call each. All of these stand
//! behind each other, so here they are one call, made when SQLite syncs them. It does so at each commit (`synchronous=FULL`)
//! before anyone may look at them, and is told of an error then, as if the sync had failed. Whatever else SQLite asks of
//! the log finds it written, and all other files are those of its own layer (<https://sqlite.org/vfs.html>).

use std::ffi::{CStr, c_char, c_int, c_void};
use std::ptr::{self, NonNull};
use std::sync::OnceLock;

use rusqlite::ffi::{
    SQLITE_CANTOPEN, SQLITE_IOERR, SQLITE_OK, SQLITE_OPEN_WAL, sqlite3_file, sqlite3_io_methods, sqlite3_vfs,
    sqlite3_vfs_find, sqlite3_vfs_register,
};

/// The name of the layer.
const NAME: &CStr = c"gristmill";
/// So much is gathered at most: what the native layer writes at once.
const MOST_BYTES: usize = 0x1_ffff;

/// The layer that SQLite brings along.
struct Native(NonNull<sqlite3_vfs>);

// SAFETY: a layer is there until the process ends, and any thread may use it.
unsafe impl Send for Native {}
// SAFETY: as above.
unsafe impl Sync for Native {}

static NATIVE: OnceLock<Option<Native>> = OnceLock::new();

/// Has all databases that are opened from now on gather what is written to their logs. Where SQLite does not take that, they
/// are as they were.
pub fn gather_log_writes() {
    NATIVE.get_or_init(add_layer);
}

fn add_layer() -> Option<Native> {
    // SAFETY: without a name this gives the layer that is used by default, or null.
    let native = NonNull::new(unsafe { sqlite3_vfs_find(ptr::null()) })?;
    // SAFETY: the struct has no owner and nothing to drop; functions that get a copy of it find in it what they need.
    let mut layer = unsafe { native.read() };
    layer.zName = NAME.as_ptr();
    layer.pNext = ptr::null_mut();
    layer.szOsFile += size_of::<LogFile>() as c_int;
    layer.xOpen = Some(open);
    let layer = Box::leak(Box::new(layer));
    // SAFETY: the layer is there until the process ends.
    let result = unsafe { sqlite3_vfs_register(layer, 1) };
    (result == SQLITE_OK).then_some(Native(native))
}

/// The log, in memory that SQLite has set aside; the native file is right behind it.
#[repr(C)]
struct LogFile {
    base: sqlite3_file,
    /// What is still to be written …
    gathered: Vec<u8>,
    /// … from this offset on.
    at: i64,
}

static METHODS: sqlite3_io_methods = sqlite3_io_methods {
    iVersion: 1,
    xClose: Some(close),
    xRead: Some(read),
    xWrite: Some(write),
    xTruncate: Some(truncate),
    xSync: Some(sync),
    xFileSize: Some(file_size),
    xLock: Some(lock),
    xUnlock: Some(unlock),
    xCheckReservedLock: Some(check_reserved_lock),
    xFileControl: Some(file_control),
    xSectorSize: Some(sector_size),
    xDeviceCharacteristics: Some(device_characteristics),
    xShmMap: None,
    xShmLock: None,
    xShmBarrier: None,
    xShmUnmap: None,
    xFetch: None,
    xUnfetch: None,
};

unsafe extern "C" fn open(
    _: *mut sqlite3_vfs,
    name: *const c_char,
    file: *mut sqlite3_file,
    flags: c_int,
    flags_out: *mut c_int,
) -> c_int {
    let Some(Some(Native(layer))) = NATIVE.get() else { return SQLITE_CANTOPEN };
    let layer = layer.as_ptr();
    // SAFETY: SQLite gives memory for a file of this layer, which is that of a native one and a `LogFile` more.
    unsafe {
        let Some(open) = (*layer).xOpen else { return SQLITE_CANTOPEN };
        if flags & SQLITE_OPEN_WAL == 0 {
            return open(layer, name, file, flags, flags_out);
        }
        let base = sqlite3_file { pMethods: ptr::null() };
        file.cast::<LogFile>().write(LogFile { base, gathered: Vec::new(), at: 0 });
        let result = open(layer, name, native(file), flags, flags_out);
        if result == SQLITE_OK {
            (*file).pMethods = &raw const METHODS;
        }
        result
    }
}

/// The native file behind a log.
///
/// # Safety
///
/// It is a file that [`open`] has made.
unsafe fn native(file: *mut sqlite3_file) -> *mut sqlite3_file {
    // SAFETY: it is within the memory that SQLite has set aside.
    unsafe { file.cast::<LogFile>().add(1).cast() }
}

/// Writes what has been gathered.
///
/// # Safety
///
/// It is a file that [`open`] has made, and nobody else uses it now.
unsafe fn flush(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as the caller promises.
    unsafe {
        let LogFile { gathered, at, .. } = &mut *file.cast::<LogFile>();
        if gathered.is_empty() {
            return SQLITE_OK;
        }
        let native = native(file);
        let write = (*(*native).pMethods).xWrite;
        let write_all = |write: unsafe extern "C" fn(_, _, _, _) -> _| {
            write(native, gathered.as_ptr().cast(), gathered.len() as c_int, *at)
        };
        let result = write.map_or(SQLITE_IOERR, write_all);
        // After an error SQLite undoes the transaction, and writes again from where it began.
        gathered.clear();
        result
    }
}

unsafe extern "C" fn write(file: *mut sqlite3_file, from: *const c_void, bytes: c_int, at: i64) -> c_int {
    // SAFETY: SQLite gives a file that `open` has made, which it uses in one thread at a time, and so many bytes.
    unsafe {
        let log = &mut *file.cast::<LogFile>();
        let from = std::slice::from_raw_parts(from.cast::<u8>(), bytes as usize);
        let is_behind = log.at + log.gathered.len() as i64 == at;
        if !is_behind || log.gathered.len() + from.len() > MOST_BYTES {
            let result = flush(file);
            if result != SQLITE_OK {
                return result;
            }
            log.at = at;
        }
        log.gathered.extend_from_slice(from);
        SQLITE_OK
    }
}

unsafe extern "C" fn close(file: *mut sqlite3_file) -> c_int {
    // SAFETY: as for `write`; SQLite does not use the file any more.
    unsafe {
        let flushed = flush(file);
        ptr::drop_in_place(&raw mut (*file.cast::<LogFile>()).gathered);
        let native = native(file);
        let closed = (*(*native).pMethods).xClose.map_or(SQLITE_IOERR, |close| close(native));
        if flushed == SQLITE_OK { closed } else { flushed }
    }
}

/// A method that is the native file's, after something that may fail.
macro_rules! pass_on {
    ($before:ident, $name:ident, $method:ident $(, $argument:ident: $kind:ty)*) => {
        unsafe extern "C" fn $name(file: *mut sqlite3_file $(, $argument: $kind)*) -> c_int {
            // SAFETY: as for `write`; the arguments are for the same method of the native file.
            unsafe {
                let before = $before(file);
                if before != SQLITE_OK {
                    return before;
                }
                let native = native(file);
                (*(*native).pMethods).$method.map_or(SQLITE_IOERR, |method| method(native $(, $argument)*))
            }
        }
    };
}

pass_on!(flush, read, xRead, into: *mut c_void, bytes: c_int, at: i64);
pass_on!(flush, truncate, xTruncate, bytes: i64);
pass_on!(flush, sync, xSync, flags: c_int);
pass_on!(flush, file_size, xFileSize, bytes: *mut i64);
pass_on!(flush, lock, xLock, kind: c_int);
pass_on!(flush, unlock, xUnlock, kind: c_int);
pass_on!(flush, check_reserved_lock, xCheckReservedLock, is_held: *mut c_int);
pass_on!(flush, file_control, xFileControl, what: c_int, argument: *mut c_void);
// These give a number, and could not tell of an error.
pass_on!(nothing, sector_size, xSectorSize);
pass_on!(nothing, device_characteristics, xDeviceCharacteristics);

fn nothing(_: *mut sqlite3_file) -> c_int {
    SQLITE_OK
}

#[cfg(test)]
mod tests {
    use std::fs;

    use rusqlite::{Connection, OpenFlags};
    use tempfile::TempDir;

    use super::*;

    const NATIVE: &CStr = c"unix";

    fn connect(dir: &TempDir, layer: &CStr) -> Connection {
        gather_log_writes();
        let path = dir.path().join("rows.sqlite");
        let conn = Connection::open_with_flags_and_vfs(path, OpenFlags::default(), layer).unwrap();
        // A small cache, from which pages must go to the log before their commit.
        let setup = "PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA cache_size = 50;
                     CREATE TABLE IF NOT EXISTS rows (content)";
        conn.execute_batch(setup).unwrap();
        conn
    }

    fn insert(conn: &Connection, rows: i64) {
        let mut insert = conn.prepare_cached("INSERT INTO rows VALUES (randomblob(1000))").unwrap();
        (0..rows).for_each(|_| assert_eq!(insert.execute([]).unwrap(), 1));
    }

    fn commit(conn: &Connection, rows: i64) {
        conn.execute_batch("BEGIN").unwrap();
        insert(conn, rows);
        conn.execute_batch("COMMIT").unwrap();
    }

    fn count(conn: &Connection) -> i64 {
        conn.query_row("SELECT count(*) FROM rows WHERE length(content) = 1000", [], |row| row.get(0))
            .unwrap()
    }

    /// How often this thread has written meanwhile.
    fn writes(work: impl FnOnce()) -> u64 {
        let counted = || {
            let counters = fs::read_to_string("/proc/thread-self/io").unwrap();
            let line = counters.lines().find_map(|line| line.strip_prefix("syscw: ")).unwrap();
            line.parse::<u64>().unwrap()
        };
        let before = counted();
        work();
        counted() - before
    }

    #[test]
    fn a_commit_is_one_write() {
        let dir = TempDir::new().unwrap();
        let [gathering, native] = [NAME, NATIVE].map(|layer| connect(&dir, layer));
        commit(&gathering, 1);
        assert_eq!(writes(|| commit(&gathering, 100)), 1);
        assert!(writes(|| commit(&native, 100)) > 50);
    }

    #[test]
    fn others_read_what_is_committed_and_nothing_else() {
        let dir = TempDir::new().unwrap();
        let [writer, reader] = [NAME, NATIVE].map(|layer| connect(&dir, layer));
        commit(&writer, 10);
        assert_eq!(count(&reader), 10);
        writer.execute_batch("BEGIN").unwrap();
        insert(&writer, 1000);
        assert_eq!((count(&writer), count(&reader)), (1010, 10));
        writer.execute_batch("ROLLBACK").unwrap();
        assert_eq!((count(&writer), count(&reader)), (10, 10));
        commit(&writer, 1000);
        commit(&writer, 1);
        assert_eq!((count(&writer), count(&reader)), (1011, 1011));
    }

    #[test]
    fn what_is_committed_is_found_by_recovery_and_survives_the_move_into_the_database() {
        let dir = TempDir::new().unwrap();
        let writer = connect(&dir, NAME);
        commit(&writer, 1000);
        // As a crash would leave them: the files without the index of the log, which is in memory.
        let copy = TempDir::new().unwrap();
        for name in ["rows.sqlite", "rows.sqlite-wal"] {
            fs::copy(dir.path().join(name), copy.path().join(name)).unwrap();
        }
        is_whole(&copy, 1000);
        writer.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
        commit(&writer, 1);
        drop(writer);
        is_whole(&dir, 1001);
    }

    fn is_whole(dir: &TempDir, rows: i64) {
        let conn = connect(dir, NATIVE);
        let verdict: String = conn.query_row("PRAGMA integrity_check", [], |row| row.get(0)).unwrap();
        assert_eq!((verdict.as_str(), count(&conn)), ("ok", rows));
    }
}
