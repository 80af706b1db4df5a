//! The state: SQLite, one method = one transaction, and the lock that makes it one agent's.
//!
//! One thread owns the writing connection and commits what waits for it together (group commit), at
//! `synchronous=FULL`. Readers open the file themselves and are never blocked.
//! *Invariant:* a change and the deliveries that it owes are committed together, before any hook starts.

mod act;
mod attempt;
mod error;
mod expiry;
mod ledger;
mod leftover;
mod lock;
mod reader;
mod record;
mod rows;
mod schema;
mod writer;

pub use act::{Refused, Retried};
pub use attempt::{Claimed, Claims, Ended, Room};
pub use error::Error;
pub use expiry::{Keep, Retention};
pub use ledger::{Owed, Subscription};
pub use leftover::Fed;
pub use lock::{Lock, LockError, Owner, owner};
pub use reader::{AttemptRow, ChangeRow, DeliveryRow, Filter, HookOwed, OwedCounts, Reader, WatchRow};
pub use record::WatchId;
pub use writer::{Store, Trouble};

/// The database's file name in the state directory.
pub const DATABASE: &str = "taghook.db";
