//! The doors: what is asked of a running agent, and how it stands.

pub(super) mod checks;
pub mod health;
pub(super) mod metrics;
pub(super) mod operations;
pub(super) mod page;
pub(super) mod routes;
pub(super) mod signs;
pub mod status;
