//! One run of a hook with a sample change, of which nothing is recorded.
//!
//! The sample goes through a ledger in memory, so that the hook is told exactly what a real delivery would tell it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::message::message;
use crate::agent::clock;
use crate::agent::error::Error;
use crate::agent::parts::known;
use crate::agent::unknown::unknown;
use crate::config::{Config, Hook};
use crate::domain::delivery::Outcome;
use crate::domain::judge::Record;
use crate::domain::{Cause, Change, ChangeKind, Choice, Digest, Question, Select, Sighting, Tag, WatchKey};
use crate::hook::{self, Listener, Printed, Ran};
use crate::store::{Claimed, Room, Store, Subscription};

/// What a hook is tried with.
#[derive(Debug, Clone, Default)]
pub struct Sample {
    pub hook: String,
    /// `None`: the watch that feeds the hook, or a made-up one.
    pub watch: Option<String>,
    /// `None`: `moved`, or the first kind that the hook subscribes to.
    pub change: Option<ChangeKind>,
}

/// A run that is about to start.
#[derive(Debug)]
pub struct Trial {
    pub hook: Arc<Hook>,
    /// What the hook is told.
    pub told: Claimed,
    /// Whether the digests are those of the watch, not made up.
    pub is_real: bool,
}

impl Trial {
    /// Chooses the watch and the change, and makes up what is not known.
    pub async fn new(config: &Config, sample: &Sample) -> Result<Self, Error> {
        let hook = config.hooks.get(sample.hook.as_str());
        let hook = hook.ok_or_else(|| Error::Refused(unknown("hook", &sample.hook, config.hooks.keys())))?;
        let key = key(config, hook, sample)?;
        let record = known(config, std::slice::from_ref(&key))?.pop().unwrap_or_default();
        let kind = sample.change.or_else(|| hook.on.iter().find(|kind| *kind == ChangeKind::Moved));
        let kind = kind.or_else(|| hook.on.iter().next()).unwrap_or(ChangeKind::Moved);
        let told = claim(key, &record, kind, hook).await?;
        Ok(Self { hook: hook.clone(), told, is_real: record.standing.is_some() })
    }

    /// Runs the hook within its own limits, to its end or to `stop`. `hear` hears each line that it prints.
    pub async fn run(&self, stop: impl Future<Output = ()>, hear: impl Fn(Printed<'_>)) -> (Outcome, Duration) {
        let began = Instant::now();
        let (message, listener) = (message(&self.told), Listener::of_all(hear));
        let ran = hook::run(&self.hook.action, &message, self.hook.timeout, || (), stop, listener).await;
        let (mut outcome, left) = match ran {
            Ok(Ran { outcome, left }) => (outcome, left),
            Err(not_started) => (Outcome::from(not_started), None),
        };
        if let (Some(error), Some(left)) = (&mut outcome.error, left) {
            error.push_str(&format!("; {} cannot be ended", left.what));
        }
        (outcome, began.elapsed())
    }
}

/// Watches of a hook that an error names; more are only counted.
const MAX_NAMED: usize = 5;

/// The watch that was named, else the only one that feeds the hook, else a made-up one. Among several it does not guess,
/// because the hook really does what it does.
fn key(config: &Config, hook: &Hook, sample: &Sample) -> Result<WatchKey, Error> {
    if let Some(name) = &sample.watch {
        let watch = config.watches.get(name.as_str());
        let watch = watch.ok_or_else(|| Error::Refused(unknown("watch", name, config.watches.keys())))?;
        return Ok(watch.key.clone());
    }
    let feeding: Vec<_> = config.watches.values().filter(|watch| watch.hooks.contains(&hook.name)).collect();
    match *feeding {
        [] => {}
        [watch] => return Ok(watch.key.clone()),
        [first, ..] => {
            let named: Vec<&str> = feeding.iter().take(MAX_NAMED).map(|watch| watch.name()).collect();
            let (hook, names, first) = (&hook.name, named.join(", "), first.name());
            let more = if feeding.len() > MAX_NAMED { ", …" } else { "" };
            let why = format!("hook {hook:?} is fed by {} watches ({names}{more}); name one", feeding.len());
            return Err(Error::Refused(format!("{why}: `taghook hook test {hook} {first}`")));
        }
    }
    let question = Question::parse("registry.example/sample:latest", None);
    let question = question.map_err(|error| Error::Refused(error.to_string()))?;
    Ok(WatchKey { name: "sample".into(), question })
}

/// Owes the hook a sample, in a ledger in memory, and claims it.
async fn claim(key: WatchKey, record: &Record, kind: ChangeKind, hook: &Hook) -> Result<Claimed, Error> {
    let store = Store::in_memory()?;
    let Select::Tag(tag) = key.question.select.clone();
    let Some((watch, _)) = store.open_watches(vec![key]).await?.pop() else { return Err(Error::Broken) };
    let kinds = [kind].into_iter().collect();
    store.replace_subscriptions(vec![Subscription { watch, hook: hook.name.clone(), kinds }]).await?;
    store.commit(watch, record.clone(), vec![change(record, kind, tag)]).await?;
    let room = |_: &str| Some(Room { free: 1, longest_pause: Duration::ZERO });
    store.claim(clock::now(), room, None).await?.claimed.pop().ok_or(Error::Broken)
}

fn change(record: &Record, kind: ChangeKind, tag: Tag) -> Change {
    let made_up = || Sighting {
        tag: tag.clone(),
        digest: Digest::sha256(b"a sample"),
        index_digest: None,
        media_type: "application/vnd.oci.image.manifest.v1+json".into(),
    };
    let now = record.standing.as_ref().map_or_else(made_up, |standing| standing.sighting.clone());
    let made_up = || Choice { tag: tag.clone(), digest: Digest::sha256(b"a sample before") };
    let from = match kind {
        ChangeKind::First => None,
        ChangeKind::Moved => Some(record.recent.last().map_or_else(made_up, |past| past.choice.clone())),
        ChangeKind::Removed | ChangeKind::Restored | ChangeKind::Failing | ChangeKind::Recovered => Some(now.choice()),
    };
    let is_there = kind != ChangeKind::Removed;
    Change {
        kind,
        cause: Cause::Person,
        from,
        to: is_there.then(|| now.choice()),
        index_digest: now.index_digest.filter(|_| is_there),
        media_type: is_there.then_some(now.media_type),
        at: clock::now(),
    }
}
