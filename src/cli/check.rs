//! `taghook check`: now, through the agent or without one.

use std::path::Path;

use clap::Args;

use super::check_now::check_now;
use super::exit::{CliError, Exit};
use super::image::{self, ImageArgs};
use super::located::Located;
use super::progress::Progress;
use super::results::Results;
use super::{logging, sentences, text};
use crate::agent;
use crate::control::wire::{CheckLine, CheckRequest};
use crate::domain::judge::CheckOutcome;

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
pub(super) struct CheckArgs {
    /// Watches to check [default: all that are enabled]
    #[arg(value_name = "WATCH", conflicts_with = "image")]
    watches: Vec<String>,
    /// Ask for these images; needs no config
    #[arg(long, value_name = "REF", num_args = 1..)]
    image: Vec<String>,
    #[command(flatten)]
    of_image: ImageArgs,
    /// Ask only: record nothing, run nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

pub(super) fn run(explicit: Option<&Path>, args: CheckArgs) -> Result<Exit, CliError> {
    let CheckArgs { watches, image, of_image, dry_run, json } = args;
    if !image.is_empty() {
        return image::run(&image, &of_image, json);
    }
    // clap lets them pass beside watches, which conflict with the `--image` that they require.
    if of_image.is_given() {
        let text = "--platform and --plain-http go with --image; a watch has them in the config";
        return Err(CliError::Usage(text.into()));
    }
    let located = Located::find(explicit)?;
    logging::start_quietly()?;
    // Without a readable config, only the agent knows how many watches are enabled.
    let enabled =
        located.config.as_ref().map_or(0, |config| config.watches.values().filter(|watch| watch.enabled).count());
    let mut progress = Progress::of(if watches.is_empty() { enabled } else { watches.len() });
    let mut results = Results::new();
    let delivery = agent::calling_delivery();
    let is_inside = delivery.is_some();
    check_now(located, &CheckRequest { watches, dry_run, delivery }, |line: CheckLine| {
        let has_failed = line.outcome == CheckOutcome::Failed;
        let is_well = line.is_well() || dry_run && !has_failed || is_inside && line.is_well_inside_a_run();
        let text = if json { text::json_line(&line) } else { sentences::check(&line) };
        progress.step(has_failed, || results.add(is_well, &text));
    })?;
    drop(progress);
    results.exit()
}
