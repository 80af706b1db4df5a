//! Warnings about files that anyone may write and root acts on: whoever writes them is root.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::fault::Fault;
use super::find::Environment;

/// What is wrong with a file that root is about to believe or to run; `what` is put before its path.
pub(super) fn fault_of(what: &str, path: &Path, found: &Metadata, environment: &Environment) -> Option<Fault> {
    let is_open = environment.is_root && found.mode() & 0o002 != 0;
    is_open.then(|| {
        let shown = path.display();
        let mode = found.mode() & 0o7777;
        let message = format!("{what}{shown} can be written by anyone (mode {mode:04o}), and root acts on it");
        Fault::warning(message).help(format!("chmod o-w {shown}"))
    })
}
