//! The files of a config: which there are, and their text.
//!
//! *Invariant:* nothing that is found in place of a file makes this wait for long, or fill the memory.

use std::fs::{self, OpenOptions};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::fs::OFlags;

use super::fault::Fault;
use super::identity::of_files;
use super::inspect::{Inspection, Spot};
use super::source::{Location, SourceFile};
use super::trust;
use super::wait::{TIMEOUT, wait};
use crate::bounded::{self, CONFIG, PoolError};

/// The largest file in bytes: 100,000 watches fit in.
const LARGEST_FILE: usize = 16 << 20;

/// What the main file may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Main {
    /// A pipe, too (`--config <(…)`): it can be read once.
    FileOrPipe,
    File,
}

/// What a file is to the config.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Role {
    Main(Main),
    Fragment,
}

/// The files that could be read, and what is wrong with the others.
#[derive(Default)]
pub(super) struct Files {
    pub(super) sources: Vec<Arc<SourceFile>>,
    pub(super) faults: Vec<Fault>,
    /// One does not answer, so the others, which are beside it, were not read.
    hang: bool,
}

/// Why a file could not be read.
enum Unread {
    Faulty(Fault),
    /// It does not answer.
    Hangs(Fault),
}

impl Files {
    fn add_unread(&mut self, why: Unread) {
        self.hang |= matches!(why, Unread::Hangs(_));
        let (Unread::Faulty(fault) | Unread::Hangs(fault)) = why;
        self.faults.push(fault);
    }
}

/// Reads the file at `path` and the fragments beside it.
pub(super) async fn read_all(path: &Path, main: Main) -> Files {
    let mut files = Files::default();
    let mut left = vec![(path.to_owned(), Role::Main(main))];
    for order in 0.. {
        let Some((path, role)) = left.pop().filter(|_| !files.hang) else { break };
        match on_thread(&path, move |path| read(path, order, role)).await {
            Ok(source) => files.sources.push(Arc::new(source)),
            Err(why) => files.add_unread(why),
        }
        if role == Role::Fragment || files.hang {
            continue;
        }
        match on_thread(&folder_of_fragments(&path), list).await {
            Ok(fragments) => left.extend(fragments.into_iter().rev().map(|path| (path, Role::Fragment))),
            Err(why) => files.add_unread(why),
        }
    }
    files
}

/// `conf.d` beside the file.
fn folder_of_fragments(path: &Path) -> PathBuf {
    path.with_file_name("conf.d")
}

/// What is to be looked at: who else may write the files, and the folders that they are in.
pub(super) fn inspections(path: &Path, sources: &[Arc<SourceFile>]) -> Vec<Inspection> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let of_path = |what: &'static str, path: &Path, look: trust::TrustCheck| {
        let look =
            move |path: &Path, spot: &Spot, environment: &_| look(what, path, spot, environment).into_iter().collect();
        Inspection::of_path(what, path, Spot::nowhere(), look)
    };
    let mut all = vec![
        of_path("the folder ", folder, trust::fault_of),
        of_path("the folder ", &folder_of_fragments(path), trust::fault_of_it),
    ];
    all.extend(sources.iter().map(|source| of_path("the config ", &source.path, trust::fault_of_linked)));
    all
}

/// Runs what looks at a path on a thread of its own, one at a time.
async fn on_thread<T: Send + 'static>(
    path: &Path,
    call: impl FnOnce(&Path) -> Result<T, Fault> + Send + 'static,
) -> Result<T, Unread> {
    let (shown, of) = (path.display().to_string(), path.to_owned());
    match CONFIG.run_alone(shown.clone(), TIMEOUT, move || call(&of)).await {
        Ok(done) => done.map_err(Unread::Faulty),
        Err(PoolError::TimedOut(_) | PoolError::Occupied { .. }) => {
            let fault = Fault::error(format!("{shown} does not answer within {} s", TIMEOUT.as_secs()));
            Err(Unread::Hangs(fault.help("is it on a file system that hangs, or a pipe that nobody writes to?")))
        }
        Err(why) => Err(Unread::Faulty(Fault::error(format!("cannot read {shown}: {why}")))),
    }
}

/// Which versions of the file and its fragments are there now. `None` where one of them is no file that can be looked at.
pub(super) async fn identity_now(path: &Path) -> Option<String> {
    // What hangs is told of the path that hangs: the fragments do not hold up the turn of the file.
    let (path, folder) = (path.to_owned(), folder_of_fragments(path));
    on_thread(&folder, move |folder| Ok(of_files(&path, &list(folder)?))).await.ok()?
}

/// The same for a command that has nothing else to do meanwhile.
pub fn identity(path: &Path) -> Option<String> {
    wait(identity_now(path)).ok()?
}

