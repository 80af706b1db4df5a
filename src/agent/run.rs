//! The agent: starts all parts, runs until it is told to stop, and ends them in order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::check::handle::SchedulerHandle;
use super::error::Error;
use super::parts::{LOCK_TIMEOUT, Mode, Parts};
use super::reload::Reloader;
use super::serve::operations::{LedgerOperations, Operations};
use super::serve::routes;
use super::serve::signs::{News, Signs};
use super::sign::Sign;
use super::{clock, expiry, failpoint};
use crate::config::Config;
use crate::control::wire::ConfigStatus;
use crate::store::{self, Lock, Store};

/// Added to the grace of the hooks in what systemd is told that a stop may take: to kill the last hook and to save records.
const STOP_ALLOWANCE: Duration = Duration::from_secs(30);

/// How often to check that the state directory is still ours. What is written to a deleted file is lost.
const LOOK_AFTER_STATE: Duration = Duration::from_secs(60);

/// How an agent is connected to its supervisor, systemd as a rule.
pub struct World<Stop, Hurry> {
    pub tell: fn(Sign),
    /// How often [`Sign::Alive`] is expected, if it is.
    pub alive: Option<Duration>,
    /// Rung when the config is to be read again.
    pub reload: Arc<Notify>,
    pub stop: Stop,
    /// Polled only after `stop`: ends running hooks before their grace is over.
    pub hurry: Hurry,
}

/// Runs the agent until `stop`. `path` is where `config` was read from.
pub async fn run(
    path: PathBuf,
    config: Config,
    world: World<impl Future<Output = ()>, impl Future<Output = ()>>,
) -> Result<(), Error> {
    let World { tell, alive, reload, stop, hurry } = world;
    tokio::pin!(stop);
    let (socket, listen, watches) = (socket_path(&config), config.listen, config.watches.len());
    let mut lock = tokio::select! {
        lock = Lock::acquire(&config.state, LOCK_TIMEOUT) => lock?,
        () = &mut stop => return Ok(()),
    };
    let parts = Parts::new(config, Mode::Agent).await?;
    let doors = Doors::bind(&socket, listen).await?;
    let listens = doors.reading.as_ref().and_then(|listener| listener.local_addr().ok());
    let (store, current) = (parts.deliverer.store.clone(), parts.deliverer.config.clone());
    failpoint::step("start: opened");
    tokio::select! {
        recovered = parts.deliverer.recover() => recovered?,
        () = &mut stop => return Ok(()),
    }
    lock.name(Some(socket.clone()))?;
    let listens = listens.map(tracing::field::display);
    info!(watches, state = %store.dir().display(), socket = %socket.display(), listen = listens, "ready");
    if watches == 0 {
        warn!("no watch is configured: there is nothing to do");
    }
    let mut running = Running::start(parts, path, reload, doors, Supervisor { tell, watchdog: alive });
    let ended = running.until(stop, &store, &lock).await;
    tell(Sign::Stopping(current.borrow().shutdown_grace + STOP_ALLOWANCE));
    info!("stopping");
    failpoint::step("stop: asked");
    // From now on, others wait for us to end instead of connecting to a socket that no longer answers.
    let _ = lock.name(None);
    running.end(hurry).await;
    failpoint::step("stop: drained");
    if let Err(error) = store.checkpoint().await {
        error!(kind = error.kind(), "{error}");
    }
    failpoint::step("stop: written back");
    // If another agent has replaced the state, the socket is theirs.
    if lock.is_in_place() {
        let _ = std::fs::remove_file(&socket);
    }
    drop(lock);
    info!("stopped");
    ended
}

/// Who hears the signs, and how often it expects [`Sign::Alive`], if it does.
struct Supervisor {
    tell: fn(Sign),
    watchdog: Option<Duration>,
}

/// Where the agent listens.
struct Doors {
    socket: UnixListener,
    /// For the routes that change nothing.
    reading: Option<TcpListener>,
}

impl Doors {
    async fn bind(socket: &Path, listen: Option<SocketAddr>) -> Result<Self, Error> {
        let reading = match listen {
            Some(address) => {
                Some(TcpListener::bind(address).await.map_err(|source| Error::Listen { address, source })?)
            }
            None => None,
        };
        let bound = routes::bind(socket);
        Ok(Self { socket: bound.map_err(|source| Error::Socket { socket: socket.to_owned(), source })?, reading })
    }
}

