//! Whether others may write the state: whoever can, decides what is recorded and which hooks run.

use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use super::names::{DATABASE, LOCK, SHM, WAL};
use super::remedy::user_name;

/// The owner of files whose real owner has no number in a user namespace.
const UNMAPPED: u32 = 65534;
const STICKY: u32 = 0o1000;

/// A file or folder that others may write.
#[derive(Debug, PartialEq, Eq)]
pub struct Exposed {
    pub message: String,
    pub remedy: String,
}

/// What others may write of a state directory, if it is there: the directory, a file in it, or a folder above it. Root and
/// the owner of the directory are no others, nor are the group of this process and the group of the owner's name.
pub fn exposed(dir: &Path) -> Option<Exposed> {
    let real = dir.canonicalize().ok()?;
    let owner = std::fs::metadata(&real).ok()?.uid();
    let us = rustix::process::geteuid().as_raw();
    // Root looks at the state of the agent's user, and never works on it.
    let trusted = [0, us, if us == 0 { owner } else { us }];
    let files = [DATABASE, WAL, SHM, LOCK].map(|name| real.join(name));
    let inside = std::iter::once(real.clone()).chain(files).find_map(|path| exposure(path, &trusted, 0));
    let above = real.ancestors().skip(1).map(Path::to_owned);
    let trusted_above = [0, us, owner, UNMAPPED];
    inside.or_else(|| above.into_iter().find_map(|path| exposure(path, &trusted_above, STICKY)))
}

/// Whether others may write a path whose mode has none of the bits in `protected`.
fn exposure(path: PathBuf, trusted: &[u32], protected: u32) -> Option<Exposed> {
    let found = std::fs::symlink_metadata(&path).ok()?;
    let (mode, shown) = (found.mode() & 0o7777, path.display());
    let is_sticky = mode & protected != 0;
    let said = |who: String, remedy: String| {
        Some(Exposed { message: format!("{shown} can be written by {who}, who can change what hooks run for"), remedy })
    };
    if mode & 0o002 != 0 && !is_sticky {
        return said(format!("anyone (mode {mode:04o})"), format!("chmod o-w {shown}"));
    }
    if mode & 0o020 != 0 && !is_sticky && !is_own_group(&found) {
        return said(format!("the group {} (mode {mode:04o})", found.gid()), format!("chmod g-w {shown}"));
    }
    let owner = user_name(found.uid());
    (!trusted.contains(&found.uid()))
        .then(|| said(format!("its owner {owner}"), "use a directory of the agent's own user".to_owned()))
        .flatten()
}

fn is_own_group(found: &Metadata) -> bool {
    let name = || {
        let groups = std::fs::read_to_string("/etc/group").unwrap_or_default();
        groups.lines().find_map(|line| {
            let mut fields = line.split(':');
            let name = fields.next()?;
            (fields.nth(1)?.parse() == Ok(found.gid())).then(|| name.to_owned())
        })
    };
    let ours = rustix::process::getegid().as_raw();
    found.gid() == 0 || found.gid() == ours || found.gid() == found.uid() || name() == Some(user_name(found.uid()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn a_state_that_others_may_write_is_told_with_chmod_and_one_of_its_own_group_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("above/state");
        std::fs::create_dir_all(&state).unwrap();
        let database = state.join(DATABASE);
        std::fs::write(&database, "").unwrap();
        let mode = |path: &Path, mode| std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
        for private in [0o700, 0o750, 0o755, 0o770] {
            mode(&state, private);
            assert_eq!(exposed(&state), None, "{private:o}");
        }
        for (path, open, well) in
            [(&*state, 0o777, 0o750), (&*database, 0o666, 0o640), (state.parent().unwrap(), 0o777, 0o755)]
        {
            mode(path, open);
            let found = exposed(&state).unwrap();
            assert!(found.message.contains("anyone"), "{found:?}");
            assert_eq!(found.remedy, format!("chmod o-w {}", path.display()));
            mode(path, well);
        }
        mode(state.parent().unwrap(), 0o1777);
        assert_eq!(exposed(&state), None, "nobody may move what stands in a sticky folder");
    }
}
