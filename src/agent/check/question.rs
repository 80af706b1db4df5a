//! One check: ask, judge, verify, commit.

use std::future::poll_fn;
use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::task::Poll;
use std::time::{Duration, Instant};

use futures_util::FutureExt;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::{debug, info, warn};

use crate::agent::{clock, failpoint};
use crate::config::Config;
use crate::domain::delivery::news;
use crate::domain::gate::Report;
use crate::domain::judge::{Outcome, Persist, Record, Verdict, judge};
use crate::domain::{Answer, ChangeKind, Digest, Failure, FailureKind, Lane, Platform, Reference, Watch};
use crate::registry::{self, Client};
use crate::store::{Owed, Store, Subscription, WatchId};

/// One question to a registry, and the watches that want its answer: those of the same image that are due together.
///
/// It sees nothing of the loop that polls it.
pub(crate) struct Question {
    pub(crate) books: Arc<Books>,
    pub(crate) client: Result<Arc<Client>, registry::Error>,
    pub(crate) reference: Reference,
    pub(crate) platform: Option<Platform>,
    pub(crate) checks: Vec<Check>,
}

/// What became of a question.
pub(crate) struct Answered {
    /// In the order of the question's checks.
    pub(crate) checked: Vec<Checked>,
    /// Requests made, for the gate's rate.
    pub(crate) requests: u32,
    /// What was learnt of the registry, for its gate.
    pub(crate) report: Report,
}

/// One watch's part in it.
pub(crate) struct Check {
    pub(crate) id: WatchId,
    pub(crate) watch: Arc<Watch>,
    pub(crate) record: Record,
    pub(crate) dry_run: bool,
}

/// Where what a check has found is written down, and who is to be told: the same for all checks.
pub(crate) struct Books {
    pub(crate) store: Store,
    /// What all go by; this may be a moment ahead of what the check began with.
    pub(crate) config: watch::Receiver<Arc<Config>>,
    /// Who still asks when this is true gives up, once polled; who commits goes on to the end.
    pub(crate) stopping: AtomicBool,
}

/// What a registry said of an image, and whether a new digest resolves by itself, once somebody had to know that.
struct Asked {
    seen: Result<Answer, Failure>,
    /// When it said so: all judge by the same time.
    at: Timestamp,
    resolves: Option<Result<(), Failure>>,
    requests: u32,
    report: Report,
}

/// What a check came to.
pub(crate) struct Checked {
    /// What is remembered from now on.
    pub(crate) record: Record,
    pub(crate) outcome: Outcome,
    /// Whether nothing of it counts.
    pub(crate) dry_run: bool,
    /// What the registry answered, or what is recorded.
    pub(crate) digest: Option<Digest>,
    /// The digest before, where it moved.
    pub(crate) previous: Option<Digest>,
    pub(crate) failure: Option<Failure>,
    /// An extra check that is wanted.
    pub(crate) recheck: Option<Timestamp>,
    /// Whether the record is on disk.
    pub(crate) saved: bool,
    /// If not, how soon it must be.
    pub(crate) unsaved: Option<Persist>,
    pub(crate) owed: Vec<Owed>,
    /// What was accepted.
    pub(crate) changes: Vec<ChangeKind>,
    pub(crate) elapsed: Duration,
}

impl Question {
    /// [`Question::run`], with a panic (a bug) made a failure of these checks: no permit and no watch is lost by it, and
    /// the loop does not hear of it.
    pub(crate) async fn run_guarded(&self) -> Option<Answered> {
        if let Ok(answered) = AssertUnwindSafe(self.run()).catch_unwind().await {
            return answered;
        }
        let seen = Err(bug());
        let asked = Asked { seen, at: clock::now(), resolves: None, requests: 0, report: Report::Answered };
        let concluded = AssertUnwindSafe(self.conclude(&asked, Duration::ZERO)).catch_unwind().await;
        // Where not even the failure can be judged, nothing is remembered.
        let unjudged = || self.checks.iter().map(Check::unjudged).collect();
        Some(concluded.unwrap_or_else(|_| Answered { checked: unjudged(), requests: 0, report: Report::Answered }))
    }

