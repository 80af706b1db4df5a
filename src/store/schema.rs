//! The tables, and how an older database becomes the newest.
//!
//! `user_version` counts the migrations that were applied. Times are milliseconds since 1970, UTC.

use std::path::Path;

use rusqlite::config::DbConfig;
use rusqlite::{Connection, TransactionBehavior};

use super::error::Error;

/// The database's file name in the state directory.
pub const DATABASE: &str = "taghook.db";

/// "tagh": tells our databases from other programs' (`PRAGMA application_id`).
const APPLICATION_ID: i64 = 0x7461_6768;

/// One step each; never edited once released.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// How long to wait for another connection; only a reader's checkpoint can be in the way.
const BUSY: std::time::Duration = std::time::Duration::from_secs(5);

/// Prepared statements that are kept: more than there are.
const STATEMENTS: usize = 64;

/// Opens the database for writing, makes it or brings it up to date.
pub(super) fn open(path: &Path) -> Result<Connection, Error> {
    make_file(path)?;
    let of = |error| Error::from_sqlite(path, error);
    let mut connection = Connection::open(path).map_err(of)?;
    connection.busy_timeout(BUSY).map_err(of)?;
    let version = version(&connection, path)?;
    // The WAL and its index stay when we close: a reader of the group may not create them, and needs them to read.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(of)?;
    // Else a statement is prepared again whenever a bound value that might change its plan has changed: with each watch.
    connection.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map_err(of)?;
    // All that there are in this program: a move and its run take some thirty of them.
    connection.set_prepared_statement_cache_capacity(STATEMENTS);
    // A sixteenth of the usual cache (KiB): what is looked at often is little, and the kernel has the rest.
    connection
        .execute_batch(
            "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA temp_store=MEMORY;
             PRAGMA cache_size=-128; PRAGMA journal_size_limit=8388608;",
        )
        .map_err(of)?;
    migrate(&mut connection, version).map_err(of)?;
    Ok(connection)
}

/// A database that nothing outlives.
pub(super) fn in_memory() -> Result<Connection, Error> {
    let mut connection = Connection::open_in_memory()?;
    migrate(&mut connection, 0)?;
    Ok(connection)
}

/// The version of a database; refuses another program's and a newer taghook's. An empty file has version 0.
pub(super) fn version(connection: &Connection, path: &Path) -> Result<i64, Error> {
    let ask = |question| {
        connection.query_row(question, [], |row| row.get(0)).map_err(|error| Error::from_sqlite(path, error))
    };
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

/// Makes the directory and an empty file that the group may read; SQLite gives its other files the same mode.
fn make_file(path: &Path) -> Result<(), Error> {
    use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
    let dir = path.parent().unwrap_or(path);
    let remedy = "run as the user that owns it, or set `state` to a directory of your own";
    let error = |path: &Path, source: std::io::Error| match source.kind() {
        std::io::ErrorKind::StorageFull => Error::Full(path.to_owned()),
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
