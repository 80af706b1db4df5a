//! Why a registry did not answer.
//!
//! *Invariant:* every message names the host and, where there is one, the remedy. None contains a URL's userinfo or query,
//! a token or a login.

use std::error::Error as StdError;
use std::fmt::Write as _;
use std::time::Duration;

use super::options::CONNECT;
use super::tls;
use crate::bounded::remedy;
use crate::domain::{Digest, Failure, FailureKind, Platform};

/// Why a registry did not answer. [`kind`](Error::kind) is the stable word for it.
#[derive(Debug, Clone, thiserror::Error)]
#[allow(missing_docs, reason = "the messages say what the fields are")]
#[non_exhaustive]
pub enum Error {
    #[error("the name {host} does not resolve: {reason}")]
    Dns { host: String, reason: String },
    #[error("no connection to {host}: {reason}")]
    Connect { host: String, reason: String },
    #[error("no trusted connection to {host}: {reason}")]
    Tls { host: String, reason: String },
    #[error("{host} did not answer within {} s", limit.as_secs_f32())]
    Timeout { host: String, limit: Duration },
    #[error("{host} refused: {reason}")]
    Unauthorized { host: String, status: u16, reason: String },
    #[error("{host} asked for fewer requests{}", pause(retry_after))]
    RateLimited { host: String, retry_after: Option<Duration> },
    #[error("{host} is in trouble: it answered {status}{}", pause(retry_after))]
    Server { host: String, status: u16, retry_after: Option<Duration> },
    #[error("{host} does not answer like a registry: {reason}")]
    NotARegistry { host: String, reason: String },
    #[error(
        "{host} says to HEAD that it is not found; that counts once GET has confirmed it, which is asked a few times an hour"
    )]
    Unconfirmed { host: String },
    #[error("{host} gave no digest, and none can be computed: {reason}")]
    NoDigest { host: String, reason: String },
    #[error("{host} gave a digest that does not match: {expected} was due, the content is {found}")]
    BadDigest { host: String, expected: Digest, found: Digest },
    #[error("{digest} does not resolve by itself at {host}; the registry is not consistent yet")]
    Unresolvable { host: String, digest: Digest },
    #[error("the index has no image for {platform}; it has {offered}")]
    PlatformMissing { platform: Platform, offered: String },
    #[error("the index has more than one image for {platform}: {choices}; write one of these as the platform")]
    PlatformAmbiguous { platform: Platform, choices: String },
    #[error("{host} redirects where it cannot be followed: {reason}")]
    Redirect { host: String, reason: String },
    #[error("the credentials for {host} cannot be read: {reason}")]
    Credentials { host: String, reason: String },
    #[error("{host} breaks the protocol: {reason}")]
    Protocol { host: String, reason: String },
}

impl Error {
    pub fn kind(&self) -> FailureKind {
        match self {
            Self::Dns { .. } => FailureKind::Dns,
            Self::Connect { .. } => FailureKind::Connect,
            Self::Tls { .. } => FailureKind::Tls,
            Self::Timeout { .. } => FailureKind::Timeout,
            Self::Unauthorized { .. } => FailureKind::Unauthorized,
            Self::RateLimited { .. } => FailureKind::RateLimited,
            Self::Server { .. } => FailureKind::Server,
            Self::NotARegistry { .. } => FailureKind::NotARegistry,
            Self::Unconfirmed { .. } => FailureKind::NotFound,
            Self::NoDigest { .. } => FailureKind::NoDigest,
            Self::BadDigest { .. } => FailureKind::BadDigest,
            Self::Unresolvable { .. } => FailureKind::Unresolvable,
            Self::PlatformMissing { .. } => FailureKind::PlatformMissing,
            Self::PlatformAmbiguous { .. } => FailureKind::PlatformAmbiguous,
            Self::Redirect { .. } => FailureKind::Redirect,
            Self::Credentials { .. } => FailureKind::Credentials,
            Self::Protocol { .. } => FailureKind::Protocol,
        }
    }

    /// How long the registry asked us to wait. The gate applies its own bounds.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::RateLimited { retry_after, .. } | Self::Server { retry_after, .. } => *retry_after,
            _ => None,
        }
    }
}

impl From<&Error> for Failure {
    fn from(error: &Error) -> Self {
        Self { kind: error.kind(), message: error.to_string() }
    }
}

fn pause(retry_after: &Option<Duration>) -> String {
    retry_after.map(|pause| format!("; it asks to wait {} s", pause.as_secs())).unwrap_or_default()
}

