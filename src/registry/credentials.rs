//! Logins: where they come from, and which of them a registry has refused.
//!
//! *Invariant:* a secret is never printed, and a login that was refused is not sent again before its pause has passed:
//! registries ban addresses that insist.

use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use reqwest::header::HeaderValue;
use tracing::debug;

use super::docker::{self, Found};
use super::helper::{Helper, PATIENCE};
use super::{Account, Error, Options, Password};
use crate::domain::backoff::Backoff;

/// A text that is never printed.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Secret(String);

/// A user name and a password, or an identity token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Login {
    pub(super) username: String,
    password: Secret,
}

/// The user name that stands for "the secret is an identity token", in helpers and in files.
const IDENTITY: &str = "<token>";

/// Where the logins for one registry come from.
pub(super) struct Credentials {
    registry: String,
    own: Option<Account>,
    auth_file: Option<PathBuf>,
    refused: Mutex<Option<Refused>>,
    /// What the helper said a short while ago; held while it is asked, so that it is asked once.
    helped: tokio::sync::Mutex<Option<Helped>>,
}

struct Helped {
    helper: Helper,
    login: Option<Login>,
    asked: Instant,
}

/// A login that was refused, and until when it is not sent.
struct Refused {
    login: Arc<Login>,
    until: Instant,
    tries: u32,
}

/// How long a refused login rests; GitLab bans an address for an hour after 30 refusals in 3 minutes.
const REST: Backoff = Backoff { first: Duration::from_secs(60), max: Duration::from_secs(3600) };

/// How long a helper's answer is kept; a token per repository would else run it as often.
const HELPED: Duration = Duration::from_secs(60);

impl Credentials {
    /// For a registry as it is configured. Files know an endpoint by its own host.
    pub(super) fn new(registry: &str, endpoint_host: &str, options: &Options) -> Self {
        let registry = if options.endpoint.is_some() { endpoint_host } else { registry };
        Self {
            registry: registry.to_owned(),
            own: options.account.clone(),
            auth_file: options.auth_file.clone(),
            refused: Mutex::default(),
            helped: Default::default(),
        }
    }

    /// For a host that the registry sends us to: only what files have for that very host.
    pub(super) fn abroad(&self, host: &str) -> Self {
        Self {
            registry: host.to_owned(),
            own: None,
            auth_file: self.auth_file.clone(),
            refused: Mutex::default(),
            helped: Default::default(),
        }
    }

    /// The login for a repository, read anew; `None` when there is none, or when it was refused a short while ago.
    pub(super) async fn login(&self, repository: &str) -> Result<Option<Arc<Login>>, Error> {
        let Some(login) = self.read(repository).await? else { return Ok(None) };
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        match &*refused {
            Some(refused) if *refused.login == login && Instant::now() < refused.until => {
                debug!(username = login.username, "credentials: refused a short while ago, so they rest");
                Ok(None)
            }
            _ => Ok(Some(Arc::new(login))),
        }
    }

    /// Notes that a login was refused as such, not just for one repository.
    pub(super) fn refuse(&self, login: &Arc<Login>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let tries = refused.as_ref().filter(|refused| refused.login == *login).map_or(0, |refused| refused.tries + 1);
        let until = Instant::now() + REST.pause(tries, 1.0);
        *refused = Some(Refused { login: Arc::clone(login), until, tries });
    }

    /// Makes the next question for a login one to its source, and not to what that said before.
    pub(super) async fn forget(&self) {
        *self.helped.lock().await = None;
    }

    /// Notes that a login was accepted.
    pub(super) fn accept(&self, login: &Arc<Login>) {
        let mut refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        if refused.as_ref().is_some_and(|refused| refused.login == *login) {
            *refused = None;
        }
    }

    /// Whether a login is resting.
    pub(super) fn is_resting(&self) -> bool {
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        refused.as_ref().is_some_and(|refused| Instant::now() < refused.until)
    }

