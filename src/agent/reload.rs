//! Another config, while the agent runs: all of it, or nothing.

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::sync::{Notify, mpsc, oneshot, watch};
use tokio::time::timeout;
use tracing::{error, info, warn};

use super::check::adopt::Changes;
use super::check::scheduler::Scheduler;
use super::check::watched::Request;
use super::clock;
use super::parts::hold;
use super::serve::routes::Undone;
use super::serve::signs::Sign;
use crate::config::{self, Config, Faults, Loaded};
use crate::control::wire::Reloaded;
use crate::domain::WatchKey;
use crate::store::{self, Fed, Store, WatchId};

/// To read the files may take so long: they may lie on a disk that hangs.
const READ: Duration = Duration::from_secs(60);

/// Why the agent goes on by the config that it had.
#[derive(Debug, thiserror::Error)]
enum Error {
    #[error("{0}")]
    Faults(#[from] Faults),
    #[error("{key} cannot change while the agent runs; restart it")]
    Restart { key: &'static str },
    #[error(transparent)]
    Store(#[from] store::Error),
    #[error("the config could not be read within {} s", READ.as_secs())]
    Slow,
    #[error("the agent is stopping")]
    Stopping,
}

/// What the agent goes by, and what became of the last attempt to change that.
#[derive(Debug, Clone)]
pub(crate) struct Current {
    /// The file that it was read from.
    pub(crate) path: PathBuf,
    /// Since when.
    pub(crate) loaded: Timestamp,
    /// Why a newer one was refused, if it was.
    pub(crate) error: Option<String>,
}

/// Who reloads.
pub(crate) struct Reloader {
    pub(crate) path: PathBuf,
    pub(crate) store: Store,
    pub(crate) requests: mpsc::Sender<Request>,
    pub(crate) config: watch::Sender<Arc<Config>>,
    pub(crate) current: watch::Sender<Current>,
    /// Rung when something new may be due.
    pub(crate) bell: Arc<Notify>,
    /// Hears when it reloads, and that it has.
    pub(crate) tell: fn(Sign),
}

/// Somebody who asked for it, and waits for the result.
pub(crate) type Asked = oneshot::Sender<Result<Reloaded, Undone>>;

impl Reloader {
    /// Reloads whenever somebody asks, or `hangup` is rung.
    pub(crate) async fn serve(self, mut asked: mpsc::Receiver<Asked>, hangup: Arc<Notify>) {
        loop {
            let reply = tokio::select! {
                reply = asked.recv() => match reply {
                    Some(reply) => Some(reply),
                    None => return,
                },
                () = hangup.notified() => None,
            };
            (self.tell)(Sign::Reloading);
            let done = self.reload().await;
            self.note(&done);
            // Also where it failed: the earlier config goes on. Before the answer, so that whoever asked finds us ready.
            (self.tell)(Sign::Ready);
            if let Some(reply) = reply {
                let refused = |error: Error| match error {
                    Error::Faults(_) | Error::Restart { .. } => Undone::Refused(error.to_string()),
                    error => Undone::Failed(error.to_string()),
                };
                let _ = reply.send(done.map_err(refused));
            }
        }
    }

    fn note(&self, done: &Result<Reloaded, Error>) {
        match done {
            Ok(done) => {
                let Reloaded { watches, added, changed, removed, hooks, .. } = done;
                info!(watches, added, changed, removed, hooks, "config reloaded");
                done.warnings.iter().for_each(|warning| warn!("config: {warning}"));
            }
            Err(Error::Faults(faults)) => {
                let count = faults.iter().count();
                error!(faults = count, "config not reloaded, the earlier one goes on");
                faults.iter().for_each(|fault| error!("config: {fault}"));
            }
            Err(why) => error!("config not reloaded, the earlier one goes on: {why}"),
        }
        self.current.send_modify(|current| match done {
            Ok(_) => (current.loaded, current.error) = (clock::now(), None),
            Err(why) => current.error = Some(one_line(why)),
        });
    }

    async fn reload(&self) -> Result<Reloaded, Error> {
        let path = self.path.clone();
        let load = tokio::task::spawn_blocking(move || config::load(&path));
        let loaded = timeout(READ, load).await.map_err(|_| Error::Slow)?.map_err(|_| Error::Stopping)?;
        let Loaded { config, warnings } = loaded?;
        self.refuse_what_needs_a_restart(&config)?;

        let config = Arc::new(config);
        let known =
            self.ask(|tell| Request::Look(Box::new(move |scheduler: &Scheduler| drop(tell.send(scheduler.known())))));
        let mut rows: HashMap<WatchKey, WatchId> = known.await?;
        let keys = config.watches.values().map(|watch| &watch.key).filter(|key| !rows.contains_key(key));
        let keys: Vec<WatchKey> = keys.cloned().collect();
        let opened = self.store.open_watches(keys.clone()).await?;
        let opened: HashMap<_, _> = keys.into_iter().zip(opened).collect();
        rows.extend(opened.iter().map(|(key, (id, _))| (key.clone(), *id)));
        hold(&self.store, fed(&config, &rows)).await?;
        // From here on nothing can fail that would leave us between two configs.
        self.config.send_replace(config.clone());
        let Changes { added, changed, removed, hooks } =
            self.ask(|done| Request::Adopt { config: config.clone(), opened, done }).await?;
        // A check may have been on its way to the disk by the earlier config.
        if let Err(why) = hold(&self.store, fed(&config, &rows)).await {
            warn!(kind = why.kind(), "what is owed to hooks that left the config may not be held: {why}");
        }
        self.bell.notify_one();
        let warnings = warnings.iter().map(ToString::to_string).collect();
        Ok(Reloaded { watches: config.watches.len(), added, changed, removed, hooks, warnings })
    }

    fn refuse_what_needs_a_restart(&self, config: &Config) -> Result<(), Error> {
        let running = self.config.borrow();
        match () {
            () if running.state != config.state => Err(Error::Restart { key: "`state`" }),
            () if running.socket != config.socket => Err(Error::Restart { key: "`socket`" }),
            () if running.listen != config.listen => Err(Error::Restart { key: "`listen`" }),
            () => Ok(()),
        }
    }

    async fn ask<T>(&self, request: impl FnOnce(oneshot::Sender<T>) -> Request) -> Result<T, Error> {
        let (tell, told) = oneshot::channel();
        self.requests.send(request(tell)).await.map_err(|_| Error::Stopping)?;
        told.await.map_err(|_| Error::Stopping)
    }
}

/// The hooks that each watch of a config feeds, by its row.
fn fed(config: &Config, rows: &HashMap<WatchKey, WatchId>) -> Fed {
    let row = |watch: &Arc<crate::domain::Watch>| Some((*rows.get(&watch.key)?, watch.hooks.clone()));
    config.watches.values().filter_map(row).collect()
}

/// For a status line: the first fault, and how many there are.
fn one_line(why: &Error) -> String {
    let Error::Faults(faults) = why else { return why.to_string() };
    let mut faults = faults.iter();
    let first = faults.next().map(ToString::to_string).unwrap_or_default();
    match faults.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}
