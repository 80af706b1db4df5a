//! Opening the database: its settings, and the migrations that create or upgrade its tables.
//!
//! `user_version` counts the migrations that were applied. Times are milliseconds since 1970, UTC.
//!
//! *Invariant:* under its name, a database appears whole. It is made under another name, which only a crash leaves behind.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags, TransactionBehavior};

use super::error::Error;
use super::{lockers, names, place};

/// "tagh" in ASCII, stored as `PRAGMA application_id`: distinguishes our databases from those of other programs.
const APPLICATION_ID: i64 = 0x7461_6768;

/// Each takes the schema from one version to the next. Never edit one that was released.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// How long a connection waits for a lock of another one. In write-ahead logging, readers and the writer block each
/// other only while a log is checkpointed, truncated or recovered, which takes far less.
pub(super) const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// The group may read it. SQLite gives the files beside it the same mode.
pub(super) const DATABASE_MODE: u32 = 0o640;

/// Capacity of the cache of prepared statements: more than this program has. A move and its run use about thirty.
const STATEMENT_CACHE: usize = 64;

/// Opens the database of a directory for writing; creates or migrates it where needed. The caller holds the state's lock.
pub(super) fn open(dir: &Path) -> Result<Connection, Error> {
    place::make_directory(dir)?;
    let path = place::database_in(dir)?;
    place::refuse_foreign_files(dir)?;
    if is_empty(&path)? {
        if !is_empty(&path.with_file_name(names::WAL))? {
            return Err(Error::Orphaned(path));
        }
        make(&path)?;
    }
    // What may not be written SQLite would open for reading only, and say so at the first write, without a name.
    for name in [names::DATABASE, names::WAL, names::SHM].map(|name| path.with_file_name(name)) {
        if name.exists() {
            place::open_own(&name, DATABASE_MODE)?;
        }
    }
    let connection = connect(&path)?;
    // The first read opens the log and its index, where they are not open yet.
    connection
        .query_row("SELECT count(*) FROM heartbeat", [], |_| Ok(()))
        .map_err(|error| Error::from_sqlite(&path, error))?;
    Ok(connection)
}

fn connect(path: &Path) -> Result<Connection, Error> {
    let classify = |error| Error::from_sqlite(path, error);
    let flags = OpenFlags::default() | OpenFlags::SQLITE_OPEN_NOFOLLOW;
    let mut connection = Connection::open_with_flags(path, flags).map_err(classify)?;
    connection.busy_timeout(BUSY_TIMEOUT).map_err(classify)?;
    let version = version(&connection, path)?;
    // Keep the write-ahead log and its index on close: a reader with only the group's permissions needs both files and
    // cannot create them.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(classify)?;
    // Query plans must not depend on bound values. Otherwise SQLite prepares a statement again for each watch.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(classify)?;
    connection.set_prepared_statement_cache_capacity(STATEMENT_CACHE);
    // A page cache of 128 KiB, a sixteenth of the default: the hot pages are few, and the kernel caches the others.
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;
             PRAGMA cache_size=-128; PRAGMA journal_size_limit=8388608;",
        )
        .map_err(classify)?;
    migrate(&mut connection, version).map_err(classify)?;
    Ok(connection)
}

/// Makes a database under another name and moves it to its own, over what is empty there, with the empty files beside it
/// that a reader needs and may not create.
fn make(path: &Path) -> Result<(), Error> {
    let new = path.with_extension("db.new");
    discard(&new)?;
    place::open_own(&new, DATABASE_MODE)?;
    let connection = connect(&new)?;
    let busy: bool = connection
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .map_err(|error| Error::from_sqlite(&new, error))?;
    if busy {
        return Err(Error::Locked { by: lockers::of_database(&new), path: new });
    }
    drop(connection);
    for name in [names::WAL, names::SHM] {
        place::open_own(&path.with_file_name(name), DATABASE_MODE)?;
    }
    std::fs::rename(&new, path).map_err(|source| Error::from_io(path, source))?;
    place::sync_directory(path)?;
    discard(&new)
}

/// Removes what a crash has left of the making of a database, or what the making has left beside it.
fn discard(new: &Path) -> Result<(), Error> {
    for suffix in ["", "-wal", "-shm", "-journal"] {
        let mut path = new.as_os_str().to_owned();
        path.push(suffix);
        let path = PathBuf::from(path);
        match std::fs::remove_file(&path) {
            Err(source) if source.kind() != ErrorKind::NotFound => return Err(Error::from_io(&path, source)),
            _ => {}
        }
    }
    Ok(())
}

