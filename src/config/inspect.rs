//! Looking at the files that a config names, once it is read.
//!
//! *Invariant:* what does not answer is a warning, and holds up a load for no longer than the time limit.

use std::path::Path;
use std::time::Duration;

use futures_util::future::join_all;

use super::fault::Fault;
use super::find::Environment;
use super::source::Location;
use crate::bounded::{INSPECTIONS, PoolError};

/// How long looking at one file may take.
const TIMEOUT: Duration = Duration::from_secs(5);

/// Something to look at.
pub(super) struct Inspection {
    /// What is looked at, of which there is one look at a time.
    key: String,
    subject: String,
    spot: Spot,
    look: Look,
}

/// Looks, and returns what is to be said.
type Look = Box<dyn FnOnce(&Environment) -> Vec<Fault> + Send>;

/// Where warnings about the value of a key belong, after the file was read.
#[derive(Clone)]
pub(super) struct Spot {
    before: String,
    location: Option<Location>,
}

impl Spot {
    /// `before` is how messages call the table.
    pub(super) fn new(before: String, location: Location) -> Self {
        Self { before, location: Some(location) }
    }

    /// For what no key names.
    pub(super) fn nowhere() -> Self {
        Self { before: String::new(), location: None }
    }

    pub(super) fn warning(&self, text: impl AsRef<str>) -> Fault {
        let fault = Fault::warning(format!("{}{}", self.before, text.as_ref()));
        match &self.location {
            Some(location) => fault.at(location.clone()),
            None => fault,
        }
    }
}

impl Inspection {
    /// Looks at one path; `what` says what it is to the config, before the path.
    pub(super) fn of_path(
        what: &str,
        path: &Path,
        spot: Spot,
        look: impl FnOnce(&Path, &Spot, &Environment) -> Vec<Fault> + Send + 'static,
    ) -> Self {
        let (key, path) = (path.display().to_string(), path.to_owned());
        let subject = format!("{what}{key}");
        Self::new(key, subject, spot, move |spot, environment| look(&path, spot, environment))
    }

    /// Looks at `subject`, one at a time for each key.
    pub(super) fn new(
        key: String,
        subject: String,
        spot: Spot,
        look: impl FnOnce(&Spot, &Environment) -> Vec<Fault> + Send + 'static,
    ) -> Self {
        let at = spot.clone();
        Self { key, subject, spot, look: Box::new(move |environment| look(&at, environment)) }
    }
}

/// Looks at all of them, at many at a time.
pub(super) async fn inspect(all: Vec<Inspection>, environment: &Environment) -> Vec<Fault> {
    let inspect = |Inspection { key, subject, spot, look }| {
        let environment = environment.clone();
        async move {
            let found = INSPECTIONS.run_alone(key, TIMEOUT, move || look(&environment)).await;
            found.unwrap_or_else(|why| vec![unseen(&subject, &spot, &why)])
        }
    };
    join_all(all.into_iter().map(inspect)).await.into_iter().flatten().collect()
}

fn unseen(subject: &str, spot: &Spot, why: &PoolError) -> Fault {
    match why {
        PoolError::TimedOut(_) | PoolError::Occupied { .. } => {
            spot.warning(format!("{subject} does not answer")).help("is it on a file system that hangs?")
        }
        why => spot.warning(format!("{subject} was not looked at: {why}")),
    }
}
