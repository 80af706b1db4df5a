//! The files of a config: which there are, and their text.
//!
//! *Invariant:* nothing that is found in place of a file makes this wait, or fill the memory.

use std::fs::{self, File, Metadata};
use std::io::{self, ErrorKind, Read};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fault::Fault;
use super::find::Environment;
use super::log::FaultLog;
use super::source::{Location, SourceFile};
use super::trust;

/// The largest file in bytes: 100,000 watches fit in.
const LARGEST_FILE: u64 = 16 << 20;

/// Reads the file at `path` and the fragments beside it, and reports what cannot be read.
pub(super) fn read_all(path: &Path, environment: &Environment, log: &FaultLog) -> Vec<Arc<SourceFile>> {
    let fragments = list_fragments(path).unwrap_or_else(|fault| {
        log.add_incomplete(fault);
        Vec::new()
    });
    let paths = std::iter::once((path.to_owned(), true)).chain(fragments.into_iter().map(|path| (path, false)));
    let folders = [path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))];
    for folder in folders.iter().map(|folder| folder.to_path_buf()).chain([path.with_file_name("conf.d")]) {
        // In a folder with the sticky bit, such as /tmp, nobody can replace the files of others.
        let found = fs::metadata(&folder).ok().filter(|found| found.is_dir() && found.mode() & 0o1000 == 0);
        if let Some(fault) = found.and_then(|found| trust::fault_of("the folder ", &folder, &found, environment)) {
            log.add(fault);
        }
    }
    let mut sources = Vec::new();
    for (order, (path, is_main)) in paths.enumerate() {
        match read(&path, order, is_main) {
            Ok(source) => {
                let found = fs::metadata(&path).ok().filter(Metadata::is_file);
                if let Some(fault) = found.and_then(|found| trust::fault_of("the config ", &path, &found, environment))
                {
                    log.add(fault);
                }
                sources.push(Arc::new(source));
            }
            Err(fault) => log.add_incomplete(fault),
        }
    }
    sources
}

/// When the file or one of its fragments was last changed, or one was added or removed, as far as that can be seen.
pub fn last_modified(path: &Path) -> Option<std::time::SystemTime> {
    let fragments = list_fragments(path).unwrap_or_default();
    let looked_at = [path.to_owned(), path.with_file_name("conf.d")].into_iter().chain(fragments);
    looked_at.filter_map(|path| fs::metadata(path).ok()?.modified().ok()).max()
}

/// `conf.d/*.toml` beside the file, sorted by name, without hidden files, which editors make.
fn list_fragments(path: &Path) -> Result<Vec<PathBuf>, Fault> {
    let folder = path.with_file_name("conf.d");
    let entries = match fs::read_dir(&folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(_) if folder.is_file() => {
            return Err(Fault::error(format!("{} is a file, not a directory of config files", folder.display())));
        }
        Err(error) => return Err(unreadable(&folder, &error)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let name = entry.map_err(|error| unreadable(&folder, &error))?.file_name();
        let is_fragment = Path::new(&name).extension().is_some_and(|extension| extension == "toml");
        if is_fragment && !name.as_encoded_bytes().starts_with(b".") {
            paths.push(folder.join(name));
        }
    }
    paths.sort();
    Ok(paths)
}

fn read(path: &Path, order: usize, is_main: bool) -> Result<SourceFile, Fault> {
    let metadata = fs::metadata(path).map_err(|error| unreadable(path, &error))?;
    if metadata.is_dir() {
        let fault = Fault::error(format!("{} is a directory, not a config file", path.display()));
        return Err(fault.help(format!("name the file, for example {}", path.join("config.toml").display())));
    }
    // The main file may be a pipe (`--config <(…)`); reading a fragment that is one would hang.
    if !is_main && !metadata.is_file() {
        return Err(Fault::error(format!("{} is not a regular file; remove it", path.display())));
    }
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(|error| unreadable(path, &error))?;
    file.take(LARGEST_FILE + 1).read_to_end(&mut bytes).map_err(|error| unreadable(path, &error))?;
    if bytes.len() as u64 > LARGEST_FILE {
        return Err(Fault::error(format!("{} is larger than 16 MiB; it is probably not a config", path.display())));
    }
    let text = String::from_utf8(bytes).map_err(|error| not_utf8(path, order, &error))?;
    // A byte order mark, which editors hide, would count as a column.
    let text = text.strip_prefix('\u{feff}').map(str::to_owned).unwrap_or(text);
    Ok(SourceFile::new(path, order, text))
}

fn not_utf8(path: &Path, order: usize, error: &std::string::FromUtf8Error) -> Fault {
    let at = error.utf8_error().valid_up_to();
    let text = String::from_utf8_lossy(error.as_bytes()).into_owned();
    let source = Arc::new(SourceFile::new(path, order, text));
    Fault::error("the file is not UTF-8; save it in that encoding")
        .at(Location::new(&source, at..at + char::REPLACEMENT_CHARACTER.len_utf8()))
}

fn unreadable(path: &Path, error: &io::Error) -> Fault {
    let shown = path.display();
    match error.kind() {
        ErrorKind::NotFound | ErrorKind::NotADirectory => Fault::error(format!("there is no file {shown}"))
            .help(format!("name another one with --config PATH, or write it: taghook init {shown}")),
        ErrorKind::PermissionDenied => {
            let user = rustix::process::geteuid();
            let fault = Fault::error(format!("permission denied: user {user} may not read {shown}{}", mode(path)));
            fault.help("run as the user it belongs to, or let its group read it: chgrp taghook, chmod 0640")
        }
        _ => Fault::error(format!("cannot read {shown}: {error}")),
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
        let fault = unreadable(file.path(), &ErrorKind::PermissionDenied.into());
        let (user, shown) = (rustix::process::geteuid(), file.path().display());
        let expected = format!("permission denied: user {user} may not read {shown} (mode 0600, owner {user}:");
        assert!(fault.message().starts_with(&expected), "{fault}");
        assert!(fault.remedy().is_some());
    }

    #[test]
    fn a_fragment_that_is_a_pipe_does_not_hang() {
        let folder = tempfile::tempdir().unwrap();
        let fault = read(Path::new("/dev/null"), 1, false).unwrap_err();
        assert_eq!(fault.message(), "/dev/null is not a regular file; remove it");
        std::fs::write(folder.path().join("conf.d"), "").unwrap();
        let fault = list_fragments(&folder.path().join("config.toml")).unwrap_err();
        assert!(fault.message().ends_with("conf.d is a file, not a directory of config files"), "{fault}");
    }
}
