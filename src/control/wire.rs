//! The JSON types of the control socket. The `--json` output of the verbs uses the same types.

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::domain::delivery::{DeliveryState, OwedCounts};
use crate::domain::judge::{CheckOutcome, WatchState};
use crate::domain::words::words;
use crate::domain::{ChangeKind, Digest, Failure, FailureKind};

/// The request to check watches now.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CheckRequest {
    /// The names of the watches to check. Empty means all enabled ones.
    #[serde(default)]
    pub watches: Vec<String>,
    /// Records nothing and runs no hook.
    #[serde(default)]
    pub dry_run: bool,
    /// The id of the delivery whose hook asks. What can only end after its run is not waited for. It goes in a header, as
    /// who asks is no part of what is asked for.
    #[serde(skip)]
    pub delivery: Option<String>,
}

/// Which agent answers.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct AgentIdentity {
    pub pid: u32,
    /// The state directory that it works on.
    pub state: std::path::PathBuf,
}

/// The request to retry deliveries.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryRequest {
    /// Whole ids, or the ends of them.
    #[serde(default)]
    pub ids: Vec<String>,
    /// Retries all failed deliveries.
    #[serde(default)]
    pub failed: bool,
}

/// The new delivery that retries an earlier one; one line of `retry --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct RetryLine {
    /// The id of the new delivery.
    pub id: String,
    pub watch: String,
    pub hook: String,
}

/// The request to pause or resume the hooks of watches.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PauseRequest {
    pub watches: Vec<String>,
    /// `false` resumes them.
    pub paused: bool,
}

/// The answer to a [`PauseRequest`].
#[derive(Debug, Clone, Copy, Serialize, Deserialize)]
pub struct Paused {
    /// How many watches the request has changed.
    pub changed: usize,
}

/// The request to list or discard leftovers: pending and failed deliveries whose hook does not subscribe to their watch
/// any more.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PruneRequest {
    /// The ids of the deliveries to discard. If it is empty and `all` is not set, the request only lists the leftovers.
    #[serde(default)]
    pub discard: Vec<String>,
    /// Discards all leftovers.
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
    /// The digest that it would have delivered.
    pub to: Option<Digest>,
    /// Pending or failed; superseded once it is discarded.
    pub state: DeliveryState,
    /// Of the latest attempt.
    pub error: Option<String>,
    /// Whether this request has discarded it.
    pub discarded: bool,
}

/// The result of one check; one line of `check --json`.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct CheckLine {
    /// `None` with `--image`.
    pub watch: Option<String>,
    /// The canonical reference.
    pub image: String,
    /// `first`, `unchanged`, `moved`, `settling`, `restored`, `absent`, `failed`, `present`.
    pub outcome: CheckOutcome,
    /// The digest that was found or, when the check failed, that is recorded.
    pub digest: Option<Digest>,
    /// The digest before a move.
    pub previous: Option<Digest>,
    /// Only set if the outcome is `failed`.
    pub error: Option<Failure>,
    /// The time from the first request to the last answer, in milliseconds.
    pub elapsed_ms: u64,
    /// The deliveries that the check made, and their states.
    pub deliveries: Vec<DeliveryLine>,
}

/// A delivery in the result of a check.
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
    /// The last lines that the command printed; only set if there is an `error`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub output: Vec<String>,
}

impl CheckLine {
    /// Whether the check succeeded and all its deliveries are done.
    pub fn is_well(&self) -> bool {
        let is_done = |state| matches!(state, DeliveryState::Succeeded | DeliveryState::Superseded);
        self.outcome != CheckOutcome::Failed && self.deliveries.iter().all(|delivery| is_done(delivery.state))
    }

    /// The same for a hook that asks: what goes on because the hook itself has not ended is no failure.
    pub fn is_well_inside_a_run(&self) -> bool {
        let has_failed = |delivery: &DeliveryLine| match delivery.state {
            DeliveryState::Failed => true,
            DeliveryState::Pending => delivery.error.is_some(),
            DeliveryState::Running | DeliveryState::Succeeded | DeliveryState::Superseded => false,
        };
        self.outcome != CheckOutcome::Failed && !self.deliveries.iter().any(has_failed)
    }
}

words! {
    /// Where a status comes from.
    pub enum StatusSource {
        Agent = "agent",
        Database = "database",
    }
}

/// Why the agent cannot write to its database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoreProblem {
    /// The stable label of the store's error.
    pub kind: String,
    pub message: String,
}

/// Why the address of `listen` is not served.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ListenProblem {
    pub address: std::net::SocketAddr,
    pub message: String,
}

