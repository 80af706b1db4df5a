//! The doors: HTTP and JSON on the control socket, and the routes that change nothing on `listen`. Each handler calls one
//! method of [`Operations`].

use std::sync::Arc;
use std::task::Context;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, FromRequest, Request, State};
use axum::http::{HeaderMap, Method, StatusCode, Uri, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use futures_util::stream;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

use super::checks::CheckEvent;
use super::connections::{self, Work, WriteLimits};
use super::hosts;
use super::operations::Operations;
use super::pages::{PageRoom, Shared};
use super::socket::Listeners;
use crate::agent::error::Error;
use crate::control::wire::{
    AgentIdentity, CheckRequest, Health, Leftover, PauseRequest, Paused, PruneRequest, Refusal, Reloaded, RetryLine,
    RetryRequest, Status,
};
use crate::control::{AGENT_HEADER, DELIVERY_HEADER};
use crate::domain::shown::shown;

/// The body of a request must have come in whole within this, and an answer that tells something is made within it.
const REQUEST: Duration = Duration::from_secs(30);
/// Checks on demand that are followed at a time. Fewer than a door has connections, so that there is always room to ask how
/// things stand.
const CHECKS: usize = 100;

/// Whoever may use the socket may take their time: a pager, for example.
const SOCKET_LIMITS: WriteLimits = WriteLimits { stalled: Duration::from_secs(60), whole: Duration::from_secs(600) };
const PORT_LIMITS: WriteLimits = WriteLimits { stalled: Duration::from_secs(10), whole: Duration::from_secs(60) };

/// The routes that change nothing.
const READING: [(&str, &str); 5] =
    [("GET", "/v1/status"), ("GET", "/v1/health"), ("GET", "/metrics"), ("GET", "/healthz"), ("GET", "/readyz")];
/// Tells whose socket this is.
const IDENTITY: (&str, &str) = ("GET", "/v1/agent");
/// The routes that do something.
const ACTING: [(&str, &str); 5] = [
    ("POST", "/v1/check"),
    ("POST", "/v1/retry"),
    ("POST", "/v1/pause"),
    ("POST", "/v1/prune"),
    ("POST", "/v1/reload"),
];

/// What the routes of one door share.
struct Door {
    agent: Arc<Operations>,
    room: PageRoom,
    status: Shared<Bytes>,
    metrics: Shared<Bytes>,
    health: Shared<Health>,
    up_to_date: Shared<Result<(), String>>,
    checks: Arc<Semaphore>,
}

type AtDoor = State<Arc<Door>>;

impl Door {
    fn new(agent: Arc<Operations>) -> Arc<Self> {
        Arc::new(Self {
            agent,
            room: PageRoom::new(),
            status: Shared::new(),
            metrics: Shared::new(),
            health: Shared::new(),
            up_to_date: Shared::new(),
            checks: Arc::new(Semaphore::new(CHECKS)),
        })
    }
}

/// Serves all routes until `stop`.
pub(crate) async fn serve(mut listeners: Listeners, agent: Arc<Operations>, stop: impl Future<Output = ()>) {
    let routes = reading(get(status))
        .route("/v1/agent", get(identity))
        .route("/v1/check", post(check))
        .route("/v1/retry", post(retry))
        .route("/v1/pause", post(pause))
        .route("/v1/prune", post(prune))
        .route("/v1/reload", post(reload))
        .fallback(not_there)
        .method_not_allowed_fallback(wrong_method);
    let door = Door::new(agent);
    let routes = routes.layer(from_fn_with_state(door.clone(), for_this_agent)).with_state(door);
    let poll_accept = |context: &mut Context<'_>| listeners.poll_accept(context);
    connections::accept(poll_accept, routes, SOCKET_LIMITS, stop).await;
}

/// Serves the routes that change nothing until `stop`, without what hooks have printed, and to those who ask for a known
/// host.
pub(crate) async fn serve_reading(listener: TcpListener, agent: Arc<Operations>, stop: impl Future<Output = ()>) {
    let routes = reading(get(public_status)).fallback(not_here).method_not_allowed_fallback(wrong_method);
    let door = Door::new(agent);
    let routes = routes.layer(from_fn_with_state(door.clone(), of_known_host)).with_state(door);
    let poll_accept = |context: &mut Context<'_>| listener.poll_accept(context).map_ok(|(stream, _)| stream);
    connections::accept(poll_accept, routes, PORT_LIMITS, stop).await;
}

fn reading(status: MethodRouter<Arc<Door>>) -> Router<Arc<Door>> {
    Router::new()
        .route("/v1/status", status)
        .route("/v1/health", get(health))
        .route("/metrics", get(metrics))
        .route("/healthz", get(alive))
        .route("/readyz", get(up_to_date))
}

/// Answers only who means this agent, or does not say which. Others have the path of an agent that has lost it to this one.
async fn for_this_agent(State(door): AtDoor, request: Request, next: Next) -> Response {
    let meant = request.headers().get(AGENT_HEADER).map_or(&b""[..], |value| value.as_bytes());
    if meant.is_empty() || meant == door.agent.id.as_bytes() {
        return next.run(request).await;
    }
    let (pid, state) = (std::process::id(), door.agent.deliverer.store.dir().display());
    let text = format!("this is not the agent that is meant, but that of the state in {state} (pid {pid})");
    refuse(StatusCode::MISDIRECTED_REQUEST, text)
}

async fn identity(State(door): AtDoor) -> Json<AgentIdentity> {
    Json(AgentIdentity { pid: std::process::id(), state: door.agent.deliverer.store.dir().to_owned() })
}

/// Answers only who asks for a host that is known to be this one. A page in a browser that was lured here by a name of its
/// own (DNS rebinding) sends that name.
async fn of_known_host(State(door): AtDoor, request: Request, next: Next) -> Response {
    let of_uri = request.uri().host().map(str::to_owned);
    let of_header =
        request.headers().get(header::HOST).map(|host| String::from_utf8_lossy(host.as_bytes()).into_owned());
    let config = door.agent.config.borrow().clone();
    // Without any, as in HTTP/1.0, it is no browser.
    match of_uri.or(of_header) {
        Some(host) if !hosts::is_known(&host, &config.allowed_hosts) => {
            let text = format!(
                "{host:?} is not known as a name of this host; ask by IP address, or add the name to `allowed_hosts` in the config"
            );
            refuse(StatusCode::MISDIRECTED_REQUEST, text)
        }
        _ => next.run(request).await,
    }
}

async fn not_there(uri: Uri) -> Response {
    let routes: Vec<String> =
        READING.iter().chain(&ACTING).chain([&IDENTITY]).map(|(method, path)| format!("{method} {path}")).collect();
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
    let right = READING
        .iter()
        .chain(&ACTING)
        .chain([&IDENTITY])
        .find(|(_, known)| *known == path)
        .map_or("another method", |(way, _)| way);
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
        let work = request.extensions().get::<Arc<Work>>().cloned();
        let body = timeout(REQUEST, Bytes::from_request(request, state));
        let bytes = match work {
            Some(work) => work.wait_for_client(body).await,
            None => body.await,
        };
        let bytes = bytes.map_err(late)?;
        let bytes = bytes.map_err(|why| refuse(why.status(), why.body_text()))?;
        let wrong =
            |why| refuse(StatusCode::BAD_REQUEST, format!("the body is not the JSON that is taken here: {why}"));
        serde_json::from_slice(&bytes).map(Self).map_err(wrong)
    }
}

