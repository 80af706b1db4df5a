//! Warnings of files that anyone may write while root acts on them: whoever writes them is root.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::fault::Fault;
use super::find::Surroundings;

/// What is wrong with a file that root is about to believe or to run.
pub(super) fn fault_of(what: &str, path: &Path, found: &Metadata, around: &Surroundings) -> Option<Fault> {
    let is_open = around.is_root && found.mode() & 0o002 != 0;
    is_open.then(|| {
        let shown = path.display();
        let mode = found.mode() & 0o7777;
        let message = format!("{what}{shown} can be written by anyone (mode {mode:04o}), and root acts on it");
        Fault::warning(message).help(format!("chmod o-w {shown}"))
    })
}