/// The status of the agent and all watches; what `status --json` prints.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Status {
    pub source: StatusSource,
    /// The time that the status describes.
    pub as_of: Option<Timestamp>,
    /// The config that the agent uses; `None` without an agent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub config: Option<ConfigStatus>,
    /// Set while the agent cannot write to its database, so that no hook may start.
    #[serde(default)]
    pub store: Option<StoreProblem>,
    /// What is wrong with the agent itself: hooks that cannot be started, and why. Left out if there is nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<HealthProblem>,
    /// Set while the agent works without the address of `listen`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub listen: Option<ListenProblem>,
    pub watches: Vec<WatchStatus>,
    /// The failed deliveries that are not left over from an earlier config, newest first.
    #[serde(default)]
    pub failed: Vec<FailedDelivery>,
    /// The number of leftovers; see `taghook prune`.
    #[serde(default)]
    pub left_over: u64,
    /// Empty without an agent.
    #[serde(default)]
    pub registries: Vec<RegistryStatus>,
}

/// A failed delivery in a status.
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
    /// The last line that the last attempt printed.
    #[serde(default)]
    pub last_line: Option<String>,
    /// When the last attempt ended.
    pub ended: Option<Timestamp>,
}

/// The state of a registry's gate.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RegistryStatus {
    /// The canonical name.
    pub registry: String,
    /// Set while the gate holds requests off.
    pub held_off: Option<HeldOff>,
    /// The number of checks under way.
    pub under_way: u32,
    /// The number of watches that wait for the gate.
    pub waiting: usize,
    /// The limit on the number of checks under way.
    pub concurrency: u32,
    /// The refill rate of the token bucket, in requests per second.
    pub rate: f64,
    /// The tokens in the bucket. Negative after checks that cost more than one request.
    pub allowance: f64,
}

/// Why, and until when, a registry gets no requests.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HeldOff {
    pub kind: FailureKind,
    /// When one watch may try again.
    pub until: Timestamp,
}

/// The config that an agent uses.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct ConfigStatus {
    pub path: std::path::PathBuf,
    /// When the agent loaded it.
    pub loaded: Timestamp,
    /// Stands for the files that it loaded, in the version that they had. `None` where that cannot be told.
    #[serde(default)]
    pub identity: Option<String>,
    /// Why the agent refused a newer version of the file, if it did.
    pub error: Option<String>,
}

/// The changes that a reload made; what `reload --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reloaded {
    /// The number of watches after the reload. The other numbers count the differences.
    pub watches: usize,
    pub added: usize,
    /// Watches with other settings or other hooks.
    pub changed: usize,
    pub removed: usize,
    /// Hooks that were added, removed or changed.
    #[serde(default)]
    pub hooks: usize,
    /// Likely mistakes in the new config.
    pub warnings: Vec<String>,
}

/// A watch in a status.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct WatchStatus {
    pub watch: String,
    /// The canonical reference.
    pub image: String,
    pub platform: Option<String>,
    /// The recorded digest. If the watch selects a platform, this is the digest of that platform's manifest.
    pub digest: Option<Digest>,
    /// The digest of the image index; only set if the watch selects a platform.
    pub index_digest: Option<Digest>,
    pub state: WatchState,
    /// Whether its hooks are paused.
    pub paused: bool,
    pub enabled: bool,
    /// The last check, whether or not it succeeded.
    pub last_checked: Option<Timestamp>,
    /// The last check that the registry answered.
    pub last_ok: Option<Timestamp>,
    /// When the content of the tag last changed.
    pub last_changed: Option<Timestamp>,
    pub next_check: Option<Timestamp>,
    /// When the first check after the last one is due by the schedule, or was. If there was no check yet, when the
    /// agent learnt of the watch.
    #[serde(default)]
    pub due: Option<Timestamp>,
    pub consecutive_failures: u32,
    /// Why its checks fail, if they do.
    pub error: Option<Failure>,
    pub owed: OwedCounts,
}

/// The answer to a health check; what `health --json` prints.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Health {
    /// True if there are no problems.
    pub ok: bool,
    /// The number of enabled watches.
    pub watches: usize,
    /// Worst first.
    pub problems: Vec<HealthProblem>,
}

words! {
    /// The kinds of problem that a health check reports.
    pub enum HealthProblemKind {
        /// A check is overdue.
        Stale = "stale",
        /// Hooks do not run, because the database cannot be written, or because they cannot be started for a reason that is
        /// not their own.
        Held = "held",
        /// Calls that do not end hold all threads of their kind.
        Stuck = "stuck",
        /// A delivery counts as running, but nothing runs for it.
        Stray = "stray",
        /// A delivery has failed.
        Failed = "failed",
        /// The checks of a watch fail.
        Failing = "failing",
        /// The agent refused an edited config.
        Refused = "refused",
        /// The address of `listen` is not served.
        Unreachable = "unreachable",
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthProblem {
    pub what: HealthProblemKind,
    /// `None` if the problem concerns all watches.
    pub watch: Option<String>,
    /// Only set for a failed or stray delivery, and for a hook that is held.
    pub hook: Option<String>,
    /// The id of a failed or stray delivery.
    pub delivery: Option<String>,
    pub message: String,
}

/// The body of an error response.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Refusal {
    /// A message for people, with the remedy.
    pub error: String,
}
