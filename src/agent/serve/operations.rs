//! What can be asked of taghook: one method per verb. The doors, which are the routes of the socket and the commands that
//! work on the state without an agent, do nothing but call them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{Mutex, Notify, mpsc, watch};
use tokio::time::Instant;

use super::callers::{Caller, Callers};
use super::checks::{self, CheckEvent};
use super::{health, metrics, problems, status};
use crate::agent::check::handle::SchedulerHandle;
use crate::agent::clock;
use crate::agent::deliver::deliverer::Deliverer;
use crate::agent::error::Error;
use crate::agent::inside;
use crate::agent::parts::open_watches;
use crate::agent::sign::Sign;
use crate::agent::unknown::unknown;
use crate::bounded::PAGES;
use crate::config::Config;
use crate::control::wire::{
    CheckRequest, ConfigStatus, Health, Leftover, ListenProblem, PauseRequest, Paused, PruneRequest, RetryLine,
    RetryRequest, Status,
};
use crate::domain::delivery::DeliveryState;
use crate::store::{DeliveryRow, Store};

/// The verbs that need nothing but the ledger: the same with an agent and without one.
pub struct LedgerOperations {
    store: Store,
    config: watch::Receiver<Arc<Config>>,
    /// Rung when something new may be due.
    bell: Arc<Notify>,
}

impl LedgerOperations {
    pub(crate) fn new(store: Store, config: watch::Receiver<Arc<Config>>, bell: Arc<Notify>) -> Self {
        Self { store, config, bell }
    }

    /// Owes the newest digest again to the watch and hook of each of these deliveries, in new deliveries.
    pub async fn retry(&self, request: RetryRequest) -> Result<Vec<RetryLine>, Error> {
        let ids = if request.failed { self.store.failed().await? } else { request.ids };
        let retried = self.store.retry(ids, clock::now()).await?;
        let retried = retried.map_err(|refused| Error::Refused(refused.to_string()))?;
        self.bell.notify_one();
        Ok(retried.into_iter().map(|one| RetryLine { id: one.id, watch: one.watch, hook: one.hook }).collect())
    }

    /// Holds the hooks of watches, or lets them go.
    pub async fn pause(&self, request: PauseRequest) -> Result<Paused, Error> {
        let config = self.config.borrow().clone();
        if let Some(name) = request.watches.iter().find(|name| !config.watches.contains_key(name.as_str())) {
            return Err(Error::Refused(unknown("watch", name, config.watches.keys())));
        }
        let changed = self.store.pause(request.watches, request.paused).await?;
        self.bell.notify_one();
        Ok(Paused { changed })
    }

