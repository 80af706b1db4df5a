//! The client of the control socket.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::{sleep, timeout};

use super::wire::{
    AgentIdentity, CheckLine, CheckRequest, Leftover, PauseRequest, Paused, PruneRequest, Refusal, Reloaded, RetryLine,
    RetryRequest, Status,
};

/// How long to wait for an agent's answer. One that takes longer hangs.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// How long to wait for a reload. The agent limits how long a reload may wait for its disk; this allows for two,
/// because another reload may be under way.
const RELOAD_TIMEOUT: Duration = Duration::from_secs(130);
/// The pause before another try to connect, while the agent has more connections than it has accepted.
const CONNECT_RETRY: Duration = Duration::from_millis(20);
/// The header that names the agent that a request is meant for.
pub const AGENT_HEADER: &str = "taghook-agent";
/// The header with the id of the delivery whose hook asks.
pub const DELIVERY_HEADER: &str = "taghook-delivery";
/// The largest response that is read. A status of 100,000 watches has about 60 MB.
const MAX_RESPONSE_BYTES: usize = 256 * 1024 * 1024;

/// A connection to a running agent.
pub struct Client {
    socket: std::path::PathBuf,
    sender: SendRequest<Full<Bytes>>,
    /// The id of the agent that is meant, if it is known.
    agent: Option<String>,
    /// The id of the delivery whose hook asks, if one does.
    delivery: Option<String>,
}

/// Why a request to the agent failed.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens on the socket, so no agent runs.
    #[error("no agent listens on {socket:?}: {source}", socket = .socket.display().to_string())]
    Unreachable { socket: std::path::PathBuf, source: std::io::Error },
    /// The agent runs, but this user may not connect to its socket.
    #[error("an agent runs, but {socket:?} may not be used: {source}; be a member of its group, or use sudo",
        socket = .socket.display().to_string())]
    Forbidden { socket: std::path::PathBuf, source: std::io::Error },
    /// Whoever answers is not the agent that is meant.
    #[error("not the agent of this state answers on {socket:?}: {answer}", socket = .socket.display().to_string())]
    OtherAgent { socket: std::path::PathBuf, answer: String },
    /// The agent did not answer in time.
    #[error("the agent does not answer; see `systemctl status taghook` and the journal")]
    Timeout,
    /// The agent stopped while it was sending the results of a check.
    #[error("the agent stopped before all was checked; what is owed stays owed")]
    BrokenOff,
    /// The agent refused the request, with this message.
    #[error("{0}")]
    Refused(String),
    /// The agent could not carry out the request, for this reason.
    #[error("{0}")]
    Failed(String),
    /// The connection broke, or the answer is not one that we know.
    #[error("the agent broke off: {0}; is it of another version?")]
    Protocol(String),
}

fn protocol(error: impl std::fmt::Display) -> Error {
    Error::Protocol(error.to_string())
}

impl Client {
    /// Connects to whichever agent listens on this socket.
    pub async fn connect(socket: &Path) -> Result<Self, Error> {
        Self::connect_to(socket, None).await
    }

    /// Connects to the agent that listens on this socket, and makes sure that it is the one with this id.
    pub async fn connect_to(socket: &Path, agent: Option<String>) -> Result<Self, Error> {
        let mut client = Self { socket: socket.to_owned(), sender: dial(socket).await?, agent, delivery: None };
        if client.agent.is_some() {
            client.identity().await.map_err(|why| match why {
                Error::Refused(answer) => Error::OtherAgent { socket: socket.to_owned(), answer },
                other => other,
            })?;
        }
        Ok(client)
    }

    async fn identity(&mut self) -> Result<AgentIdentity, Error> {
        read_json(self.ask(Method::GET, "/v1/agent", Vec::new()).await?).await
    }

    /// The status of the agent and all its watches.
    pub async fn status(&mut self) -> Result<Status, Error> {
        let response = self.ask(Method::GET, "/v1/status", Vec::new()).await?;
        read_json(response).await
    }

    /// Retries deliveries.
    pub async fn retry(&mut self, request: &RetryRequest) -> Result<Vec<RetryLine>, Error> {
        self.post("/v1/retry", request).await
    }

    /// Pauses or resumes the hooks of watches.
    pub async fn pause(&mut self, request: &PauseRequest) -> Result<Paused, Error> {
        self.post("/v1/pause", request).await
    }

