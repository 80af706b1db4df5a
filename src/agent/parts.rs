//! What the agent and a one-shot check are both made of.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tracing::warn;

use super::check::scheduler::{LastAlive, Scheduler};
use super::deliver::deliverer::Deliverer;
use super::error::Error;
use crate::config::Config;
use crate::domain::WatchKey;
use crate::domain::judge::Record;
use crate::store::{self, Fed, Reader, Store};

/// How long `run` waits for a one-shot command to end.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// More than this are counted, not named.
const MANY: usize = 10;

/// Capacity of the attempt-ended broadcast. A receiver that lags re-reads everything.
const UNREAD_ENDS: usize = 1024;

/// For whom the parts are made.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// On schedule, until stopped.
    Agent,
    /// Once.
    Once,
    /// Once, leaving no trace.
    Dry,
}

/// What the agent and a one-shot check are both made of.
pub(crate) struct Parts {
    pub(crate) scheduler: Scheduler,
    pub(crate) deliverer: Deliverer,
    /// What all go by.
    pub(crate) config: watch::Sender<Arc<Config>>,
    /// Set to true at the beginning of a stop.
    pub(crate) stopping: watch::Sender<bool>,
    /// Set to true when running hooks must end.
    pub(crate) cut: watch::Sender<bool>,
}

impl Parts {
    pub(crate) async fn new(config: Config, mode: Mode) -> Result<Self, Error> {
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
        let fed = config.watches.values().zip(&records).map(|(watch, (id, _))| (*id, watch.hooks.clone())).collect();
        hold(&store, fed).await?;
        let failing = records.iter().filter(|(_, record)| record.trouble.is_some()).count();
        if failing > 0 {
            warn!(watches = failing, "watches were failing before this start; see `taghook status`");
        }
        let schedule = match mode {
            Mode::Agent => Some(LastAlive(store.last_heartbeat().await?)),
            Mode::Once | Mode::Dry => None,
        };
        let bell = Arc::new(Notify::new());
        let (config, current) = watch::channel(Arc::new(config));
        let scheduler = Scheduler::new(current.clone(), store.clone(), records, bell.clone(), schedule);
        let (stopping, is_stopping) = watch::channel(false);
        let (cut, is_cut) = watch::channel(false);
        let deliverer = Deliverer {
            store,
            config: current,
            bell,
            ended: broadcast::Sender::new(UNREAD_ENDS),
            attempts: Arc::default(),
            rounds: Arc::default(),
            stopping: is_stopping,
            cut: is_cut,
        };
        Ok(Self { scheduler, deliverer, config, stopping, cut })
    }
}

/// Holds what is owed to hooks that their watches do not feed; says what was not held before.
pub(crate) async fn hold(store: &Store, fed: Fed) -> Result<(), store::Error> {
    let held = store.hold(fed).await?;
    let why = "the config does not name this hook for this image any more; `taghook prune` gives it up";
    if held.len() > MANY {
        warn!(deliveries = held.len(), "held: {why}");
        return Ok(());
    }
    for row in store.deliveries(held).await? {
        let (watch, hook, delivery) = (row.watch, row.hook, row.id);
        warn!(watch, hook, delivery, "held: {why}");
    }
    Ok(())
}

/// What is known of these watches, read without leaving a trace.
pub(crate) fn known(config: &Config, keys: &[WatchKey]) -> Result<Vec<Record>, Error> {
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
