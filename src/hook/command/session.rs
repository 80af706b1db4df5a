//! Starts a command in a session of its own, so that it has no terminal to ask: what prompts on `/dev/tty` (ssh, sudo, git)
//! fails at once, as it does under systemd.
//!
//! Our session is only left where it has a terminal. Then our own binary is started in the command's place, which makes the
//! session and becomes the command: the standard library cannot make one by itself.

use std::ffi::{OsStr, OsString};
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use rustix::fs::{Access, OFlags, access};

/// The first argument of our binary when it is to become a command. Known to nobody else.
const LAUNCH: &str = "--in-a-session-of-its-own";

/// Our own binary, if it calls [`launch`].
static LAUNCHER: OnceLock<PathBuf> = OnceLock::new();

/// To be called first by `main`: becomes the command, if this process was started for that. Returns only otherwise, or with
/// the reason why the command cannot be started.
pub fn launch() -> Option<String> {
    let mut arguments = std::env::args_os().skip(1);
    if arguments.next().is_none_or(|first| first != LAUNCH) {
        // Stays what it is when a newer one is installed.
        let _ = LAUNCHER.set("/proc/self/exe".into());
        return None;
    }
    let program = arguments.next().unwrap_or_default();
    let why = match rustix::process::setsid() {
        Ok(_) => std::process::Command::new(&program).args(arguments).exec(),
        Err(why) => why.into(),
    };
    Some(format!("cannot start {program:?}: {why}"))
}

/// What to start in place of a program, and its first arguments, if the program would else have our terminal.
///
/// What the kernel cannot execute is left to fail by itself, with its own reason.
pub(super) fn launcher(program: &str, cwd: &Path, path: &OsStr) -> Option<(&'static Path, [OsString; 2])> {
    let launcher = LAUNCHER.get()?;
    let is_needed = has_terminal() && is_executable(&find(program, cwd, path)?);
    is_needed.then(|| (launcher.as_path(), [LAUNCH.into(), program.into()]))
}

fn has_terminal() -> bool {
    let flags = OFlags::NOCTTY | OFlags::NONBLOCK | OFlags::CLOEXEC;
    std::fs::OpenOptions::new().read(true).custom_flags(flags.bits().cast_signed()).open("/dev/tty").is_ok()
}

fn find(program: &str, cwd: &Path, path: &OsStr) -> Option<PathBuf> {
    if program.contains('/') {
        return Some(cwd.join(program));
    }
    let places = std::env::split_paths(path).map(|folder| cwd.join(folder).join(program));
    places.into_iter().find(|place| place.is_file() && access(place, Access::EXEC_OK).is_ok())
}

/// Whether the kernel knows how to start it: it is a binary, or a script whose interpreter is there.
fn is_executable(program: &Path) -> bool {
    if !program.is_file() || access(program, Access::EXEC_OK).is_err() {
        return false;
    }
    let mut head = Vec::new();
    // Linux itself reads no more of a script's first line.
    let read = std::fs::File::open(program).and_then(|file| file.take(256).read_to_end(&mut head));
    let interpreter = || {
        let line = head.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
        std::str::from_utf8(line).ok()?.split_whitespace().next()
    };
    // A binary that may be executed and not read is one, too.
    read.is_err() || head.starts_with(b"\x7fELF") || interpreter().is_some_and(|path| Path::new(path).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn only_what_the_kernel_can_execute_is_launched() {
        let dir = tempfile::tempdir().unwrap();
        for (text, mode, expected) in [
            ("#!/bin/sh\n", 0o755, true),
            ("#! /usr/bin/env bash\n", 0o755, true),
            ("#!/bin/sh\n", 0o644, false),
            ("#!/nowhere/sh\n", 0o755, false),
            ("echo no first line\n", 0o755, false),
            ("", 0o755, false),
        ] {
            let script = dir.path().join("script");
            std::fs::write(&script, text).unwrap();
            std::fs::set_permissions(&script, std::fs::Permissions::from_mode(mode)).unwrap();
            assert_eq!(is_executable(&script), expected, "{text:?} {mode:o}");
        }
        assert!(is_executable(&find("sh", "/".as_ref(), "/nowhere:/bin".as_ref()).unwrap()));
        assert_eq!(find("sh", "/".as_ref(), "/nowhere".as_ref()), None);
    }
}
