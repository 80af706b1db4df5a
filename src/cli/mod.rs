//! The commands: arguments in, text and exit status out. The only place that prints.

mod image;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Webhooks for container registries that have none: runs your hooks when a tag moves.
#[derive(Debug, Parser)]
#[command(name = "taghook", version, about, max_term_width = 100)]
pub struct Cli {
    /// The config file [default: /etc/taghook/config.toml, else $XDG_CONFIG_HOME/taghook/config.toml]
    #[arg(long, global = true, value_name = "PATH", env = "TAGHOOK_CONFIG")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Check(Check),
}

/// Check watches now, or any image without a config.
#[derive(Debug, Args)]
struct Check {
    /// Watches to check [default: all]
    #[arg(value_name = "WATCH", conflicts_with = "image")]
    watches: Vec<String>,
    /// Ask for these images; needs no config
    #[arg(long, value_name = "REF", num_args = 1..)]
    image: Vec<String>,
    /// With --image: the platform whose digest is wanted, for example linux/arm64
    #[arg(long, value_name = "OS/ARCH", requires = "image")]
    platform: Option<String>,
    /// With --image: speak plain HTTP
    #[arg(long, requires = "image")]
    plain_http: bool,
    /// Ask only: record nothing, run nothing
    #[arg(long)]
    dry_run: bool,
    /// One JSON object a line
    #[arg(long)]
    json: bool,
}

/// Runs what the command line asks for.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.verb {
        Verb::Check(check) if !check.image.is_empty() => image::run(&image::Question {
            images: check.image,
            platform: check.platform,
            plain_http: check.plain_http,
            json: check.json,
        }),
        Verb::Check(_) => ExitCode::FAILURE,
    }
}
