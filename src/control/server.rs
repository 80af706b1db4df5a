//! The serving end.

use std::path::Path;

use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use futures_util::stream;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::wire::{
    CheckLine, CheckRequest, Leftover, PauseRequest, Paused, PruneRequest, Refusal, Reloaded, RetryLine, RetryRequest,
    Status,
};

/// What the socket asks of the agent. A dropped reply means that the agent is stopping.
#[derive(Debug)]
pub enum Command {
    /// Tell all.
    Status(oneshot::Sender<Result<Status, String>>),
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

/// Serves until `stop`.
pub async fn serve(
    listener: UnixListener,
    commands: mpsc::Sender<Command>,
    stop: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/v1/status", get(status))
        .route("/v1/check", post(check))
        .route("/v1/retry", post(retry))
        .route("/v1/pause", post(pause))
        .route("/v1/prune", post(prune))
        .route("/v1/reload", post(reload))
        .with_state(commands);
    axum::serve(listener, routes).with_graceful_shutdown(stop).await
}

async fn status(State(commands): State<mpsc::Sender<Command>>) -> Response {
    let (reply, answer) = oneshot::channel();
    if commands.send(Command::Status(reply)).await.is_err() {
        return stopping();
    }
    match answer.await {
        Err(_) => stopping(),
        Ok(Err(error)) => (StatusCode::INTERNAL_SERVER_ERROR, Json(Refusal { error })).into_response(),
        Ok(Ok(status)) => Json(status).into_response(),
    }
}

async fn retry(State(commands): State<mpsc::Sender<Command>>, Json(request): Json<RetryRequest>) -> Response {
    act(commands, |reply| Command::Retry(request, reply)).await
}

async fn pause(State(commands): State<mpsc::Sender<Command>>, Json(request): Json<PauseRequest>) -> Response {
    act(commands, |reply| Command::Pause(request, reply)).await
}

async fn prune(State(commands): State<mpsc::Sender<Command>>, Json(request): Json<PruneRequest>) -> Response {
    act(commands, |reply| Command::Prune(request, reply)).await
}

async fn reload(State(commands): State<mpsc::Sender<Command>>) -> Response {
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
        Ok(Err(Undone::Refused(error))) => (StatusCode::CONFLICT, Json(Refusal { error })).into_response(),
        Ok(Err(Undone::Failed(error))) => (StatusCode::INTERNAL_SERVER_ERROR, Json(Refusal { error })).into_response(),
        Ok(Ok(done)) => Json(done).into_response(),
    }
}

async fn check(State(commands): State<mpsc::Sender<Command>>, Json(request): Json<CheckRequest>) -> Response {
    let (reply, answer) = oneshot::channel();
    if commands.send(Command::Check(request, reply)).await.is_err() {
        return stopping();
    }
    match answer.await {
        Err(_) => stopping(),
        Ok(Err(error)) => (StatusCode::NOT_FOUND, Json(Refusal { error })).into_response(),
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
    let error = "the agent is stopping; try again".to_owned();
    (StatusCode::SERVICE_UNAVAILABLE, Json(Refusal { error })).into_response()
}
