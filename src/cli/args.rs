//! What can be written on the command line.

use std::path::PathBuf;

use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand};
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use super::{config_verbs, generate, init, log, text};
use crate::domain::ChangeKind;
use crate::domain::delivery::DeliveryState;
use crate::domain::schedule::parse_duration;
use crate::store::Filter;

/// Webhooks for container registries that have none: runs your hooks when a tag moves.
#[derive(Debug, Parser)]
#[command(name = "taghook", version, about, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// The config file [default: /etc/taghook/config.toml, else $XDG_CONFIG_HOME/taghook/config.toml]
    #[arg(long, global = true, value_name = "PATH", env = "TAGHOOK_CONFIG")]
    pub(super) config: Option<PathBuf>,
    #[command(subcommand)]
    pub(super) verb: Verb,
}

const EXAMPLES: &str = "\
Examples:
  taghook check --image nginx:1.27      which digest does this tag point at?
  taghook init                          write a config to start from
  taghook config check                  is my config right?
  taghook check                         check all watches now, run the hooks that are due
  taghook run                           the agent, in the foreground
  taghook status                        what is known, what is owed, what fails
  taghook explain web                   what does the registry answer, and what is made of it?

Exit status: 0 all is well; 1 something checked or run has failed, or is still owed; 2 arguments or config.";

#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    Run(Run),
    Check(Check),
    /// Show every watch, the worst first, or all about one
    #[command(after_help = "Examples:
  taghook status                     every watch
  taghook status web                 all about one
  taghook status --json | jq -r '.watches[] | select(.state == \"failing\") | .watch'")]
    Status(Read),
    /// Show the changes, newest first, how long each stood, and what hooks did
    #[command(after_help = "Examples:
  taghook history web --since 7d     what has changed in a week
  taghook history --change moved -n 5")]
    History(History),
    /// Show what hooks were owed and what was done about it, newest first
    #[command(after_help = "Examples:
  taghook deliveries --only failed   what needs a `taghook retry`
  taghook deliveries web --hook redeploy --since 2026-01-31")]
    Deliveries(Deliveries),
    Log(Log),
    Explain(Explain),
    /// Owe deliveries again that have failed or succeeded
    ///
    /// The watch and hook of each is owed the newest digest, in a new delivery with new attempts. A delivery that is no
    /// longer the newest of its watch and hook is refused.
    #[command(after_help = "Examples:
  taghook retry 7f3a09c2d411         by its id, or the end of it
  taghook retry --failed             all that have failed")]
    Retry(Retry),
    /// Keep checking watches, and hold their hooks
    #[command(after_help = "Examples:
  taghook pause web api              while the host is worked on
  taghook resume web api             then: one run for the newest digest")]
    Pause(Pause),
    /// Let the hooks of paused watches go: what is owed by now is the newest digest only
    Resume(Pause),
    /// Give up what is owed to hooks that the config does not feed any more
    ///
    /// What was owed to a hook when it left the config is held until it returns. This tells what is held or has failed,
    /// asks, and discards it. Nothing else is touched.
    Prune(Prune),
    /// Have the running agent read its config again
    ///
    /// All of it takes effect, or nothing: with a fault in it, the agent goes on by the config that it had, and this fails
    /// with the faults. SIGHUP does the same.
    Reload(Reload),
    Health(Health),
    /// Try a hook
    #[command(subcommand)]
    Hook(HookVerb),
    /// Look at the config
    #[command(subcommand)]
    Config(config_verbs::Verb),
    Init(init::Init),
    /// Make man pages and shell completions
    #[command(subcommand)]
    Generate(generate::Verb),
}

/// Run the agent, in the foreground
///
/// Checks each watch on its schedule and runs its hooks when the tag moves, until SIGTERM or SIGINT. Running hooks are
/// then given `shutdown_grace` (a second signal ends them at once); what is still owed is owed at the next start. It logs
/// one line for each event that matters; RUST_LOG=taghook=debug shows each check.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook run --config ./config.toml
  RUST_LOG=taghook=debug taghook run --log-format json")]
pub(super) struct Run {
    /// How to log to standard error [default: to the journal under systemd, else text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    pub(super) log_format: Option<log::Format>,
}

#[derive(Debug, Subcommand)]
pub(super) enum HookVerb {
    Test(HookTest),
}

