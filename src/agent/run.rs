//! The agent: starts all parts, runs until it is told to stop, and ends them in order.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinSet;
use tracing::{error, info, warn};

use super::error::Error;
use super::parts::{Mode, PATIENCE, Parts};
use super::reload::{Current, Reloader};
use super::serve::operations::Answers;
use super::serve::routes;
use super::serve::signs::{News, Sign, Vitals};
use super::{clock, expiry, failpoint};
use crate::config::Config;
use crate::store::{self, Lock, Store};

/// What a stop may take beyond the grace of the hooks: to end the last of them, and to write what is not on disk.
const TO_END: Duration = Duration::from_secs(30);

/// How often it is made sure that the state is still there: what is written into a removed file is lost.
const LOOK_AFTER_STATE: Duration = Duration::from_secs(60);

/// What an agent tells the world, and is told by it.
pub struct World<Stop, Hurry> {
    /// Hears its signs.
    pub tell: fn(Sign),
    /// How often [`Sign::Alive`] is expected, if it is.
    pub alive: Option<Duration>,
    /// Rung when the config shall be read again.
    pub reload: Arc<Notify>,
    /// When it shall end.
    pub stop: Stop,
    /// Waited for only after `stop`: running hooks are cut before their grace is over.
    pub hurry: Hurry,
}

/// Runs the agent on `config`, which was read from `path`, until it is told to stop.
pub async fn run(
    path: PathBuf,
    config: Config,
    world: World<impl Future<Output = ()>, impl Future<Output = ()>>,
) -> Result<(), Error> {
    let World { tell, alive, reload, stop, hurry } = world;
    tokio::pin!(stop);
    let (socket, listen, watches) = (socket_path(&config), config.listen, config.watches.len());
    let mut lock = tokio::select! {
        lock = Lock::acquire(&config.state, PATIENCE) => lock?,
        () = &mut stop => return Ok(()),
    };
    let parts = Parts::new(config, Mode::Agent).await?;
    let listeners = Listeners::bind(&socket, listen).await?;
    let listens = listeners.reading.as_ref().and_then(|listener| listener.local_addr().ok());
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
    let mut running = Running::start(parts, path, reload, listeners, (tell, alive));
    let ended = running.until(stop, &store, &lock).await;
    tell(Sign::Stopping(current.borrow().shutdown_grace + TO_END));
    info!("stopping");
    failpoint::step("stop: asked");
    // From now on others wait for us to end, instead of asking a socket that does not answer any more.
    let _ = lock.name(None);
    running.end(hurry).await;
    failpoint::step("stop: drained");
    if let Err(error) = store.checkpoint().await {
        error!(kind = error.kind(), "{error}");
    }
    failpoint::step("stop: written back");
    // Where another has taken our place, the socket is theirs.
    if lock.is_in_place() {
        let _ = std::fs::remove_file(&socket);
    }
    drop(lock);
    info!("stopped");
    ended
}

/// Where an agent can be asked.
struct Listeners {
    socket: UnixListener,
    /// For the routes that change nothing.
    reading: Option<TcpListener>,
}

impl Listeners {
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
    /// The scheduler and the deliverer: neither ends before it is told to.
    lines: JoinSet<()>,
    /// The control socket and its answers, what reloads, what forgets, the signs of life: ended without ceremony. Whoever
    /// waits sees the connection break.
    control: JoinSet<()>,
    stopping: watch::Sender<bool>,
    /// Turns true when running hooks must end.
    cut: watch::Sender<bool>,
}

impl Running {
    fn start(
        parts: Parts,
        path: PathBuf,
        hangup: Arc<Notify>,
        listeners: Listeners,
        (tell, alive): (fn(Sign), Option<Duration>),
    ) -> Self {
        let Parts { scheduler, deliverer, config, cut } = parts;
        let (requests, inbox) = mpsc::channel(64);
        let (commands, asked) = mpsc::channel(64);
        let (stopping, stopped) = watch::channel(false);
        let until_stopped = || {
            let mut stopped = stopped.clone();
            async move { drop(stopped.wait_for(|stopped| *stopped).await) }
        };
        let (store, bell) = (deliverer.store.clone(), deliverer.bell.clone());
        let forgetting = expiry::serve(store.clone(), config.subscribe());
        let (current, as_loaded) = watch::channel(Current { path: path.clone(), loaded: clock::now(), error: None });
        let (reload, reloads) = mpsc::channel(8);
        let news = News { checks: scheduler.news.clone(), ended: deliverer.ended.subscribe() };
        let (ping, pings) = mpsc::channel(1);
        let vitals = Vitals {
            scheduler: requests.clone(),
            deliverer: ping,
            store: store.clone(),
            current: as_loaded.clone(),
            tell,
        };
        let reloader = Reloader { path, store, requests: requests.clone(), config, current, bell, tell };
        let answers =
            Answers { requests, deliverer: deliverer.clone(), reload, config: as_loaded, vitals: vitals.clone() };
        let (mut lines, mut control) = (JoinSet::new(), JoinSet::new());
        lines.spawn(scheduler.run(inbox, until_stopped()));
        lines.spawn(deliverer.serve(until_stopped(), cut.clone(), pings));
        control.spawn(vitals.clone().tell_standing(news));
        if let Some(every) = alive {
            control.spawn(vitals.tell_alive(every));
        }
        if let Some(reading) = listeners.reading {
            control.spawn(routes::serve_reading(reading, commands.clone(), until_stopped()));
        }
        control.spawn(routes::serve(listeners.socket, commands, until_stopped()));
        control.spawn(answers.serve(asked, until_stopped()));
        control.spawn(forgetting);
        control.spawn(reloader.serve(reloads, hangup));
        Self { lines, control, stopping, cut }
    }

    /// Runs until `stop`, or until a part that must not end has ended or the state is gone.
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

    /// Ends all in order: hooks have their grace, unless there is a hurry.
    async fn end(&mut self, hurry: impl Future<Output = ()>) {
        self.stopping.send_replace(true);
        self.control.shutdown().await;
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

/// Where an agent on this config listens.
fn socket_path(config: &Config) -> PathBuf {
    let runtime = || std::env::var_os("RUNTIME_DIRECTORY").map(PathBuf::from).filter(|path| path.is_absolute());
    config.socket.clone().unwrap_or_else(|| runtime().unwrap_or_else(|| config.state.clone()).join("control.sock"))
}

/// The socket of the agent that works on a state, if one says that it does.
pub fn socket_of(state: &Path) -> Option<PathBuf> {
    store::owner(state).and_then(|owner| owner.socket)
}
