//! `taghook run`: the agent, in the foreground.

use std::io::IsTerminal;
use std::path::Path;
use std::sync::Arc;

use clap::Args;
use tokio::sync::{Mutex, Notify};

use super::exit::{CliError, Exit, print_faults};
use super::runtime::{Signals, runtime};
use super::{logging, process_one, systemd};
use crate::{agent, config};

/// Run the agent, in the foreground
///
/// Checks each watch on its schedule and runs its hooks when the tag moves, until SIGTERM or SIGINT. Running hooks are
/// then given `shutdown_grace` (a second signal ends them at once); what is still owed is owed at the next start. It logs
/// one line for each event that matters; RUST_LOG=taghook=debug shows each check.
#[derive(Debug, Args)]
#[command(after_help = "Examples:
  taghook run --config ./config.toml
  RUST_LOG=taghook=debug taghook run --log-format json")]
pub(super) struct RunArgs {
    /// How to log to standard error [default: to the journal under systemd, else text]
    #[arg(long, value_name = "FORMAT", value_enum)]
    log_format: Option<logging::LogFormat>,
}

pub(super) fn run(explicit: Option<&Path>, args: &RunArgs) -> Result<Exit, CliError> {
    if process_one::is_us() {
        return process_one::run_child();
    }
    // First, so that not even a fault of the config waits for a reader.
    logging::start(args.log_format)?;
    // Absolute, so that a reload reads the same file whatever the working directory is.
    let path = std::path::absolute(config::find(explicit)?)?;
    let loaded = config::load(&path)?;
    warn(&loaded.warnings);
    systemd::start()?;
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let reload = Arc::new(Notify::new());
        // Both wait on the same streams, so that a second signal that comes at once is not lost.
        let signals = Mutex::new(Signals::new()?);
        let stop = async { signals.lock().await.next_end(&reload).await };
        let hurry = async { signals.lock().await.next_end(&reload).await };
        // systemd kills the agent after this long without a ping (sd_watchdog_enabled(3) advises half of it).
        let alive = sd_notify::watchdog_enabled().map(|limit| limit / 2);
        let world = agent::World { tell: systemd::tell, alive, reload: reload.clone(), stop, hurry };
        agent::run(path, loaded.config, world).await?;
        Ok(Exit::Ok)
    });
    // All that matters is on disk by now, so a thread that hangs in a file system call must not delay the exit.
    runtime.shutdown_background();
    systemd::flush();
    done
}

/// Shows the warnings of the config: with their lines to a person, else as a reload logs them.
fn warn(warnings: &[config::Fault]) {
    if std::io::stderr().is_terminal() {
        print_faults(warnings);
    } else {
        warnings.iter().for_each(|warning| tracing::warn!("config: {warning}"));
    }
}
