//! Opening the database: its settings, and the migrations that create or upgrade its tables.
//!
//! `user_version` counts the migrations that were applied. Times are milliseconds since 1970, UTC.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use super::error::Error;

/// The database's file name in the state directory.
pub const DATABASE: &str = "taghook.db";

/// "tagh" in ASCII, stored as `PRAGMA application_id`: distinguishes our databases from those of other programs.
const APPLICATION_ID: i64 = 0x7461_6768;

/// Each takes the schema from one version to the next. Never edit one that was released.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// How long a connection waits for a lock of another one. In write-ahead logging, readers and the writer block each
/// other only while a log is checkpointed, truncated or recovered, which takes far less.
pub(super) const BUSY_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(5);

/// Capacity of the cache of prepared statements: more than this program has. A move and its run use about thirty.
const STATEMENT_CACHE: usize = 64;

/// Opens the database for writing; creates or migrates it where needed.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    create_file(path)?;
    let classify = |error| Error::from_sqlite(path, error);
    let mut connection = Connection::open(path).map_err(classify)?;
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

/// An empty database in memory.
pub(super) fn in_memory() -> Result<Connection, Error> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection, 0)?;
    Ok(connection)
}

/// The schema version of a database; 0 for an empty file. Refuses a database of another program or of a newer taghook.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<i64, Error> {
    let ask = |sql| connection.query_row(sql, [], |row| row.get(0)).map_err(|error| Error::from_sqlite(path, error));
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

fn migrate(connection: &mut Connection, version: i64) -> rusqlite::Result<()> {
    for (step, sql) in (1..).zip(MIGRATIONS).skip_while(|(step, _)| *step <= version) {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        transaction.execute_batch(sql)?;
        transaction.execute_batch(&format!("PRAGMA application_id={APPLICATION_ID}; PRAGMA user_version={step};"))?;
        transaction.commit()?;
    }
    Ok(())
}

/// Creates the directory and an empty file that the group may read. SQLite gives the files beside it the same mode.
fn create_file(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let dir = path.parent().unwrap_or(path);
    let remedy = "run as the user that owns it, or set `state` to a directory of your own";
    let error = |path: &Path, source: std::io::Error| match source.kind() {
        std::io::ErrorKind::StorageFull | std::io::ErrorKind::QuotaExceeded => Error::Full(path.to_owned()),
        _ => Error::Directory { path: path.to_owned(), remedy, source },
    };
    std::fs::DirBuilder::new().recursive(true).mode(0o750).create(dir).map_err(|source| error(dir, source))?;
    let file = std::fs::OpenOptions::new().append(true).create(true).mode(0o640).open(path);
    file.map(drop).map_err(|source| error(path, source))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_database_is_made_and_an_old_one_opened() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/state.db");
        for _ in 0..2 {
            let connection = open(&path).unwrap();
            let mode: String = connection.query_row("PRAGMA journal_mode", [], |row| row.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
    }

    #[test]
    fn a_statement_is_prepared_once_whatever_is_bound_to_it() {
        let dir = tempfile::tempdir().unwrap();
        let connection = open(&dir.path().join("state.db")).unwrap();
        let mut query = connection.prepare("SELECT id FROM watches WHERE id > ?1 ORDER BY id LIMIT ?2").unwrap();
        for after in 0..3 {
            assert!(!query.exists([after, after + 1]).unwrap());
        }
        assert_eq!(query.get_status(rusqlite::StatementStatus::RePrepare), 0);
    }

    #[test]
    fn what_is_not_our_database_is_refused_and_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        std::fs::write(&path, "no database at all, but long enough to be read as one".repeat(50)).unwrap();
        let before = std::fs::read(&path).unwrap();
        assert_eq!(open(&path).unwrap_err().kind(), "not_a_database");
        assert_eq!(std::fs::read(&path).unwrap(), before);

        let other = dir.path().join("other.db");
        Connection::open(&other).unwrap().execute_batch("CREATE TABLE t (x)").unwrap();
        assert_eq!(open(&other).unwrap_err().kind(), "not_a_database");
    }

    #[test]
    fn a_database_of_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("state.db");
        open(&path).unwrap().execute_batch("PRAGMA user_version=99").unwrap();
        assert_eq!(open(&path).unwrap_err().kind(), "newer");
    }
}