/// Run a hook now with a sample change, and show what it prints and how it ends
///
/// It runs by this user and from this shell, but as the agent runs it: with its clean environment, its directory, its
/// time limit. It does what it does in earnest. Nothing is recorded, and what is owed to it stays owed.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook hook test redeploy         for the first watch that feeds it
  taghook hook test announce web --change failing")]
pub(super) struct HookTest {
    /// The hook
    #[arg(value_name = "HOOK")]
    pub(super) hook: String,
    /// The watch whose image and digests it is told [default: the one that feeds it]
    #[arg(value_name = "WATCH")]
    pub(super) watch: Option<String>,
    /// What it is told to have happened [default: moved, or the first that it subscribes to]
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(ChangeKind::ALL.map(ChangeKind::as_str)))]
    pub(super) change: Option<String>,
    /// One JSON object, at the end
    #[arg(long)]
    pub(super) json: bool,
}

/// Say whether all is well, for monitoring
///
/// Exit status 1 if a watch is failing or stale, a delivery has failed, an edit of the config was refused, or no agent runs. One line for each problem, the worst first. Without a running agent everything is stale. A watch whose tag was removed is
/// no problem: that is known, and told to hooks.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook health || mail -s 'taghook needs you' root < /dev/null
  taghook health --json | jq -r '.problems[].message'")]
