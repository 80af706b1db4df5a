//! How to reach one registry.

use std::path::PathBuf;
use std::time::Duration;

/// The client's options for one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Its own login, which goes before those that files have.
    pub account: Option<Account>,
    /// A file in the format of docker's `config.json` or containers' `auth.json`; goes before those of the environment.
    pub auth_file: Option<PathBuf>,
    /// A PEM file with certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// The certificate that we show.
    pub identity: Option<Identity>,
    /// Plain HTTP instead of HTTPS; never guessed.
    pub plain_http: bool,
    /// Ask this base URL instead; its path is put before the repository's name.
    pub endpoint: Option<String>,
    /// How long one request may take in all.
    pub timeout: Duration,
}

/// A user, and where the password is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Account {
    /// The user's name.
    pub username: String,
    /// Where the password is.
    pub password: Password,
}

/// Where a password is; it is read when it is needed, so that a changed one is picked up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Password {
    /// In this file.
    File(PathBuf),
    /// In the systemd credential of this name: a file in `$CREDENTIALS_DIRECTORY`.
    Credential(String),
}

/// A client certificate and its key, as PEM files; they may be the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The certificate, with those between it and the authority.
    pub cert: PathBuf,
    /// Its private key.
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
