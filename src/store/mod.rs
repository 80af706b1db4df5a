//! The state: a SQLite database where each method is one transaction, and the lock that gives it to one process at a
//! time.
//!
//! One thread owns the writing connection and commits all waiting writes together (group commit), at
//! `synchronous=FULL`. Readers open the file themselves and are never blocked.
//!
//! *Invariant:* a change and the deliveries that it owes are committed together, before any hook starts.

mod attempt;
mod error;
mod expiry;
mod exposure;
mod ledger;
mod lock;
mod lockers;
mod names;
mod pins;
mod place;
mod prune;
mod queries;
mod reader;
mod record;
mod remedy;
mod retry;
mod rows;
mod schema;
mod sql;
mod subscriptions;
mod writer;

pub use attempt::{Claimed, Claims, Finished, LeftRunning, Room};
pub use error::Error;
pub use expiry::{Keep, Retention};
pub use exposure::{Exposed, exposed};
pub use ledger::Owed;
pub use lock::{Lock, LockError, Owner, owner};
pub use names::DATABASE;
pub use queries::{AttemptRow, ChangeRow, DeliveryRow, HeldBecause, WatchRow};
pub use reader::{Filter, Reader};
pub use record::WatchId;
pub use retry::{Retried, RetryRefused};
pub use subscriptions::Subscription;
pub use writer::{Store, WriteFailure};
