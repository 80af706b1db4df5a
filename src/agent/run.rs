//! The agent: starts all parts, runs until it is told to stop, and ends them in order.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::{Mutex, Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use tracing::{error, info, warn};

use super::check::handle::SchedulerHandle;
use super::deliver::deliverer::Deliverer;
use super::error::Error;
use super::parts::{Mode, Parts};
use super::serve::callers::Callers;
use super::serve::operations::{LedgerOperations, Operations};
use super::serve::socket::{self, ControlSocket, Listeners};
use super::serve::{port, routes};
use super::sign::Sign;
use super::{clock, expiry, failpoint, inside};
use crate::config::{self, Config};
use crate::control::wire::{ConfigStatus, ListenProblem};
use crate::store::{DATABASE, Store, WriteFailure};

/// Added to the grace of the hooks in what systemd is told that a stop may take: to kill the last hook and to save records.
const STOP_ALLOWANCE: Duration = Duration::from_secs(30);

/// How often to check that the state directory is still ours. What is written to a deleted file is lost.
const LOOK_AFTER_STATE: Duration = Duration::from_secs(50);

/// How long the agent goes on after it has found the state lost, so that status and health can say why it ends.
const TELL_OF_LOSS: Duration = Duration::from_secs(5);

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
    let (listen, watches) = (config.listen, config.watches.len());
    let mut lock = tokio::select! {
        lock = inside::lock(&config.state) => lock?,
        () = &mut stop => return Ok(()),
    };
    let path_of_socket = socket_path(&config);
    let Parts { scheduler, deliverer, config } = Parts::new(config, Mode::Agent).await?;
    let (mut socket, listeners) = socket::bind(&path_of_socket).await?;
    let port = match listen {
        Some(address) => Some((address, port::open(address).await)),
        None => None,
    };
    let listens = port.as_ref().and_then(|(_, opened)| opened.as_ref().ok()?.local_addr().ok());
    let store = deliverer.store.clone();
    failpoint::step("start: opened");
    let unended = tokio::select! {
        recovered = deliverer.recover() => recovered?,
        () = &mut stop => return Ok(()),
    };
    lock.name(Some(path_of_socket.clone()))?;
    let listens = listens.map(tracing::field::display);
    info!(watches, state = %store.dir().display(), socket = %path_of_socket.display(), listen = listens, "ready");
    if watches == 0 {
        warn!("no watch is configured: there is nothing to do");
    }
    let (handle, inbox) = SchedulerHandle::new();
    let operations = operations(path, config, handle, deliverer.clone(), tell, lock.id());
    let news = scheduler.news.clone();
    let mut lines = JoinSet::new();
    lines.spawn(scheduler.run(inbox, deliverer.stopped()));
    lines.spawn(deliverer.clone().serve(unended));
    let reloaded = operations.reloaded.clone();
    let mut helpers = start_helpers(operations, listeners, port, news, reload, alive);
    let ended = until(stop, &mut lines, &mut helpers, &store, &mut socket, &reloaded).await;
    tell(Sign::Stopping(deliverer.config().shutdown_grace + STOP_ALLOWANCE));
    info!("stopping");
    failpoint::step("stop: asked");
    // From now on, others wait for us to end instead of connecting to a socket that no longer answers.
    let _ = lock.name(None);
    socket.remove().await;
    end(lines, helpers, &deliverer, hurry).await;
    failpoint::step("stop: drained");
    let saved = store.checkpoint().await.unwrap_or_else(|error| {
        error!(kind = error.kind(), "{error}");
        None
    });
    failpoint::step("stop: written back");
    drop(lock);
    info!("stopped");
    ended.map_err(|error| match error {
        Error::Lost { loss, database, .. } => Error::Lost { loss, saved, database },
        other => other,
    })
}

fn operations(
    path: PathBuf,
    config: watch::Sender<Arc<Config>>,
    scheduler: SchedulerHandle,
    deliverer: Deliverer,
    tell: fn(Sign),
    id: &str,
) -> Arc<Operations> {
    let identity = config.borrow().identity.clone();
    Arc::new(Operations {
        ledger: LedgerOperations::new(deliverer.store.clone(), config.subscribe(), deliverer.bell.clone()),
        scheduler,
        deliverer,
        status: watch::Sender::new(ConfigStatus { path: path.clone(), loaded: clock::now(), identity, error: None }),
        path,
        config,
        tell,
        id: id.to_owned(),
        listen: watch::Sender::default(),
        callers: Callers::default(),
        reload_turn: Mutex::default(),
        reloaded: Arc::default(),
    })
}

