//! The control socket: HTTP and JSON over a Unix socket, both ends; and its reading routes over TCP.
//!
//! The server turns requests into [`Command`]s on a channel, which the agent answers; it knows nothing of the agent.
//!
//! ```sh
//! curl --unix-socket /run/taghook/control.sock http://taghook/v1/status
//! curl --unix-socket /run/taghook/control.sock http://taghook/v1/check -d '{"watches":["web"]}'
//! ```

mod client;
mod server;
pub mod wire;

pub use client::{Client, Error};
pub use server::{Command, Told, Undone, bind, serve, serve_reading};