/// What a remedy has to know about the config.
pub(super) struct Remedies {
    /// The name in `[registry.NAME]`.
    pub(super) table: String,
    /// The host that requests go to. Differs from the table with an endpoint.
    pub(super) host: String,
    pub(super) endpoint: bool,
}

impl Remedies {
    fn plain_http(&self, host: &str) -> String {
        if host != self.host {
            // A token endpoint or the target of a redirect, which no table configures.
            return "it speaks plain http where https was expected".to_owned();
        }
        let remedy = if self.endpoint { "write http:// in the endpoint of" } else { "set plain_http = true in" };
        format!("it speaks plain http; if that is meant, {remedy} [registry.{:?}]", self.table)
    }
}

/// Classifies a failed request. `host` is where it was sent, `limit` its time limit.
pub(super) fn classify(error: reqwest::Error, host: &str, limit: Duration, remedies: Option<&Remedies>) -> Error {
    // Our messages name the host themselves, and the URL may contain secrets.
    let error = error.without_url();
    let host = host.to_owned();
    if error.is_timeout() {
        let limit = if error.is_connect() { limit.min(CONNECT) } else { limit };
        return Error::Timeout { host, limit };
    }
    let reason = root_causes(&error);
    let says = |words: &[&str]| words.iter().any(|word| reason.contains(word));
    if says(&["dns error", "failed to lookup address"]) {
        let reason = chain(&error).last().map(ToString::to_string).unwrap_or(reason);
        return Error::Dns { host, reason };
    }
    if says(&["InvalidContentType"]) {
        let reason = remedies.map_or(reason, |remedies| remedies.plain_http(&host));
        return Error::Tls { host, reason };
    }
    if let Some(reason) = tls::told(&error, remedies.map(|remedies| remedies.table.as_str())) {
        return Error::Tls { host, reason };
    }
    if error.is_connect() {
        // A shortage of our own is told as such. EAGAIN means something else here than that no thread can be started.
        let short = find::<std::io::Error>(&error).filter(|it| it.kind() != std::io::ErrorKind::WouldBlock);
        let reason = short.and_then(remedy).map_or(reason.clone(), |remedy| format!("{reason}; {remedy}"));
        return Error::Connect { host, reason };
    }
    if find::<hyper::Error>(&error).is_some_and(hyper::Error::is_parse) {
        return Error::NotARegistry { host, reason };
    }
    Error::Connect { host, reason: format!("it broke off before the answer was complete ({reason})") }
}

/// Whether a request may have failed only because the server had closed the idle connection, or sent stray bytes on it.
pub(super) fn is_broken_connection(error: &reqwest::Error) -> bool {
    if error.is_timeout() || error.is_connect() {
        return false;
    }
    let closed = find::<hyper::Error>(error)
        .is_some_and(|error| error.is_incomplete_message() || error.is_closed() || error.is_canceled());
    let reset = find::<std::io::Error>(error).is_some_and(|error| {
        use std::io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
        matches!(error.kind(), BrokenPipe | ConnectionAborted | ConnectionReset | UnexpectedEof)
    });
    // Stray bytes on an idle connection, such as an illegal body after HEAD, are no answer to this request.
    let spoilt = find::<hyper::Error>(error).is_some_and(|error| error.is_parse() && !error.is_parse_too_large());
    closed || reset || spoilt
}

fn find<'a, T: StdError + 'static>(error: &'a (dyn StdError + 'static)) -> Option<&'a T> {
    chain(error).find_map(|error| error.downcast_ref())
}

fn chain<'a>(error: &'a (dyn StdError + 'static)) -> impl Iterator<Item = &'a (dyn StdError + 'static)> {
    let mut next = Some(error);
    std::iter::from_fn(move || {
        let this = next?;
        next = this.source();
        Some(this)
    })
}

/// The chain of causes below reqwest's own message, without repetitions.
fn root_causes(error: &reqwest::Error) -> String {
    let mut text = String::new();
    for cause in chain(error).skip(1) {
        let cause = cause.to_string();
        // Skip layers that only repeat or announce the next one.
        if text.contains(&cause) || cause == "client error (Connect)" || cause == "client error (SendRequest)" {
            continue;
        }
        let _ = write!(text, "{}{cause}", if text.is_empty() { "" } else { ": " });
    }
    if text.is_empty() { error.to_string() } else { text }
}
