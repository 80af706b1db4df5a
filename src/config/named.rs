//! Warnings about the files that a registry's table names: what is of no use there, and who else may read or write it.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rustix::fs::{Access, access};

use super::fault::Fault;
use super::find::Environment;
use super::inspect::{Inspection, Spot};
use super::trust;
use super::walk::TomlField;
use crate::registry::{MAX_CERTIFICATES, MAX_SECRET_FILE};

/// What a file holds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum FileContent {
    Certificates,
    Secret,
}

impl TomlField<'_, '_> {
    /// The path of a file. One that is of no use is a warning: a better one may yet come, and another user may see what we
    /// do not.
    pub(super) fn file_path(&self, holds: FileContent) -> Option<PathBuf> {
        let path = self.path()?;
        let what = format!("{}: ", self.key.name);
        let before = what.clone();
        let look =
            move |path: &Path, spot: &Spot, environment: &Environment| faults(path, &before, holds, spot, environment);
        self.table.log.inspect(Inspection::of_path(&what, &path, self.spot(), look));
        Some(path)
    }
}

fn faults(path: &Path, what: &str, holds: FileContent, spot: &Spot, environment: &Environment) -> Vec<Fault> {
    let shown = path.display();
    let say = |text: &str| spot.warning(format!("{what}{shown} {text}"));
    let found = match path.metadata() {
        Ok(found) => found,
        Err(error) => {
            return vec![match error.kind() {
                ErrorKind::NotFound => say("does not exist"),
                ErrorKind::PermissionDenied => not_for_us(&say),
                _ => say(&format!("cannot be read: {error}")),
            }];
        }
    };
    let mut faults = Vec::new();
    if let Some(obstacle) = obstacle(&found, holds) {
        faults.push(say(&obstacle).help("name another file, or put one there"));
    } else if access(path, Access::READ_OK).is_err() {
        faults.push(not_for_us(&say));
    }
    if found.is_file() {
        faults.extend(trust::fault_of(what, path, spot, environment));
        if holds == FileContent::Secret && environment.acting.is_some() && is_open(path, &found) {
            let mode = found.mode() & 0o7777;
            faults.push(say(&format!("can be read by anyone (mode {mode:04o})")).help(format!("chmod o-r {shown}")));
        }
    }
    faults
}

fn not_for_us(say: &impl Fn(&str) -> Fault) -> Fault {
    let user = rustix::process::geteuid();
    say(&format!("may not be read by user {user}")).help("see to it that the agent's user may read it")
}

/// Why the agent will not use it.
fn obstacle(found: &Metadata, holds: FileContent) -> Option<String> {
    let limit = match holds {
        FileContent::Certificates => MAX_CERTIFICATES,
        FileContent::Secret => MAX_SECRET_FILE,
    };
    if found.is_dir() {
        Some("is a directory, not a file".to_owned())
    } else if !found.is_file() {
        Some("is not a regular file, so it is not read".to_owned())
    } else if found.len() == 0 {
        Some("is empty".to_owned())
    } else if found.len() > limit as u64 {
        Some(format!("is larger than {} MiB, so it is not read", limit >> 20))
    } else {
        None
    }
}

/// Whether anyone may read a file and reach it.
fn is_open(path: &Path, found: &Metadata) -> bool {
    let is_passable = |folder: &Path| folder.metadata().is_ok_and(|found| found.mode() & 0o001 != 0);
    let folders = path.canonicalize().unwrap_or_else(|_| path.to_owned());
    found.mode() & 0o004 != 0 && folders.ancestors().skip(1).all(is_passable)
}
