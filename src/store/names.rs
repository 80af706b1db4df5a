//! The names in the state directory.

/// The database's file name in the state directory.
pub const DATABASE: &str = "taghook.db";
/// What SQLite puts beside a database. The first two are kept while nothing is open, for readers who may not create them.
pub(super) const WAL: &str = "taghook.db-wal";
pub(super) const SHM: &str = "taghook.db-shm";
pub(super) const JOURNAL: &str = "taghook.db-journal";
/// The text that names the owner.
pub(super) const LOCK: &str = "taghook.lock";
/// What the kernel locks.
pub(super) const FLOCK: &str = "taghook.flock";
