//! The doors: what can be asked of a running agent, and what it tells its supervisor.

pub(super) mod callers;
pub(super) mod checks;
mod connections;
pub(super) mod exposition;
pub mod health;
mod hosts;
pub(super) mod metrics;
pub(super) mod operations;
mod pages;
pub(super) mod port;
mod problems;
pub(super) mod routes;
pub(super) mod signs;
pub(super) mod socket;
pub mod status;
