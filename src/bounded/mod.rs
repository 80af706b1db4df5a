//! Calls that may hang or never end, kept from holding up or filling the agent: threads with a bound for each cause, and
//! files with a bound on their size.
//!
//! *Invariant:* nothing else starts threads for calls that may block. tokio's own pool is not used, because all causes
//! would share it, and because it panics where no thread can be started.

mod file;
mod pool;
mod shortage;

pub use file::{metadata, read, read_now};
pub use pool::{CONFIG, FILES, INSPECTIONS, LOOKUPS, PAGES, POOLS, PROCESSES, PoolError, STARTS, ThreadPool};
pub use shortage::{explained, remedy};
