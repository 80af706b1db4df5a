//! What a config means.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::domain::delivery::RetryPolicy;
use crate::domain::gate::Limits;
use crate::domain::{ChangeSet, Watch};
use crate::{hook, registry, store};

use super::fault::Fault;

/// A config that can be used, and what is probably not meant in it.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub config: Config,
    /// For example: no watches, a hook that no watch names, a command that does not exist.
    pub warnings: Vec<Fault>,
}

#[derive(Debug, Clone)]
pub struct Config {
    /// The state directory.
    pub state: PathBuf,
    /// The control socket; `None`: in `$RUNTIME_DIRECTORY`, else in the state directory.
    pub socket: Option<PathBuf>,
    /// Where metrics, health and status can be read over TCP, if anywhere.
    pub listen: Option<std::net::SocketAddr>,
    /// Names by which that address may be asked, beside IP addresses and the host's own name.
    pub allowed_hosts: Vec<String>,
    /// How long running hooks may go on when the agent stops.
    pub shutdown_grace: Duration,
    /// How much of the past is kept.
    pub retention: store::Retention,
    /// Stands for the files that it was read from, in the version that they had; see [`identity`](super::identity()).
    pub identity: Option<String>,
    /// The watches by name.
    pub watches: BTreeMap<Arc<str>, Arc<Watch>>,
    /// The hooks by name.
    pub hooks: BTreeMap<Arc<str>, Arc<Hook>>,
    /// The registries with a table of their own, by canonical host.
    pub registries: BTreeMap<String, RegistryConfig>,
}

/// A named action with its limits, and the changes that it is run for.
#[derive(Debug, Clone, PartialEq)]
pub struct Hook {
    pub name: Arc<str>,
    pub action: hook::Action,
    /// How long one run may take. A command's process group then gets SIGTERM, and ten seconds later SIGKILL.
    pub timeout: Duration,
    pub on: ChangeSet,
    pub retry: RetryPolicy,
    /// How many runs of this hook may go on at a time, over all watches.
    pub concurrency: usize,
}

/// How to reach a registry, and how often it may be asked.
#[derive(Debug, Clone, PartialEq)]
pub struct RegistryConfig {
    pub client: registry::Options,
    pub limits: Limits,
}
