//! A registry whose tags all move at once, the agent that watches them, and the hook that reports.

use std::collections::HashMap;
use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant, SystemTime};

use taghook::control::Client;
use taghook::control::wire::CheckRequest;

use crate::Spread;
use crate::runs::{Run, Runs};
use crate::support::process::Agent;
use crate::support::registry::{OCI_MANIFEST, Registry, image, sha256};
use crate::support::sandbox::Sandbox;

/// Where the state lies.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Where temporary files do; on a real disk, one hopes.
    Disk,
    /// In memory, where an fsync costs nothing.
    Memory,
}

impl std::fmt::Display for Place {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Disk => "disk",
            Self::Memory => "tmpfs",
        })
    }
}

impl Place {
    pub(crate) fn dir(self) -> tempfile::TempDir {
        match self {
            Self::Disk => tempfile::tempdir().unwrap(),
            Self::Memory => tempfile::tempdir_in("/dev/shm").unwrap(),
        }
    }

    /// Commits of one small row, as durable as ours.
    pub(crate) fn bare_commits(self, count: usize) -> Spread {
        let dir = self.dir();
        let database = rusqlite::Connection::open(dir.path().join("floor.db")).unwrap();
        database.execute_batch("PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; CREATE TABLE t (x)").unwrap();
        let commit = |number: usize| {
            let began = Instant::now();
            database.execute("INSERT INTO t VALUES (?1)", [number as i64]).unwrap();
            began.elapsed()
        };
        Spread::of((0..count).map(commit).collect())
    }
}

pub(crate) struct Scene {
    watches: usize,
    registry: Registry,
    /// When the answer went out by which a digest was verified, by its path.
    answered: Arc<Mutex<HashMap<String, SystemTime>>>,
    pub(crate) runs: Runs,
    agent: Agent,
    socket: PathBuf,
    checks: Vec<JoinHandle<Instant>>,
    began: SystemTime,
    _sandbox: Sandbox,
    _state: tempfile::TempDir,
}

impl Scene {
    /// So many watches that have seen their first digest, and one hook with this concurrency for all.
    pub(crate) fn new(place: Place, watches: usize, concurrency: usize) -> Self {
        let (sandbox, registry, runs, state) = (Sandbox::new(), Registry::start(), Runs::listen(), place.dir());
        std::os::unix::fs::symlink(state.path(), sandbox.state()).unwrap();
        let answered = Arc::new(Mutex::new(HashMap::new()));
        let noted = Arc::clone(&answered);
        registry.rule(move |seen, reply| {
            if seen.path.contains("/sha256:") {
                noted.lock().unwrap().insert(seen.path.clone(), SystemTime::now());
            }
            reply
        });
        let mut config = format!(
            "[defaults]\nschedule = '30d'\nhooks = ['report']\n\
             [hook.report]\ncommand = {:?}\nconcurrency = {concurrency}\n\
             [registry.'{}']\nplain_http = true\nrate = '1000000/s'\nconcurrency = 32\n",
            runs.command(),
            registry.host()
        );
        for number in 0..watches {
            writeln!(config, "[watch.w{number}]\nimage = '{}'", registry.image(&format!("team/w{number}"), "v1"))
                .unwrap();
        }
        sandbox.write_whole_config(&config);
        push(&registry, watches, "A");
        let agent = sandbox.agent();
        let socket = sandbox.state().join("control.sock");
        let (checks, began) = (Vec::new(), SystemTime::now());
        let mut scene =
            Self { watches, registry, answered, runs, agent, socket, checks, began, _sandbox: sandbox, _state: state };
        scene.check();
        scene.await_checks();
        scene
    }

    pub(crate) fn pid(&self) -> u32 {
        self.agent.pid()
    }

    /// Points all tags at a new image.
    pub(crate) fn push(&mut self, salt: &str) -> String {
        push(&self.registry, self.watches, salt)
    }

    /// Asks for a check of all watches, as `taghook check` does, and does not wait for it.
    pub(crate) fn check(&mut self) {
        if self.checks.is_empty() {
            self.began = SystemTime::now();
        }
        let socket = self.socket.clone();
        self.checks.push(std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async {
                let mut client = Client::connect(&socket).await.unwrap();
                client.check(&CheckRequest::default(), |_| {}).await.unwrap();
            });
            Instant::now()
        }));
    }

    /// When the first was asked for, of those that were not waited for yet.
    pub(crate) fn began(&self) -> SystemTime {
        self.began
    }

    /// Waits until all that was asked for is answered; tells when that was.
    pub(crate) fn await_checks(&mut self) -> Instant {
        let ends = self.checks.drain(..).map(|check| check.join().unwrap());
        ends.max().unwrap_or_else(Instant::now)
    }

    /// Between the answer that verified the digest and the start of its hook.
    pub(crate) fn delay(&self, run: &Run) -> Duration {
        let path = format!("/v2/team/{}/manifests/{}", run.watch, run.digest);
        run.began.duration_since(self.answered.lock().unwrap()[&path]).unwrap_or_default()
    }
}

fn push(registry: &Registry, watches: usize, salt: &str) -> String {
    let body = image(salt);
    let digest = sha256(body.as_bytes());
    for number in 0..watches {
        registry.push(&format!("team/w{number}"), "v1", body.as_bytes(), OCI_MANIFEST);
    }
    digest
}