    async fn read(&self, repository: &str) -> Result<Option<Login>, Error> {
        let wrong = |reason| Error::Credentials { host: self.registry.clone(), reason };
        if let Some(Account { username, password }) = &self.own {
            let password = password.read().map_err(wrong)?;
            debug!(registry = self.registry, username, "credentials: the config's own");
            return Ok(Some(Login::new(username.clone(), password)));
        }
        for found in docker::find_all(self.auth_file.as_deref(), &self.registry, repository).map_err(wrong)? {
            let login = match found {
                Found::Login(login) => Some(login),
                Found::Helper(helper, login) => {
                    let name = helper.name.clone();
                    let helped = self.helped(helper).await.map_err(wrong)?;
                    debug!(helper = name, found = helped.is_some(), "credentials: a helper was asked");
                    helped.or(login)
                }
            };
            if let Some(login) = login {
                debug!(registry = self.registry, username = login.username, "credentials: found");
                return Ok(Some(login));
            }
        }
        debug!(registry = self.registry, "credentials: none, so anonymously");
        Ok(None)
    }

    async fn helped(&self, helper: Helper) -> Result<Option<Login>, String> {
        let mut helped = self.helped.lock().await;
        if let Some(helped) = helped.as_ref().filter(|it| it.helper == helper && it.asked.elapsed() < HELPED) {
            return Ok(helped.login.clone());
        }
        let login = helper.login(PATIENCE).await?;
        *helped = Some(Helped { helper, login: login.clone(), asked: Instant::now() });
        Ok(login)
    }
}

impl Password {
    fn read(&self) -> Result<String, String> {
        let file = match self {
            Self::File(file) => file.clone(),
            Self::Credential(name) => match std::env::var_os("CREDENTIALS_DIRECTORY") {
                Some(directory) if !directory.is_empty() => PathBuf::from(directory).join(name),
                _ => {
                    return Err(format!(
                        "password_credential {name:?} is given by systemd only, and $CREDENTIALS_DIRECTORY is not set; \
                         add LoadCredential={name}:FILE to the unit, or use password_file"
                    ));
                }
            },
        };
        let text = std::fs::read_to_string(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        // Editors and `echo` end a file with a newline; no password does.
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(format!("{} is empty", file.display()));
        }
        Ok(password.to_owned())
    }
}

impl Login {
    /// A user name and a password.
    pub(super) fn new(username: String, password: String) -> Self {
        Self { username, password: Secret(password) }
    }

    /// An identity token, which a token endpoint takes in place of a password.
    pub(super) fn identity(token: String) -> Self {
        Self::new(IDENTITY.to_owned(), token)
    }

    /// The identity token, if it is one.
    pub(super) fn identity_token(&self) -> Option<&str> {
        (self.username == IDENTITY).then_some(&self.password.0)
    }

    /// `Authorization: Basic …`
    pub(super) fn basic(&self) -> Option<HeaderValue> {
        authorization("Basic", &STANDARD.encode(format!("{}:{}", self.username, self.password.0)))
    }
}

/// An `Authorization` header that is never printed; `None` when the secret cannot stand in a header.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_printed() {
        let login = Login::new("robot".into(), "hunter2".into());
        assert!(!format!("{login:?} {:?} {}", login.basic(), login.password).contains("hunter2"));
        assert!(!format!("{:?}", login.basic()).contains("cm9ib3Q6aHVudGVyMg"));
    }

    #[tokio::test]
    async fn a_refused_login_rests_until_it_changes() {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), "old\n").unwrap();
        let password = Password::File(file.path().to_owned());
        let account = Some(Account { username: "robot".into(), password });
        let options = Options { account, ..Options::default() };
        let credentials = Credentials::new("r.example", "r.example", &options);
        let login = credentials.login("acme/web").await.unwrap().unwrap();
        credentials.refuse(&login);
        assert_eq!(credentials.login("acme/web").await.unwrap(), None);
        std::fs::write(file.path(), "new").unwrap();
        let login = credentials.login("acme/web").await.unwrap().unwrap();
        assert_eq!(login.password.0, "new");
    }
}
