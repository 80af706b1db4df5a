//! The command line: the options of all commands, and the commands. Each command's own arguments stand in its file.

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use super::check::CheckArgs;
use super::config::ConfigCommand;
use super::deliveries::DeliveriesArgs;
use super::explain::ExplainArgs;
use super::generate::GenerateCommand;
use super::health::HealthArgs;
use super::history::HistoryArgs;
use super::hook::HookCommand;
use super::init::InitArgs;
use super::log::LogArgs;
use super::pause::{PauseArgs, ResumeArgs};
use super::prune::PruneArgs;
use super::reload::ReloadArgs;
use super::retry::RetryArgs;
use super::run::RunArgs;
use super::status::StatusArgs;

/// Webhooks for container registries that have none: runs your hooks when a tag moves.
#[derive(Debug, Parser)]
#[command(name = "taghook", version, about, max_term_width = 100, after_help = EXAMPLES)]
pub(super) struct Cli {
    /// The config file [default: $TAGHOOK_CONFIG, else /etc/taghook/config.toml, else $XDG_CONFIG_HOME/taghook/config.toml]
    #[arg(long, global = true, value_name = "PATH")]
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
    Run(RunArgs),
    Check(CheckArgs),
    Status(StatusArgs),
    History(HistoryArgs),
    Deliveries(DeliveriesArgs),
    Log(LogArgs),
    Explain(ExplainArgs),
    Retry(RetryArgs),
    Pause(PauseArgs),
    Resume(ResumeArgs),
    Prune(PruneArgs),
    Reload(ReloadArgs),
    Health(HealthArgs),
    /// Try a hook
    #[command(subcommand)]
    Hook(HookCommand),
    /// Look at the config
    #[command(subcommand)]
    Config(ConfigCommand),
    Init(InitArgs),
    /// Make man pages and shell completions
    #[command(subcommand)]
    Generate(GenerateCommand),
}
