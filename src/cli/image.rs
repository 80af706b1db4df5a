//! `taghook check --image`: ask for any image, without a config, a state or hooks.

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::{StreamExt as _, stream};

use super::text;
use crate::control::wire::CheckLine;
use crate::domain::judge::CheckOutcome;
use crate::domain::reference::InvalidReference;
use crate::domain::{Answer, Failure, Platform, Question, Reference};
use crate::registry::{self, Client, Options};

/// So many images are asked for at a time.
const AT_A_TIME: usize = 4;

/// What the command line asks for.
pub(super) struct ImageQuestion {
    pub(super) images: Vec<String>,
    pub(super) platform: Option<String>,
    pub(super) plain_http: bool,
    pub(super) json: bool,
}

/// Asks for every image and prints its digest: 0 if all are there, 1 if one is not, 2 if one is none.
pub(super) fn run(question: &ImageQuestion) -> ExitCode {
    let parsed = parse(question);
    let (references, platform) = match parsed {
        Ok(parsed) => parsed,
        Err(faults) => {
            faults.iter().for_each(|fault| anstream::eprintln!("error: {fault}"));
            return ExitCode::from(2);
        }
    };
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            anstream::eprintln!("error: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(ask_all(&references, platform.as_ref(), question))
}

async fn ask_all(references: &[Reference], platform: Option<&Platform>, question: &ImageQuestion) -> ExitCode {
    let options = Options { plain_http: question.plain_http, ..Options::default() };
    let mut clients = BTreeMap::new();
    for reference in references {
        let registry = reference.repository.registry();
        clients.entry(registry).or_insert_with(|| Client::new(registry, &options).map(Arc::new));
    }
    let mut outcomes = stream::iter(references)
        .map(|reference| {
            let client = clients[reference.repository.registry()].clone();
            async move {
                let start = Instant::now();
                let result = match client {
                    Ok(client) => client.check(&Question::of(reference.clone(), platform.cloned()), None).await.result,
                    Err(error) => Err(error),
                };
                line(reference, result, start.elapsed())
            }
        })
        .buffered(AT_A_TIME);
    let mut exit = ExitCode::SUCCESS;
    while let Some(line) = outcomes.next().await {
        if line.error.is_some() {
            exit = ExitCode::FAILURE;
        }
        // A reader that has gone away is no reason to panic, and nothing more can be told to it.
        if tell(&line, question.json).is_err() {
            return ExitCode::FAILURE;
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
            // Here there is no table to write it into.
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

fn tell(line: &CheckLine, json: bool) -> std::io::Result<()> {
    if json {
        return text::print(&text::json_lines(std::slice::from_ref(line)));
    }
    if let Some(error) = &line.error {
        anstream::eprintln!("error: {}: {}", line.image, error.message);
    }
    line.digest.iter().try_for_each(|digest| text::print(&format!("{digest}  {}\n", line.image)))
}

/// What was meant, or every fault in it.
fn parse(question: &ImageQuestion) -> Result<(Vec<Reference>, Option<Platform>), Vec<String>> {
    let mut faults = Vec::new();
    let mut references = Vec::new();
    for image in &question.images {
        match Reference::parse(image) {
            Ok(reference) => references.push(reference),
            Err(fault) => faults.push(pointed_out(image, &fault)),
        }
    }
    let platform = question.platform.as_deref().map(Platform::parse).transpose();
    let platform = platform.map_err(|fault| faults.push(fault.to_string()));
    match platform {
        Ok(platform) if faults.is_empty() => Ok((references, platform)),
        _ => Err(faults),
    }
}

/// The fault with a caret below the character that it is about.
fn pointed_out(image: &str, fault: &InvalidReference) -> String {
    let column = image.get(..fault.at).map_or(0, |before| before.chars().count());
    format!("{fault}\n  {image}\n  {}^", " ".repeat(column))
}