/// The fragments in a folder, sorted by name, without hidden files, which editors make.
fn list(folder: &Path) -> Result<Vec<PathBuf>, Fault> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(_) if folder.is_file() => {
            return Err(Fault::error(format!("{} is a file, not a directory of config files", folder.display())));
        }
        Err(error) => return Err(unreadable(folder, Role::Fragment, &error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| unreadable(folder, Role::Fragment, &error))?.file_name();
        let is_fragment = Path::new(&name).extension().is_some_and(|extension| extension == "toml");
        if is_fragment && !name.as_encoded_bytes().starts_with(b".") {
            paths.push(folder.join(name));
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path, order: usize, role: Role) -> Result<SourceFile, Fault> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, role, &error))?;
    if metadata.is_dir() {
        let fault = Fault::error(format!("{} is a directory, not a config file", path.display()));
        return Err(fault.help(match role {
            Role::Main(_) => format!("name the file, for example {}", path.join("config.toml").display()),
            Role::Fragment => "give it a name that does not end in .toml, or move it out of conf.d".to_owned(),
        }));
    }
    let bytes = match role {
        Role::Main(Main::FileOrPipe) => read_any(path),
        Role::Main(Main::File) | Role::Fragment => bounded::read_now(path, LARGEST_FILE),
    };
    let text = String::from_utf8(bytes.map_err(|error| unreadable(path, role, &error))?)
        .map_err(|error| not_utf8(path, order, &error))?;
    // A byte order mark, which editors hide, would count as a column.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(SourceFile::new(path, order, text))
}

/// Reads a file or a pipe. This waits for whoever writes the pipe.
fn read_any(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new().read(true).custom_flags(OFlags::NOCTTY.bits().cast_signed()).open(path)?;
    let mut bytes = Vec::new();
    file.take(LARGEST_FILE as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > LARGEST_FILE { Err(ErrorKind::FileTooLarge.into()) } else { Ok(bytes) }
}

fn not_utf8(path: &Path, order: usize, error: &std::string::FromUtf8Error) -> Fault {
    let at = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let source = Arc::new(SourceFile::new(path, order, text));
    Fault::error("the file is not UTF-8; save it in that encoding")
        .at(Location::new(&source, at..at + char::REPLACEMENT_CHARACTER.len_utf8()))
}

fn unreadable(path: &Path, role: Role, error: &io::Error) -> Fault {
    let shown = path.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => missing(path, role),
        ErrorKind::PermissionDenied => {
            let user = rustix::process::geteuid();
            let fault = Fault::error(format!("permission denied: user {user} may not read {shown}{}", mode(path)));
            fault.help("run as the user it belongs to, or let its group read it: chgrp taghook, chmod 0640")
        }
        ErrorKind::FileTooLarge => Fault::error(format!("{shown} is larger than 16 MiB; it is probably not a config")),
        ErrorKind::InvalidInput if role == Role::Fragment => {
            Fault::error(format!("{shown} is not a regular file; remove it"))
        }
        ErrorKind::InvalidInput => Fault::error(format!("{shown} is not a regular file"))
            .help("write the config into a file; a pipe can be read once, at the start"),
        _ => Fault::error(format!("cannot read {shown}: {error}")),
    }
}

fn missing(path: &Path, role: Role) -> Fault {
    let shown = path.display();
    match (fs::read_link(path), role) {
        (Ok(target), _) => {
            let remedy = match role {
                Role::Main(_) => "write that file, or name another one with --config PATH",
                Role::Fragment => "write that file, or remove the link",
            };
            Fault::error(format!("{shown} is a link to {}, which is not there", target.display())).help(remedy)
        }
        (Err(_), Role::Main(_)) => Fault::error(format!("there is no file {shown}"))
            .help(format!("name another one with --config PATH, or write it: taghook init {shown}")),
        (Err(_), Role::Fragment) => {
            Fault::error(format!("{shown} was removed while the config was read")).help("try again")
        }
    }
}

/// Mode and owner of a file, or of the first folder above it that we can look at.
fn mode(path: &Path) -> String {
    path.ancestors()
        .find_map(|above| Some((above, fs::metadata(above).ok()?)))
        .map(|(above, metadata)| {
            let (mode, uid, gid) = (metadata.mode() & 0o7777, metadata.uid(), metadata.gid());
            let of = if above == path { String::new() } else { format!("{} has ", above.display()) };
            format!(" ({of}mode {mode:04o}, owner {uid}:{gid})")
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_may_not_be_read_names_the_user_and_the_mode() {
        use std::os::unix::fs::PermissionsExt;
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_permissions(fs::Permissions::from_mode(0o600)).unwrap();
        let fault = unreadable(file.path(), Role::Main(Main::File), &ErrorKind::PermissionDenied.into());
        let (user, shown) = (rustix::process::geteuid(), file.path().display());
        let expected = format!("permission denied: user {user} may not read {shown} (mode 0600, owner {user}:");
        assert!(fault.message().starts_with(&expected), "{fault}");
        assert!(fault.remedy().is_some());
    }

    #[test]
    fn a_fragment_that_is_a_pipe_does_not_hang() {
        let folder = tempfile::tempdir().unwrap();
        let fault = read(Path::new("/dev/null"), 1, Role::Fragment).unwrap_err();
        assert_eq!(fault.message(), "/dev/null is not a regular file; remove it");
        std::fs::write(folder.path().join("conf.d"), "").unwrap();
        let fault = list(&folder.path().join("conf.d")).unwrap_err();
        assert!(fault.message().ends_with("conf.d is a file, not a directory of config files"), "{fault}");
    }
}
