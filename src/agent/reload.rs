//! Switching to another config while the agent runs: to all of it, or not at all.

use std::collections::HashMap;
use std::sync::Arc;

use tokio::sync::Notify;
use tracing::{error, info, warn};

use super::check::adopt::ConfigChanges;
use super::check::roster::Roster;
use super::clock;
use super::error::Error;
use super::parts::subscribe;
use super::serve::operations::Operations;
use super::sign::Sign;
use crate::config::{self, Config, Faults, Loaded};
use crate::control::wire::Reloaded;
use crate::domain::WatchKey;
use crate::store::WatchId;

/// Why the agent keeps its earlier config.
#[derive(Debug, thiserror::Error)]
enum ReloadError {
    #[error("{0}")]
    Faults(#[from] Faults),
    #[error("{key} cannot change while the agent runs; restart it")]
    NeedsRestart { key: &'static str },
    #[error(transparent)]
    Agent(#[from] Error),
}

impl From<ReloadError> for Error {
    fn from(error: ReloadError) -> Self {
        match error {
            ReloadError::Agent(error) => error,
            refused => Self::Refused(refused.to_string()),
        }
    }
}

impl Operations {
    /// Reloads whenever `reload` is rung (SIGHUP). Never returns.
    pub(crate) async fn serve_hangups(self: Arc<Self>, reload: Arc<Notify>) {
        loop {
            reload.notified().await;
            // The result is in the log.
            let _ = self.reload().await;
        }
    }

    /// Switches to the config as it is on disk now: to all of it, or not at all.
    pub(crate) async fn reload(&self) -> Result<Reloaded, Error> {
        let _turn = self.reload_turn.lock().await;
        (self.tell)(Sign::Reloading);
        let done = self.try_reload().await;
        self.note(&done);
        // Also after a failure, since the earlier config stays in force. And before the answer, so that the caller finds the
        // agent ready.
        (self.tell)(Sign::Ready);
        self.reloaded.notify_one();
        Ok(done?)
    }

    fn note(&self, done: &Result<Reloaded, ReloadError>) {
        match done {
            Ok(done) => {
                let Reloaded { watches, added, changed, removed, hooks, .. } = done;
                info!(watches, added, changed, removed, hooks, "config reloaded");
                done.warnings.iter().for_each(|warning| warn!("config: {warning}"));
            }
            Err(ReloadError::Faults(faults)) => {
                let count = faults.iter().count();
                error!(faults = count, "config not reloaded, the earlier one goes on");
                faults.iter().for_each(|fault| error!("config: {fault}"));
            }
            Err(why) => error!("config not reloaded, the earlier one goes on: {why}"),
        }
        self.status.send_modify(|status| match done {
            Ok(_) => {
                (status.loaded, status.error) = (clock::now(), None);
                status.identity.clone_from(&self.config.borrow().identity);
            }
            Err(why) => status.error = Some(one_line(why)),
        });
    }

    async fn try_reload(&self) -> Result<Reloaded, ReloadError> {
        let Loaded { config, warnings } = config::load_again(&self.path).await?;
        self.refuse_what_needs_a_restart(&config)?;

        let config = Arc::new(config);
        let mut rows: HashMap<WatchKey, WatchId> = self.scheduler.look(Roster::rows).await?;
        let keys = config.watches.values().map(|watch| &watch.key).filter(|key| !rows.contains_key(key));
        let keys: Vec<WatchKey> = keys.cloned().collect();
        let opened = self.deliverer.store.open_watches(keys.clone()).await.map_err(Error::from)?;
        let opened: HashMap<_, _> = keys.into_iter().zip(opened).collect();
        rows.extend(opened.iter().map(|(key, (id, _))| (key.clone(), *id)));
        let ids = config.watches.values().filter_map(|watch| Some((watch, *rows.get(&watch.key)?)));
        subscribe(&self.deliverer.store, &config, ids).await.map_err(Error::from)?;
        // From here on nothing can fail that would leave the agent between two configs.
        self.config.send_replace(config.clone());
        let ConfigChanges { added, changed, removed, hooks } = self.scheduler.adopt(config.clone(), opened).await?;
        self.deliverer.bell.notify_one();
        let warnings = warnings.iter().map(ToString::to_string).collect();
        Ok(Reloaded { watches: config.watches.len(), added, changed, removed, hooks, warnings })
    }

    fn refuse_what_needs_a_restart(&self, config: &Config) -> Result<(), ReloadError> {
        let running = self.config.borrow();
        let changed = [
            ("`state`", running.state != config.state),
            ("`socket`", running.socket != config.socket),
            ("`listen`", running.listen != config.listen),
        ];
        match changed.into_iter().find(|(_, has_changed)| *has_changed) {
            Some((key, _)) => Err(ReloadError::NeedsRestart { key }),
            None => Ok(()),
        }
    }
}

/// For a status line: the first fault, and how many more there are.
fn one_line(why: &ReloadError) -> String {
    let ReloadError::Faults(faults) = why else { return why.to_string() };
    let mut faults = faults.iter();
    let first = faults.next().map(ToString::to_string).unwrap_or_default();
    match faults.count() {
        0 => first,
        more => format!("{first} (and {more} more)"),
    }
}