    /// Lists what is left over from an earlier config, or discards it.
    pub async fn prune(&self, request: PruneRequest) -> Result<Vec<Leftover>, Error> {
        let discarded = request.all || !request.discard.is_empty();
        let only = (!request.all).then(|| request.discard.into_iter().collect());
        let rows = match discarded {
            true => self.store.discard(only, clock::now()).await?,
            false => self.store.leftovers().await?,
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
}

/// Carries out an operation on the state itself, for a command that found no agent.
pub async fn without_agent<T>(
    config: Config,
    operation: impl AsyncFnOnce(&LedgerOperations) -> Result<T, Error>,
) -> Result<T, Error> {
    let _lock = inside::lock(&config.state).await?;
    let store = Store::open(&config.state)?;
    open_watches(&store, &config).await?;
    let (_, config) = watch::channel(Arc::new(config));
    let done = operation(&LedgerOperations::new(store.clone(), config, Arc::default())).await;
    let _ = store.checkpoint().await;
    done
}

/// Far longer than rendering takes.
const PAGE_TIMEOUT: Duration = Duration::from_secs(10);

/// All verbs of a running agent. `reload` has a file of its own, and so have the signs of life.
pub(crate) struct Operations {
    pub(crate) ledger: LedgerOperations,
    pub(crate) scheduler: SchedulerHandle,
    pub(crate) deliverer: Deliverer,
    /// Where the config is read from.
    pub(crate) path: PathBuf,
    /// The config that is in force.
    pub(crate) config: watch::Sender<Arc<Config>>,
    pub(crate) status: watch::Sender<ConfigStatus>,
    pub(crate) tell: fn(Sign),
    /// Tells this agent from others that have had its socket.
    pub(crate) id: String,
    /// Why the address of `listen` is not served, if it is not.
    pub(crate) listen: watch::Sender<Option<ListenProblem>>,
    /// The runs that wait for a check.
    pub(crate) callers: Callers,
    /// Lets one reload run at a time.
    pub(crate) reload_turn: Mutex<()>,
    /// Rung after each reload.
    pub(crate) reloaded: Arc<Notify>,
}

impl Operations {
    /// All that is known of all watches.
    pub(crate) async fn status(&self) -> Result<Status, Error> {
        let watches = self.scheduler.look(status::of_agent).await?;
        let config = self.status.borrow().clone();
        let problems = problems::of(&self.deliverer).await?;
        let status = status::complete(watches, config, problems, &self.deliverer.store).await?;
        Ok(Status { listen: self.listen.borrow().clone(), ..status })
    }

    /// What is wrong, the worst first.
    pub(crate) async fn health(&self) -> Result<Health, Error> {
        let status = self.status().await?;
        let findings = health::findings(&status, clock::now());
        Ok(health::report(&status, &findings, health::Finding::message))
    }

    /// Whether what is known is as fresh as the schedules say, and can be recorded; if not, why not.
    pub(crate) async fn up_to_date(&self) -> Result<(), String> {
        let watches = self.scheduler.all_views().await.map_err(|stopping| stopping.to_string())?;
        let loaded = self.status.borrow().loaded;
        let store = &self.deliverer.store;
        // Has the store look at its files.
        store.loss().await;
        health::up_to_date(&watches, store.write_failure(), loaded, clock::now())
    }

    /// The page of metrics, in Prometheus' text format.
    pub(crate) async fn metrics(&self) -> Result<String, Error> {
        let (registries, changes) = self.scheduler.look(metrics::of_agent).await?;
        let config = self.status.borrow().clone();
        let strays = self.deliverer.strays().await?.len();
        let scraped = metrics::Scraped {
            registries,
            changes,
            watches: self.scheduler.all_views().await?,
            owed: self.deliverer.store.owed_by_hook().await?,
            attempts: self.deliverer.attempts.borrow().clone(),
            write_failure: self.deliverer.store.write_failure(),
            held: self.deliverer.holds.reasons(Instant::now()).values().map(Vec::len).sum(),
            strays,
            loaded: config.loaded,
            is_reload_well: config.error.is_none(),
        };
        // Off the loop: at 100,000 watches the page has megabytes. Where no thread can be started, it is worth the wait.
        let scraped = Arc::new(scraped);
        let rendered = scraped.clone();
        let page = PAGES.run(PAGE_TIMEOUT, move || rendered.page()).await;
        Ok(page.unwrap_or_else(|_| scraped.page()))
    }

    /// Checks watches now. Each result is sent once what its hooks are owed has been tried.
    pub(crate) async fn check(&self, request: CheckRequest) -> Result<mpsc::Receiver<CheckEvent>, Error> {
        let dry_run = request.dry_run;
        let caller = match &request.delivery {
            Some(id) => self.caller(id).await?,
            None => None,
        };
        let checks = self.scheduler.check(request).await?;
        Ok(checks::follow(checks, self.deliverer.clone(), dry_run, caller))
    }

    /// The run of this delivery, if it goes on: who asks is a part of it.
    async fn caller(&self, id: &str) -> Result<Option<Caller>, Error> {
        let found = self.deliverer.store.deliveries(vec![id.to_owned()]).await?;
        let running = found.into_iter().find(|row| row.state == DeliveryState::Running);
        Ok(running.map(|row| self.callers.enter(row.id, row.hook)))
    }
}
