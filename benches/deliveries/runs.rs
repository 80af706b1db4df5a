//! The hook of this benchmark: this program again. Its first act is to note the time; it tells that and ends.

use std::collections::HashMap;
use std::os::unix::net::UnixDatagram;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::Spread;
use crate::support::DEADLINE;

/// The argument that makes this program a hook.
pub(crate) const FLAG: &str = "--be-the-hook";
/// No run for so long: there are no more.
const QUIET: Duration = Duration::from_secs(5);

/// One run, as it tells itself.
#[derive(Debug)]
pub(crate) struct Run {
    pub(crate) watch: String,
    pub(crate) digest: String,
    pub(crate) began: SystemTime,
    pub(crate) ended: SystemTime,
}

/// Where hooks report.
pub(crate) struct Runs {
    socket: UnixDatagram,
    dir: tempfile::TempDir,
}

pub(crate) fn report(socket: &str) {
    let began = now();
    let var = |name| std::env::var(name).unwrap_or_default();
    let (watch, digest) = (var("TAGHOOK_WATCH"), var("TAGHOOK_DIGEST"));
    let told =
        UnixDatagram::unbound().unwrap().send_to(format!("{watch} {digest} {began} {}", now()).as_bytes(), socket);
    told.unwrap();
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos().try_into().unwrap()
}

impl Runs {
    pub(crate) fn listen() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let socket = UnixDatagram::bind(dir.path().join("runs")).unwrap();
        Self { socket, dir }
    }

    /// The hook's command.
    pub(crate) fn command(&self) -> [String; 3] {
        let program = std::env::current_exe().unwrap().display().to_string();
        [program, FLAG.to_owned(), self.dir.path().join("runs").display().to_string()]
    }

    /// The next run, waited for.
    pub(crate) fn next(&self) -> Run {
        self.next_within(DEADLINE).expect("the hook was not run")
    }

    pub(crate) fn take(&self, count: usize) -> Vec<Run> {
        (0..count).map(|_| self.next()).collect()
    }

    /// All that come, until none has come for a while.
    pub(crate) fn until_quiet(&self) -> Vec<Run> {
        std::iter::from_fn(|| self.next_within(QUIET)).collect()
    }

    fn next_within(&self, length: Duration) -> Option<Run> {
        self.socket.set_read_timeout(Some(length)).unwrap();
        let mut buffer = [0; 512];
        let length = self.socket.recv(&mut buffer).ok()?;
        let text = std::str::from_utf8(&buffer[..length]).unwrap();
        let [watch, digest, began, ended] = text.split(' ').collect::<Vec<_>>()[..] else { panic!("{text:?}") };
        let time = |text: &str| UNIX_EPOCH + Duration::from_nanos(text.parse().unwrap());
        Some(Run { watch: watch.to_owned(), digest: digest.to_owned(), began: time(began), ended: time(ended) })
    }
}

/// Starts of this program by a bare loop: what a hook's start costs without us.
pub(crate) fn bare_starts(count: usize) -> Spread {
    let runs = Runs::listen();
    let command = runs.command();
    let start = || {
        let before = SystemTime::now();
        let mut child = Command::new(&command[0]).args(&command[1..]).spawn().unwrap();
        let run = runs.next();
        child.wait().unwrap();
        run.began.duration_since(before).unwrap_or_default()
    };
    Spread::of((0..count).map(|_| start()).collect())
}

pub(crate) fn last_end(runs: &[Run]) -> SystemTime {
    runs.iter().map(|run| run.ended).max().unwrap_or(UNIX_EPOCH)
}

/// Runs of one watch do not overlap, no digest comes twice, and the newest is the last.
pub(crate) fn are_in_order(runs: &[Run], newest: &str, watches: usize) {
    let mut of_watch = HashMap::<&str, Vec<&Run>>::new();
    for run in runs {
        of_watch.entry(&run.watch).or_default().push(run);
    }
    assert_eq!(of_watch.len(), watches, "each watch has had its hook");
    for (watch, mut runs) in of_watch {
        runs.sort_by_key(|run| run.began);
        assert_eq!(runs.last().map(|run| &*run.digest), Some(newest), "{watch} ends at the newest: {runs:#?}");
        for pair in runs.windows(2) {
            assert!(pair[0].ended <= pair[1].began, "one at a time: {runs:#?}");
            assert_ne!(pair[0].digest, pair[1].digest, "once for each: {runs:#?}");
        }
        assert!(runs.len() <= 2, "two moves: {runs:#?}");
    }
}
