//! The one place that wires. Two straight lines, *check* and *deliver*, meet in one transaction of the store; the doors in
//! `serve` let the outside ask.
//!
//! The scheduler owns the watches and the gates, the deliverer owns the runs. They share nothing but the store and a bell.

mod check;
mod clock;
mod deliver;
mod error;
mod expiry;
mod failpoint;
mod inside;
mod once;
mod parts;
mod reload;
mod run;
mod serve;
mod sign;
mod tally;
mod unknown;

pub use deliver::trial::{Sample, Trial};
pub use error::Error;
pub use inside::calling_delivery;
pub use once::check_once;
pub use run::{World, run};
pub use serve::operations::{LedgerOperations, without_agent};
pub use serve::socket::SocketError;
pub use serve::{health, status};
pub use sign::{Sign, Summary};
pub use unknown::unknown;
