//! Warnings about files that others may write and that are acted on: whoever writes them is the user who acts.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::acting::Acting;
use super::fault::Fault;
use super::find::Environment;
use super::inspect::Spot;

/// Looks at a path for a reason not to trust it; what it is to the config is put before the path.
pub(super) type TrustCheck = fn(&str, &Path, &Spot, &Environment) -> Option<Fault>;

/// The nearest reason not to trust a file: who may write it, or a folder above it, and so replace it. `what` is put before
/// its path.
pub(super) fn fault_of(what: &str, path: &Path, spot: &Spot, environment: &Environment) -> Option<Fault> {
    fault_of_it(what, path, spot, environment).or_else(|| fault_of_folders(path, spot, environment))
}

/// The same about a file or folder alone, without what is above it.
pub(super) fn fault_of_it(what: &str, path: &Path, spot: &Spot, environment: &Environment) -> Option<Fault> {
    fault(environment.acting?, what, path, &path.metadata().ok()?, spot)
}

/// The same about a file, and the folders above what it links to, if it is a link.
pub(super) fn fault_of_linked(what: &str, path: &Path, spot: &Spot, environment: &Environment) -> Option<Fault> {
    let of_link = || path.is_symlink().then(|| fault_of_folders(path, spot, environment)).flatten();
    fault_of_it(what, path, spot, environment).or_else(of_link)
}

/// The same about the folders above a file, and above what it links to.
fn fault_of_folders(path: &Path, spot: &Spot, environment: &Environment) -> Option<Fault> {
    let acting = environment.acting?;
    let linked = path.canonicalize().ok().filter(|linked| linked != path);
    let folders = path.ancestors().skip(1).chain(linked.iter().flat_map(|linked| linked.ancestors().skip(1)));
    let mut folders = folders.filter(|folder| !folder.as_os_str().is_empty());
    folders.find_map(|folder| fault(acting, "the folder ", folder, &folder.metadata().ok()?, spot))
}

fn fault(acting: Acting, what: &str, path: &Path, found: &Metadata, spot: &Spot) -> Option<Fault> {
    let mut mode = found.mode() & 0o7777;
    if found.is_dir() && mode & 0o1000 != 0 {
        // With the sticky bit, as on /tmp, nobody but its owner can replace the files of others.
        mode &= !0o022;
    }
    let (who, remedy) = acting.other_writer(mode, found.uid(), found.gid())?;
    let (shown, mode) = (path.display(), found.mode() & 0o7777);
    let acts = if acting.is_root() { "root acts".to_owned() } else { format!("user {} acts", acting.user) };
    let fault = spot.warning(format!("{what}{shown} can be written by {who} (mode {mode:04o}), and {acts} on it"));
    let user = if remedy == "chown" { format!(" {}", acting.user) } else { String::new() };
    Some(fault.help(format!("{remedy}{user} {shown}")))
}
