//! What goes over the socket, and into `--json`: the same shapes in both places.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::delivery::{DeliveryState, OwedCounts};
use crate::domain::judge::{CheckOutcome, WatchState};
use crate::domain::words::words;
use crate::domain::{ChangeKind, Digest, Failure, FailureKind};

/// Asks for checks now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// Names of watches; empty: all that are enabled.
    #[serde(default)]
    pub watches: Vec<String>,
    /// Record nothing, run nothing.
    #[serde(default)]
    pub dry_run: bool,
}

/// Owes deliveries again.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// Ids, or their ends.
    #[serde(default)]
    pub ids: Vec<String>,
    /// All that were given up.
    #[serde(default)]
    pub failed: bool,
}

/// A delivery that was made to try an earlier one again; one line of `retry --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RetryLine {
    /// The new delivery.
    pub id: String,
    pub watch: String,
    pub hook: String,
}

/// Holds the hooks of watches, or lets them go.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    pub watches: Vec<String>,
    /// Hold, or let go.
    pub paused: bool,
}

/// How many watches a [`PauseRequest`] has changed.
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Paused {
    pub changed: usize,
}

/// Gives up what is owed to hooks, or has failed, where the config does not feed them any more.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// The deliveries to discard; empty, and not `all`: discard nothing, tell what could be.
    #[serde(default)]
    pub discard: Vec<String>,
    /// Discard all that is left over.
    #[serde(default)]
    pub all: bool,
}

/// A delivery that is left over; one line of `prune --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Leftover {
    pub id: String,
    pub watch: String,
    pub hook: String,
    pub change: ChangeKind,
    /// The digest that it would have brought.
    pub to: Option<Digest>,
    /// Pending or failed; once it is discarded, superseded.
    pub state: DeliveryState,
    /// Of the latest attempt.
    pub error: Option<String>,
    /// Whether it is discarded now.
    pub discarded: bool,
}

/// What one check came to; one line of `check --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckLine {
    /// The watch's name; `None` with `--image`.
    pub watch: Option<String>,
    /// The reference, canonical.
    pub image: String,
    /// `first`, `unchanged`, `moved`, `settling`, `restored`, `absent`, `failed`, `present`.
    pub outcome: CheckOutcome,
    /// The digest that was found or, when the check failed, that is recorded.
    pub digest: Option<Digest>,
    /// The digest before a move.
    pub previous: Option<Digest>,
    /// With `failed`: why.
    pub error: Option<Failure>,
    /// From the first request to the last answer.
    pub elapsed_ms: u64,
    /// What hooks were owed, and what became of it.
    pub deliveries: Vec<DeliveryLine>,
}

/// A delivery, as a check tells it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeliveryLine {
    pub id: String,
    pub hook: String,
    pub state: DeliveryState,
    /// Of the latest attempt.
    #[serde(rename = "exit_code")]
    pub code: Option<i32>,
    /// Of the latest attempt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// With `error`: the last lines that the command printed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

impl CheckLine {
    /// Whether all is well: something was learnt, and nothing that was owed has failed or is still owed.
    pub fn is_well(&self) -> bool {
        let is_done = |state| matches!(state, DeliveryState::Succeeded | DeliveryState::Superseded);
        self.outcome != CheckOutcome::Failed && self.deliveries.iter().all(|delivery| is_done(delivery.state))
    }
}

words! {
    /// Who tells a status.
    pub enum StatusSource {
        Agent = "agent",
        Database = "database",
    }
}

/// Why nothing can be written at the moment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreProblem {
    /// A stable word of the store's.
    pub kind: String,
    pub message: String,
}

/// All that is known of all watches.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub source: StatusSource,
    /// When this was true.
    pub as_of: Option<Timestamp>,
    /// The config that the agent goes by; `None` without an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigStatus>,
    /// Why the agent can write nothing at the moment, so that no hook may start.
    #[serde(default)]
    pub store: Option<StoreProblem>,
    pub watches: Vec<WatchStatus>,
    /// What was given up, the latest first, of what the config still feeds.
    #[serde(default)]
    pub failed: Vec<FailedDelivery>,
    /// How much is owed or has failed that the config does not feed any more; see `taghook prune`.
    #[serde(default)]
    pub left_over: u64,
    /// The registries as the agent sees them; none without an agent.
    #[serde(default)]
    pub registries: Vec<RegistryStatus>,
}

