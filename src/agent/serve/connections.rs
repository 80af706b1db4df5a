//! Accepting connections, and ending those whose clients keep others waiting.
//!
//! *Invariant:* each door has places of its own, and nobody waits for one while a client holds it that sends nothing or
//! takes nothing: the one that has done so for longest is sent away. While somebody waits, a connection serves one request.

use std::convert::Infallible;
use std::io::{self, ErrorKind};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Weak};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::{Notify, OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep, sleep_until, timeout};
use tracing::{debug, error, info};

/// The head of a request must have come in whole within this, and a connection may idle for as long.
const HEAD_TIMEOUT: Duration = Duration::from_secs(30);
/// Connections that a door serves at a time; more wait.
const CONNECTIONS: usize = 128;
/// How often to look again for a connection to send away, while all places are held by those that are served.
const LOOK_AGAIN: Duration = Duration::from_secs(1);
/// The pause after a connection could not be accepted, for want of file descriptors as a rule.
const ACCEPT_RETRY: Duration = Duration::from_secs(1);

/// How long an answer may take to be taken.
#[derive(Clone, Copy)]
pub(super) struct WriteLimits {
    /// Without a byte of it being taken.
    pub(super) stalled: Duration,
    /// All in all.
    pub(super) whole: Duration,
}

/// Serves connections until `stop`, each in a task of its own. These tasks outlive `stop`: whoever waits for an answer still
/// gets it, or a reason.
pub(super) async fn accept<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>,
    routes: Router,
    limits: WriteLimits,
    stop: impl Future<Output = ()>,
) {
    let mut places = Places::new();
    tokio::pin!(stop);
    loop {
        let next = async {
            let stream = next_stream(&mut poll_accept).await;
            (stream, places.take().await)
        };
        let (stream, (place, client)) = tokio::select! {
            next = next => next,
            () = &mut stop => return,
        };
        tokio::spawn(serve(stream, client, place, routes.clone(), limits));
    }
}

/// The next connection. What keeps all of them out is logged once, and tried again at intervals.
async fn next_stream<S>(mut poll_accept: impl FnMut(&mut Context<'_>) -> Poll<io::Result<S>>) -> S {
    let mut has_failed = false;
    loop {
        match std::future::poll_fn(&mut poll_accept).await {
            Ok(stream) => {
                if has_failed {
                    info!("connections are accepted again");
                }
                return stream;
            }
            // The client has gone already.
            Err(why) if matches!(why.kind(), ErrorKind::ConnectionAborted | ErrorKind::ConnectionReset) => {}
            Err(why) => {
                if !std::mem::replace(&mut has_failed, true) {
                    error!("cannot accept connections: {why}; are there too few file descriptors (LimitNOFILE)?");
                }
                sleep(ACCEPT_RETRY).await;
            }
        }
    }
}

async fn serve<S: AsyncRead + AsyncWrite + Unpin + Send + 'static>(
    stream: S,
    client: Arc<Client>,
    place: OwnedSemaphorePermit,
    routes: Router,
    limits: WriteLimits,
) {
    let answer = |mut request: Request<Incoming>| {
        let work = Arc::new(Work::begin(client.clone()));
        request.extensions_mut().insert(work.clone());
        let routes = TowerToHyperService::new(routes.clone());
        async move {
            let mut answer = hyper::service::Service::call(&routes, request.map(Body::new)).await?;
            if work.are_others_waiting() {
                answer.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
            }
            Ok::<_, Infallible>(answer)
        }
    };
    let mut http = hyper::server::conn::http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
    let stream = LimitedWrites { stream, client: client.clone(), limits, stall: None };
    tokio::select! {
        ended = http.serve_connection(TokioIo::new(stream), service_fn(answer)) => if let Err(why) = ended {
            debug!("a connection has ended: {why}");
        },
        () = client.leave.notified() => debug!("a connection was closed for others that wait"),
    }
    drop(place);
}

/// The places of a door.
struct Places {
    free: Arc<Semaphore>,
    taken: Vec<Weak<Client>>,
    /// Whether somebody waits for one.
    are_full: Arc<AtomicBool>,
}

impl Places {
    fn new() -> Self {
        Self { free: Arc::new(Semaphore::new(CONNECTIONS)), taken: Vec::new(), are_full: Arc::default() }
    }

