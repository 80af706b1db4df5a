//! The session with one registry: the handshake that turns a request into an authorized one.
//!
//! *Invariant:* a login goes only to its registry's own origin or to the token endpoint that this origin names, never over
//! plain HTTP if the registry is asked over HTTPS, and never while its circuit breaker is open after a refusal.

use std::sync::Arc;

use reqwest::header::HeaderValue;
use reqwest::{Method, StatusCode, Url};
use tokio::sync::OnceCell;
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

pub(super) struct Session {
    /// The canonical name, as in the config.
    registry: String,
    endpoint: Endpoint,
    transport: Transport,
    credentials: Credentials,
    slots: Slots,
    /// Set once the first request is done, whatever its result.
    was_asked: OnceCell<()>,
}

/// The requests of one check, all about one repository.
pub(super) struct Talk<'a> {
    session: &'a Session,
    repository: &'a str,
    pub(super) tally: Tally,
}

/// A refused request. If the refusal came from another origin, to which the registry redirected us, then neither our tokens
/// nor our logins are sent there, and nothing about it is remembered.
struct RefusedRequest {
    method: Method,
    answer: Response,
    /// The grant that was sent with it.
    sent: Option<Grant>,
    slot: Arc<Slot>,
}

impl Session {
    pub(super) fn new(registry: &str, options: &Options) -> Result<Self, Error> {
        let endpoint = Endpoint::new(registry, options)?;
        Ok(Self {
            registry: registry.to_owned(),
            transport: Transport::new(registry, endpoint.host(), options),
            credentials: Credentials::new(registry, endpoint.host(), options),
            endpoint,
            slots: Slots::default(),
            was_asked: OnceCell::new(),
        })
    }

    #[cfg(test)]
    pub(super) fn age(&self) {
        self.slots.age();
        self.transport.recheck_files();
    }

    /// The last `RateLimit-Remaining` that the registry sent.
    pub(super) fn remaining(&self) -> Option<u64> {
        self.transport.remaining()
    }

    pub(super) fn host(&self) -> &str {
        self.endpoint.host()
    }

    pub(super) fn talk<'a>(&'a self, repository: &'a str) -> Talk<'a> {
        Talk { session: self, repository, tally: Tally::default() }
    }

