//! One check: ask the registry, judge the answer, verify a move, commit what changed.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use jiff::Timestamp;
use tracing::{debug, info, warn};

use super::watched::Waiter;
use crate::agent::{clock, failpoint};
use crate::domain::delivery::news;
use crate::domain::gate::{Permit, Report};
use crate::domain::judge::{CheckOutcome, Persist, Record, Verdict, judge};
use crate::domain::{Answer, ChangeKind, Choice, Digest, Failure, FailureKind, Lane, Question, Repository, Watch};
use crate::registry::{self, Client, Recorded};
use crate::store::{Store, WatchId};

/// One request to a registry, made for every watch that asks the same question and is due at the same time.
///
/// It cannot see the scheduler, which polls it.
pub(crate) struct GroupCheck {
    pub(crate) context: Arc<CheckContext>,
    /// The index of the registry.
    pub(crate) registry: usize,
    pub(crate) permit: Permit,
    pub(crate) client: Result<Arc<Client>, registry::Error>,
    pub(crate) question: Question,
    pub(crate) checks: Vec<WatchCheck>,
}

/// What a [`GroupCheck`] came to.
pub(crate) struct GroupResult {
    /// In the order of `checks`.
    pub(crate) checked: Vec<CheckResult>,
    /// Requests made, which the gate's token bucket is charged for.
    pub(crate) requests: u32,
    /// What the registry's gate learns from it.
    pub(crate) report: Report,
}

/// One watch of a group.
pub(crate) struct WatchCheck {
    /// Its index in the roster.
    pub(crate) index: usize,
    pub(crate) id: WatchId,
    pub(crate) watch: Arc<Watch>,
    pub(crate) record: Record,
    /// A dry run changes nothing.
    pub(crate) dry_run: bool,
    /// Those who asked for this check before it began.
    pub(crate) waiting: Vec<Waiter>,
}

/// What all checks share.
pub(crate) struct CheckContext {
    pub(crate) store: Store,
    /// Set at shutdown: requests in flight are abandoned, commits finish.
    pub(crate) stopping: AtomicBool,
}

/// What the registry said.
struct Reply {
    seen: Result<Answer, Failure>,
    /// When the answer came. All watches of the group are judged at this time.
    at: Timestamp,
    /// Why another digest does not resolve by itself, if a watch of the group needed to know.
    unresolved: Option<Failure>,
    requests: u32,
    report: Report,
}

/// What a check came to, for one watch.
pub(crate) struct CheckResult {
    /// What the answer means; its record is the one from now on.
    pub(crate) verdict: Verdict,
    /// The digest that was found or, if the check failed, the recorded one.
    pub(crate) digest: Option<Digest>,
    /// The digest before, if the tag moved.
    pub(crate) previous: Option<Digest>,
    pub(crate) failure: Option<Failure>,
    /// Whether the record was committed.
    pub(crate) saved: bool,
    /// Whether deliveries were owed by it.
    pub(crate) has_owed: bool,
    pub(crate) elapsed: Duration,
}

impl CheckResult {
    /// A failure that changes nothing.
    pub(crate) fn unjudged(record: Record, failure: Failure) -> Self {
        Self {
            digest: record.digest().cloned(),
            verdict: Verdict {
                record,
                changes: Vec::new(),
                outcome: CheckOutcome::Failed,
                because: "nothing was judged",
                recheck: None,
                persist: Persist::Hourly,
            },
            previous: None,
            failure: Some(failure),
            saved: false,
            has_owed: false,
            elapsed: Duration::ZERO,
        }
    }
}

impl GroupCheck {
    /// Runs the check. A panic, which is a bug, becomes a failure of this group's checks: the permit is given back, no watch
    /// is lost, and the scheduler goes on.
    pub(crate) async fn run_guarded(&self) -> Option<GroupResult> {
        if let Ok(answered) = AssertUnwindSafe(self.run()).catch_unwind().await {
            return answered;
        }
        let seen = Err(bug());
        let reply = Reply { seen, at: clock::now(), unresolved: None, requests: 0, report: Report::Answered };
        let concluded = AssertUnwindSafe(self.conclude(&reply, Duration::ZERO)).catch_unwind().await;
        // If even the failure cannot be judged, the records stay as they are.
        let unjudged = |check: &WatchCheck| CheckResult::unjudged(check.record.clone(), bug());
        let unjudged = || self.checks.iter().map(unjudged).collect();
        Some(concluded.unwrap_or_else(|_| GroupResult { checked: unjudged(), requests: 0, report: Report::Answered }))
    }

