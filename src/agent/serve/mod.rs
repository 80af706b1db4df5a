//! The doors: what can be asked of a running agent, and what it tells its supervisor.

pub(super) mod checks;
pub(super) mod exposition;
pub mod health;
pub(super) mod metrics;
pub(super) mod operations;
mod problems;
pub(super) mod routes;
pub(super) mod signs;
pub mod status;