/// The address of `listen`, and its port or what is wrong with it.
type Port = (SocketAddr, Result<TcpListener, ListenProblem>);

/// Starts what is aborted at a stop: routes, reloads, expiry, signs.
fn start_helpers(
    operations: Arc<Operations>,
    listeners: Listeners,
    port: Option<Port>,
    news: Arc<Notify>,
    reload: Arc<Notify>,
    watchdog: Option<Duration>,
) -> JoinSet<()> {
    let stopped = || operations.deliverer.stopped();
    let mut helpers = JoinSet::new();
    helpers.spawn(operations.clone().send_summaries(news));
    if let Some(interval) = watchdog {
        helpers.spawn(operations.clone().ping_watchdog(interval));
    }
    if let Some((address, opened)) = port {
        helpers.spawn(serve_port(address, opened, operations.clone(), stopped()));
    }
    helpers.spawn(routes::serve(listeners, operations.clone(), stopped()));
    helpers.spawn(expiry::serve(operations.deliverer.store.clone(), operations.config.subscribe()));
    helpers.spawn(operations.serve_hangups(reload));
    helpers
}

/// Serves the port once it can be opened.
async fn serve_port(
    address: SocketAddr,
    opened: Result<TcpListener, ListenProblem>,
    operations: Arc<Operations>,
    stop: impl Future<Output = ()>,
) {
    let listener = match opened {
        Ok(listener) => listener,
        Err(problem) => {
            operations.listen.send_replace(Some(problem));
            port::open_again(address, &operations.listen).await
        }
    };
    routes::serve_reading(listener, operations, stop).await;
}

/// Runs until `stop`, until a part ends by itself (a bug: the next start has all parts again), or until the state is lost.
async fn until(
    stop: impl Future<Output = ()>,
    lines: &mut JoinSet<()>,
    helpers: &mut JoinSet<()>,
    store: &Store,
    socket: &mut ControlSocket,
    reloaded: &Notify,
) -> Result<(), Error> {
    let keep_socket = async {
        loop {
            socket.look_after().await;
            // A reload is a good moment, too: somebody waits for everything to be in order.
            let _ = timeout(LOOK_AFTER_STATE, reloaded.notified()).await;
        }
    };
    tokio::select! {
        () = stop => Ok(()),
        loss = lost(store) => Err(Error::Lost { loss: loss.message, saved: None, database: store.dir().join(DATABASE) }),
        () = keep_socket => Err(Error::Broken),
        _ = lines.join_next() => Err(Error::Broken),
        _ = helpers.join_next() => Err(Error::Broken),
        () = store.ended() => Err(Error::Broken),
    }
}

/// Waits until the state is lost. Whoever asks is told so for a moment; then it must still be.
async fn lost(store: &Store) -> WriteFailure {
    let mut failures = store.watch_write_failures();
    loop {
        if store.loss().await.is_some() {
            sleep(TELL_OF_LOSS).await;
            if let Some(loss) = store.loss().await {
                return loss;
            }
        }
        // A write or a question may find it sooner.
        let _ =
            timeout(LOOK_AFTER_STATE, failures.wait_for(|failure| failure.as_ref().is_some_and(WriteFailure::is_loss)))
                .await;
    }
}

/// Stops the scheduler and the deliverer. Running hooks get their grace, unless there is a `hurry`.
async fn end(mut lines: JoinSet<()>, mut helpers: JoinSet<()>, deliverer: &Deliverer, hurry: impl Future<Output = ()>) {
    deliverer.stopping.send_replace(true);
    helpers.shutdown().await;
    tokio::pin!(hurry);
    let mut hurried = false;
    loop {
        tokio::select! {
            ended = lines.join_next() => if ended.is_none() { return },
            () = &mut hurry, if !hurried => {
                hurried = true;
                deliverer.cut.send_replace(true);
            }
        }
    }
}

/// Where an agent with this config listens.
fn socket_path(config: &Config) -> PathBuf {
    let default = || config::runtime_directory().unwrap_or_else(|| config.state.clone()).join("control.sock");
    config.socket.clone().unwrap_or_else(default)
}
