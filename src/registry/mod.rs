//! The registry client: one question in, one answer out.
//!
//! ```text
//! client        what is asked, and what the answer means: the check as a straight line
//!   session     the handshake: challenges, tokens, logins
//!     transport one request: connections, redirects, time limits
//!   manifest    digests, media types, which child of an index serves a platform
//! ```
//!
//! *Architecture invariant:* nothing in here decides when to ask or what an answer is worth. The caller holds a permit of
//! the registry's gate, and learns what the question cost, and from [`Error`] why it failed.

mod challenge;
mod client;
mod credentials;
mod docker;
mod endpoint;
mod error;
#[cfg(any(fuzzing, test))]
pub mod fuzz;
mod helper;
mod login;
mod manifest;
mod options;
mod retry_after;
mod session;
mod slots;
#[cfg(test)]
mod tests;
mod token;
mod transport;

pub use client::{Client, Counted};
pub use error::Error;
pub use options::{Account, Identity, Options, Password};
