//! The config: the file as written → what it means; every fault at once, with places.
//!
//! [`find()`] says which file it is; [`load()`] reads it with the fragments beside it; [`effective()`] says what is in force. Relative paths start at the folder of
//! the file that they are written in.
//!
//! *Invariant:* a config either is returned whole and checked, or is refused with all of its faults.

pub mod defaults;
mod demand;
mod effective;
mod fault;
mod find;
mod hooks;
mod keys;
mod load;
mod mask;
mod names;
mod read;
mod registries;
mod retention;
mod schema;
mod source;
mod suggest;
mod syntax;
#[cfg(test)]
mod tests;
mod trust;
mod unknown;
mod values;
mod walk;
mod watches;
mod zones;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::delivery::RetryPolicy;
use crate::domain::gate::Limits;
use crate::domain::{ChangeSet, Watch};
use crate::{hook, registry, store};

pub use effective::{Effective, Origin, Setting, Table, effective};
pub use fault::{Fault, Faults, Level, render};
pub use find::{find, place_for_new};
pub use load::{load, state_of};
pub use read::edited;
pub use schema::schema;
pub use suggest::nearest;
pub use values::written;

/// A config that can be used, and what is probably not meant in it.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// What it means.
    pub config: Config,
    /// For example: no watches, a hook that no watch names, a command that does not exist.
    pub warnings: Vec<Fault>,
}

/// What a config means.
#[derive(Debug, Clone)]
pub struct Config {
    /// The state directory.
    pub state: PathBuf,
    /// Where the control socket stands; `None`: `$RUNTIME_DIRECTORY`, else the state directory.
    pub socket: Option<PathBuf>,
    /// Where metrics, health and status can be read over TCP, if anywhere.
    pub listen: Option<std::net::SocketAddr>,
    /// How long running hooks may go on when the agent stops.
    pub shutdown_grace: Duration,
    /// What is kept of the past.
    pub retention: store::Retention,
    /// The watches by name.
    pub watches: BTreeMap<Arc<str>, Arc<Watch>>,
    /// The hooks by name.
    pub hooks: BTreeMap<Arc<str>, Arc<Hook>>,
    /// The registries with a table of their own, by canonical host.
    pub registries: BTreeMap<String, Registry>,
}

/// A named command with its limits, and what it wants to hear of.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    /// Its name.
    pub name: Arc<str>,
    pub action: hook::Action,
    /// How long one run may take. A command's process group then gets SIGTERM, and ten seconds later SIGKILL.
    pub timeout: Duration,
    /// The changes that it subscribes to.
    pub on: ChangeSet,
    /// Tries and pauses.
    pub retry: RetryPolicy,
    /// Runs of this hook at a time, over all watches.
    pub concurrency: usize,
}

/// How to reach a registry, and how hard it may be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct Registry {
    /// The client's options.
    pub client: registry::Options,
    /// The gate's limits.
    pub limits: Limits,
}
