//! What to do where permissions are in the way.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::io::Errno;

use super::names::{SHM, WAL};

/// What to do where a file or directory of the state cannot be used because of permissions. Names the one that is in the
/// way: the directory, the file itself, or what SQLite has beside it.
pub(super) fn remedy(path: &Path) -> String {
    let dir = path.parent().unwrap_or(path);
    let beside = [WAL, SHM].map(|name| dir.join(name));
    let is_denied = |path: &&Path| {
        let access = if path.is_dir() { Access::WRITE_OK | Access::EXEC_OK } else { Access::WRITE_OK };
        accessat(CWD, *path, access, AtFlags::EACCESS) == Err(Errno::ACCESS)
    };
    let in_the_way = [dir, path, &beside[0], &beside[1]].into_iter().find(is_denied);
    match in_the_way.and_then(|path| Some((path.display(), std::fs::metadata(path).ok()?))) {
        Some((path, found)) if found.uid() == rustix::process::geteuid().as_raw() => {
            format!(
                "it is yours, and its mode forbids it: chmod {} {path}",
                if found.is_dir() { "0750" } else { "0640" }
            )
        }
        Some((path, found)) => {
            let user = user_name(found.uid());
            format!("{path} belongs to {user}: run as that user, or set `state` to a directory of your own")
        }
        None => "run as the user that owns it, or set `state` to a directory of your own".to_owned(),
    }
}

pub(super) fn user_name(uid: u32) -> String {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    let name = passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    });
    name.unwrap_or_else(|| format!("'#{uid}'"))
}
