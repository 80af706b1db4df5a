//! The commands: arguments in, text and exit status out. The only place that prints.

mod args;
mod backlog;
mod check;
mod check_now;
mod colour;
mod config;
mod connect;
mod deliveries;
mod exit;
mod explain;
mod generate;
mod health;
mod history;
mod hook;
mod image;
mod init;
mod located;
mod log;
mod logging;
mod outbox;
mod pause;
mod process_one;
mod progress;
mod prune;
mod reader;
mod reload;
mod results;
mod retry;
mod run;
mod runtime;
mod sentences;
mod snapshot;
mod status;
mod systemd;
mod text;

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use nix::sys::signal::SigSet;

use args::{Cli, Verb};
use exit::Exit;

use crate::hook::launch;

/// The exit status of shells for a command that cannot be started.
const CANNOT_START: u8 = 127;

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    // A parent may have left signals blocked: we would not hear of SIGTERM, and neither would hooks. No thread runs yet.
    let _ = SigSet::empty().thread_set_mask();
    if let Some(why) = launch() {
        // On the standard error of the hook, as a shell would.
        logging::say(format_args!("taghook: {why}"));
        return CANNOT_START.into();
    }
    let _flush = logging::FlushAtEnd;
    let Cli { config, verb } = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(stop) => return end_early(&stop),
    };
    let named = || std::env::var_os("TAGHOOK_CONFIG").filter(|path| !path.is_empty()).map(PathBuf::from);
    let config = config.or_else(named);
    let config = config.as_deref();
    let done = match verb {
        Verb::Run(args) => run::run(config, &args),
        Verb::Check(args) => check::run(config, args),
        Verb::Status(args) => status::run(config, &args),
        Verb::History(args) => history::run(config, &args),
        Verb::Deliveries(args) => deliveries::run(config, &args),
        Verb::Log(args) => log::run(config, &args),
        Verb::Explain(args) => explain::run(config, args),
        Verb::Retry(args) => retry::run(config, args),
        Verb::Pause(args) => pause::pause(config, args),
        Verb::Resume(args) => pause::resume(config, args),
        Verb::Prune(args) => prune::run(config, &args),
        Verb::Reload(args) => reload::run(config, &args),
        Verb::Health(args) => health::run(config, &args),
        Verb::Hook(command) => hook::run(config, command),
        Verb::Config(command) => config::run(config, &command),
        Verb::Init(args) => init::run(config, &args),
        Verb::Generate(command) => generate::run(Cli::command(), command),
    };
    let exit = done.unwrap_or_else(|error| {
        error.print();
        error.exit()
    });
    exit.into()
}

/// For wrong arguments, and for help and version, which fail if they cannot be printed.
fn end_early(stop: &clap::Error) -> ExitCode {
    let is_printed = stop.print().is_ok_and(|()| std::io::stdout().flush().is_ok());
    let exit = match (stop.use_stderr(), is_printed) {
        (true, _) => Exit::Usage,
        (false, is_printed) => Exit::of(is_printed),
    };
    exit.into()
}