    /// `None`: it gave up because checks must end, and nothing has changed.
    async fn run(&self) -> Option<Answered> {
        let began = Instant::now();
        let asked = {
            let mut asking = pin!(self.ask());
            let asked = poll_fn(|context| match asking.as_mut().poll(context) {
                Poll::Pending if self.books.stopping.load(Relaxed) => Poll::Ready(None),
                asked => asked.map(Some),
            });
            asked.await?
        };
        Some(self.conclude(&asked, began.elapsed()).await)
    }

    /// Asks the registry, and once more where the answer must be verified.
    async fn ask(&self) -> Asked {
        let client = match &self.client {
            Ok(client) => client,
            Err(error) => return self.asked(Err(error.clone()), 0),
        };
        let known = self.checks.iter().find_map(|check| check.record.standing.as_ref());
        let known = known.map(|standing| &standing.sighting);
        let found = client.check(&self.reference, self.platform.as_ref(), known).await;
        failpoint::step("check: answered");
        let mut asked = self.asked(found.result, found.requests);
        let to_verify = |check: &Check| check.judge(&asked.seen, asked.at).to_verify().cloned();
        if let Some(digest) = &self.checks.iter().find_map(to_verify) {
            debug!(digest = digest.as_str(), "another digest: does it resolve by itself?");
            let resolved = Box::pin(client.resolve(&self.reference, digest)).await;
            failpoint::step("check: verified");
            asked.requests += resolved.requests;
            if let Err(error) = &resolved.result {
                asked.report = report(Some(error), &self.reference);
            }
            asked.resolves = Some(resolved.result.map_err(|error| Failure::from(&error)));
        }
        asked
    }

    fn asked(&self, result: Result<Answer, registry::Error>, requests: u32) -> Asked {
        let report = report(result.as_ref().err(), &self.reference);
        let seen = result.map_err(|error| Failure::from(&error));
        Asked { seen, at: clock::now(), resolves: None, requests, report }
    }

    async fn conclude(&self, asked: &Asked, elapsed: Duration) -> Answered {
        let mut checked = Vec::with_capacity(self.checks.len());
        for check in &self.checks {
            checked.push(check.conclude(&self.books, asked, elapsed).await);
        }
        Answered { checked, requests: asked.requests, report: asked.report }
    }
}

impl Check {
    /// Commits what was found out, and tells it.
    async fn conclude(&self, books: &Books, asked: &Asked, elapsed: Duration) -> Checked {
        failpoint::bug(self.watch.name());
        let mut verdict = self.judge(&asked.seen, asked.at);
        let mut seen = asked.seen.as_ref().ok();
        if verdict.to_verify().is_some()
            && let Some(Err(failure)) = &asked.resolves
        {
            seen = None;
            verdict = self.judge(&Err(failure.clone()), asked.at);
        }
        let found = match seen {
            Some(Answer::Present(sighting)) => Some(sighting.digest.clone()),
            Some(Answer::Absent) if verdict.outcome == Outcome::Absent => None,
            _ => self.record.digest().cloned(),
        };
        let previous = self.record.digest().filter(|_| verdict.outcome == Outcome::Moved).cloned();
        let (owed, saved) = self.commit(books, &mut verdict).await;
        self.tell(books, &verdict, elapsed);
        let failure = verdict.record.trouble.as_ref().filter(|_| verdict.outcome == Outcome::Failed);
        Checked {
            outcome: verdict.outcome,
            dry_run: self.dry_run,
            digest: found,
            previous,
            failure: failure.map(|trouble| trouble.failure.clone()),
            recheck: verdict.recheck,
            saved,
            unsaved: (!saved).then_some(verdict.persist),
            owed,
            changes: verdict.changes.iter().map(|change| change.kind).collect(),
            elapsed,
            record: verdict.record,
        }
    }

    /// A failure that changes nothing.
    fn unjudged(&self) -> Checked {
        Checked {
            record: self.record.clone(),
            outcome: Outcome::Failed,
            dry_run: self.dry_run,
            digest: self.record.digest().cloned(),
            previous: None,
            failure: Some(bug()),
            recheck: None,
            saved: false,
            unsaved: None,
            owed: Vec::new(),
            changes: Vec::new(),
            elapsed: Duration::ZERO,
        }
    }

    /// Who is subscribed now: the config may have changed while the registry was asked.
    fn subscriptions(&self, books: &Books) -> Arc<[Subscription]> {
        let config = books.config.borrow().clone();
        let watch = config.watches.get(&self.watch.key.name).filter(|watch| watch.key == self.watch.key);
        let hooks = watch.into_iter().flat_map(|watch| watch.hooks.iter()).filter_map(|name| config.hooks.get(name));
        hooks.map(|hook| Subscription { hook: hook.name.clone(), on: hook.on }).collect()
    }

