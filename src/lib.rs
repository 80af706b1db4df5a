//! taghook: webhooks for registries that have none.
//!
//! The map of the crate; arrows point down only:
//! `cli > agent > config > {registry, store, hook, control} > {domain, bounded}`.

pub mod agent;
pub mod bounded;
pub mod cli;
pub mod config;
pub mod control;
pub mod domain;
pub mod hook;
pub mod registry;
pub mod store;
