//! Which files a config was read from, and in which version.
//!
//! *Invariant:* no time is compared with a clock. A file that was replaced by an older one, or has a date in the future, is
//! another one all the same.

use std::fs::{self, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

/// Stands for the file and these fragments beside it as they are now: it changes with each file that is written,
/// replaced, added or removed. That a file was written without a change to its text also counts. Nothing of the text is in
/// it, so it may be shown. `None` where one of them is no file that we may look at.
pub(super) fn of_files(path: &Path, fragments: &[PathBuf]) -> Option<String> {
    let mut hash = Sha256::new();
    for path in [path].into_iter().chain(fragments.iter().map(PathBuf::as_path)) {
        let found = fs::metadata(path).ok().filter(Metadata::is_file)?;
        hash.update(path.as_os_str().as_encoded_bytes());
        hash.update(version(&found));
    }
    Some(hash.finalize().iter().take(16).map(|byte| format!("{byte:02x}")).collect())
}

fn version(found: &Metadata) -> String {
    let (written, changed) = ((found.mtime(), found.mtime_nsec()), (found.ctime(), found.ctime_nsec()));
    let file = format!("\0{} {} {}", found.dev(), found.ino(), found.size());
    format!("{file} {}.{:09} {}.{:09}\0", written.0, written.1, changed.0, changed.1)
}