pub(super) struct Health {
    /// One JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// Check watches now, or any image without a config
///
/// With an agent on this state, the agent is asked to check, and this command waits for the result. Without one, it
/// checks by itself and gives each due delivery of these watches one attempt. A registry that is held off is not asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook check                      all watches
  taghook check web --dry-run        would anything happen?
  taghook check --image nginx:1.27 ghcr.io/acme/web:stable
  taghook check --image nginx --platform linux/arm64 --json")]
pub(super) struct Check {
    /// Watches to check [default: all that are enabled]
    #[arg(value_name = "WATCH", conflicts_with = "image")]
    pub(super) watches: Vec<String>,
    /// Ask for these images; needs no config
    #[arg(long, value_name = "REF", num_args = 1..)]
    pub(super) image: Vec<String>,
    /// With --image: the platform whose digest is wanted, for example linux/arm64
    #[arg(long, value_name = "OS/ARCH", requires = "image")]
    pub(super) platform: Option<String>,
    /// With --image: speak plain HTTP
    #[arg(long, requires = "image")]
    pub(super) plain_http: bool,
    /// Ask only: record nothing, run nothing
    #[arg(long)]
    pub(super) dry_run: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// Show what an attempt of a delivery has printed, and how it ended
///
/// The newest attempt, unless told otherwise. A hook's first and last 32 KiB are kept, with the count of what was not.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook log 7f3a09c2d411           the newest attempt
  taghook log 7f3a09c2d411 --all --tail 20")]
pub(super) struct Log {
    /// The delivery, by its id or the end of it
    #[arg(value_name = "ID")]
    pub(super) id: String,
    /// The attempt of this number
    #[arg(long, value_name = "N", conflicts_with = "all")]
    pub(super) attempt: Option<u32>,
    /// All attempts, oldest first
    #[arg(long)]
    pub(super) all: bool,
    /// Only so many lines of the beginning (and of the end, with --tail)
    #[arg(long, value_name = "LINES")]
    pub(super) head: Option<usize>,
    /// Only so many lines of the end
    #[arg(long, value_name = "LINES")]
    pub(super) tail: Option<usize>,
    /// Read the state in this directory, whatever the config says
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// Perform one check aloud: every request and answer, every decision and its reason
///
/// Nothing is recorded and no hook is run. Credentials are masked, so that all of it can stand in a bug report. A
/// registry that a running agent has been told to leave alone is not asked.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook explain web
  taghook explain --image ghcr.io/acme/web:stable --platform linux/arm64")]
pub(super) struct Explain {
    /// The watch
    #[arg(value_name = "WATCH", required_unless_present = "image", conflicts_with = "image")]
    pub(super) watch: Option<String>,
    /// Any image; needs no config
    #[arg(long, value_name = "REF")]
    pub(super) image: Option<String>,
    /// With --image: the platform whose digest is wanted, for example linux/arm64
    #[arg(long, value_name = "OS/ARCH", requires = "image")]
    pub(super) platform: Option<String>,
    /// With --image: speak plain HTTP
    #[arg(long, requires = "image")]
    pub(super) plain_http: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// What is to be owed again.
#[derive(Debug, Args)]
pub(super) struct Retry {
    /// Deliveries, by their ids or the ends of these
    #[arg(value_name = "ID", required_unless_present = "failed", conflicts_with = "failed")]
    pub(super) ids: Vec<String>,
    /// All deliveries that have failed
    #[arg(long)]
    pub(super) failed: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

/// Which watches.
#[derive(Debug, Args)]
pub(super) struct Pause {
    /// Watches, by name
    #[arg(value_name = "WATCH", required = true)]
    pub(super) watches: Vec<String>,
    /// One JSON object: how many watches have changed
    #[arg(long)]
    pub(super) json: bool,
}

/// What is left over from an earlier config.
#[derive(Debug, Args)]
pub(super) struct Prune {
    /// Discard without asking
    #[arg(long, short)]
    pub(super) yes: bool,
    /// One JSON object a line
    #[arg(long)]
    pub(super) json: bool,
}

#[derive(Debug, Args)]
pub(super) struct Reload {
    /// What has changed, as one JSON object
    #[arg(long)]
    pub(super) json: bool,
}

/// What the reading commands have in common.
#[derive(Debug, Args)]
pub(super) struct Read {
    /// Only this watch
    #[arg(value_name = "WATCH")]
    pub(super) watch: Option<String>,
    /// At most so many lines [default: 50 on a terminal, all in a pipe]
    #[arg(long, short = 'n', value_name = "COUNT", value_parser = clap::value_parser!(u32).range(1..))]
    pub(super) limit: Option<u32>,
    /// Read the state in this directory, whatever the config says
    #[arg(long, value_name = "DIR")]
    pub(super) state: Option<PathBuf>,
    /// JSON instead of a table
    #[arg(long)]
    pub(super) json: bool,
}

impl Read {
    fn limit(&self) -> Option<usize> {
        self.limit.or((text::is_terminal() && !self.json).then_some(50)).map(|limit| limit as usize)
    }
}

/// What has happened.
#[derive(Debug, Args)]
pub(super) struct History {
    #[command(flatten)]
    pub(super) read: Read,
    #[command(flatten)]
    past: Past,
}

/// What hooks were owed.
#[derive(Debug, Args)]
pub(super) struct Deliveries {
    #[command(flatten)]
    pub(super) read: Read,
    #[command(flatten)]
    past: Past,
    /// Only for this hook
    #[arg(long, value_name = "HOOK")]
    hook: Option<String>,
    /// Only what is in this state
    #[arg(long, value_name = "STATE", value_parser = ["pending", "running", "succeeded", "failed", "superseded"])]
    only: Option<String>,
}

/// Which part of the past.
#[derive(Debug, Args)]
struct Past {
    /// Only changes since then: a time ago ("2d"), a date, or a time as in RFC 3339
    #[arg(long, value_name = "WHEN", value_parser = when)]
    since: Option<Timestamp>,
    /// Only changes before that
    #[arg(long, value_name = "WHEN", value_parser = when)]
    until: Option<Timestamp>,
    /// Only changes of this kind
    #[arg(long, value_name = "KIND", value_parser = PossibleValuesParser::new(ChangeKind::ALL.map(ChangeKind::as_str)))]
    change: Option<String>,
}

impl Past {
    fn filter(&self, read: &Read) -> Filter {
        Filter {
            watch: read.watch.clone(),
            since: self.since,
            until: self.until,
            change: self.change.as_deref().and_then(ChangeKind::parse),
            limit: read.limit(),
            ..Filter::default()
        }
    }
}

impl History {
    pub(super) fn filter(&self) -> Filter {
        self.past.filter(&self.read)
    }
}

impl Deliveries {
    pub(super) fn filter(&self) -> Filter {
        Filter {
            hook: self.hook.clone(),
            state: self.only.as_deref().and_then(DeliveryState::parse),
            ..self.past.filter(&self.read)
        }
    }
}

/// A time as people write it; a date is its beginning, here.
fn when(text: &str) -> Result<Timestamp, String> {
    if let Ok(ago) = parse_duration(text) {
        let ago = SignedDuration::try_from(ago).unwrap_or(SignedDuration::MAX);
        return Ok(Timestamp::now().checked_sub(ago).unwrap_or(Timestamp::MIN));
    }
    let here = |date: DateTime| date.to_zoned(TimeZone::system()).ok().map(|zoned| zoned.timestamp());
    let found = text.parse().ok().or_else(|| text.parse().ok().and_then(here));
    found.ok_or_else(|| {
        "it is neither a time ago, as \"2d\", nor a date, as \"2026-01-31\" or \"2026-01-31T12:00:00Z\"".into()
    })
}
