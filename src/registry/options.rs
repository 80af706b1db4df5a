//! How to reach one registry.

use std::path::PathBuf;
use std::time::Duration;

/// The longest that making a connection may take, TLS included.
pub(super) const CONNECT: Duration = Duration::from_secs(10);

/// The client's options for one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The login in the registry's own table. It goes before those in files.
    pub account: Option<Account>,
    /// A file like docker's `config.json` or containers' `auth.json`. It goes before those of the environment.
    pub auth_file: Option<PathBuf>,
    /// A PEM file with certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate that is shown to the registry.
    pub identity: Option<Identity>,
    /// Plain HTTP instead of HTTPS. It is never guessed.
    pub plain_http: bool,
    /// The base URL to ask instead. Its path is put before the repository's name.
    pub endpoint: Option<String>,
    /// How long one request may take in all.
    pub timeout: Duration,
}

/// A user, and where the password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    pub username: String,
    pub password: Password,
}

/// Where a password is. It is read when it is needed, so that a changed one is picked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    File(PathBuf),
    /// The systemd credential of this name: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// A client certificate and its key, as PEM files, which may be one file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// With the intermediate certificates.
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
