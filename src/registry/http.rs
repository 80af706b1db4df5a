//! The HTTP client of one registry, made of its certificate files.
//!
//! *Invariant:* nothing is locked while a file is read. A file that does not answer, or cannot be used, fails requests of its
//! registry only, and where there was a client before, that one goes on.

use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use rustls::pki_types::CertificateDer;
use tracing::warn;

use super::error::{Error, classify};
use super::lookup::Lookup;
use super::options::{CONNECT, Identity, Options};
use super::proxy::Proxies;
use super::tls::{self, ClientIdentity};
use crate::bounded;

/// Idle connections are dropped well before servers close them, which is after 60 s at the earliest.
const IDLE: Duration = Duration::from_secs(14);
const _: () = assert!(IDLE.as_secs() < 15, "the design's bound");

/// How long certificate files are assumed unchanged. A failed request makes the next one examine them at once.
const FILES_FRESH_FOR: Duration = Duration::from_secs(1);

/// The largest file of certificates in bytes. That of all public authorities has 200,000.
pub const MAX_CERTIFICATES: usize = 4 << 20;

pub(super) struct HttpClient {
    host: String,
    options: Options,
    pub(super) proxies: Arc<Proxies>,
    /// Built at the first request, and rebuilt when a certificate file has changed.
    built: Mutex<Option<Built>>,
}

struct Built {
    http: reqwest::Client,
    made_of: Vec<Stamp>,
    /// When the certificate files were last examined.
    looked: Instant,
    /// Why it could not be rebuilt, as it was logged.
    warned: Option<String>,
}

/// A file's modification time, size and identity; `None` if it cannot be examined.
type Stamp = Option<(SystemTime, u64, u64, u64)>;

impl HttpClient {
    /// `host` is where requests go. Reads no file yet.
    pub(super) fn new(host: &str, options: &Options) -> Self {
        let proxies = Arc::new(Proxies::of_environment());
        Self { host: host.to_owned(), options: options.clone(), proxies, built: Mutex::default() }
    }

    /// The HTTP client for the certificate files as they are now. If a changed file cannot be used, perhaps because it is
    /// half written, the previous client stays in use.
    pub(super) async fn get(&self, now: Instant) -> Result<reqwest::Client, Error> {
        match self.recent(now) {
            Some(http) => Ok(http),
            None => Box::pin(self.look(now)).await,
        }
    }

    /// Makes the next request examine the certificate files.
    pub(super) fn recheck_files(&self) {
        if let Some(built) = &mut *self.built() {
            built.looked = built.looked.checked_sub(FILES_FRESH_FOR).unwrap_or(built.looked);
        }
    }

    /// The client, unless its files are to be examined, now and by the caller.
    fn recent(&self, now: Instant) -> Option<reqwest::Client> {
        let mut built = self.built();
        let built = built.as_mut()?;
        let is_recent = now.saturating_duration_since(built.looked) < FILES_FRESH_FOR;
        if is_recent || built.made_of.is_empty() {
            return Some(built.http.clone());
        }
        built.looked = now;
        None
    }

    async fn look(&self, now: Instant) -> Result<reqwest::Client, Error> {
        let renewed = match self.stamps().await {
            Ok(made_of) => {
                if let Some(same) = self.built().as_ref().filter(|before| before.made_of == made_of) {
                    return Ok(same.http.clone());
                }
                self.build().await.map(|http| Built { http, made_of, looked: now, warned: None })
            }
            Err(error) => Err(error),
        };
        let mut built = self.built();
        match (renewed, built.as_mut()) {
            (Ok(renewed), _) => Ok(built.insert(renewed).http.clone()),
            (Err(error), Some(before)) => {
                let text = error.to_string();
                if before.warned.as_ref() != Some(&text) {
                    warn!("{text}; going on with what it was before");
                    before.warned = Some(text);
                }
                Ok(before.http.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    fn built(&self) -> MutexGuard<'_, Option<Built>> {
        self.built.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn files(&self) -> impl Iterator<Item = (&'static str, &PathBuf)> {
        let identity = self.options.identity.iter();
        let identity = identity.flat_map(|identity| [("client_cert", &identity.cert), ("client_key", &identity.key)]);
        self.options.ca_file.iter().map(|path| ("ca_file", path)).chain(identity)
    }

    /// Fails only if a file does not answer.
    async fn stamps(&self) -> Result<Vec<Stamp>, Error> {
        let mut stamps = Vec::new();
        for (key, path) in self.files() {
            stamps.push(match bounded::metadata(path.clone()).await {
                Ok(found) => found.modified().ok().map(|time| (time, found.len(), found.dev(), found.ino())),
                Err(error) if error.kind() == ErrorKind::TimedOut => {
                    return Err(self.unusable(key, path, error.to_string()));
                }
                Err(_) => None,
            });
        }
        Ok(stamps)
    }

    async fn build(&self) -> Result<reqwest::Client, Error> {
        let options = &self.options;
        let (listed, identity) = self.certificates().await?;
        let wrong = |reason| Error::Tls { host: self.host.clone(), reason };
        tls::read_system().await.map_err(wrong)?;
        let settings = tls::settings(listed, identity).map_err(|error| wrong(error.to_string()))?;
        let builder = reqwest::Client::builder()
            .user_agent(concat!("taghook/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .connect_timeout(options.timeout.min(CONNECT))
            // A little less, so that a lookup that takes too long is told as such.
            .dns_resolver(Lookup(options.timeout.min(CONNECT).mul_f32(0.9)))
            .timeout(options.timeout)
            .pool_idle_timeout(IDLE)
            .proxy(reqwest::Proxy::custom({
                let proxies = Arc::clone(&self.proxies);
                move |url| proxies.of(url).cloned()
            }))
            .tls_backend_preconfigured(settings);
        builder.build().map_err(|error| classify(error, &self.host, options.timeout, None))
    }

    /// What is trusted beside the system's authorities, and what the registry is shown.
    async fn certificates(&self) -> Result<(Vec<CertificateDer<'static>>, Option<ClientIdentity>), Error> {
        let mut listed = Vec::new();
        if let Some(path) = &self.options.ca_file {
            let pem = self.read("ca_file", path).await?;
            listed = tls::certificates(&pem).map_err(|reason| self.unusable("ca_file", path, reason))?;
        }
        let Some(Identity { cert, key }) = &self.options.identity else { return Ok((listed, None)) };
        let (shown, secret) = (self.read("client_cert", cert).await?, self.read("client_key", key).await?);
        let wrong = |reason| self.unusable("client_cert", cert, format!("with {} {reason}", key.display()));
        Ok((listed, Some(tls::identity(&shown, &secret).map_err(wrong)?)))
    }

    async fn read(&self, key: &str, path: &Path) -> Result<Vec<u8>, Error> {
        let unusable = |error: std::io::Error| {
            let remedy = match error.kind() {
                ErrorKind::InvalidInput | ErrorKind::FileTooLarge => "; name a PEM file",
                _ => "",
            };
            self.unusable(key, path, format!("{error}{remedy}"))
        };
        bounded::read(path.to_owned(), MAX_CERTIFICATES).await.map_err(unusable)
    }

    fn unusable(&self, key: &str, path: &Path, reason: String) -> Error {
        let reason = format!("the {key} {} is of no use: {reason}", path.display());
        Error::Tls { host: self.host.clone(), reason }
    }
}
