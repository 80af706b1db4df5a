//! The serving end.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{FromRequest, Request, State};
use axum::http::{Method, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::Listener;
use axum::{Json, Router};
use futures_util::stream;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use serde::de::DeserializeOwned;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{Semaphore, mpsc, oneshot};
use tokio::time::timeout;
use tracing::debug;

use crate::control::wire::{
    CheckLine, CheckRequest, Health, Leftover, PauseRequest, Paused, PruneRequest, Refusal, Reloaded, RetryLine,
    RetryRequest, Status,
};

/// A request must have come in whole within this, and a connection may idle for so long.
const REQUEST: Duration = Duration::from_secs(30);
/// Connections at a time; more wait.
const CONNECTIONS: usize = 128;

/// What can be asked only.
const READING: [(&str, &str); 5] =
    [("GET", "/v1/status"), ("GET", "/v1/health"), ("GET", "/metrics"), ("GET", "/healthz"), ("GET", "/readyz")];
/// What does something.
const ACTING: [(&str, &str); 5] = [
    ("POST", "/v1/check"),
    ("POST", "/v1/retry"),
    ("POST", "/v1/pause"),
    ("POST", "/v1/prune"),
    ("POST", "/v1/reload"),
];

/// What the socket asks of the agent. A dropped reply means that the agent is stopping.
#[derive(Debug)]
pub enum Command {
    /// Tell all.
    Status(oneshot::Sender<Result<Status, String>>),
    /// Tell what is wrong.
    Health(oneshot::Sender<Result<Health, String>>),
    /// Tell what was counted, in Prometheus' text format.
    Metrics(oneshot::Sender<Result<String, String>>),
    /// Tell whether all parts make progress, or which does not.
    Alive(oneshot::Sender<Result<(), String>>),
    /// Tell whether the checks are current, or why not.
    Current(oneshot::Sender<Result<(), String>>),
    /// Owe deliveries again.
    Retry(RetryRequest, oneshot::Sender<Result<Vec<RetryLine>, Undone>>),
    /// Hold hooks, or let them go.
    Pause(PauseRequest, oneshot::Sender<Result<Paused, Undone>>),
    /// Tell what is left over from an earlier config, or discard it.
    Prune(PruneRequest, oneshot::Sender<Result<Vec<Leftover>, Undone>>),
    /// Go by the config as it is now.
    Reload(oneshot::Sender<Result<Reloaded, Undone>>),
    /// Check now: refuse at once, or tell each result as it comes, and then that this was all.
    Check(CheckRequest, oneshot::Sender<Result<mpsc::Receiver<Told>, String>>),
}

/// Why something was not done.
#[derive(Debug)]
pub enum Undone {
    /// It may not be.
    Refused(String),
    /// It cannot be at the moment.
    Failed(String),
}

/// A part of the answer to [`Command::Check`].
#[derive(Debug)]
pub enum Told {
    /// One result.
    Line(Box<CheckLine>),
    /// That was all. An answer that ends without this was broken off.
    End,
}

const STOPPING: &str = "the agent is stopping; try again";

type Commands = State<mpsc::Sender<Command>>;

/// Binds the socket, for its owner and group only. A socket file that a killed agent left behind is replaced: the
/// caller holds the lock of the state, so nobody listens on it.
pub fn bind(path: &Path) -> std::io::Result<UnixListener> {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    match std::fs::symlink_metadata(path) {
        Ok(meta) if meta.file_type().is_socket() => std::fs::remove_file(path)?,
        Ok(_) => return Err(std::io::Error::new(std::io::ErrorKind::AlreadyExists, "something else lies there")),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o660))?;
    Ok(listener)
}

/// Serves all routes until `stop`.
pub async fn serve(listener: UnixListener, commands: mpsc::Sender<Command>, stop: impl Future<Output = ()>) {
    let routes = reading()
        .route("/v1/check", post(check))
        .route("/v1/retry", post(retry))
        .route("/v1/pause", post(pause))
        .route("/v1/prune", post(prune))
        .route("/v1/reload", post(reload))
        .fallback(not_there)
        .method_not_allowed_fallback(not_so);
    answer(listener, routes.with_state(commands), stop).await;
}

