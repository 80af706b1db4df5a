//! A directory of its own for each test, and the users that act in it.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::Command;

use rustix::process::{getegid, geteuid};

use super::hook::Hook;
use super::process::{Agent, Output, Running};

/// A stranger to the machine, who owns the state where a test is about users.
const OWNER: u32 = 60001;
const GROUP: u32 = 60000;
/// Debian's `nobody`.
pub const NOBODY: u32 = 65534;

/// Who acts. The tests need to be root, or to become it through sudo without a password; scripts/test sees to that.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Who {
    /// The user that runs the tests.
    Us,
    /// The owner of the state, never root: us, or a stranger where we are root.
    Owner,
    /// Another user, of the owner's group.
    Reader,
    /// Another user, of no common group.
    Nobody,
    /// Root.
    Root,
}

pub struct Sandbox {
    dir: tempfile::TempDir,
    hooks: Cell<u32>,
}

/// What stands at a path: mode, owner, and the bytes of a file.
#[derive(Debug, PartialEq, Eq)]
pub struct Found {
    mode: u32,
    uid: u32,
    pub bytes: Option<Vec<u8>>,
}

impl Who {
    fn ids(self) -> Option<(u32, u32)> {
        let us = (geteuid().as_raw(), getegid().as_raw());
        let owner = if us.0 == 0 { (OWNER, GROUP) } else { us };
        match self {
            Self::Us => None,
            Self::Owner => (us.0 == 0).then_some(owner),
            Self::Reader => Some((NOBODY, owner.1)),
            Self::Nobody => Some((NOBODY, NOBODY)),
            Self::Root => (us.0 != 0).then_some((0, 0)),
        }
    }

    /// The program, run by this user with exactly this environment.
    pub fn command(self, env: &[(&str, String)], program: &Path) -> Command {
        let Some((uid, gid)) = self.ids() else {
            let mut command = Command::new(program);
            command.env_clear().envs(env.iter().map(|(name, value)| (name, value)));
            return command;
        };
        let mut command = if geteuid().is_root() {
            Command::new("setpriv")
        } else {
            let mut command = Command::new("sudo");
            command.args(["-n", "setpriv"]);
            command
        };
        command.args([&format!("--reuid={uid}"), &format!("--regid={gid}"), "--clear-groups", "/usr/bin/env", "-i"]);
        command.args(env.iter().map(|(name, value)| format!("{name}={value}"))).arg(program);
        command
    }
}

impl Sandbox {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        chmod(dir.path(), 0o755);
        std::fs::create_dir(dir.path().join("home")).unwrap();
        Self { dir, hooks: Cell::new(0) }
    }

    /// One in which the state belongs to [`Who::Owner`].
    pub fn of_owner() -> Self {
        let sandbox = Self::new();
        if let Some((uid, gid)) = Who::Owner.ids() {
            for path in [sandbox.path(), &sandbox.path().join("home")] {
                std::os::unix::fs::chown(path, Some(uid), Some(gid)).unwrap();
            }
        }
        sandbox
    }

    pub fn path(&self) -> &Path {
        self.dir.path()
    }

    pub fn state(&self) -> PathBuf {
        self.path().join("state")
    }

    pub fn config_path(&self) -> PathBuf {
        self.path().join("config.toml")
    }

    /// Writes the config; `state` is put before it.
    pub fn write_whole_config(&self, text: &str) {
        std::fs::write(self.config_path(), format!("state = {:?}\n{text}", self.state())).unwrap();
        chmod(&self.config_path(), 0o644);
    }

    pub fn hook(&self) -> Hook {
        let number = self.hooks.replace(self.hooks.get() + 1);
        let script = self.path().join(format!("hook-{number}.sh"));
        let hook = Hook::create(&script);
        chmod(&script, 0o644);
        hook
    }

    /// `taghook ARGS` with the sandbox's config.
    pub fn command(&self, who: Who, args: &[&str]) -> Command {
        let mut command = self.bare_command(who, args);
        command.arg("--config").arg(self.config_path());
        command
    }

    /// `taghook ARGS`, nothing more.
    pub fn bare_command(&self, who: Who, args: &[&str]) -> Command {
        let env = [
            ("PATH", std::env::var("PATH").unwrap()),
            ("HOME", self.path().join("home").display().to_string()),
            ("PASSED", "handed on".to_owned()),
            ("UNRELATED", "not for hooks".to_owned()),
        ];
        let mut command = who.command(&env, &self.binary(who));
        command.args(args).current_dir(self.path());
        command
    }

    /// The binary, where the user can reach it: a build directory may be behind somebody's home.
    fn binary(&self, who: Who) -> PathBuf {
        let built = PathBuf::from(env!("CARGO_BIN_EXE_taghook"));
        let ours = self.path().join("taghook");
        if who.ids().is_none() {
            return built;
        }
        if !ours.exists() && std::fs::hard_link(&built, &ours).is_err() {
            // By another process, so that ours never has a program open for writing while it starts others.
            let status = Command::new("cp").arg(&built).arg(&ours).status().unwrap();
            assert!(status.success());
        }
        ours
    }

    pub fn start(&self, args: &[&str]) -> Running {
        Running::start(self.command(Who::Us, args))
    }

    pub fn run(&self, args: &[&str]) -> Output {
        self.start(args).finish()
    }

    pub fn run_as(&self, who: Who, args: &[&str]) -> Output {
        Running::start(self.command(who, args)).finish()
    }

    pub fn run_bare(&self, args: &[&str]) -> Output {
        Running::start(self.bare_command(Who::Us, args)).finish()
    }

    /// A shell line by that user.
    pub fn shell(&self, who: Who, line: &str) -> Output {
        let mut command = who.command(&[("PATH", "/usr/bin:/bin".to_owned())], Path::new("/bin/sh"));
        command.args(["-c", line]).current_dir(self.path());
        Running::start(command).finish()
    }

    pub fn agent(&self) -> Agent {
        self.agent_as(Who::Us)
    }

    /// The agent, not waited for.
    pub fn agent_unready(&self) -> Agent {
        Agent::spawn(self.command(Who::Us, &["run"]))
    }

    pub fn agent_as(&self, who: Who) -> Agent {
        Agent::start(self.command(who, &["run"]))
    }

    /// All that stands in the sandbox below `below`, for a comparison.
    pub fn snapshot(&self, below: &Path) -> BTreeMap<PathBuf, Found> {
        let mut found = BTreeMap::new();
        let mut left = vec![below.to_owned()];
        while let Some(path) = left.pop() {
            let Ok(metadata) = std::fs::symlink_metadata(&path) else { continue };
            if metadata.is_dir() {
                left.extend(std::fs::read_dir(&path).into_iter().flatten().map(|entry| entry.unwrap().path()));
            }
            let bytes = metadata.is_file().then(|| std::fs::read(&path).unwrap_or_default());
            found.insert(path, Found { mode: metadata.mode(), uid: metadata.uid(), bytes });
        }
        found
    }
}

pub fn chmod(path: &Path, mode: u32) {
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
}
