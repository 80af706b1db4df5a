//! The cache of grants: for each repository, its challenge and its token.
//!
//! *Invariant:* at most one token per repository is being minted at a time (single-flight). Everyone who waits for it gets
//! the same token, or the same failure.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;

use super::challenge::Bearer;
use super::error::Error;
use super::login::Login;

/// An `Authorization` header, and what it stands for.
#[derive(Clone)]
pub(super) struct Grant {
    pub(super) header: HeaderValue,
    /// `None` if it was granted anonymously.
    pub(super) login: Option<Arc<Login>>,
    pub(super) expires: Option<Instant>,
}

impl Grant {
    pub(super) fn is_good(&self) -> bool {
        self.expires.is_none_or(|expires| Instant::now() < expires)
    }
}

/// A slot for each repository that was ever challenged.
#[derive(Default)]
pub(super) struct Slots(Mutex<SlotTable>);

#[derive(Default)]
struct SlotTable {
    slots: HashMap<Box<str>, Arc<Slot>>,
    /// The challenge that the last token answered, of any repository.
    common: Option<Arc<Bearer>>,
    /// Whether the registry has ever answered a request without authorization.
    open: bool,
    swept: Option<Instant>,
}

/// How often expired tokens are dropped. They are large, and a watch may check only once a day.
const SWEEP: Duration = Duration::from_secs(60);

#[derive(Default)]
pub(super) struct Slot {
    state: Mutex<SlotState>,
    /// Held while a token is being minted.
    turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct SlotState {
    bearer: Option<Arc<Bearer>>,
    grant: Option<Grant>,
    /// The number of mints so far, by which a waiter sees that one has ended meanwhile.
    mints: u64,
    /// Of the last mint.
    failure: Option<Error>,
    /// When the request without a login was last refused.
    anonymous_refused: Option<Instant>,
}

/// How long no request without a login is tried after one was refused.
const ANONYMOUS_REFUSED_FOR: Duration = Duration::from_secs(15 * 60);

impl Slots {
    /// The slot of a repository, if it was ever challenged.
    pub(super) fn find(&self, repository: &str) -> Option<Arc<Slot>> {
        self.table().slots.get(repository).cloned()
    }

    /// The slot of a repository, created if needed.
    pub(super) fn slot(&self, repository: &str) -> Arc<Slot> {
        let mut table = self.table();
        let now = Instant::now();
        if table.swept.is_none_or(|swept| now.duration_since(swept) >= SWEEP) {
            table.swept = Some(now);
            table.slots.values().for_each(|slot| slot.drop_expired());
        }
        Arc::clone(table.slots.entry(repository.into()).or_default())
    }

    /// The challenge that a new repository will probably send: the same token endpoint as for the others. `None` if the
    /// registry serves some repositories without a token, because this may be one of them.
    pub(super) fn common(&self) -> Option<Arc<Bearer>> {
        let table = self.table();
        table.common.clone().filter(|_| !table.open)
    }

    /// Records the challenge that a token has answered, or `None` after a failure.
    pub(super) fn keep_common(&self, bearer: Option<&Bearer>) {
        self.table().common = bearer.map(|bearer| Arc::new(Bearer { repository: None, ..bearer.clone() }));
    }

    /// Records that a request without authorization was answered.
    pub(super) fn note_open(&self) {
        self.table().open = true;
    }

    /// Ages every grant by an hour.
    #[cfg(test)]
    pub(super) fn age(&self) {
        for slot in self.table().slots.values() {
            if let Some(grant) = &mut slot.state().grant {
                grant.expires = grant.expires.and_then(|expires| expires.checked_sub(Duration::from_secs(3600)));
            }
        }
    }

    fn table(&self) -> MutexGuard<'_, SlotTable> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Slot {
    /// The cached grant, unless it has expired.
    pub(super) fn grant(&self) -> Option<Grant> {
        self.state().grant.clone().filter(Grant::is_good)
    }

    /// The Bearer challenge that the last token answered.
    pub(super) fn bearer(&self) -> Option<Arc<Bearer>> {
        self.state().bearer.clone()
    }

    pub(super) fn keep(&self, grant: Grant) {
        self.state().grant = Some(grant);
    }