/// Serves the routes that change nothing until `stop`.
pub async fn serve_reading(listener: TcpListener, commands: mpsc::Sender<Command>, stop: impl Future<Output = ()>) {
    let routes = reading().fallback(not_here).method_not_allowed_fallback(not_so);
    answer(listener, routes.with_state(commands), stop).await;
}

/// The routes that change nothing.
fn reading() -> Router<mpsc::Sender<Command>> {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/health", get(health))
        .route("/metrics", get(metrics))
        .route("/healthz", get(alive))
        .route("/readyz", get(current))
}

/// Answers whoever connects, each in a task of its own, so that a slow one keeps nobody waiting. These tasks outlive
/// `stop`: who waits for an answer still has it, or a reason.
async fn answer<L: Listener>(mut listener: L, routes: Router, stop: impl Future<Output = ()>) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    tokio::pin!(stop);
    loop {
        let next = async {
            let place = room.clone().acquire_owned().await;
            (listener.accept().await.0, place)
        };
        let (stream, place) = tokio::select! {
            next = next => next,
            () = &mut stop => return,
        };
        let service = TowerToHyperService::new(routes.clone());
        tokio::spawn(async move {
            let mut http = hyper::server::conn::http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(REQUEST);
            if let Err(why) = http.serve_connection(TokioIo::new(stream), service).await {
                debug!("a connection to the control socket has ended: {why}");
            }
            drop(place);
        });
    }
}

async fn not_there(uri: Uri) -> Response {
    let routes: Vec<String> = READING.iter().chain(&ACTING).map(|(method, path)| format!("{method} {path}")).collect();
    refuse(StatusCode::NOT_FOUND, format!("there is no {:?}; there are {}", uri.path(), routes.join(", ")))
}

async fn not_here(uri: Uri) -> Response {
    let path = uri.path();
    if ACTING.iter().any(|(_, acting)| *acting == path) {
        return refuse(StatusCode::NOT_FOUND, format!("{path} is on the control socket only"));
    }
    let routes = READING.map(|(method, path)| format!("{method} {path}"));
    refuse(StatusCode::NOT_FOUND, format!("there is no {path:?}; there are {}", routes.join(", ")))
}

async fn not_so(method: Method, uri: Uri) -> Response {
    let path = uri.path();
    let right =
        READING.iter().chain(&ACTING).find(|(_, known)| *known == path).map_or("another method", |(way, _)| way);
    refuse(StatusCode::METHOD_NOT_ALLOWED, format!("{path} takes {right}, not {method}"))
}

fn refuse(status: StatusCode, error: String) -> Response {
    (status, Json(Refusal { error })).into_response()
}

/// A body of JSON, whatever its content type says: `curl -d` alone names another one.
struct Given<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Given<T> {
    type Rejection = Response;

    async fn from_request(request: Request, state: &S) -> Result<Self, Response> {
        let late = |_| refuse(StatusCode::REQUEST_TIMEOUT, "the body did not come in time".into());
        let bytes = timeout(REQUEST, Bytes::from_request(request, state)).await.map_err(late)?;
        let bytes = bytes.map_err(|why| refuse(why.status(), why.body_text()))?;
        let wrong =
            |why| refuse(StatusCode::BAD_REQUEST, format!("the body is not the JSON that is taken here: {why}"));
        serde_json::from_slice(&bytes).map(Self).map_err(wrong)
    }
}

