//! How to reach one registry.

use std::path::PathBuf;
use std::time::Duration;

/// The client's options for one registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// User name; with `password_file`.
    pub username: Option<String>,
    /// File that holds the password; read when it is needed, so that a changed one is picked up.
    pub password_file: Option<PathBuf>,
    /// A PEM file with certificates that are trusted beside the system's.
    pub ca_file: Option<PathBuf>,
    /// Plain HTTP instead of HTTPS; never guessed.
    pub plain_http: bool,
    /// Ask this base URL instead; its path is put before the repository's name.
    pub endpoint: Option<String>,
    /// How long one request may take in all.
    pub timeout: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            username: None,
            password_file: None,
            ca_file: None,
            plain_http: false,
            endpoint: None,
            timeout: Duration::from_secs(30),
        }
    }
}