    /// A place for one more connection, as soon as there is one.
    async fn take(&mut self) -> (OwnedSemaphorePermit, Arc<Client>) {
        let place = loop {
            let free = self.free.clone().try_acquire_owned();
            self.are_full.store(free.is_err(), Relaxed);
            if let Ok(place) = free {
                break place;
            }
            self.send_one_away();
            // While all are served, one of them may begin to keep us waiting.
            if let Ok(Ok(place)) = timeout(LOOK_AGAIN, self.free.clone().acquire_owned()).await {
                break place;
            }
        };
        let client = Arc::new(Client::new(self.are_full.clone()));
        self.taken.retain(|client| client.strong_count() > 0);
        self.taken.push(Arc::downgrade(&client));
        (place, client)
    }

    /// Closes the connection whose client has kept us waiting for longest.
    fn send_one_away(&self) {
        let clients = self.taken.iter().filter_map(Weak::upgrade);
        let waited_for = clients.filter_map(|client| Some((client.waited_for_since()?, client)));
        if let Some((_, client)) = waited_for.min_by_key(|(since, _)| *since) {
            client.leave.notify_one();
        }
    }
}

/// The client of a connection, and since when it keeps us waiting.
struct Client {
    came: Instant,
    /// Since when no request of it is worked on, in ms after `came`; [`NEVER`] while one is.
    quiet: AtomicU64,
    /// Since when it has not taken all that it was sent, in ms after `came`; [`NEVER`] if it has.
    behind: AtomicU64,
    leave: Notify,
    /// Whether others wait for a place.
    others_wait: Arc<AtomicBool>,
}

const NEVER: u64 = u64::MAX;

impl Client {
    fn new(others_wait: Arc<AtomicBool>) -> Self {
        let (quiet, behind) = (AtomicU64::new(0), AtomicU64::new(NEVER));
        Self { came: Instant::now(), quiet, behind, leave: Notify::new(), others_wait }
    }

    fn now(&self) -> u64 {
        u64::try_from(self.came.elapsed().as_millis()).unwrap_or(NEVER - 1)
    }

    fn waited_for_since(&self) -> Option<Instant> {
        let since = self.quiet.load(Relaxed).min(self.behind.load(Relaxed));
        (since != NEVER).then(|| self.came + Duration::from_millis(since))
    }

    /// Since when it has not taken all; it has not taken all now.
    fn is_behind(&self) -> Instant {
        let now = self.now();
        let since = self.behind.fetch_min(now, Relaxed).min(now);
        self.came + Duration::from_millis(since)
    }
}

/// A request that is worked on. While it lasts, its client waits for us; else we wait for the client.
pub(super) struct Work(Arc<Client>);

impl Work {
    fn begin(client: Arc<Client>) -> Self {
        client.quiet.store(NEVER, Relaxed);
        Self(client)
    }

    fn are_others_waiting(&self) -> bool {
        self.0.others_wait.load(Relaxed)
    }

    /// Waits for something that the client has to send.
    pub(super) async fn wait_for_client<T>(&self, what: impl Future<Output = T>) -> T {
        self.0.quiet.store(self.0.now(), Relaxed);
        let came = what.await;
        self.0.quiet.store(NEVER, Relaxed);
        came
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.quiet.store(self.0.now(), Relaxed);
    }
}

/// A stream whose writes have a time limit.
struct LimitedWrites<S> {
    stream: S,
    client: Arc<Client>,
    limits: WriteLimits,
    /// Set while a write makes no progress; when it has taken too long.
    stall: Option<Pin<Box<Sleep>>>,
}

impl<S> LimitedWrites<S> {
    /// Fails a write that has made no progress for too long.
    fn limit(&mut self, context: &mut Context<'_>, written: Poll<io::Result<usize>>) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.stall = None;
            return written;
        }
        let whole = self.client.is_behind() + self.limits.whole;
        let until = whole.min(Instant::now() + self.limits.stalled);
        ready!(self.stall.get_or_insert_with(|| Box::pin(sleep_until(until))).as_mut().poll(context));
        Poll::Ready(Err(io::Error::new(ErrorKind::TimedOut, "the client does not take its answer")))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for LimitedWrites<S> {
    fn poll_read(mut self: Pin<&mut Self>, context: &mut Context<'_>, into: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(context, into)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for LimitedWrites<S> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.limit(context, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        parts: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(context, parts);
        self.limit(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    /// hyper flushes when it has written all that it had.
    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(Pin::new(&mut self.stream).poll_flush(context))?;
        self.client.behind.store(NEVER, Relaxed);
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
