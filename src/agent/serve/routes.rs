//! The doors: HTTP and JSON on the control socket, and the routes that change nothing on `listen`. Each handler calls one
//! method of [`Operations`].

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
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tracing::debug;

use super::checks::CheckEvent;
use super::operations::Operations;
use crate::agent::error::Error;
use crate::control::wire::{
    CheckRequest, Leftover, PauseRequest, Paused, PruneRequest, Refusal, Reloaded, RetryLine, RetryRequest, Status,
};
use crate::domain::shown::shown;

/// A request must have come in whole within this, and a connection may idle for as long.
const REQUEST: Duration = Duration::from_secs(30);
/// Connections that are served at a time; more wait.
const CONNECTIONS: usize = 128;

/// The routes that change nothing.
const READING: [(&str, &str); 5] =
    [("GET", "/v1/status"), ("GET", "/v1/health"), ("GET", "/metrics"), ("GET", "/healthz"), ("GET", "/readyz")];
/// The routes that do something.
const ACTING: [(&str, &str); 5] = [
    ("POST", "/v1/check"),
    ("POST", "/v1/retry"),
    ("POST", "/v1/pause"),
    ("POST", "/v1/prune"),
    ("POST", "/v1/reload"),
];

type Agent = State<Arc<Operations>>;

/// Binds the socket, for its owner and group only. A socket file that a killed agent left behind is replaced: the
/// caller holds the lock of the state, so nobody listens on it.
pub(crate) fn bind(path: &Path) -> std::io::Result<UnixListener> {
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
pub(crate) async fn serve(listener: UnixListener, operations: Arc<Operations>, stop: impl Future<Output = ()>) {
    let routes = reading()
        .route("/v1/check", post(check))
        .route("/v1/retry", post(retry))
        .route("/v1/pause", post(pause))
        .route("/v1/prune", post(prune))
        .route("/v1/reload", post(reload))
        .fallback(not_there)
        .method_not_allowed_fallback(wrong_method);
    accept(listener, routes.with_state(operations), stop).await;
}

/// Serves the routes that change nothing until `stop`.
pub(crate) async fn serve_reading(listener: TcpListener, operations: Arc<Operations>, stop: impl Future<Output = ()>) {
    let routes = reading().fallback(not_here).method_not_allowed_fallback(wrong_method);
    accept(listener, routes.with_state(operations), stop).await;
}

fn reading() -> Router<Arc<Operations>> {
    Router::new()
        .route("/v1/status", get(status))
        .route("/v1/health", get(health))
        .route("/metrics", get(metrics))
        .route("/healthz", get(alive))
        .route("/readyz", get(up_to_date))
}

/// Serves each connection in a task of its own, so that a slow one keeps nobody waiting. These tasks outlive `stop`:
/// whoever waits for an answer still gets it, or a reason.
async fn accept<L: Listener>(mut listener: L, routes: Router, stop: impl Future<Output = ()>) {
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

async fn wrong_method(method: Method, uri: Uri) -> Response {
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

async fn status(State(agent): Agent) -> Result<Json<Status>, Refused> {
    read(&agent.clone(), async move { agent.status().await }).await.map(Json)
}

async fn health(State(agent): Agent) -> Result<Response, Refused> {
    let health = read(&agent.clone(), async move { agent.health().await }).await?;
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(health)).into_response())
}

async fn metrics(State(agent): Agent) -> Result<impl IntoResponse, Refused> {
    let page = read(&agent.clone(), async move { agent.metrics().await }).await?;
    Ok(([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], page))
}

async fn alive(State(agent): Agent) -> Response {
    probe(read(&agent.clone(), async move { Ok(agent.alive().await) }).await)
}

async fn up_to_date(State(agent): Agent) -> Response {
    probe(read(&agent.clone(), async move { Ok(agent.up_to_date().await) }).await)
}

/// For a probe: a word, or the reason as text.
fn probe(found: Result<Result<(), String>, Refused>) -> Response {
    match found.map_err(|Refused(_, why)| why).flatten() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", shown(&why))).into_response(),
    }
}

async fn retry(State(agent): Agent, Given(request): Given<RetryRequest>) -> Result<Json<Vec<RetryLine>>, Refused> {
    Ok(Json(run(&agent.clone(), async move { agent.ledger.retry(request).await }).await?))
}

async fn pause(State(agent): Agent, Given(request): Given<PauseRequest>) -> Result<Json<Paused>, Refused> {
    Ok(Json(run(&agent.clone(), async move { agent.ledger.pause(request).await }).await?))
}

async fn prune(State(agent): Agent, Given(request): Given<PruneRequest>) -> Result<Json<Vec<Leftover>>, Refused> {
    Ok(Json(run(&agent.clone(), async move { agent.ledger.prune(request).await }).await?))
}

async fn reload(State(agent): Agent) -> Result<Json<Reloaded>, Refused> {
    Ok(Json(run(&agent.clone(), async move { agent.reload().await }).await?))
}

async fn check(State(agent): Agent, Given(request): Given<CheckRequest>) -> Response {
    let events = match run(&agent.clone(), async move { agent.check(request).await }).await {
        Ok(events) => events,
        Err(Error::Refused(why)) => {
            return refuse(StatusCode::NOT_FOUND, format!("{why} (after an edit of the config: `taghook reload`)"));
        }
        Err(error) => return Refused::from(error).into_response(),
    };
    let body = stream::unfold(events, |mut events| async {
        let line = match events.recv().await {
            Some(CheckEvent::Result(line)) => line,
            Some(CheckEvent::End) => return None,
            None => return Some((Err(std::io::Error::other("the agent is stopping")), events)),
        };
        let mut json = serde_json::to_vec(&line).ok()?;
        json.push(b'\n');
        Some((Ok(Bytes::from(json)), events))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response()
}

/// Has the agent tell something, within a time limit. Beyond it the operation is dropped, so that probes of an agent that
/// stands still do not pile up.
async fn read<T: Send + 'static>(
    agent: &Operations,
    operation: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Refused> {
    match run(agent, async { Ok(timeout(REQUEST, operation).await) }).await? {
        Ok(answer) => answer.map_err(Refused::from),
        Err(_) => Err(Refused(StatusCode::SERVICE_UNAVAILABLE, "the agent does not answer".to_owned())),
    }
}

/// Runs an operation in a task of its own, so that it goes on to its end even if the client hangs up. A stop of the agent
/// ends it, or keeps it from beginning.
async fn run<T: Send + 'static>(
    agent: &Operations,
    operation: impl Future<Output = Result<T, Error>> + Send + 'static,
) -> Result<T, Error> {
    let stopped = agent.deliverer.stopped();
    let task = tokio::spawn(async move {
        tokio::select! {
            biased;
            () = stopped => Err(Error::Stopping),
            done = operation => done,
        }
    });
    task.await.unwrap_or(Err(Error::Broken))
}

/// Why an operation came to nothing.
struct Refused(StatusCode, String);

impl From<Error> for Refused {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Refused(_) => StatusCode::CONFLICT,
            Error::Stopping => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self(status, error.to_string())
    }
}

impl IntoResponse for Refused {
    fn into_response(self) -> Response {
        refuse(self.0, self.1)
    }
}
