//! Who holds a lock on a file of the state, by the kernel's word: whoever may read a file may lock it, for ever.

use std::fs::{metadata, read_to_string};
use std::ops::RangeInclusive;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use super::names::SHM;

/// Any byte of a file.
const ANY: RangeInclusive<u64> = 0..=u64::MAX;
/// Of the index of the write-ahead log (walformat.html, section 2.3.1): whoever holds one of these keeps others from writing,
/// from checkpoints or from recovery.
const WRITERS: RangeInclusive<u64> = 120..=122;
/// Whoever holds one of these reads, and what it reads must stay in the log.
const READERS: RangeInclusive<u64> = 123..=127;

/// Who keeps the state's lock, whose file this is.
pub(super) fn of_flock(path: &Path) -> String {
    said(holders(path, ANY), path)
}

/// Who keeps others from writing to a database.
pub(super) fn of_database(path: &Path) -> String {
    let in_the_way = holders(&path.with_file_name(SHM), WRITERS);
    said(if in_the_way.is_empty() { holders(path, ANY) } else { in_the_way }, path)
}

/// Who reads a database, so that its write-ahead log cannot begin anew.
pub(super) fn of_log(path: &Path) -> String {
    said(holders(&path.with_file_name(SHM), READERS), path)
}

fn said(holders: Vec<u32>, path: &Path) -> String {
    match holders.is_empty() {
        true => format!("another process (`fuser -v {}/*` names it)", path.parent().unwrap_or(path).display()),
        false => holders.into_iter().map(named).collect::<Vec<_>>().join(", "),
    }
}

/// The processes that hold a lock on some of these bytes of a file, other than this one.
fn holders(path: &Path, bytes: RangeInclusive<u64>) -> Vec<u32> {
    let Ok(found) = metadata(path) else { return Vec::new() };
    let locks = read_to_string("/proc/locks").unwrap_or_default();
    let holders = locks.lines().filter_map(|line| holder(line, (found.dev(), found.ino()), &bytes));
    let mut pids: Vec<u32> = holders.filter(|pid| *pid != std::process::id()).collect();
    pids.sort_unstable();
    pids.dedup();
    pids
}

/// The pid in a line of /proc/locks that is about these bytes: `1: POSIX  ADVISORY  WRITE 123 fe:00:4711 0 EOF`. Who waits
/// has an arrow after the number, and holds nothing. Locks of an open file, rather than of a process, have the pid -1.
fn holder(line: &str, file: (u64, u64), bytes: &RangeInclusive<u64>) -> Option<u32> {
    let words: Vec<&str> = line.split_whitespace().collect();
    let [_number, _kind, _advisory, _mode, pid, id, first, last] = words[..] else { return None };
    let mut parts = id.split(':');
    let mut number = || u32::from_str_radix(parts.next()?, 16).ok();
    let device = rustix::fs::makedev(number()?, number()?);
    let inode: u64 = parts.next()?.parse().ok()?;
    let (first, last): (u64, u64) = (first.parse().ok()?, last.parse().unwrap_or(u64::MAX));
    let is_meant = (device, inode) == file && first <= *bytes.end() && last >= *bytes.start();
    pid.parse().ok().filter(|_| is_meant)
}

fn named(pid: u32) -> String {
    match read_to_string(format!("/proc/{pid}/comm")) {
        Ok(command) => format!("pid {pid} ({})", command.trim().escape_debug()),
        Err(_) => format!("pid {pid}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_names_its_holder_and_not_who_waits() {
        let file = (rustix::fs::makedev(0xfe, 1), 4711);
        for (line, found) in [
            ("1: POSIX  ADVISORY  READ 123 fe:01:4711 0 EOF", Some(123)),
            ("1: POSIX  ADVISORY  READ 123 fe:01:4711 120 120", Some(123)),
            ("1: POSIX  ADVISORY  READ 123 fe:01:4711 123 128", None),
            ("1: -> POSIX  ADVISORY  WRITE 124 fe:01:4711 120 120", None),
            ("2: OFDLCK ADVISORY  READ -1 fe:01:4711 0 EOF", None),
            ("3: FLOCK  ADVISORY  WRITE 125 fe:00:4711 0 EOF", None),
            ("", None),
        ] {
            assert_eq!(holder(line, file, &WRITERS), found, "{line}");
        }
    }
}
