//! `taghook check --image`: ask for any image, without a config, a state or hooks.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

use futures_util::{StreamExt as _, stream};
use serde::Serialize;

use crate::domain::{Answer, FailureKind, Platform, Reference, reference};
use crate::registry::{Client, Options};

/// So many images are asked for at a time.
const AT_A_TIME: usize = 4;

/// What the command line asks for.
pub(super) struct Question {
    pub(super) images: Vec<String>,
    pub(super) platform: Option<String>,
    pub(super) plain_http: bool,
    pub(super) json: bool,
}

/// One line of `check --json`.
#[derive(Serialize)]
struct Line<'a> {
    watch: Option<&'a str>,
    image: &'a str,
    outcome: &'a str,
    digest: Option<&'a str>,
    previous: Option<&'a str>,
    error: Option<Fault<'a>>,
    elapsed_ms: u64,
    deliveries: [(); 0],
}

#[derive(Serialize)]
struct Fault<'a> {
    kind: &'a str,
    message: &'a str,
}

/// What became of one image.
struct Outcome<'a> {
    reference: &'a Reference,
    result: Result<String, (FailureKind, String)>,
    elapsed_ms: u64,
}

/// Asks for every image and prints its digest: 0 if all are there, 1 if one is not, 2 if one is none.
pub(super) fn run(question: &Question) -> ExitCode {
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

async fn ask_all(references: &[Reference], platform: Option<&Platform>, question: &Question) -> ExitCode {
    let options = Options { plain_http: question.plain_http, ..Options::default() };
    let mut clients = BTreeMap::new();
    for reference in references {
        let registry = reference.registry();
        clients.entry(registry).or_insert_with(|| Client::new(registry, &options).map(Arc::new));
    }
    let mut outcomes = stream::iter(references)
        .map(|reference| {
            let client = clients[reference.registry()].clone();
            async move {
                let start = Instant::now();
                let result = match client {
                    Ok(client) => client.check(reference, platform, None).await.result,
                    Err(error) => Err(error),
                };
                let result = match result {
                    Ok(Answer::Present(sighting)) => Ok(sighting.digest.to_string()),
                    Ok(Answer::Absent) => {
                        Err((FailureKind::NotFound, "not found, or not allowed to see it".to_owned()))
                    }
                    Err(error) => Err((error.kind(), error.to_string())),
                };
                let elapsed_ms = u64::try_from(start.elapsed().as_millis()).unwrap_or(u64::MAX);
                Outcome { reference, result, elapsed_ms }
            }
        })
        .buffered(AT_A_TIME);
    let mut exit = ExitCode::SUCCESS;
    while let Some(outcome) = outcomes.next().await {
        if outcome.result.is_err() {
            exit = ExitCode::FAILURE;
        }
        // A reader that has gone away is no reason to panic, and nothing more can be told to it.
        if outcome.print(question.json).is_err() {
            return ExitCode::FAILURE;
        }
    }
    exit
}

impl Outcome<'_> {
    fn print(&self, json: bool) -> std::io::Result<()> {
        let mut out = std::io::stdout().lock();
        if json {
            return writeln!(out, "{}", self.json());
        }
        match &self.result {
            Ok(digest) => writeln!(out, "{digest}  {}", self.reference),
            Err((_, message)) => {
                anstream::eprintln!("error: {}: {message}", self.reference);
                Ok(())
            }
        }
    }

    fn json(&self) -> String {
        let line = Line {
            watch: None,
            image: self.reference.as_str(),
            outcome: if self.result.is_ok() { "present" } else { "failed" },
            digest: self.result.as_deref().ok(),
            previous: None,
            error: self.result.as_ref().err().map(|(kind, message)| Fault { kind: kind.as_str(), message }),
            elapsed_ms: self.elapsed_ms,
            deliveries: [],
        };
        serde_json::to_string(&line).unwrap_or_default()
    }
}

/// What was meant, or every fault in it.
fn parse(question: &Question) -> Result<(Vec<Reference>, Option<Platform>), Vec<String>> {
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
fn pointed_out(image: &str, fault: &reference::Invalid) -> String {
    let column = image.get(..fault.at).map_or(0, |before| before.chars().count());
    format!("{fault}\n  {image}\n  {}^", " ".repeat(column))
}
