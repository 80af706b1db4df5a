//! What probes ask: do all parts make progress, and are the checks current?

use std::time::Duration;

use tokio::time::timeout;

use super::health;
use super::operations::Answers;
use crate::agent::check::scheduler::{SOME, Seen};
use crate::agent::clock;

/// A part that goes on at all does so within this. Shorter than a locked database is waited for.
const PROGRESS: Duration = Duration::from_secs(4);
/// So many reasons are told.
const REASONS: usize = 10;

impl Answers {
    /// Whether the loop, the store and the deliverer go on; if not, which does not. A disk that is full is no reason to
    /// start the agent again, so it is none here.
    pub(crate) async fn alive(&self) -> Result<(), String> {
        goes_on("the scheduler", self.vitals.ask_scheduler()).await?;
        goes_on("the store", self.vitals.ask_store()).await?;
        goes_on("the deliverer", self.vitals.ask_deliverer()).await
    }

    /// Whether what is known is as fresh as the schedules say, and new things can be recorded; if not, why not.
    pub(crate) async fn current(&self) -> Result<(), String> {
        let mut reasons: Vec<String> = self
            .deliverer
            .store
            .trouble()
            .map(|trouble| format!("hooks are held: {}", trouble.message))
            .into_iter()
            .collect();
        let (now, loaded) = (clock::now(), self.config.borrow().loaded);
        let seen = self.all_seen().await.ok_or("the agent is stopping")?;
        for Seen { watch, last_checked, .. } in &seen {
            let due = match last_checked {
                Some(last) => health::overdue(watch, *last, now),
                // It was due as soon as it was known.
                None => health::is_late(loaded, now).then_some(loaded),
            };
            reasons.extend(due.map(|due| format!("{}: its check was due at {due}", watch.name())));
        }
        if reasons.is_empty() {
            return Ok(());
        }
        let more = reasons.len().saturating_sub(REASONS);
        reasons.truncate(REASONS);
        reasons.extend((more > 0).then(|| format!("and {more} more")));
        Err(reasons.join("\n"))
    }

    /// All watches that are checked by themselves, looked at a part at a time; `None` when the loop is stopping.
    pub(crate) async fn all_seen(&self) -> Option<Vec<Seen>> {
        let (mut all, mut from) = (Vec::new(), 0);
        loop {
            let (some, is_end) = self.look(move |scheduler| scheduler.some(from)).await?;
            all.extend(some);
            from += SOME;
            if is_end {
                return Some(all);
            }
        }
    }
}

async fn goes_on(part: &str, answer: impl Future<Output = ()>) -> Result<(), String> {
    timeout(PROGRESS, answer).await.map_err(|_| format!("{part} makes no progress"))
}