    /// `None` if the check was abandoned at shutdown; nothing has changed then.
    async fn run(&self) -> Option<GroupResult> {
        let began = Instant::now();
        let reply = {
            let mut asking = pin!(self.ask());
            let reply = poll_fn(|context| match asking.as_mut().poll(context) {
                Poll::Pending if self.context.stopping.load(Relaxed) => Poll::Ready(None),
                reply => reply.map(Some),
            });
            reply.await?
        };
        Some(self.conclude(&reply, began.elapsed()).await)
    }

    /// Asks the registry, and asks again by digest if a move must be verified.
    async fn ask(&self) -> Reply {
        let client = match &self.client {
            Ok(client) => client,
            Err(error) => return self.reply(Err(error.clone()), 0),
        };
        let standing = self.checks.iter().find_map(|check| check.record.standing.as_ref());
        let recorded = Recorded {
            sighting: standing.map(|standing| &standing.sighting),
            is_there: self.checks.iter().any(|check| check.record.is_there()),
        };
        let found = client.check(&self.question, recorded).await;
        failpoint::step("check: answered");
        let mut reply = self.reply(found.result, found.requests);
        let to_verify = |check: &WatchCheck| check.judge(&reply.seen, reply.at).to_verify().cloned();
        if let Some(digest) = &self.checks.iter().find_map(to_verify) {
            debug!(digest = digest.as_str(), "another digest: does it resolve by itself?");
            let resolved = Box::pin(client.resolve(&self.question.repository, digest)).await;
            failpoint::step("check: verified");
            reply.requests += resolved.requests;
            if let Err(error) = &resolved.result {
                reply.report = report(Some(error), &self.question.repository);
                reply.unresolved = Some(Failure::from(error));
            }
        }
        reply
    }

    fn reply(&self, result: Result<Answer, registry::Error>, requests: u32) -> Reply {
        let report = report(result.as_ref().err(), &self.question.repository);
        let seen = result.map_err(|error| Failure::from(&error));
        Reply { seen, at: clock::now(), unresolved: None, requests, report }
    }

    async fn conclude(&self, reply: &Reply, elapsed: Duration) -> GroupResult {
        let mut checked = Vec::with_capacity(self.checks.len());
        for check in &self.checks {
            checked.push(check.conclude(&self.context, reply, elapsed).await);
        }
        GroupResult { checked, requests: reply.requests, report: reply.report }
    }
}

impl WatchCheck {
    /// Judges, commits and logs.
    async fn conclude(&self, context: &CheckContext, reply: &Reply, elapsed: Duration) -> CheckResult {
        failpoint::bug(self.watch.name());
        let mut verdict = self.judge(&reply.seen, reply.at);
        let mut seen = reply.seen.as_ref().ok();
        if verdict.to_verify().is_some()
            && let Some(failure) = &reply.unresolved
        {
            seen = None;
            verdict = self.judge(&Err(failure.clone()), reply.at);
        }
        let found = match seen {
            Some(Answer::Present(sighting)) => Some(sighting.digest.clone()),
            Some(Answer::Absent) if verdict.outcome == CheckOutcome::Absent => None,
            _ => self.record.digest().cloned(),
        };
        let previous = self.record.digest().filter(|_| verdict.outcome == CheckOutcome::Moved).cloned();
        let (has_owed, saved) = self.commit(context, &mut verdict).await;
        self.log(&verdict, elapsed);
        if self.dry_run {
            self.log_what_would_be_owed(context, &verdict).await;
        }
        let failure = verdict.record.failing.as_ref().filter(|_| verdict.outcome == CheckOutcome::Failed);
        CheckResult {
            digest: found,
            previous,
            failure: failure.map(|failing| failing.latest.clone()),
            saved,
            has_owed,
            elapsed,
            verdict,
        }
    }

    fn judge(&self, seen: &Result<Answer, Failure>, at: Timestamp) -> Verdict {
        judge(&self.record, seen.as_ref(), &self.watch.policy, at)
    }

    /// Commits what must not be lost. Returns whether deliveries are owed by it, and whether it was committed. If that fails,
    /// it has not happened, and the next check finds it again.
    async fn commit(&self, context: &CheckContext, verdict: &mut Verdict) -> (bool, bool) {
        if self.dry_run || verdict.persist < Persist::Now {
            return (false, false);
        }
        let (record, changes) = (verdict.record.clone(), verdict.changes.clone());
        failpoint::step("check: judged");
        match Box::pin(context.store.commit(self.id, record, changes)).await {
            Ok(owed) => {
                failpoint::step("check: committed");
                (!owed.is_empty(), true)
            }
            Err(why) => {
                let message = format!("the check could not be recorded: {why}");
                let failure = Failure { kind: FailureKind::Store, message };
                *verdict = judge(&self.record, Err(&failure), &self.watch.policy, clock::now());
                // `failing` was not committed with this verdict, so it must still be emitted later.
                verdict.changes.clear();
                let announced = self.record.failing.as_ref().is_some_and(|failing| failing.announced);
                if let Some(failing) = &mut verdict.record.failing {
                    failing.announced = announced;
                }
                (false, false)
            }
        }
    }