    /// Lists or discards the deliveries that are left over from an earlier config.
    pub async fn prune(&mut self, request: &PruneRequest) -> Result<Vec<Leftover>, Error> {
        self.post("/v1/prune", request).await
    }

    /// Makes the agent reload its config.
    pub async fn reload(&mut self) -> Result<Reloaded, Error> {
        read_json(self.ask_within(RELOAD_TIMEOUT, Method::POST, "/v1/reload", Vec::new()).await?).await
    }

    async fn post<T: serde::de::DeserializeOwned>(
        &mut self,
        path: &str,
        request: &impl serde::Serialize,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(request).map_err(protocol)?;
        read_json(self.ask(Method::POST, path, body).await?).await
    }

    /// Checks watches now and calls `on_line` with each result as it arrives.
    ///
    /// There is no timeout here: the agent limits each check and each hook by a timeout of its own, and a broken
    /// connection ends the wait.
    pub async fn check(&mut self, request: &CheckRequest, mut on_line: impl FnMut(CheckLine)) -> Result<(), Error> {
        let body = serde_json::to_vec(request).map_err(protocol)?;
        self.delivery.clone_from(&request.delivery);
        let mut body = self.ask(Method::POST, "/v1/check", body).await?.into_body();
        let mut unread = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(|_| Error::BrokenOff)?.into_data() {
                unread.extend_from_slice(&data);
            }
            while let Some(end) = unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = unread.drain(..=end).collect();
                on_line(serde_json::from_slice(&line).map_err(protocol)?);
            }
        }
        Ok(())
    }

    async fn ask(&mut self, method: Method, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, Error> {
        self.ask_within(ANSWER_TIMEOUT, method, path, body).await
    }

    async fn ask_within(
        &mut self,
        limit: Duration,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "taghook")
            .header(header::CONTENT_TYPE, "application/json")
            .header(AGENT_HEADER, self.agent.as_deref().unwrap_or_default())
            .header(DELIVERY_HEADER, self.delivery.as_deref().unwrap_or_default())
            .body(Full::new(Bytes::from(body)))
            .map_err(protocol)?;
        let is_open = timeout(limit, self.sender.ready()).await.map_err(|_| Error::Timeout)?;
        if is_open.is_err() {
            // While others wait, the agent serves one request on each connection.
            self.sender = dial(&self.socket).await?;
        }
        let answer = timeout(limit, self.sender.send_request(request)).await;
        let response = answer.map_err(|_| Error::Timeout)?.map_err(protocol)?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let body = timeout(ANSWER_TIMEOUT, Limited::new(response.into_body(), 64 * 1024).collect()).await;
        let body = body.map_err(|_| Error::Timeout)?.map_err(protocol)?.to_bytes();
        let refusal: Result<Refusal, _> = serde_json::from_slice(&body);
        Err(match refusal {
            Err(_) => Error::Protocol(format!("status {status}")),
            Ok(refusal) if status.is_server_error() => Error::Failed(refusal.error),
            Ok(refusal) => Error::Refused(refusal.error),
        })
    }
}

async fn dial(socket: &Path) -> Result<SendRequest<Full<Bytes>>, Error> {
    let stream = timeout(ANSWER_TIMEOUT, connect(socket)).await.map_err(|_| Error::Timeout)??;
    let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(protocol)?;
    tokio::spawn(connection);
    Ok(sender)
}

/// Connects once there is room in the queue of the socket: a full one says that somebody is there, and busy.
async fn connect(socket: &Path) -> Result<UnixStream, Error> {
    loop {
        let source = match UnixStream::connect(socket).await {
            Ok(stream) => return Ok(stream),
            Err(source) => source,
        };
        let socket = socket.to_owned();
        match source.kind() {
            std::io::ErrorKind::WouldBlock => sleep(CONNECT_RETRY).await,
            std::io::ErrorKind::PermissionDenied => return Err(Error::Forbidden { socket, source }),
            _ => return Err(Error::Unreachable { socket, source }),
        }
    }
}

/// Reads and parses the whole body of a response.
async fn read_json<T: serde::de::DeserializeOwned>(response: Response<Incoming>) -> Result<T, Error> {
    let body = timeout(ANSWER_TIMEOUT, Limited::new(response.into_body(), MAX_RESPONSE_BYTES).collect()).await;
    let body = body.map_err(|_| Error::Timeout)?.map_err(protocol)?.to_bytes();
    serde_json::from_slice(&body).map_err(protocol)
}