    /// Forgets a refused grant, unless a newer one has replaced it.
    pub(super) fn forget(&self, refused: &Grant) {
        self.state().grant.take_if(|grant| grant.header == refused.header);
    }

    /// The grant or failure of a mint that ended while we waited, or else the result of `mint` (single-flight).
    pub(super) async fn mint<F>(&self, bearer: &Arc<Bearer>, mint: F) -> Result<Grant, Error>
    where
        F: AsyncFnOnce() -> Result<Grant, Error>,
    {
        let before = self.state().mints;
        let _turn = self.turn.lock().await;
        {
            let state = self.state();
            if let Some(grant) = state.grant.as_ref().filter(|grant| grant.is_good()) {
                return Ok(grant.clone());
            }
            if let Some(failure) = state.failure.as_ref().filter(|_| state.mints != before) {
                return Err(failure.clone());
            }
        }
        let result = mint().await;
        let mut state = self.state();
        state.mints += 1;
        // After a failure the challenge is forgotten: the next request goes without a token and so finds a token endpoint
        // that has moved. A rate limit is no sign of that.
        let is_of_use = matches!(result, Ok(_) | Err(Error::RateLimited { .. }));
        state.bearer = is_of_use.then(|| Arc::clone(bearer));
        state.grant = result.as_ref().ok().cloned();
        state.failure = result.as_ref().err().cloned();
        result
    }

    /// Whether a request without a login may succeed.
    pub(super) fn may_ask_anonymously(&self) -> bool {
        self.state().anonymous_refused.is_none_or(|refused| refused.elapsed() >= ANONYMOUS_REFUSED_FOR)
    }

    /// Records that a request without a login was refused.
    pub(super) fn refuse_anonymous(&self) {
        self.state().anonymous_refused = Some(Instant::now());
    }

    fn drop_expired(&self) {
        self.state().grant.take_if(|grant| !grant.is_good());
    }

    fn state(&self) -> MutexGuard<'_, SlotState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering::SeqCst};

    use reqwest::Url;

    use super::*;

    fn bearer() -> Arc<Bearer> {
        Arc::new(Bearer { realm: Url::parse("https://t.example/").unwrap(), service: None, repository: None })
    }

    fn grant(text: &'static str, expires: Instant) -> Grant {
        Grant { header: HeaderValue::from_static(text), login: None, expires: Some(expires) }
    }

    /// Eight mints at a time, of which `mint` is run for those that really happen; how many did.
    async fn together(slot: &Slot, result: Result<Grant, Error>) -> (u32, Vec<Result<Grant, Error>>) {
        let mints = AtomicU32::new(0);
        let bearer = bearer();
        let mint = || {
            slot.mint(&bearer, async || {
                mints.fetch_add(1, SeqCst);
                // Lets everybody else arrive and wait.
                tokio::task::yield_now().await;
                result.clone()
            })
        };
        let results = futures_util::future::join_all((0..8).map(|_| mint())).await;
        (mints.into_inner(), results)
    }

    #[tokio::test]
    async fn who_waits_shares_the_token_or_the_failure() {
        let good = grant("Bearer a", Instant::now() + Duration::from_secs(60));
        let (mints, results) = together(&Slot::default(), Ok(good)).await;
        assert_eq!((mints, results.iter().filter(|result| result.is_ok()).count()), (1, 8));

        let slot = Slot::default();
        let failure = || Error::Server { host: "t.example".into(), status: 503, retry_after: None };
        let (mints, results) = together(&slot, Err(failure())).await;
        assert_eq!((mints, results.iter().filter(|result| result.is_err()).count()), (1, 8));
        let (mints, _) = together(&slot, Err(failure())).await;
        assert_eq!(mints, 1, "who comes later tries again");
    }

    #[tokio::test]
    async fn an_expired_token_is_not_used_and_a_refused_one_is_forgotten() {
        let slots = Slots::default();
        let slot = slots.slot("acme/web");
        let old = grant("Bearer old", Instant::now());
        slot.keep(old.clone());
        assert!(slot.grant().is_none());
        let new = grant("Bearer new", Instant::now() + Duration::from_secs(60));
        slot.keep(new.clone());
        slot.forget(&old);
        assert!(slot.grant().is_some(), "the refusal of an older token says nothing about the newer one");
        slot.forget(&new);
        assert!(slot.grant().is_none());
    }
}
