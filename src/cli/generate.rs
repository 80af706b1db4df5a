//! `taghook generate`: what packagers install beside the binary, from the definition of the command line.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Subcommand};
use clap_complete::Shell;

use super::{Cli, Failure, text};

/// What to make.
#[derive(Debug, Subcommand)]
pub(super) enum Verb {
    /// Write the man pages, one for each command
    #[command(
        after_help = "Examples:\n  taghook generate man | man -l -\n  taghook generate man /usr/local/share/man/man1"
    )]
    Man {
        /// Where to: taghook.1, taghook-run.1 and so on [default: taghook.1 alone, to standard output]
        #[arg(value_name = "DIR")]
        dir: Option<PathBuf>,
    },
    /// Print the completions of a shell
    #[command(after_help = "Examples:
  taghook generate completions bash > /etc/bash_completion.d/taghook
  taghook generate completions zsh > /usr/local/share/zsh/site-functions/_taghook
  taghook generate completions fish > ~/.config/fish/completions/taghook.fish")]
    Completions {
        /// The shell
        #[arg(value_name = "SHELL")]
        shell: Shell,
    },
}

pub(super) fn run(verb: Verb) -> Result<ExitCode, Failure> {
    let mut command = Cli::command();
    match verb {
        Verb::Man { dir: Some(dir) } => {
            let written = clap_mangen::generate_to(command, &dir);
            written
                .map_err(|why| Failure::Usage(format!("cannot write man pages into {dir:?}: {why}; make it first")))?;
        }
        Verb::Man { dir: None } => {
            let mut page = Vec::new();
            let mut command = command.disable_help_subcommand(true);
            command.build();
            clap_mangen::Man::new(command).render(&mut page)?;
            text::print(&String::from_utf8_lossy(&page))?;
        }
        Verb::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut command, "taghook", &mut script);
            text::print(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}