    fn judge(&self, seen: &Result<Answer, Failure>, at: Timestamp) -> Verdict {
        judge(&self.record, seen.as_ref(), &self.watch.policy, at)
    }

    /// Commits what must not be lost. What cannot be committed has not happened: the next check finds it again.
    async fn commit(&self, books: &Books, verdict: &mut Verdict) -> (Vec<Owed>, bool) {
        if self.dry_run || verdict.persist < Persist::Now {
            return (Vec::new(), false);
        }
        let (record, changes) = (verdict.record.clone(), verdict.changes.clone());
        failpoint::step("check: judged");
        match Box::pin(books.store.commit(self.id, record, changes, self.subscriptions(books))).await {
            Ok(owed) => {
                failpoint::step("check: committed");
                (owed, true)
            }
            Err(why) => {
                let message = format!("the check could not be recorded: {why}");
                let failure = Failure { kind: FailureKind::Store, message };
                *verdict = judge(&self.record, Err(&failure), &self.watch.policy, clock::now());
                // What cannot be recorded now has not been told, and must still be told later.
                verdict.changes.clear();
                let announced = self.record.trouble.as_ref().is_some_and(|trouble| trouble.announced);
                if let Some(trouble) = &mut verdict.record.trouble {
                    trouble.announced = announced;
                }
                (Vec::new(), false)
            }
        }
    }

    /// By the change alone: a hook that stands elsewhere than the record does is told of its own way.
    fn tell_what_would_be_owed(&self, books: &Books, verdict: &Verdict) {
        for subscription in &*self.subscriptions(books) {
            let lanes = [Lane::Content, Lane::Health];
            let news = lanes.into_iter().filter_map(|lane| news(&verdict.changes, subscription.on, lane));
            let mut news = news.filter_map(|index| verdict.changes.get(index)).peekable();
            let on: Vec<&str> = subscription.on.iter().map(ChangeKind::as_str).collect();
            if news.peek().is_none() {
                debug!(hook = &*subscription.hook, on = on.join(","), "nothing would be owed");
            }
            for change in news {
                let (from, to) = (change.from.as_ref().map(Digest::as_str), change.to.as_ref().map(Digest::as_str));
                debug!(hook = &*subscription.hook, change = change.kind.as_str(), from, to, "would be owed");
            }
        }
    }

    /// One line for what matters, none at `info` for an unchanged tag.
    fn tell(&self, books: &Books, verdict: &Verdict, elapsed: Duration) {
        let watch = self.watch.name();
        debug!(
            watch,
            outcome = verdict.outcome.as_str(),
            recorded = self.record.digest().map(Digest::as_str),
            failures = verdict.record.trouble.as_ref().map(|trouble| trouble.failures.count),
            recheck = verdict.recheck.map(tracing::field::display),
            ?elapsed,
            "checked: {}",
            verdict.because
        );
        if self.dry_run {
            return self.tell_what_would_be_owed(books, verdict);
        }
        for change in &verdict.changes {
            let (from, to) = (text(change.from.as_ref()), text(change.to.as_ref()));
            match change.kind {
                ChangeKind::First => info!(watch, digest = to, "first seen"),
                ChangeKind::Moved => info!(watch, from, to, "tag moved"),
                ChangeKind::Removed => warn!(watch, from, "tag removed"),
                ChangeKind::Restored => info!(watch, digest = to, "tag restored"),
                ChangeKind::Failing => warn!(watch, "checks keep failing"),
                ChangeKind::Recovered => info!(watch, "checks work again"),
            }
        }
        let before = self.record.trouble.as_ref().map(|trouble| &trouble.failure);
        match verdict.record.trouble.as_ref().map(|trouble| &trouble.failure) {
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

fn text(digest: Option<&Digest>) -> &str {
    digest.map_or("", Digest::as_str)
}

/// What an error says of the registry as a whole.
fn report(error: Option<&registry::Error>, reference: &crate::domain::Reference) -> Report {
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
                reference.repository().hash(&mut hasher);
                Report::Broken(hasher.finish())
            },
            Report::Unavailable,
        ),
        _ => Report::Answered,
    }
}
