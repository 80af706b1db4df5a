//! The one place that wires: scheduler, checker, deliverer, control socket.
//!
//! Two straight lines, *check* and *deliver*, meet in one transaction of the store. The scheduler owns the watches and
//! the gates, the deliverer the runs; they share nothing but the store and a bell.

mod answers;
mod checker;
mod clock;
mod contract;
mod deliverer;
mod due;
mod lines;
mod once;
mod registries;
mod scheduler;
pub mod status;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, mpsc, watch};
use tracing::{error, info, warn};

pub use lines::unknown_watch;
pub use once::check_once;

use crate::config::Config;
use crate::control;
use crate::domain::WatchKey;
use crate::domain::judge::Record;
use crate::store::{self, Lock, LockError, Reader, Store};
use answers::Answers;
use deliverer::Deliverer;
use scheduler::{LastAlive, Scheduler};

/// How long `run` waits for a one-shot command to end.
const PATIENCE: Duration = Duration::from_secs(30);

/// Why the agent, or a one-shot check, cannot work.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The state is another's.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// The database cannot be used.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The control socket cannot be made.
    #[error("cannot listen on {socket:?}: {source}; set `socket` to a path that this user can write, of at most 107 bytes",
        socket = .socket.display().to_string())]
    Socket {
        /// Its path.
        socket: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The request names something that does not exist.
    #[error("{0}")]
    Refused(String),
    /// A signal came.
    #[error("interrupted; what is owed stays owed")]
    Interrupted,
}

/// For whom the parts are made.
#[derive(Clone, Copy)]
enum Mode {
    /// On schedule, until stopped.
    Agent,
    /// Once.
    Once,
    /// Once, leaving no trace.
    Dry,
}

/// What the agent and a one-shot check are both made of.
struct Parts {
    scheduler: Scheduler,
    deliverer: Deliverer,
    /// Turns true when running hooks must end.
    cut: watch::Sender<bool>,
    watches: usize,
}

impl Parts {
    async fn new(config: Config, mode: Mode) -> Result<Self, Error> {
        let keys: Vec<WatchKey> = config.watches.values().map(|watch| watch.key.clone()).collect();
        let (store, records) = match mode {
            Mode::Agent | Mode::Once => {
                let store = Store::open(&config.state)?;
                let records = store.open_watches(keys).await?;
                (store, records)
            }
            Mode::Dry => {
                let known = known(&config, &keys)?;
                let store = Store::in_memory()?;
                let opened = store.open_watches(keys).await?;
                (store, opened.into_iter().zip(known).map(|((id, _), record)| (id, record)).collect())
            }
        };
        let schedule = match mode {
            Mode::Agent => Some(LastAlive(store.last_heartbeat().await?)),
            Mode::Once | Mode::Dry => None,
        };
        let bell = Arc::new(Notify::new());
        let scheduler = Scheduler::new(&config, store.clone(), records, bell.clone(), schedule);
        let (cut, was_cut) = watch::channel(false);
        let (ended, _) = watch::channel(0);
        let watches = config.watches.len();
        let deliverer = Deliverer { store, hooks: Arc::new(config.hooks), bell, ended: Arc::new(ended), cut: was_cut };
        Ok(Self { scheduler, deliverer, cut, watches })
    }
}

/// What is known of these watches, read without leaving a trace.
fn known(config: &Config, keys: &[WatchKey]) -> Result<Vec<Record>, Error> {
    let rows = match Reader::open(&config.state) {
        Ok(reader) => reader.watches()?,
        Err(store::Error::Missing(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut known: HashMap<_, _> =
        rows.into_iter().map(|row| ((row.name, row.reference, row.platform), row.record)).collect();
    let identity = |key: &WatchKey| {
        (key.name.to_string(), key.reference.to_string(), key.platform.as_ref().map(ToString::to_string))
    };
    Ok(keys.iter().map(|key| known.remove(&identity(key)).unwrap_or_default()).collect())
}

/// Runs the agent until `stop`; `ready` is called once it checks, delivers and listens.
pub async fn run(config: Config, ready: impl FnOnce(), stop: impl Future<Output = ()>) -> Result<(), Error> {
    let socket = socket_path(&config);
    tokio::pin!(stop);
    let mut lock = tokio::select! {
        lock = Lock::acquire(&config.state, PATIENCE) => lock?,
        () = &mut stop => return Ok(()),
    };
    let grace = config.shutdown_grace;
    let parts = Parts::new(config, Mode::Agent).await?;
    let listener = control::bind(&socket).map_err(|source| Error::Socket { socket: socket.clone(), source })?;
    let (watches, store) = (parts.watches, parts.deliverer.store.clone());
    parts.deliverer.recover().await?;
    lock.name(Some(socket.clone()))?;

    let (requests, inbox) = mpsc::channel(64);
    let (commands, asked) = mpsc::channel(64);
    let (stopping, stopped) = watch::channel(false);
    let until_stopped = || {
        let mut stopped = stopped.clone();
        async move { drop(stopped.wait_for(|stopped| *stopped).await) }
    };
    let scheduler = tokio::spawn(parts.scheduler.run(inbox, until_stopped()));
    let answers = Answers { requests, deliverer: parts.deliverer.clone(), watches };
    let deliveries = tokio::spawn(parts.deliverer.serve(until_stopped(), parts.cut, grace));
    let server = tokio::spawn(control::serve(listener, commands, until_stopped()));
    let answering = tokio::spawn(answers.serve(asked, until_stopped()));
    info!(watches, state = %store.dir().display(), socket = %socket.display(), "ready");
    if watches == 0 {
        warn!("no watch is configured: there is nothing to do");
    }
    ready();

    stop.await;
    info!("stopping");
    stopping.send_replace(true);
    // Those who wait on the socket are told that we stop by the end of their connection.
    server.abort();
    answering.abort();
    for part in [scheduler, deliveries] {
        if let Err(error) = part.await {
            error!("a part of the agent ended unexpectedly: {error}");
        }
    }
    if let Err(error) = store.checkpoint().await {
        error!(kind = error.kind(), "{error}");
    }
    let _ = std::fs::remove_file(&socket);
    drop(lock);
    info!("stopped");
    Ok(())
}

/// Where an agent on this config listens.
fn socket_path(config: &Config) -> PathBuf {
    let runtime = || std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from).filter(|path| path.is_absolute());
    config.socket.clone().unwrap_or_else(|| runtime().unwrap_or_else(|| config.state.clone()).join("control.sock"))
}

/// The socket of the agent that works on a state, if one says that it does.
pub fn socket_of(state: &Path) -> Option<PathBuf> {
    store::owner(state).and_then(|owner| owner.socket)
}
