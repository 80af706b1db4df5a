//! Credentials of one registry: where logins come from, and the circuit breaker for a login that was refused.
//!
//! *Invariant:* a refused login is not sent again while its breaker is open, because registries ban addresses that keep
//! trying.

use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::debug;

use super::docker;
use super::error::Error;
use super::helper::{HELPER_TIMEOUT, Helper};
use super::login::Login;
use super::options::{Account, Options, Password};
use super::secret_file::read_text;
use crate::domain::backoff::Backoff;

/// Where the logins for one registry come from.
#[derive(Default)]
pub(super) struct Credentials {
    registry: String,
    own: Option<Account>,
    auth_file: Option<PathBuf>,
    breaker: Mutex<Option<Breaker>>,
    /// The cached answer of the helper. Locked while the helper runs, so that it runs once (single-flight).
    helped: tokio::sync::Mutex<Option<Helped>>,
}

struct Helped {
    helper: Helper,
    login: Option<Login>,
    asked: Instant,
}

/// An open circuit breaker.
struct Breaker {
    login: Arc<Login>,
    until: Instant,
    /// How often the login was refused after the first time.
    tries: u32,
}

/// How long the breaker of a refused login stays open; GitLab bans an address for an hour after 30 refusals in 3 minutes.
const BREAKER_PAUSE: Backoff = Backoff { first: Duration::from_secs(60), max: Duration::from_secs(3600) };

/// How long a helper's answer is cached. Without this, the helper would run for every repository.
const HELPER_CACHE: Duration = Duration::from_secs(60);

impl Credentials {
    /// The credentials of a configured registry. With an `endpoint`, auth files are searched for the endpoint's host.
    pub(super) fn new(registry: &str, endpoint_host: &str, options: &Options) -> Self {
        let registry = if options.endpoint.is_some() { endpoint_host } else { registry };
        Self {
            registry: registry.to_owned(),
            own: options.account.clone(),
            auth_file: options.auth_file.clone(),
            ..Self::default()
        }
    }

    /// The credentials of a host that the registry redirects to: only those that the files list for that host itself.
    pub(super) fn of_other_host(&self, host: &str) -> Self {
        Self { registry: host.to_owned(), auth_file: self.auth_file.clone(), ..Self::default() }
    }

    /// Reads the login for a repository from its source. `None` if there is none, or if its breaker is open.
    pub(super) async fn login(&self, repository: &str) -> Result<Option<Arc<Login>>, Error> {
        let Some(login) = self.read(repository).await? else { return Ok(None) };
        match &*self.breaker() {
            Some(open) if *open.login == login && Instant::now() < open.until => {
                debug!(username = login.username, "credentials: refused a short while ago, so they rest");
                Ok(None)
            }
            _ => Ok(Some(Arc::new(login))),
        }
    }

    /// Opens the breaker. For a login that was refused as such, not just for one repository.
    pub(super) fn refuse(&self, login: &Arc<Login>) {
        let mut breaker = self.breaker();
        let tries = breaker.as_ref().filter(|open| open.login == *login).map_or(0, |open| open.tries + 1);
        let until = Instant::now() + BREAKER_PAUSE.pause(tries, 1.0);
        *breaker = Some(Breaker { login: Arc::clone(login), until, tries });
    }

    /// Forgets the helper's answer, so that it runs again.
    pub(super) async fn forget(&self) {
        *self.helped.lock().await = None;
    }

    /// Closes the breaker, because the login was accepted.
    pub(super) fn accept(&self, login: &Arc<Login>) {
        self.breaker().take_if(|open| open.login == *login);
    }

    pub(super) fn is_breaker_open(&self) -> bool {
        self.breaker().as_ref().is_some_and(|open| Instant::now() < open.until)
    }

    fn breaker(&self) -> MutexGuard<'_, Option<Breaker>> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn read(&self, repository: &str) -> Result<Option<Login>, Error> {
        let wrong = |reason| Error::Credentials { host: self.registry.clone(), reason };
        if let Some(Account { username, password }) = &self.own {
            let password = password.read().await.map_err(wrong)?;
            debug!(registry = self.registry, username, "credentials: the config's own");
            return Ok(Some(Login::new(username.clone(), password)));
        }
        let all = docker::find_all(self.auth_file.as_deref(), &self.registry, repository).await.map_err(wrong)?;
        for found in all {
            let mut helped = None;
            if let Some(helper) = found.helper {
                let name = helper.name.clone();
                helped = self.helped(helper).await.map_err(wrong)?;
                debug!(helper = name, found = helped.is_some(), "credentials: a helper was asked");
            }
            if let Some(login) = helped.or(found.login) {
                debug!(registry = self.registry, username = login.username, "credentials: found");
                return Ok(Some(login));
            }
        }
        debug!(registry = self.registry, "credentials: none, so anonymously");
        Ok(None)
    }

    async fn helped(&self, helper: Helper) -> Result<Option<Login>, String> {
        let mut helped = self.helped.lock().await;
        if let Some(helped) = helped.as_ref().filter(|it| it.helper == helper && it.asked.elapsed() < HELPER_CACHE) {
            return Ok(helped.login.clone());
        }
        let login = helper.login(HELPER_TIMEOUT).await?;
        *helped = Some(Helped { helper, login: login.clone(), asked: Instant::now() });
        Ok(login)
    }
}

impl Password {
    async fn read(&self) -> Result<String, String> {
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
        let text = read_text(&file, "put the password into a file").await.map_err(|(_, reason)| reason)?;
        // Editors and `echo` end a file with a newline.
        let password = text.trim_end_matches(['\r', '\n']);
        if password.is_empty() {
            return Err(format!("{} is empty", file.display()));
        }
        Ok(password.to_owned())
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