async fn status(State(door): AtDoor) -> Result<Response, Refused> {
    json_page(door, |status| status).await
}

/// Without what hooks have printed: it may hold secrets, and the port has no password.
async fn public_status(State(door): AtDoor) -> Result<Response, Refused> {
    let without_output = |mut status: Status| {
        status.failed.iter_mut().for_each(|failed| failed.last_line = None);
        status
    };
    json_page(door, without_output).await
}

async fn json_page(door: Arc<Door>, shown: fn(Status) -> Status) -> Result<Response, Refused> {
    let page = read(&door, move |door| async move {
        let make = async {
            let json = serde_json::to_vec(&shown(door.agent.status().await?)).map_err(|_| Error::Broken)?;
            Ok(door.room.keep(json).await)
        };
        door.status.get(make).await
    });
    Ok(([(header::CONTENT_TYPE, "application/json")], Body::from(page.await?)).into_response())
}

async fn health(State(door): AtDoor) -> Result<Response, Refused> {
    let health = read(&door, |door| async move { door.health.get(door.agent.health()).await }).await?;
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    Ok((status, Json(health)).into_response())
}

async fn metrics(State(door): AtDoor) -> Result<Response, Refused> {
    let page = read(&door, |door| async move {
        let make = async { Ok(door.room.keep(door.agent.metrics().await?.into_bytes()).await) };
        door.metrics.get(make).await
    });
    let kind = [(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")];
    Ok((kind, Body::from(page.await?)).into_response())
}

async fn alive(State(door): AtDoor) -> Response {
    probe(read(&door, |door| async move { Ok(door.agent.alive().await) }).await)
}

async fn up_to_date(State(door): AtDoor) -> Response {
    let look = |door: Arc<Door>| async move { door.up_to_date.get(async { Ok(door.agent.up_to_date().await) }).await };
    probe(read(&door, look).await)
}

/// For a probe: a word, or the reason as text.
fn probe(found: Result<Result<(), String>, Refused>) -> Response {
    match found.map_err(|Refused(_, why)| why).flatten() {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", shown(&why))).into_response(),
    }
}

async fn retry(State(door): AtDoor, Given(request): Given<RetryRequest>) -> Result<Json<Vec<RetryLine>>, Refused> {
    Ok(Json(run(&door.agent.clone(), async move { door.agent.ledger.retry(request).await }).await?))
}

async fn pause(State(door): AtDoor, Given(request): Given<PauseRequest>) -> Result<Json<Paused>, Refused> {
    Ok(Json(run(&door.agent.clone(), async move { door.agent.ledger.pause(request).await }).await?))
}

async fn prune(State(door): AtDoor, Given(request): Given<PruneRequest>) -> Result<Json<Vec<Leftover>>, Refused> {
    Ok(Json(run(&door.agent.clone(), async move { door.agent.ledger.prune(request).await }).await?))
}

async fn reload(State(door): AtDoor) -> Result<Json<Reloaded>, Refused> {
    Ok(Json(run(&door.agent.clone(), async move { door.agent.reload().await }).await?))
}

async fn check(
    State(door): AtDoor,
    Extension(work): Extension<Arc<Work>>,
    headers: HeaderMap,
    Given(mut request): Given<CheckRequest>,
) -> Response {
    let delivery = headers.get(DELIVERY_HEADER).and_then(|id| id.to_str().ok());
    request.delivery = delivery.filter(|id| !id.is_empty()).map(str::to_owned);
    let Ok(turn) = door.checks.clone().try_acquire_owned() else {
        let text = format!("{CHECKS} checks are waited for already; try again when one of them has ended");
        return refuse(StatusCode::SERVICE_UNAVAILABLE, text);
    };
    let events = match run(&door.agent.clone(), async move { door.agent.check(request).await }).await {
        Ok(events) => events,
        Err(Error::Refused(why)) => {
            return refuse(StatusCode::NOT_FOUND, format!("{why} (after an edit of the config: `taghook reload`)"));
        }
        Err(error) => return Refused::from(error).into_response(),
    };
    // However long the hooks take, the client waits for us, and not we for it.
    let body = stream::unfold((events, work, turn), |(mut events, work, turn)| async {
        let line = match events.recv().await {
            Some(CheckEvent::Result(line)) => line,
            Some(CheckEvent::End) => return None,
            None => return Some((Err(std::io::Error::other("the agent is stopping")), (events, work, turn))),
        };
        let mut json = serde_json::to_vec(&line).ok()?;
        json.push(b'\n');
        Some((Ok(Bytes::from(json)), (events, work, turn)))
    });
    ([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(body)).into_response()
}

/// Has the agent tell something, within a time limit. Beyond it the operation is dropped, so that probes of an agent that
/// stands still do not pile up.
async fn read<T: Send + 'static, F: Future<Output = Result<T, Error>> + Send + 'static>(
    door: &Arc<Door>,
    operation: impl FnOnce(Arc<Door>) -> F,
) -> Result<T, Refused> {
    let operation = operation(door.clone());
    match run(&door.agent, async { Ok(timeout(REQUEST, operation).await) }).await? {
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
