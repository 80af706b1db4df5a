//! The session with one registry: the handshake that turns a request into an authorized one.
//!
//! *Invariant:* a login goes only to its registry's own origin or to the token endpoint that this origin names, never over
//! plain HTTP if the registry is asked over HTTPS, and never while its circuit breaker is open after a refusal.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};

use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode, Url};
use tracing::debug;

use super::challenge::{Bearer, Challenges};
use super::credentials::Credentials;
use super::endpoint::{Endpoint, host_of};
use super::error::Error;
use super::login::Login;
use super::options::Options;
use super::slots::{Grant, Slot, Slots};
use super::transport::{OutgoingRequest, Response, Tally, Transport};
use super::{manifest, token};

/// One registry, and what it has granted us.
pub(super) struct Session {
    /// Its canonical name, which the config knows.
    registry: String,
    endpoint: Endpoint,
    transport: Transport,
    credentials: Credentials,
    slots: Slots,
    /// Whether the registry was asked yet. Whoever is the first to ask holds `first` meanwhile.
    was_asked: AtomicBool,
    first: tokio::sync::Mutex<()>,
}

/// How far one request has come.
struct Talk<'a> {
    method: Method,
    /// Where the last refusal came from.
    url: Url,
    repository: &'a str,
    slot: Arc<Slot>,
    /// Whether that was another origin than the registry's own: nothing of ours was sent there, and nothing is remembered.
    foreign: bool,
    tally: &'a mut Tally,
}

impl Session {
    /// A session that has asked nothing yet.
    pub(super) fn new(registry: &str, options: &Options) -> Result<Self, Error> {
        let endpoint = Endpoint::new(registry, options)?;
        let transport = Transport::new(registry, endpoint.host(), options);
        let credentials = Credentials::new(registry, endpoint.host(), options);
        Ok(Self {
            registry: registry.to_owned(),
            endpoint,
            transport,
            credentials,
            slots: Slots::default(),
            was_asked: AtomicBool::new(false),
            first: tokio::sync::Mutex::default(),
        })
    }

    #[cfg(test)]
    pub(super) fn age(&self) {
        self.slots.age();
        self.transport.recheck_files();
    }