    /// Refuses to send the login of an HTTPS registry to a token endpoint over plain HTTP.
    fn may_get_a_login(&self, bearer: &Bearer, asked_over: &str) -> Result<(), Error> {
        if asked_over != "https" || bearer.realm.scheme() == "https" {
            return Ok(());
        }
        let at = host_of(&bearer.realm);
        let reason = format!("its token endpoint at {at} is plain http, where no login of an https registry is sent");
        Err(Error::Protocol { host: self.host().to_owned(), reason })
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

impl<'a> Talk<'a> {
    pub(super) fn repository(&self) -> &'a str {
        self.repository
    }

    /// Requests a manifest by tag or digest. A refusal becomes an error.
    pub(super) async fn ask(&mut self, method: Method, which: &str) -> Result<Response, Error> {
        match self.session.was_asked.initialized() {
            true => Box::pin(self.ask_as_known(method, which)).await,
            false => Box::pin(self.ask_first_time(method, which)).await,
        }
    }

    /// Makes the first request to this registry. One caller finds out which authorization it demands (single-flight), while
    /// the others wait and reuse the token.
    async fn ask_first_time(&mut self, method: Method, which: &str) -> Result<Response, Error> {
        let was_asked = &self.session.was_asked;
        let mut response = None;
        was_asked.get_or_init(async || response = Some(self.ask_as_known(method.clone(), which).await)).await;
        match response {
            Some(response) => response,
            None => self.ask_as_known(method, which).await,
        }
    }

    /// The handshake.
    ///
    /// 1. Send the cached grant. If its token has expired, mint a new one first. For a new repository, mint one at the token
    ///    endpoint that the other repositories use.
    /// 2. On a refusal (401 or 403; also 400 if a grant was sent), read all challenges. If there are none, request `/v2/` to
    ///    get one.
    /// 3. Answer Bearer with a token, minted once for all callers that wait, and Basic with the login. Prefer Bearer. Keep a
    ///    Bearer challenge that was seen before, even if a refused token is answered with Basic.
    /// 4. Send the request again. If it is refused again and a login was used, try once without: a stale login must not break
    ///    a public image. If that fails too, report the refusal before it.
    /// 5. If the registry redirects to another origin that sends a challenge of its own, do steps 2 to 4 for that origin,
    ///    without any of our grants.
    ///
    /// Rare paths are boxed, because a future is as large as its largest branch.
    async fn ask_as_known(&mut self, method: Method, which: &str) -> Result<Response, Error> {
        let (session, repository) = (self.session, self.repository);
        let slot = session.slots.find(repository);
        let mut sent = slot.as_ref().and_then(|slot| slot.grant());
        let mut fresh = false;
        if sent.is_some() {
            debug!(repository, "what was granted before is shown again");
        } else if let Some((slot, bearer)) = slot.and_then(|slot| Some((Arc::clone(&slot), slot.bearer()?))) {
            fresh = true;
            sent = Some(Box::pin(self.granted(&slot, &bearer)).await?);
        } else if let Some(bearer) = session.slots.common() {
            sent = match Box::pin(self.granted(&session.slots.slot(repository), &bearer)).await {
                Err(error @ Error::RateLimited { .. }) => return Err(error),
                // The token endpoint may have moved. The next challenge names it.
                granted => granted.ok(),
            };
        }
        let mut answer = self.send(&method, session.endpoint.manifest(repository, which), sent.as_ref()).await?;
        if sent.is_none() && !answer.foreign && answer.status().is_success() {
            session.slots.note_open();
        }
        if !answer.foreign && is_refusal(&answer, sent.is_some()) {
            let refused = RefusedRequest { method: method.clone(), answer, sent, slot: session.slots.slot(repository) };
            answer = Box::pin(self.try_again(refused, fresh)).await?;
        }
        if !answer.foreign || !is_refusal(&answer, false) {
            return Ok(answer);
        }
        let refused = RefusedRequest { method, answer, sent: None, slot: Arc::default() };
        let answer = Box::pin(self.try_again(refused, false)).await?;
        match is_refusal(&answer, false) {
            true => Err(session.refusal(&answer, None)),
            false => Ok(answer),
        }
    }

    /// Steps 2 to 4. `fresh` means that the refused token was minted just now, so another one would be refused, too.
    async fn try_again(&mut self, refused: RefusedRequest, fresh: bool) -> Result<Response, Error> {
        let sent = refused.sent.as_ref();
        let mut first = self.session.refusal(&refused.answer, sent);
        if let Some(sent) = sent {
            self.note_refusal(&refused, &refused.answer, sent).await;
        }
        let challenges = self.challenges(&refused).await?;
        let next = match fresh {
            true => None,
            false => self.grant(&challenges, &refused).await?,
        };
        let next = next.filter(|next| sent.is_none_or(|sent| sent.header != next.header));
        if let Some(next) = &next {
            let answer = self.send_again(&refused, Some(next)).await?;
            if answer.foreign || !is_refusal(&answer, true) {
                return Ok(answer);
            }
            first = self.session.refusal(&answer, Some(next));
            self.note_refusal(&refused, &answer, next).await;
        }
        let had_login = next.as_ref().or(sent).is_some_and(|grant| grant.login.is_some());
        let was_refused_bare = sent.is_none() && challenges.bearer.is_none();
        if !had_login || was_refused_bare || !refused.slot.may_ask_anonymously() {
            return Err(first);
        }
        self.ask_anonymously(&challenges, &refused, first).await
    }

    /// Step 2: the challenges of the refusal, with the remembered Bearer challenge, or else those of the registry's root.
    async fn challenges(&mut self, refused: &RefusedRequest) -> Result<Challenges, Error> {
        let (session, foreign) = (self.session, refused.answer.foreign);
        let mut challenges = Challenges::read(refused.answer.headers(), refused.answer.url());
        challenges.bearer = challenges.bearer.or_else(|| refused.slot.bearer());
        if challenges.is_empty() && !foreign {
            debug!(host = session.host(), "refused without a challenge; the registry's root may have one");
            let root = self.send(&Method::GET, session.endpoint.root(), None).await?;
            if root.status() == StatusCode::TOO_MANY_REQUESTS {
                return Err(root.error().await);
            }
            challenges = Challenges::read(root.headers(), root.url());
        }
        let bearer = challenges.bearer.as_ref();
        debug!(
            foreign,
            basic = challenges.basic,
            bearer = bearer.map(|bearer| host_of(&bearer.realm)),
            service = bearer.and_then(|bearer| bearer.service.as_deref()),
            repository = bearer.and_then(|bearer| bearer.repository.as_deref()),
            "challenged"
        );
        Ok(challenges)
    }

    /// Step 3: the authorization that answers the challenges. `None` if we have none.
    async fn grant(&mut self, challenges: &Challenges, refused: &RefusedRequest) -> Result<Option<Grant>, Error> {
        let (session, foreign) = (self.session, refused.answer.foreign);
        let of_other_host = foreign.then(|| session.credentials.of_other_host(&refused.answer.host()));
        let credentials = of_other_host.as_ref().unwrap_or(&session.credentials);
        if let Some(bearer) = &challenges.bearer {
            let minted = match foreign {
                true => self.mint(credentials, bearer, refused.answer.url().scheme()).await,
                false => self.granted(&refused.slot, bearer).await,
            };
            match minted {
                // Fall back to Basic if no token can be obtained, unless we are rate limited.
                Err(error) if challenges.basic && !matches!(error, Error::RateLimited { .. }) => {}
                minted => return minted.map(Some),
            }
        }
        if !challenges.basic {
            return Ok(None);
        }
        let Some(login) = credentials.login(self.repository).await? else { return Ok(None) };
        let Some(header) = login.basic() else { return Ok(None) };
        let grant = Grant { header, login: Some(login), expires: None };
        if !foreign {
            refused.slot.keep(grant.clone());
        }
        Ok(Some(grant))
    }

    /// Step 4, the attempt without a login.
    async fn ask_anonymously(
        &mut self,
        challenges: &Challenges,
        refused: &RefusedRequest,
        first: Error,
    ) -> Result<Response, Error> {
        debug!(host = self.session.host(), repository = self.repository, "the login was refused; asking anonymously");
        let grant = match &challenges.bearer {
            None => None,
            Some(bearer) => match self.token(bearer, None).await {
                Ok(grant) => Some(grant),
                Err(error @ Error::RateLimited { .. }) => return Err(error),
                Err(_) => return Err(first),
            },
        };
        match self.send_again(refused, grant.as_ref()).await {
            Ok(answer) if answer.foreign || !is_refusal(&answer, grant.is_some()) => {
                grant.into_iter().for_each(|grant| refused.slot.keep(grant));
                Ok(answer)
            }
            _ => {
                refused.slot.refuse_anonymous();
                Err(first)
            }
        }
    }

    /// A token for the repository, minted once for all callers that wait for it (single-flight).
    async fn granted(&mut self, slot: &Slot, bearer: &Arc<Bearer>) -> Result<Grant, Error> {
        let session = self.session;
        let scheme = session.endpoint.scheme();
        let minted = slot.mint(bearer, async || self.mint(&session.credentials, bearer, scheme).await).await;
        match &minted {
            Ok(_) => session.slots.keep_common(Some(bearer)),
            Err(Error::RateLimited { .. }) => {}
            Err(_) => session.slots.keep_common(None),
        }
        minted
    }

    /// Mints a token, with the login if there is one, and anonymously if the login is refused. `scheme` is that of the
    /// challenged request.
    async fn mint(&mut self, credentials: &Credentials, bearer: &Bearer, scheme: &str) -> Result<Grant, Error> {
        let mut refusal: Option<(Error, Arc<Login>)> = None;
        while let Some(login) = credentials.login(self.repository).await? {
            // The source was read again and still has the refused login.
            if refusal.as_ref().is_some_and(|(_, refused)| *refused == login) {
                break;
            }
            self.session.may_get_a_login(bearer, scheme)?;
            match self.token(bearer, Some(&login)).await {
                Ok(grant) => {
                    credentials.accept(&login);
                    return Ok(grant);
                }
                Err(error @ Error::Unauthorized { status, .. }) => {
                    // A 401 is about the login. A 403 may be about this repository only.
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
        match (self.token(bearer, None).await, refusal) {
            (Err(error), Some((first, _))) if !matches!(error, Error::RateLimited { .. }) => Err(first),
            (minted, _) => minted,
        }
    }

    async fn token(&mut self, bearer: &Bearer, login: Option<&Arc<Login>>) -> Result<Grant, Error> {
        let scope = bearer.scope(&self.session.endpoint.name(self.repository));
        token::mint(&self.session.transport, bearer, &scope, login, &mut self.tally).await
    }

    async fn send_again(&mut self, refused: &RefusedRequest, grant: Option<&Grant>) -> Result<Response, Error> {
        self.send(&refused.method, refused.answer.url().clone(), grant).await
    }

    fn send<'s>(
        &'s mut self,
        method: &Method,
        url: Url,
        grant: Option<&Grant>,
    ) -> impl Future<Output = Result<Response, Error>> + use<'s, 'a> {
        let request = OutgoingRequest {
            method: method.clone(),
            url,
            accept: HeaderValue::from_static(manifest::ACCEPT),
            authorization: grant.map(|grant| grant.header.clone()),
            form: None,
        };
        async move { self.session.transport.send(&request, &mut self.tally).await }
    }

    /// Forgets a refused grant. If it was a Basic login and the registry's root refuses it as well, the login is bad and its
    /// breaker opens; otherwise the login merely has no access to this repository.
    async fn note_refusal(&mut self, refused: &RefusedRequest, answer: &Response, sent: &Grant) {
        if refused.answer.foreign {
            return;
        }
        let session = self.session;
        refused.slot.forget(sent);
        let Some(login) = &sent.login else { return };
        session.credentials.forget().await;
        if sent.expires.is_none() && answer.status() == StatusCode::UNAUTHORIZED {
            let root = self.send(&Method::GET, session.endpoint.root(), Some(sent)).await;
            if root.is_ok_and(|root| is_refusal(&root, true)) {
                session.credentials.refuse(login);
            }
        }
    }
}

/// 401 and 403 always, and 400 if a grant was sent: some registries answer 400 to an expired login or token.
fn is_refusal(response: &Response, sent: bool) -> bool {
    match response.status().as_u16() {
        401 | 403 => true,
        400 => sent,
        _ => false,
    }
}
