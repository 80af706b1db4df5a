//! `taghook generate`: what packagers install beside the binary, from the definition of the command line.

use std::path::PathBuf;

use clap::{Command, Subcommand};
use clap_complete::Shell;

use super::exit::{CliError, Exit};
use super::text;

#[derive(Debug, Subcommand)]
pub(super) enum GenerateCommand {
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

/// `cli`: the definition of the command line.
pub(super) fn run(mut cli: Command, command: GenerateCommand) -> Result<Exit, CliError> {
    match command {
        GenerateCommand::Man { dir: Some(dir) } => {
            let written = clap_mangen::generate_to(cli, &dir);
            written
                .map_err(|why| CliError::Usage(format!("cannot write man pages into {dir:?}: {why}; make it first")))?;
        }
        GenerateCommand::Man { dir: None } => {
            let mut page = Vec::new();
            let mut command = cli.disable_help_subcommand(true);
            command.build();
            clap_mangen::Man::new(command).render(&mut page)?;
            text::print(&String::from_utf8_lossy(&page))?;
        }
        GenerateCommand::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut cli, "taghook", &mut script);
            text::print(&String::from_utf8_lossy(&script))?;
        }
    }
    Ok(Exit::Ok)
}