    /// `RateLimit-Remaining`, as the registry last told it.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.transport.remaining()
    }

    pub(super) fn host(&self) -> &str {
        self.endpoint.host()
    }

    /// Asks for a manifest by tag or digest. A refusal comes back as an error.
    pub(super) async fn ask(
        &self,
        method: Method,
        repository: &str,
        which: &str,
        tally: &mut Tally,
    ) -> Result<Response, Error> {
        match self.was_asked.load(Relaxed) {
            true => Box::pin(self.ask_as_known(method, repository, which, tally)).await,
            false => Box::pin(self.ask_first_time(method, repository, which, tally)).await,
        }
    }

    /// The first request of all.
    async fn ask_first_time(
        &self,
        method: Method,
        repository: &str,
        which: &str,
        tally: &mut Tally,
    ) -> Result<Response, Error> {
        // Nobody knows yet what this registry demands: one finds out (single-flight), the others wait and profit.
        let turn = self.first.lock().await;
        let turn = (!self.was_asked.load(Relaxed)).then_some(turn);
        let response = self.ask_as_known(method, repository, which, tally).await;
        self.was_asked.store(true, Relaxed);
        drop(turn);
        response
    }

    /// The handshake.
    ///
    /// 1. Send what was granted before; mint a token that has expired again. For a repository that is new, mint one where
    ///    those for others came from.
    /// 2. On a refusal (401, 403; also 400 if something was sent) read all challenges. If there are none, ask `/v2/` for one.
    /// 3. Answer Bearer with a token, minted once for all who wait, and Basic with the login. Prefer Bearer, and do not give
    ///    up a Bearer challenge that was seen once because a token was refused.
    /// 4. Ask again. If that is refused too and a login was involved, ask once more anonymously: a stale login must not break
    ///    a public image. If that fails as well, report the first refusal.
    /// 5. If the registry redirects to another origin, and that has a challenge of its own, do steps 2 to 4 for that origin,
    ///    with nothing that was granted here.
    ///
    /// What most requests never get to is boxed: a check is moved around and kept in the size of its largest part.
    async fn ask_as_known(
        &self,
        method: Method,
        repository: &str,
        which: &str,
        tally: &mut Tally,
    ) -> Result<Response, Error> {
        let url = self.endpoint.manifest(repository, which);
        let slot = self.slots.find(repository);
        let mut sent = slot.as_ref().and_then(|slot| slot.grant());
        if sent.is_some() {
            debug!(repository, "what was granted before is shown again");
        }
        let mut fresh = false;
        if sent.is_none() {
            if let Some((slot, bearer)) = slot.and_then(|slot| Some((Arc::clone(&slot), slot.bearer()?))) {
                fresh = true;
                sent = Some(Box::pin(self.granted(&slot, &bearer, repository, tally)).await?);
            } else if let Some(bearer) = self.slots.common() {
                sent = match Box::pin(self.granted(&self.slots.slot(repository), &bearer, repository, tally)).await {
                    Err(error @ Error::RateLimited { .. }) => return Err(error),
                    // Perhaps it is another place by now; a challenge will tell.
                    granted => granted.ok(),
                };
            }
        }
        let mut response = self.send(&method, url, sent.as_ref(), tally).await?;
        if sent.is_none() && !response.foreign && response.status().is_success() {
            self.slots.note_open();
        }
        if !response.foreign && is_refusal(&response, sent.is_some()) {
            let slot = self.slots.slot(repository);
            let url = response.url().clone();
            let talk = Talk { method: method.clone(), url, repository, slot, foreign: false, tally };
            response = Box::pin(self.answer(talk, response, sent, fresh)).await?;
        }
        if !response.foreign || !is_refusal(&response, false) {
            return Ok(response);
        }
        let url = response.url().clone();
        let talk = Talk { method, url, repository, slot: Arc::default(), foreign: true, tally };
        let response = Box::pin(self.answer(talk, response, None, false)).await?;
        match is_refusal(&response, false) {
            true => Err(self.refusal(&response, None)),
            false => Ok(response),
        }
    }

    /// Steps 2 to 4.
    async fn answer(
        &self,
        mut talk: Talk<'_>,
        refusal: Response,
        sent: Option<Grant>,
        fresh: bool,
    ) -> Result<Response, Error> {
        let mut first = self.refusal(&refusal, sent.as_ref());
        if let Some(sent) = &sent {
            self.note_refusal(&mut talk, &refusal, sent).await;
        }
        let challenges = self.challenges(&refusal, &mut talk).await?;
        // This token was minted a moment ago. Another one would be no better.
        let next = match fresh {
            true => None,
            false => self.grant(&challenges, &mut talk).await?,
        };
        let next = next.filter(|next| sent.as_ref().is_none_or(|sent| sent.header != next.header));
        let was_bare = sent.is_none();
        let last = next.as_ref().or(sent.as_ref());
        if let Some(next) = &next {
            let response = self.send(&talk.method, talk.url.clone(), Some(next), talk.tally).await?;
            if response.foreign || !is_refusal(&response, true) {
                return Ok(response);
            }
            first = self.refusal(&response, Some(next));
            self.note_refusal(&mut talk, &response, next).await;
        }
        let had_login = last.is_some_and(|grant| grant.login.is_some());
        let was_refused_bare = was_bare && challenges.bearer.is_none();
        if !had_login || was_refused_bare || !talk.slot.may_ask_anonymously() {
            return Err(first);
        }
        self.anonymously(&challenges, talk, first).await
    }

    /// All challenges: of the refusal itself, remembered, or of the registry's root.
    async fn challenges(&self, refusal: &Response, talk: &mut Talk<'_>) -> Result<Challenges, Error> {
        let mut challenges = Challenges::read(refusal.headers(), refusal.url());
        if let Some(bearer) = talk.slot.bearer() {
            challenges.bearer = challenges.bearer.or_else(|| Some((*bearer).clone()));
        }
        if challenges.is_empty() && !talk.foreign {
            debug!(host = self.host(), "refused without a challenge; the registry's root may have one");
            let root = self.send(&Method::GET, self.endpoint.root(), None, talk.tally).await?;
            if root.status() == StatusCode::TOO_MANY_REQUESTS {
                return Err(root.error().await);
            }
            challenges = Challenges::read(root.headers(), root.url());
        }
        let bearer = challenges.bearer.as_ref();
        debug!(
            foreign = talk.foreign,
            basic = challenges.basic,
            bearer = bearer.map(|bearer| host_of(&bearer.realm)),
            service = bearer.and_then(|bearer| bearer.service.as_deref()),
            repository = bearer.and_then(|bearer| bearer.repository.as_deref()),
            "challenged"
        );
        Ok(challenges)
    }

    /// Step 3: the authorization that answers the challenges; `None` if nothing does.
    async fn grant(&self, challenges: &Challenges, talk: &mut Talk<'_>) -> Result<Option<Grant>, Error> {
        let of_other_host = talk.foreign.then(|| self.credentials.of_other_host(&host_of(&talk.url)));
        let credentials = of_other_host.as_ref().unwrap_or(&self.credentials);
        if let Some(bearer) = &challenges.bearer {
            let bearer = Arc::new(bearer.clone());
            let minted = match talk.foreign {
                true => self.mint(credentials, &bearer, talk.repository, talk.url.scheme(), talk.tally).await,
                false => self.granted(&talk.slot, &bearer, talk.repository, talk.tally).await,
            };
            match minted {
                // No token is to be had, for whatever reason, but there is Basic. A rate limit stays a rate limit.
                Err(error) if challenges.basic && !matches!(error, Error::RateLimited { .. }) => {}
                minted => return minted.map(Some),
            }
        }
        if !challenges.basic {
            return Ok(None);
        }
        let Some(login) = credentials.login(talk.repository).await? else { return Ok(None) };
        let Some(header) = login.basic() else { return Ok(None) };
        let grant = Grant { header, login: Some(login), expires: None };
        if !talk.foreign {
            talk.slot.keep(grant.clone());
        }
        Ok(Some(grant))
    }

    /// Step 4.
    async fn anonymously(&self, challenges: &Challenges, talk: Talk<'_>, first: Error) -> Result<Response, Error> {
        debug!(host = self.host(), repository = talk.repository, "the login was refused; asking anonymously");
        let grant = match &challenges.bearer {
            None => None,
            Some(bearer) => {
                let scope = bearer.scope(&self.endpoint.name(talk.repository));
                match token::mint(&self.transport, bearer, &scope, None, talk.tally).await {
                    Ok(token) => Some(Grant { header: token.header, login: None, expires: Some(token.expires) }),
                    Err(error @ Error::RateLimited { .. }) => return Err(error),
                    Err(_) => return Err(first),
                }
            }
        };
        let response = self.send(&talk.method, talk.url.clone(), grant.as_ref(), talk.tally).await;
        match response {
            Ok(response) if response.foreign || !is_refusal(&response, grant.is_some()) => {
                grant.into_iter().for_each(|grant| talk.slot.keep(grant));
                Ok(response)
            }
            _ => {
                talk.slot.refuse_anonymous();
                Err(first)
            }
        }
    }

    /// A token for a repository, minted once for all who wait for it (single-flight).
    async fn granted(
        &self,
        slot: &Slot,
        bearer: &Arc<Bearer>,
        repository: &str,
        tally: &mut Tally,
    ) -> Result<Grant, Error> {
        let scheme = self.endpoint.scheme();
        let minted =
            slot.mint(bearer, async || self.mint(&self.credentials, bearer, repository, scheme, tally).await).await;
        match &minted {
            Ok(_) => self.slots.keep_common(Some(bearer)),
            Err(Error::RateLimited { .. }) => {}
            Err(_) => self.slots.keep_common(None),
        }
        minted
    }

    /// Mints a token, with a login if there is one; anonymously if the login is refused.
    async fn mint(
        &self,
        credentials: &Credentials,
        bearer: &Bearer,
        repository: &str,
        scheme: &str,
        tally: &mut Tally,
    ) -> Result<Grant, Error> {
        let scope = bearer.scope(&self.endpoint.name(repository));
        let mut refusal: Option<(Error, Arc<Login>)> = None;
        while let Some(login) = credentials.login(repository).await? {
            // The source of the login was asked again and has no other one.
            if refusal.as_ref().is_some_and(|(_, refused)| *refused == login) {
                break;
            }
            self.may_get_a_login(bearer, scheme)?;
            match token::mint(&self.transport, bearer, &scope, Some(&login), tally).await {
                Ok(token) => {
                    credentials.accept(&login);
                    return Ok(Grant { header: token.header, login: Some(login), expires: Some(token.expires) });
                }
                Err(error @ Error::Unauthorized { status, .. }) => {
                    // 403 may be about this repository only; 401 is about the login.
                    if status == 401 {
                        credentials.refuse(&login);
                    }
                    if refusal.is_some() {
                        break;
                    }
                    credentials.forget().await;
                    refusal = Some((error, login));
                }
                Err(error) => return Err(error),
            }
        }
        let minted = token::mint(&self.transport, bearer, &scope, None, tally).await;
        match (minted, refusal) {
            (Ok(token), _) => Ok(Grant { header: token.header, login: None, expires: Some(token.expires) }),
            (Err(error @ Error::RateLimited { .. }), _) | (Err(error), None) => Err(error),
            (Err(_), Some((first, _))) => Err(first),
        }
    }

    /// The login of a registry that is asked over HTTPS is not sent over plain HTTP.
    fn may_get_a_login(&self, bearer: &Bearer, asked_over: &str) -> Result<(), Error> {
        if asked_over != "https" || bearer.realm.scheme() == "https" {
            return Ok(());
        }
        let at = host_of(&bearer.realm);
        let reason = format!("its token endpoint at {at} is plain http, where no login of an https registry is sent");
        Err(Error::Protocol { host: self.host().to_owned(), reason })
    }

    fn send<'a>(
        &'a self,
        method: &Method,
        url: Url,
        grant: Option<&Grant>,
        tally: &'a mut Tally,
    ) -> impl Future<Output = Result<Response, Error>> + use<'a> {
        let request = OutgoingRequest {
            method: method.clone(),
            url,
            accept: HeaderValue::from_static(manifest::ACCEPT),
            authorization: grant.map(|grant| grant.header.clone()),
            form: None,
        };
        async move { self.transport.send(&request, tally).await }
    }

    /// Forgets a grant that was refused. The breaker of a login under Basic opens if the registry's root refuses it, too;
    /// otherwise it only may not see this repository.
    async fn note_refusal(&self, talk: &mut Talk<'_>, refusal: &Response, sent: &Grant) {
        if talk.foreign {
            return;
        }
        talk.slot.forget(sent);
        let Some(login) = &sent.login else { return };
        self.credentials.forget().await;
        if sent.expires.is_none() && refusal.status() == StatusCode::UNAUTHORIZED {
            let root = self.send(&Method::GET, self.endpoint.root(), Some(sent), talk.tally).await;
            if root.is_ok_and(|root| is_refusal(&root, true)) {
                self.credentials.refuse(login);
            }
        }
    }

    fn refusal(&self, refusal: &Response, sent: Option<&Grant>) -> Error {
        let status = refusal.status().as_u16();
        let login: Option<&Login> = sent.and_then(|sent| sent.login.as_deref());
        let reason = match login {
            Some(login) => {
                format!("it answered {status} to {:?}: not found, or not allowed to see it", login.username)
            }
            None if self.credentials.is_breaker_open() => {
                format!("it answered {status}; the login was refused a short while ago and rests")
            }
            None if refusal.foreign => {
                format!("it answered {status} to an anonymous request: not found, or a login is needed (docker login)")
            }
            None => format!(
                "it answered {status} to an anonymous request: not found, or a login is needed (docker login, or \
                 username and password_file in [registry.{:?}])",
                self.registry
            ),
        };
        Error::Unauthorized { host: refusal.host(), status, reason }
    }
}

/// 401 and 403 always. Some registries answer 400 to a login or token that has expired.
fn is_refusal(response: &Response, sent: bool) -> bool {
    match response.status().as_u16() {
        401 | 403 => true,
        400 => sent,
        _ => false,
    }
}
