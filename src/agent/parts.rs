//! What the agent and a one-shot check are both made of.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Notify, broadcast, watch};
use tracing::warn;

use super::check::scheduler::Scheduler;
use super::deliver::deliverer::Deliverer;
use super::deliver::holds::Holds;
use super::deliver::runs::Runs;
use super::error::Error;
use crate::config::Config;
use crate::domain::judge::Record;
use crate::domain::{Watch, WatchKey};
use crate::store::{self, Reader, Store, Subscription, WatchId};

/// How long to wait for another command to release the state.
pub(crate) const LOCK_TIMEOUT: Duration = Duration::from_secs(30);

/// Held deliveries that are named in the log; more are counted.
const MAX_NAMED: usize = 10;

/// Capacity of the attempt-ended broadcast. A receiver that lags re-reads everything.
const UNREAD_ENDS: usize = 1024;

/// What the parts are made for.
#[derive(Clone, Copy)]
pub(crate) enum Mode {
    /// Checks on schedule until it is stopped.
    Agent,
    /// Checks once.
    Once,
    /// Checks once and leaves no trace.
    Dry,
}

pub(crate) struct Parts {
    pub(crate) scheduler: Scheduler,
    pub(crate) deliverer: Deliverer,
    /// The config that is in force.
    pub(crate) config: watch::Sender<Arc<Config>>,
}

impl Parts {
    pub(crate) async fn new(config: Config, mode: Mode) -> Result<Self, Error> {
        let (store, known) = match mode {
            Mode::Agent | Mode::Once => (Store::open(&config.state)?, None),
            Mode::Dry => (Store::in_memory()?, Some(known(&config, &keys(&config))?)),
        };
        let mut records = open_watches(&store, &config).await?;
        for ((_, record), known) in records.iter_mut().zip(known.into_iter().flatten()) {
            *record = known;
        }
        let failing = records.iter().filter(|(_, record)| record.failing.is_some()).count();
        if failing > 0 {
            warn!(watches = failing, "watches were failing before this start; see `taghook status`");
        }
        let is_scheduled = matches!(mode, Mode::Agent);
        let alive = if is_scheduled { store.last_heartbeat().await? } else { None };
        let bell = Arc::new(Notify::new());
        let config = Arc::new(config);
        let scheduler = Scheduler::new(config.clone(), store.clone(), records, bell.clone(), is_scheduled, alive);
        let (config, current) = watch::channel(config);
        let deliverer = Deliverer {
            store,
            config: current,
            bell,
            ended: broadcast::Sender::new(UNREAD_ENDS),
            attempts: watch::Sender::default(),
            runs: Runs::default(),
            holds: Holds::default(),
            rounds: watch::Sender::default(),
            stopping: watch::Sender::default(),
            cut: watch::Sender::default(),
        };
        Ok(Self { scheduler, deliverer, config })
    }
}

fn keys(config: &Config) -> Vec<WatchKey> {
    config.watches.values().map(|watch| watch.key.clone()).collect()
}

/// Opens a row for each watch of a config, and subscribes their hooks. Returns the rows in the config's order.
pub(crate) async fn open_watches(store: &Store, config: &Config) -> Result<Vec<(WatchId, Record)>, store::Error> {
    let opened = store.open_watches(keys(config)).await?;
    subscribe(store, config, config.watches.values().zip(opened.iter().map(|(id, _)| *id))).await?;
    Ok(opened)
}

/// Replaces the subscriptions by those of a config, given the rows of its watches, and logs what is held now.
pub(crate) async fn subscribe<'a>(
    store: &Store,
    config: &Config,
    rows: impl Iterator<Item = (&'a Arc<Watch>, WatchId)>,
) -> Result<(), store::Error> {
    let of_watch = |(watch, id): (&'a Arc<Watch>, WatchId)| {
        let hooks = watch.hooks.iter().filter_map(|name| config.hooks.get(name));
        hooks.map(move |hook| Subscription { watch: id, hook: hook.name.clone(), kinds: hook.on })
    };
    let held = store.replace_subscriptions(rows.flat_map(of_watch).collect()).await?;
    let why = "the config does not name this hook for this image any more; `taghook prune` gives it up";
    if held.len() > MAX_NAMED {
        warn!(deliveries = held.len(), "held: {why}");
        return Ok(());
    }
    // They are named for the log only, so an error of this query must not undo what is committed.
    for row in store.deliveries(held).await.unwrap_or_default() {
        let (watch, hook, delivery) = (row.watch, row.hook, row.id);
        warn!(watch, hook, delivery, "held: {why}");
    }
    Ok(())
}

/// The records of these watches, read without leaving a trace.
pub(crate) fn known(config: &Config, keys: &[WatchKey]) -> Result<Vec<Record>, Error> {
    let rows = match Reader::open(&config.state) {
        Ok(reader) => reader.watches()?,
        Err(store::Error::Missing(_)) => Vec::new(),
        Err(error) => return Err(error.into()),
    };
    let mut known: HashMap<WatchKey, Record> = rows.into_iter().map(|row| (row.key, row.record)).collect();
    Ok(keys.iter().map(|key| known.remove(key).unwrap_or_default()).collect())
}
