//! Errors that say that something is short in this process or on this machine, and nothing about what was tried.

use std::io;

use rustix::io::Errno;

/// The remedy for an error that came of a shortage of file descriptors, threads, processes or memory; `None` for others.
pub fn remedy(error: &io::Error) -> Option<&'static str> {
    Some(match Errno::from_io_error(error)? {
        Errno::MFILE => "raise LimitNOFILE= of the unit (ulimit -n)",
        Errno::NFILE => "the whole machine has too many files open; raise fs.file-max",
        Errno::AGAIN => "raise TasksMax= of the unit, pids.max of the container, or LimitNPROC= (ulimit -u)",
        Errno::NOMEM => "memory is short; raise MemoryMax= of the unit, or see what else takes it",
        _ => return None,
    })
}

/// The error with its remedy, if it came of a shortage.
pub fn explained(error: &io::Error) -> String {
    match remedy(error) {
        Some(remedy) => format!("{error}; {remedy}"),
        None => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shortage_is_told_with_the_limit_to_raise_and_other_errors_as_they_are() {
        let of = |errno: Errno| explained(&io::Error::from(errno));
        assert!(of(Errno::MFILE).contains("LimitNOFILE="), "{}", of(Errno::MFILE));
        assert!(of(Errno::AGAIN).contains("TasksMax=") && of(Errno::AGAIN).contains("pids.max"));
        assert_eq!(of(Errno::NOENT), io::Error::from(Errno::NOENT).to_string());
    }
}
