//! What operators do by hand, in a running agent or without one.

use std::collections::HashMap;

use crate::agent::check::lines::unknown_watch;
use crate::agent::clock;
use crate::agent::error::Error;
use crate::agent::parts::PATIENCE;
use crate::config::Config;
use crate::control::wire::{Leftover, PauseRequest, Paused, PruneRequest, RetryLine, RetryRequest};
use crate::store::{DeliveryRow, Fed, Lock, Store, WatchId};

/// Owes deliveries again, without an agent.
pub async fn retry_once(config: Config, request: RetryRequest) -> Result<Vec<RetryLine>, Error> {
    let (_lock, store) = open(&config).await?;
    let done = retry(&store, fed(&store, &config).await?, request).await;
    let _ = store.checkpoint().await;
    done
}

/// Holds the hooks of watches, or lets them go, without an agent.
pub async fn pause_once(config: Config, request: PauseRequest) -> Result<Paused, Error> {
    let (_lock, store) = open(&config).await?;
    let opened = store.open_watches(config.watches.values().map(|watch| watch.key.clone()).collect()).await?;
    let names = config.watches.keys().map(ToString::to_string);
    let known = names.zip(opened.into_iter().map(|(id, _)| id)).collect();
    let done = pause(&store, &known, request).await;
    let _ = store.checkpoint().await;
    done
}

/// Tells what is left over from an earlier config, or discards it, without an agent.
pub async fn prune_once(config: Config, request: PruneRequest) -> Result<Vec<Leftover>, Error> {
    let (_lock, store) = open(&config).await?;
    let done = prune(&store, fed(&store, &config).await?, request).await;
    let _ = store.checkpoint().await;
    done
}

/// The hooks of each configured watch.
async fn fed(store: &Store, config: &Config) -> Result<Fed, Error> {
    let opened = store.open_watches(config.watches.values().map(|watch| watch.key.clone()).collect()).await?;
    Ok(config.watches.values().zip(opened).map(|(watch, (id, _))| (id, watch.hooks.clone())).collect())
}

async fn open(config: &Config) -> Result<(Lock, Store), Error> {
    let lock = Lock::acquire(&config.state, PATIENCE).await?;
    Ok((lock, Store::open(&config.state)?))
}

pub(crate) async fn retry(store: &Store, fed: Fed, request: RetryRequest) -> Result<Vec<RetryLine>, Error> {
    let ids = if request.failed { store.failed(fed.clone()).await? } else { request.ids };
    let retried = store.retry(ids, fed, clock::now()).await?.map_err(|refused| Error::Refused(refused.to_string()))?;
    Ok(retried.into_iter().map(|one| RetryLine { id: one.id, watch: one.watch, hook: one.hook }).collect())
}

pub(crate) async fn pause(
    store: &Store,
    known: &HashMap<String, WatchId>,
    request: PauseRequest,
) -> Result<Paused, Error> {
    let find = |name: &String| {
        let unknown = || Error::Refused(unknown_watch(name, known.keys().map(String::as_str)));
        known.get(name).copied().ok_or_else(unknown)
    };
    let watches = request.watches.iter().map(find).collect::<Result<Vec<WatchId>, Error>>()?;
    Ok(Paused { changed: store.pause(watches, request.paused).await? })
}

pub(crate) async fn prune(store: &Store, fed: Fed, request: PruneRequest) -> Result<Vec<Leftover>, Error> {
    let discarded = request.all || !request.discard.is_empty();
    let only = (!request.all).then(|| request.discard.into_iter().collect());
    let rows = match discarded {
        true => store.discard(only, fed, clock::now()).await?,
        false => store.leftovers(fed).await?,
    };
    let leftover = |row: DeliveryRow| Leftover {
        id: row.id,
        watch: row.watch,
        hook: row.hook,
        change: row.change,
        to: row.to,
        state: row.state,
        error: row.error,
        discarded,
    };
    Ok(rows.into_iter().map(leftover).collect())
}