/// The tasks of a running agent.
struct Running {
    /// The scheduler and the deliverer. Neither ends before it is told to.
    lines: JoinSet<()>,
    /// Routes, hang-ups, expiry, signs: aborted at a stop.
    helpers: JoinSet<()>,
    stopping: watch::Sender<bool>,
    /// Set to true when running hooks must be ended.
    cut: watch::Sender<bool>,
}

impl Running {
    fn start(parts: Parts, path: PathBuf, reload: Arc<Notify>, doors: Doors, supervisor: Supervisor) -> Self {
        let Parts { scheduler, deliverer, config, stopping, cut } = parts;
        let (handle, inbox) = SchedulerHandle::new();
        let until_stopped = || {
            let mut stopping = stopping.subscribe();
            async move { drop(stopping.wait_for(|stopping| *stopping).await) }
        };
        let (store, bell, tell) = (deliverer.store.clone(), deliverer.bell.clone(), supervisor.tell);
        let ledger = LedgerOperations::new(store.clone(), config.subscribe(), bell.clone());
        let forgetting = expiry::serve(store.clone(), config.subscribe());
        let loaded = ConfigStatus { path: path.clone(), loaded: clock::now(), error: None };
        let (status, in_force) = watch::channel(loaded);
        let news = News { checks: scheduler.news.clone(), attempts: deliverer.ended.subscribe() };
        let signs = Signs { scheduler: handle.clone(), deliverer: deliverer.clone(), config: in_force.clone(), tell };
        let turn = Mutex::new(());
        let reloader = Arc::new(Reloader { path, store, scheduler: handle.clone(), config, status, bell, tell, turn });
        let operations = Arc::new(Operations {
            ledger,
            scheduler: handle,
            deliverer: deliverer.clone(),
            reloader: reloader.clone(),
            config: in_force,
            signs: signs.clone(),
        });

        let (mut lines, mut helpers) = (JoinSet::new(), JoinSet::new());
        lines.spawn(scheduler.run(inbox, until_stopped()));
        lines.spawn(deliverer.serve(cut.clone()));
        helpers.spawn(signs.clone().send_summaries(news));
        if let Some(interval) = supervisor.watchdog {
            helpers.spawn(signs.ping_watchdog(interval));
        }
        if let Some(reading) = doors.reading {
            helpers.spawn(routes::serve_reading(reading, operations.clone(), until_stopped()));
        }
        helpers.spawn(routes::serve(doors.socket, operations, until_stopped()));
        helpers.spawn(forgetting);
        helpers.spawn(async move { reloader.serve_hangups(reload).await });
        Self { lines, helpers, stopping, cut }
    }

    /// Runs until `stop`, until a line ends by itself (a bug), or until the state directory is gone.
    async fn until(&mut self, stop: impl Future<Output = ()>, store: &Store, lock: &Lock) -> Result<(), Error> {
        let lost = async {
            while lock.is_in_place() {
                tokio::time::sleep(LOOK_AFTER_STATE).await;
            }
        };
        tokio::select! {
            () = stop => Ok(()),
            () = lost => Err(Error::Lost(store.dir().to_owned())),
            _ = self.lines.join_next() => Err(Error::Broken),
            () = store.ended() => Err(Error::Broken),
        }
    }

    /// Stops the lines. Running hooks get their grace, unless there is a `hurry`.
    async fn end(&mut self, hurry: impl Future<Output = ()>) {
        self.stopping.send_replace(true);
        self.helpers.shutdown().await;
        tokio::pin!(hurry);
        let mut hurried = false;
        loop {
            tokio::select! {
                ended = self.lines.join_next() => if ended.is_none() { return },
                () = &mut hurry, if !hurried => {
                    hurried = true;
                    self.cut.send_replace(true);
                }
            }
        }
    }
}

/// Where an agent with this config listens.
fn socket_path(config: &Config) -> PathBuf {
    let runtime = || std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from).filter(|path| path.is_absolute());
    config.socket.clone().unwrap_or_else(|| runtime().unwrap_or_else(|| config.state.clone()).join("control.sock"))
}

/// The socket of the agent that works on a state, if one has named it.
pub fn socket_of(state: &Path) -> Option<PathBuf> {
    store::owner(state).and_then(|owner| owner.socket)
}
