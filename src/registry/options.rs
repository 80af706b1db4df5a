//! How to reach one registry.

use std::path::PathBuf;
use std::time::Duration;

/// The time limit for establishing a connection, including TLS.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The login in the registry's own table. It takes precedence over auth files.
    pub account: Option<Account>,
    /// A file like Docker's `config.json` or containers' `auth.json`. It takes precedence over those of the environment.
    pub auth_file: Option<PathBuf>,
    /// A PEM file with certificates to trust in addition to the system's.
    pub ca_file: Option<PathBuf>,
    /// The client certificate, for mutual TLS.
    pub identity: Option<Identity>,
    /// Use plain HTTP instead of HTTPS. Never guessed.
    pub plain_http: bool,
    /// The base URL to use instead. Its path becomes a prefix of repository names.
    pub endpoint: Option<String>,
    /// The time limit of one request, including its body.
    pub timeout: Duration,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub username: String,
    pub password: Password,
}

/// Where the password is. It is read for each use, so a changed one is picked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    File(PathBuf),
    /// The systemd credential of this name: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// A client certificate and its key, as PEM files, which may be one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// Includes the intermediate certificates.
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            account: None,
            auth_file: None,
            ca_file: None,
            identity: None,
            plain_http: false,
            endpoint: None,
            timeout: Duration::from_secs(30),
        }
    }
}