/// A delivery that was given up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FailedDelivery {
    pub id: String,
    pub watch: String,
    pub hook: String,
    pub change: ChangeKind,
    pub attempts: u32,
    /// Of the last attempt.
    #[serde(rename = "exit_code")]
    pub code: Option<i32>,
    /// Of the last attempt.
    pub error: Option<String>,
    /// The last line that it printed.
    #[serde(default)]
    pub last_line: Option<String>,
    /// When the last attempt ended.
    pub ended: Option<Timestamp>,
}

/// How a registry's gate stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegistryStatus {
    /// Its canonical name.
    pub registry: String,
    /// Why and until when it is not asked, if it is not.
    pub held_off: Option<HeldOff>,
    /// Checks under way.
    pub under_way: u32,
    /// Watches that wait for the gate.
    pub waiting: usize,
    /// Checks that may be under way at a time.
    pub concurrency: u32,
    /// Requests per second in the long run.
    pub rate: f64,
    /// Requests that may be made at once.
    pub allowance: f64,
}

/// Why and until when a registry is not asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOff {
    pub kind: FailureKind,
    /// When one watch may ask again.
    pub until: Timestamp,
}

/// The config that an agent goes by.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigStatus {
    pub path: std::path::PathBuf,
    /// Since when.
    pub loaded: Timestamp,
    /// Why a newer one was refused, if it was.
    pub error: Option<String>,
}

/// What a reload has changed; what `reload --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// Watches now.
    pub watches: usize,
    /// Watches that were not there before.
    pub added: usize,
    /// Watches that are checked otherwise, or feed other hooks.
    pub changed: usize,
    /// Watches that are gone.
    pub removed: usize,
    /// Hooks that are new, gone, or different.
    #[serde(default)]
    pub hooks: usize,
    /// What is probably not meant in the new config.
    pub warnings: Vec<String>,
}

/// All that is known of one watch.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WatchStatus {
    pub watch: String,
    /// Its reference, canonical.
    pub image: String,
    /// Its platform, if one is chosen.
    pub platform: Option<String>,
    /// The recorded digest; with a platform the child's.
    pub digest: Option<Digest>,
    /// With a platform: the index's.
    pub index_digest: Option<Digest>,
    pub state: WatchState,
    /// Whether its hooks are held.
    pub paused: bool,
    /// Whether it is checked.
    pub enabled: bool,
    /// The last check, good or bad.
    pub last_checked: Option<Timestamp>,
    /// The last check that the registry answered.
    pub last_ok: Option<Timestamp>,
    /// When its content last changed.
    pub last_changed: Option<Timestamp>,
    /// The next check.
    pub next_check: Option<Timestamp>,
    /// When a check after the last one was, or is, due by the schedule; without a last one, since when the agent knows it.
    #[serde(default)]
    pub due: Option<Timestamp>,
    /// Failures in a row.
    pub consecutive_failures: u32,
    /// Why it is failing.
    pub error: Option<Failure>,
    /// What its hooks are owed.
    pub owed: OwedCounts,
}

/// Whether all is well; what `health --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// Whether there is no problem.
    pub ok: bool,
    /// Watches that are enabled.
    pub watches: usize,
    /// What is wrong, the worst first.
    pub problems: Vec<HealthProblem>,
}

words! {
    /// The kinds of problem.
    pub enum HealthProblemKind {
        /// A check is overdue.
        Stale = "stale",
        /// Nothing can be recorded, so no hook runs.
        Held = "held",
        /// A delivery was given up.
        Failed = "failed",
        /// Checks fail.
        Failing = "failing",
        /// An edit of the config was refused.
        Refused = "refused",
    }
}

/// One thing that is wrong.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthProblem {
    pub what: HealthProblemKind,
    /// The watch; `None`: all of them.
    pub watch: Option<String>,
    /// With `failed`: the hook.
    pub hook: Option<String>,
    /// With `failed`: the delivery.
    pub delivery: Option<String>,
    pub message: String,
}

/// An error as the socket tells it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refusal {
    /// For people, with the remedy.
    pub error: String,
}
