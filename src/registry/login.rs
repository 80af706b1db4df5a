//! A login, and how it becomes an `Authorization` header.
//!
//! *Invariant:* a secret is never printed.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;

/// A string that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(pub(super) String);

/// A user name and a password, or an identity token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) username: String,
    pub(super) password: Secret,
}

/// The user name by which helpers and files mark the password as an identity token.
const IDENTITY: &str = "<token>";

impl Login {
    pub(super) fn new(username: String, password: String) -> Self {
        Self { username, password: Secret(password) }
    }

    /// A login by identity token, which a token endpoint accepts in place of a password.
    pub(super) fn identity(token: String) -> Self {
        Self::new(IDENTITY.to_owned(), token)
    }

    pub(super) fn identity_token(&self) -> Option<&str> {
        (self.username == IDENTITY).then_some(&self.password.0)
    }

    /// `Authorization: Basic …`
    pub(super) fn basic(&self) -> Option<HeaderValue> {
        authorization("Basic", &STANDARD.encode(format!("{}:{}", self.username, self.password.0)))
    }
}

/// An `Authorization` header, marked sensitive. `None` if the secret has characters that a header cannot hold.
pub(super) fn authorization(scheme: &str, secret: &str) -> Option<HeaderValue> {
    let mut value = HeaderValue::try_from(format!("{scheme} {secret}")).ok()?;
    value.set_sensitive(true);
    Some(value)
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("***")
    }
}
