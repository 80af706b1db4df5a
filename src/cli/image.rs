//! `taghook check --image`: ask for any image, without a config, a state or hooks.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use clap::Args;
use futures_util::{StreamExt as _, stream};

use super::exit::{CliError, Exit};
use super::runtime::runtime;
use super::{logging, text};
use crate::control::wire::CheckLine;
use crate::domain::judge::CheckOutcome;
use crate::domain::reference::InvalidReference;
use crate::domain::{Answer, Failure, Platform, Question, Reference};
use crate::registry::{self, Client, Options, Recorded};

/// How many images are asked for at a time: few enough that no registry takes it for a flood.
const CONCURRENCY: usize = 4;

// Not a doc comment, which would become help text: how `--image` asks.
#[derive(Debug, Args)]
pub(super) struct ImageArgs {
    /// With --image: the platform whose digest is wanted, for example linux/arm64
    #[arg(long, value_name = "OS/ARCH", requires = "image")]
    platform: Option<String>,
    /// With --image: speak plain HTTP
    #[arg(long, requires = "image")]
    plain_http: bool,
}

impl ImageArgs {
    pub(super) fn is_given(&self) -> bool {
        self.platform.is_some() || self.plain_http
    }
}

/// Asks for every image and prints its digest. Fails if one is not there.
pub(super) fn run(images: &[String], args: &ImageArgs, json: bool) -> Result<Exit, CliError> {
    let (references, platform) =
        parse(images, args.platform.as_deref()).map_err(|faults| CliError::Usage(faults.join("\nerror: ")))?;
    let options = Options { plain_http: args.plain_http, ..Options::default() };
    Ok(runtime()?.block_on(ask_all(&references, platform.as_ref(), &options, json)))
}

async fn ask_all(references: &[Reference], platform: Option<&Platform>, options: &Options, json: bool) -> Exit {
    let mut clients = BTreeMap::new();
    for reference in references {
        let registry = reference.repository.registry();
        clients.entry(registry).or_insert_with(|| Client::new(registry, options).map(Arc::new));
    }
    let mut outcomes = stream::iter(references)
        .map(|reference| {
            let client = clients[reference.repository.registry()].clone();
            async move {
                let start = Instant::now();
                let result = match client {
                    Ok(client) => {
                        client
                            .check(&Question::of(reference.clone(), platform.cloned()), Recorded::default())
                            .await
                            .result
                    }
                    Err(error) => Err(error),
                };
                line(reference, result, start.elapsed())
            }
        })
        .buffered(CONCURRENCY);
    let mut exit = Exit::Ok;
    while let Some(line) = outcomes.next().await {
        if line.error.is_some() {
            exit = Exit::Failed;
        }
        // Nobody reads the other results either.
        if print(&line, json).is_err() {
            return Exit::Failed;
        }
    }
    exit
}

fn line(reference: &Reference, result: Result<Answer, registry::Error>, elapsed: Duration) -> CheckLine {
    let (digest, failure) = match result {
        Ok(Answer::Present(sighting)) => (Some(sighting.digest), None),
        Ok(Answer::Absent) => (None, Some(Failure::absent())),
        Err(error) => {
            let mut failure = Failure::from(&error);
            // Without a config there is no table for the key that the remedy names.
            let table = format!("set plain_http = true in [registry.\"{}\"]", reference.repository.registry());
            failure.message = failure.message.replace(&table, "add --plain-http");
            (None, Some(failure))
        }
    };
    CheckLine {
        watch: None,
        image: reference.to_string(),
        outcome: if failure.is_none() { CheckOutcome::Present } else { CheckOutcome::Failed },
        digest,
        previous: None,
        error: failure,
        elapsed_ms: u64::try_from(elapsed.as_millis()).unwrap_or(u64::MAX),
        deliveries: Vec::new(),
    }
}

fn print(line: &CheckLine, json: bool) -> std::io::Result<()> {
    if json {
        return text::print(&text::json_line(line));
    }
    if let Some(error) = &line.error {
        logging::say(format_args!("error: {}: {}", line.image, error.message));
    }
    line.digest.iter().try_for_each(|digest| text::print(&format!("{digest}  {}\n", line.image)))
}

/// The images and the platform, or every fault in them.
fn parse(images: &[String], platform: Option<&str>) -> Result<(Vec<Reference>, Option<Platform>), Vec<String>> {
    let mut faults = Vec::new();
    let mut references = Vec::new();
    for image in images {
        match Reference::parse(image) {
            Ok(reference) => references.push(reference),
            Err(fault) => faults.push(pointed_out(image, &fault)),
        }
    }
    match platform.map(Platform::parse).transpose() {
        Ok(platform) if faults.is_empty() => return Ok((references, platform)),
        Ok(_) => {}
        Err(fault) => faults.push(fault.to_string()),
    }
    Err(faults)
}

/// The fault, with a caret below the character that it is about.
fn pointed_out(image: &str, fault: &InvalidReference) -> String {
    let column = image.get(..fault.at).map_or(0, |before| before.chars().count());
    format!("{fault}\n  {image}\n  {}^", " ".repeat(column))
}