/// Whether a file holds nothing or is not there.
fn is_empty(path: &Path) -> Result<bool, Error> {
    match std::fs::symlink_metadata(path) {
        Ok(found) => Ok(found.len() == 0),
        Err(source) if source.kind() == ErrorKind::NotFound => Ok(true),
        Err(source) => Err(Error::from_io(path, source)),
    }
}

/// An empty database in memory.
pub(super) fn in_memory() -> Result<Connection, Error> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection, 0)?;
    Ok(connection)
}

/// The schema version of a database; 0 for an empty file. Refuses a database of another program or of a newer taghook.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<i64, Error> {
    let classify = |error| Error::from_sqlite(path, error);
    // All of one moment: a migration may be committed between two statements.
    let moment = connection.unchecked_transaction().map_err(classify)?;
    let ask = |sql| moment.query_row(sql, [], |row| row.get(0)).map_err(classify);
    let (application, found): (i64, i64) = (ask("PRAGMA application_id")?, ask("PRAGMA user_version")?);
    if application != APPLICATION_ID && ask("SELECT count(*) FROM sqlite_schema")? > 0 {
        return Err(Error::NotOurs(path.to_owned()));
    }
    let known = MIGRATIONS.len() as i64;
    if found > known {
        return Err(Error::Newer { path: path.to_owned(), found, known });
    }
    Ok(found)
}

/// Applies all missing migrations in one transaction, so that no reader sees a version between.
fn migrate(connection: &mut Connection, version: i64) -> rusqlite::Result<()> {
    let known = MIGRATIONS.len() as i64;
    if version >= known {
        return Ok(());
    }
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    for (_, sql) in (1..).zip(MIGRATIONS).skip_while(|(step, _)| *step <= version) {
        transaction.execute_batch(sql)?;
    }
    transaction.execute_batch(&format!("PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={known};"))?;
    transaction.commit()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_database_is_made_and_an_old_one_opened() {
        let dir = tempfile::tempdir().unwrap();
        for _ in 0..2 {
            let connection = open(&dir.path().join("deep/state")).unwrap();
            let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
    }

    #[test]
    fn a_statement_is_prepared_once_whatever_is_bound_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let connection = open(dir.path()).unwrap();
        let mut query = connection.prepare("SELECT id FROM watches WHERE id > ?1 ORDER BY id LIMIT ?2").unwrap();
        for after in 0..3 {
            assert!(!query.exists([after, after + 1]).unwrap());
        }
        assert_eq!(query.get_status(rusqlite::StatementStatus::RePrepare), 0);
    }

    #[test]
    fn what_is_not_our_database_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(names::DATABASE);
        std::fs::write(&path, "no database at all, but long enough to be read as one".repeat(50)).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert_eq!(open(dir.path()).unwrap_err().kind(), "not_a_database");
        assert_eq!(std::fs::read(&path).unwrap(), before);

        std::fs::remove_file(&path).unwrap();
        Connection::open(&path).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert_eq!(open(dir.path()).unwrap_err().kind(), "not_a_database");
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        open(dir.path()).unwrap().execute_batch("PRAGMA user_version=99").unwrap();
        assert_eq!(open(dir.path()).unwrap_err().kind(), "newer");
    }

    #[test]
    fn a_log_with_changes_is_never_put_under_a_new_database() {
        for empty in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let (database, log) = (dir.path().join(names::DATABASE), dir.path().join(names::WAL));
            open(dir.path()).unwrap().execute_batch("INSERT INTO heartbeat VALUES (1, 1)").unwrap();
            std::fs::remove_file(&database).unwrap();
            if empty {
                std::fs::write(&database, "").unwrap();
            }
            let before = std::fs::read(&log).unwrap();
            assert!(!before.is_empty());
            assert_eq!(open(dir.path()).unwrap_err().kind(), "orphaned");
            assert_eq!(std::fs::read(&log).unwrap(), before);
        }
    }

    #[test]
    fn a_directory_behind_symbolic_links_is_used_and_a_link_in_it_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let (real, link) = (dir.path().join("real"), dir.path().join("link"));
        std::fs::create_dir(&real).unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        open(&link).unwrap();
        assert!(real.join(names::DATABASE).exists());

        for name in [names::DATABASE, names::WAL, names::SHM] {
            let (aside, victim) = (dir.path().join("aside"), dir.path().join("victim"));
            std::fs::write(&victim, "").unwrap();
            std::fs::rename(real.join(name), &aside).unwrap();
            std::os::unix::fs::symlink(&victim, real.join(name)).unwrap();
            assert_eq!(open(&link).unwrap_err().kind(), "foreign", "{name}");
            assert_eq!(std::fs::read(&victim).unwrap(), b"");
            std::fs::rename(&aside, real.join(name)).unwrap();
        }
        open(&link).unwrap();
    }
}
