//! The registry client: a question goes in, an answer comes out.
//!
//! ```text
//! client        which requests a check makes, and what the answers mean
//!   session     the handshake: challenges, tokens, logins
//!     transport one request: connections, redirects, time limits
//!   manifest    digests, media types, which child of an index serves a platform
//! ```
//!
//! *Architecture invariant:* nothing in here decides when to check or what an answer means for a watch. The caller holds a
//! permit of the registry's gate, and is told how many requests the check took and, by [`Error`], why it failed.

mod challenge;
mod client;
mod credentials;
mod docker;
mod endpoint;
mod error;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod helper;
mod http;
mod login;
mod lookup;
mod manifest;
mod manners;
mod options;
mod proxy;
mod retry_after;
mod secret_file;
mod session;
mod slots;
#[cfg(test)]
mod tests;
mod tls;
mod token;
mod transport;

pub use client::{Client, Counted, Recorded};
pub use error::Error;
pub use http::MAX_CERTIFICATES;
pub use options::{Account, Identity, Options, Password};
pub use secret_file::MAX_SECRET_FILE;