    /// By the change alone: a hook whose cursor differs from the record would start its run from its own cursor.
    async fn log_what_would_be_owed(&self, context: &CheckContext, verdict: &Verdict) {
        for subscription in context.store.subscriptions(self.id).await.unwrap_or_default() {
            let (hook, kinds) = (&*subscription.hook, subscription.kinds);
            let news = Lane::ALL.into_iter().filter_map(|lane| news(&verdict.changes, kinds, lane));
            let mut news = news.filter_map(|index| verdict.changes.get(index)).peekable();
            let on: Vec<&str> = kinds.iter().map(ChangeKind::as_str).collect();
            if news.peek().is_none() {
                debug!(hook, on = on.join(","), "nothing would be owed");
            }
            for change in news {
                let (from, to) = (digest(change.from.as_ref()), digest(change.to.as_ref()));
                debug!(hook, change = change.kind.as_str(), from, to, "would be owed");
            }
        }
    }

    /// Logs what matters at `info` or above; an unchanged tag is only worth `debug`.
    fn log(&self, verdict: &Verdict, elapsed: Duration) {
        let watch = self.watch.name();
        debug!(
            watch,
            outcome = verdict.outcome.as_str(),
            recorded = self.record.digest().map(Digest::as_str),
            failures = verdict.record.failing.as_ref().map(|failing| failing.streak.count),
            recheck = verdict.recheck.map(tracing::field::display),
            ?elapsed,
            "checked: {}",
            verdict.because
        );
        if self.dry_run {
            return;
        }
        for change in &verdict.changes {
            let text = |choice: &Option<Choice>| digest(choice.as_ref()).unwrap_or_default().to_owned();
            let (from, to) = (text(&change.from), text(&change.to));
            match change.kind {
                ChangeKind::First => info!(watch, digest = to, "first seen"),
                ChangeKind::Moved => info!(watch, from, to, "tag moved"),
                ChangeKind::Removed => warn!(watch, from, "tag removed"),
                ChangeKind::Restored => info!(watch, digest = to, "tag restored"),
                ChangeKind::Failing => warn!(watch, "checks keep failing"),
                ChangeKind::Recovered => info!(watch, "checks work again"),
            }
        }
        let before = self.record.failing.as_ref().map(|failing| &failing.latest);
        match verdict.record.failing.as_ref().map(|failing| &failing.latest) {
            Some(now) if Some(now) != before => warn!(watch, kind = now.kind.as_str(), "check failed: {now}"),
            Some(now) => debug!(watch, kind = now.kind.as_str(), "check failed again: {now}"),
            None if before.is_some() => info!(watch, "check succeeded after failures"),
            None => {}
        }
        let candidate = verdict.record.candidate.as_ref();
        if let Some(candidate) = candidate.filter(|candidate| candidate.sightings == 1) {
            info!(watch, to = candidate.sighting.digest.as_str(), until = ?verdict.recheck, "new digest is settling");
        }
    }
}

fn bug() -> Failure {
    let message = "taghook has a bug here: the check panicked; please report the log above".to_owned();
    Failure { kind: FailureKind::Protocol, message }
}

fn digest(choice: Option<&Choice>) -> Option<&str> {
    choice.map(|choice| choice.digest.as_str())
}

/// What an error says about the registry as a whole.
fn report(error: Option<&registry::Error>, repository: &Repository) -> Report {
    use std::hash::{DefaultHasher, Hash, Hasher};
    let Some(error) = error else { return Report::Answered };
    match error.kind() {
        FailureKind::RateLimited => Report::RateLimited(error.retry_after()),
        kind @ (FailureKind::Dns | FailureKind::Connect | FailureKind::Tls | FailureKind::Timeout) => {
            Report::Unreachable(kind)
        }
        FailureKind::Server => error.retry_after().map_or_else(
            || {
                let mut hasher = DefaultHasher::new();
                repository.path().hash(&mut hasher);
                Report::Broken(hasher.finish())
            },
            Report::Unavailable,
        ),
        _ => Report::Answered,
    }
}