async fn status(State(commands): Commands) -> Response {
    match ask(commands, Command::Status).await {
        Ok(status) => Json(status).into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn health(State(commands): Commands) -> Response {
    match ask(commands, Command::Health).await {
        Ok(health) if health.ok => Json(health).into_response(),
        Ok(health) => (StatusCode::SERVICE_UNAVAILABLE, Json(health)).into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn metrics(State(commands): Commands) -> Response {
    match ask(commands, Command::Metrics).await {
        Ok(page) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page).into_response(),
        Err(refused) => refused.into_response(),
    }
}

async fn alive(State(commands): Commands) -> Response {
    probed(ask(commands, Command::Alive).await)
}

async fn current(State(commands): Commands) -> Response {
    probed(ask(commands, Command::Current).await)
}

/// For a probe: a word, or the reason as text.
fn probed(found: Result<(), Refused>) -> Response {
    match found {
        Ok(()) => "ok\n".into_response(),
        Err(Refused(_, why)) => (StatusCode::SERVICE_UNAVAILABLE, why + "\n").into_response(),
    }
}

/// Has the agent tell something, which fails where it cannot read its own state.
async fn ask<T>(
    commands: mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<Result<T, String>>) -> Command,
) -> Result<T, Refused> {
    let (reply, answer) = oneshot::channel();
    let stopping = || Refused(StatusCode::SERVICE_UNAVAILABLE, STOPPING.to_owned());
    let asked = async {
        commands.send(command(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())
    };
    let slow = |_| Refused(StatusCode::SERVICE_UNAVAILABLE, "the agent does not answer".to_owned());
    let answer = timeout(REQUEST, asked).await.map_err(slow)??;
    answer.map_err(|error| Refused(StatusCode::INTERNAL_SERVER_ERROR, error))
}

/// A status, and the reason.
struct Refused(StatusCode, String);

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        refuse(self.0, self.1)
    }
}

async fn retry(State(commands): Commands, Given(request): Given<RetryRequest>) -> Response {
    act(commands, |reply| Command::Retry(request, reply)).await
}

async fn pause(State(commands): Commands, Given(request): Given<PauseRequest>) -> Response {
    act(commands, |reply| Command::Pause(request, reply)).await
}

async fn prune(State(commands): Commands, Given(request): Given<PruneRequest>) -> Response {
    act(commands, |reply| Command::Prune(request, reply)).await
}

async fn reload(State(commands): Commands) -> Response {
    act(commands, Command::Reload).await
}

/// Has the agent do something that it may refuse.
async fn act<T: serde::Serialize>(
    commands: mpsc::Sender<Command>,
    command: impl FnOnce(oneshot::Sender<Result<T, Undone>>) -> Command,
) -> Response {
    let (reply, answer) = oneshot::channel();
    if commands.send(command(reply)).await.is_err() {
        return stopping();
    }
    match answer.await {
        Err(_) => stopping(),
        Ok(Err(Undone::Refused(error))) => refuse(StatusCode::CONFLICT, error),
        Ok(Err(Undone::Failed(error))) => refuse(StatusCode::INTERNAL_SERVER_ERROR, error),
        Ok(Ok(done)) => Json(done).into_response(),
    }
}

async fn check(State(commands): Commands, Given(request): Given<CheckRequest>) -> Response {
    let (reply, answer) = oneshot::channel();
    if commands.send(Command::Check(request, reply)).await.is_err() {
        return stopping();
    }
    match answer.await {
        Err(_) => stopping(),
        Ok(Err(error)) => refuse(StatusCode::NOT_FOUND, error),
        Ok(Ok(lines)) => {
            let body = stream::unfold(lines, |mut lines| async {
                let line = match lines.recv().await {
                    Some(Told::Line(line)) => line,
                    Some(Told::End) => return None,
                    None => return Some((Err(std::io::Error::other("the agent is stopping")), lines)),
                };
                let mut json = serde_json::to_vec(&line).ok()?;
                json.push(b'\n');
                Some((Ok(Bytes::from(json)), lines))
            });
            ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response()
        }
    }
}

fn stopping() -> Response {
    refuse(StatusCode::SERVICE_UNAVAILABLE, STOPPING.to_owned())
}
