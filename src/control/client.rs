//! The asking end.

use std::path::Path;
use std::time::Duration;

use http_body_util::{BodyExt, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::client::conn::http1::{SendRequest, handshake};
use hyper::{Method, Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;
use tokio::time::timeout;

use super::wire::{
    CheckLine, CheckRequest, Leftover, PauseRequest, Paused, PruneRequest, Refusal, Reloaded, RetryLine, RetryRequest,
    Status,
};

/// An agent answers this fast, or it hangs.
const ANSWER: Duration = Duration::from_secs(10);
/// To reload takes as long as the agent gives its disk, twice: another reload may be under way.
const RELOAD: Duration = Duration::from_secs(130);
/// A status of 100,000 watches has about 60 MB.
const LARGEST: usize = 256 * 1024 * 1024;

/// A connection to a running agent.
pub struct Client {
    sender: SendRequest<Full<Bytes>>,
}

/// What can go wrong with a running agent.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Nobody listens: no agent runs.
    #[error("no agent listens on {socket:?}: {source}", socket = .socket.display().to_string())]
    Unreachable {
        /// The socket.
        socket: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// The agent runs, and we may not talk to it.
    #[error("an agent runs, but {socket:?} may not be used: {source}; be a member of its group, or use sudo",
        socket = .socket.display().to_string())]
    Forbidden {
        /// The socket.
        socket: std::path::PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It did not answer in time.
    #[error("the agent does not answer; see `systemctl status taghook` and the journal")]
    Timeout,
    /// It stopped in the middle.
    #[error("the agent stopped before all was checked; what is owed stays owed")]
    BrokenOff,
    /// It refused.
    #[error("{0}")]
    Refused(String),
    /// It cannot at the moment.
    #[error("{0}")]
    Failed(String),
    /// It broke off, or talks otherwise than we expect.
    #[error("the agent broke off: {0}; is it of another version?")]
    Protocol(String),
}

fn protocol(error: impl std::fmt::Display) -> Error {
    Error::Protocol(error.to_string())
}

impl Client {
    /// Connects to the agent that listens on this socket.
    pub async fn connect(socket: &Path) -> Result<Self, Error> {
        let stream = timeout(ANSWER, UnixStream::connect(socket)).await.map_err(|_| Error::Timeout)?;
        let stream = stream.map_err(|source| {
            let socket = socket.to_owned();
            match source.kind() {
                std::io::ErrorKind::PermissionDenied => Error::Forbidden { socket, source },
                _ => Error::Unreachable { socket, source },
            }
        })?;
        let (sender, connection) = handshake(TokioIo::new(stream)).await.map_err(protocol)?;
        tokio::spawn(connection);
        Ok(Self { sender })
    }

    /// All that the agent knows of all watches.
    pub async fn status(&mut self) -> Result<Status, Error> {
        let response = self.ask(Method::GET, "/v1/status", Vec::new()).await?;
        whole(response).await
    }

    /// Owes deliveries again.
    pub async fn retry(&mut self, request: &RetryRequest) -> Result<Vec<RetryLine>, Error> {
        self.act("/v1/retry", request).await
    }

    /// Holds the hooks of watches, or lets them go.
    pub async fn pause(&mut self, request: &PauseRequest) -> Result<Paused, Error> {
        self.act("/v1/pause", request).await
    }

    /// Tells what is left over from an earlier config, or discards it.
    pub async fn prune(&mut self, request: &PruneRequest) -> Result<Vec<Leftover>, Error> {
        self.act("/v1/prune", request).await
    }

    /// Has the agent go by the config as it is now.
    pub async fn reload(&mut self) -> Result<Reloaded, Error> {
        whole(self.ask_within(RELOAD, Method::POST, "/v1/reload", Vec::new()).await?).await
    }

    async fn act<T: serde::de::DeserializeOwned>(
        &mut self,
        path: &str,
        request: &impl serde::Serialize,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(request).map_err(protocol)?;
        whole(self.ask(Method::POST, path, body).await?).await
    }

    /// Has watches checked now; each result is handed on as it comes.
    ///
    /// There is no limit in time here: the agent bounds each check and each hook by its own timeouts, and a broken
    /// connection ends the wait.
    pub async fn check(&mut self, request: &CheckRequest, mut line: impl FnMut(CheckLine)) -> Result<(), Error> {
        let body = serde_json::to_vec(request).map_err(protocol)?;
        let mut body = self.ask(Method::POST, "/v1/check", body).await?.into_body();
        let mut rest = Vec::new();
        while let Some(frame) = body.frame().await {
            if let Ok(data) = frame.map_err(|_| Error::BrokenOff)?.into_data() {
                rest.extend_from_slice(&data);
            }
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let whole: Vec<u8> = rest.drain(..=end).collect();
                line(serde_json::from_slice(&whole).map_err(protocol)?);
            }
        }
        Ok(())
    }

    async fn ask(&mut self, method: Method, path: &str, body: Vec<u8>) -> Result<Response<Incoming>, Error> {
        self.ask_within(ANSWER, method, path, body).await
    }

    async fn ask_within(
        &mut self,
        patience: Duration,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> Result<Response<Incoming>, Error> {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "taghook")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(Bytes::from(body)))
            .map_err(protocol)?;
        let answer = timeout(patience, self.sender.send_request(request)).await;
        let response = answer.map_err(|_| Error::Timeout)?.map_err(protocol)?;
        if response.status() == StatusCode::OK {
            return Ok(response);
        }
        let status = response.status();
        let body = timeout(ANSWER, Limited::new(response.into_body(), 64 * 1024).collect()).await;
        let body = body.map_err(|_| Error::Timeout)?.map_err(protocol)?.to_bytes();
        let refusal: Result<Refusal, _> = serde_json::from_slice(&body);
        Err(match refusal {
            Err(_) => Error::Protocol(format!("status {status}")),
            Ok(refusal) if status.is_server_error() => Error::Failed(refusal.error),
            Ok(refusal) => Error::Refused(refusal.error),
        })
    }
}

/// An answer that comes in one piece.
async fn whole<T: serde::de::DeserializeOwned>(response: Response<Incoming>) -> Result<T, Error> {
    let body = timeout(ANSWER, Limited::new(response.into_body(), LARGEST).collect()).await;
    let body = body.map_err(|_| Error::Timeout)?.map_err(protocol)?.to_bytes();
    serde_json::from_slice(&body).map_err(protocol)
}
