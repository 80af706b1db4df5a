//! What the black-box tests stand on: a real registry, the real binary, real hooks, a sandbox for each test.
//!
//! *Invariant:* nothing here waits for time to pass; every wait is for an event and has an end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    dead_code,
    missing_docs,
    unreachable_pub,
    reason = "support for tests fails by panicking, and no test file uses all of it"
)]

pub mod ask;
pub mod bed;
pub mod dead_mount;
pub mod disk;
pub mod distribution;
pub mod fault;
pub mod hook;
pub mod http;
pub mod nginx;
pub mod process;
pub mod registry;
pub mod sandbox;
pub mod silent;
pub mod supervisor;
pub mod terminal;
pub mod unread;
pub mod wall_clock;

use std::time::Duration;

/// Far longer than anything takes; a test that gets here has failed.
pub const DEADLINE: Duration = Duration::from_secs(30);
