//! `taghook init`: a config to start from.
//!
//! *Invariant:* an existing file is never overwritten.

use std::fs::{self, File};
use std::io::{self, ErrorKind, Write};
use std::path::{Path, PathBuf};

use clap::Args;

use super::exit::{CliError, Exit};
use super::text;
use crate::config;

/// A config that works without an edit.
const STARTER: &str = include_str!("starter.toml");

/// Write a config to start from
///
/// It watches one tag, has comments, and passes `taghook config check`. A file that is there already is left alone.
#[derive(Debug, Args)]
pub(super) struct InitArgs {
    /// Where to [default: --config, else /etc/taghook/config.toml for root, else $XDG_CONFIG_HOME/taghook/config.toml];
    /// - for standard output
    #[arg(value_name = "PATH")]
    path: Option<PathBuf>,
}

pub(super) fn run(explicit: Option<&Path>, args: &InitArgs) -> Result<Exit, CliError> {
    if args.path.as_deref() == Some(Path::new("-")) {
        text::print(STARTER)?;
        return Ok(Exit::Ok);
    }
    let path = config::path_for_new(args.path.as_deref().or(explicit))?;
    write(&path).map_err(|error| refusal(&path, &error))?;
    // The commands find a config in its usual place without `--config`.
    let is_found = config::find(None).is_ok_and(|found| found == path);
    let option = if is_found { String::new() } else { format!(" --config {}", path.display()) };
    text::print(&format!(
        "wrote {}\n\nSay in it which tag to watch and what to run; then\n\n\
         \x20   taghook config check{option}\n\
         \x20   taghook check --dry-run{option}\n\
         \x20   taghook run{option}\n",
        path.display()
    ))?;
    Ok(Exit::Ok)
}

fn write(path: &Path) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    let mut file = File::create_new(path)?;
    file.write_all(STARTER.as_bytes())?;
    file.sync_all()
}

fn refusal(path: &Path, error: &io::Error) -> CliError {
    let shown = path.display();
    CliError::Usage(match error.kind() {
        ErrorKind::AlreadyExists => {
            format!("{shown} is there already and was left as it is; edit it, or name another file: taghook init PATH")
        }
        _ => format!("cannot write {shown}: {error}; name another file: taghook init PATH"),
    })
}
