//! The control socket: the JSON types that go over it, and the client. The agent serves it (`agent/serve/routes.rs`).
//!
//! ```sh
//! curl --unix-socket /run/taghook/control.sock http://taghook/v1/status
//! curl --unix-socket /run/taghook/control.sock http://taghook/v1/check -d '{"watches":["web"]}'
//! ```

mod client;
pub mod wire;

pub use client::{AGENT_HEADER, Client, DELIVERY_HEADER, Error};
