//! What the agent tells systemd, heard at the socket that systemd would listen on.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::time::Duration;

#[cfg(feature = "failpoints")]
use support::bed::one;
use support::bed::{Bed, Setup};
use support::process::Agent;
use support::supervisor::Supervisor;

/// So often that a test need not wait.
const WATCHDOG: Duration = Duration::from_millis(20);

/// A scene whose tag was seen once, so that the agent has nothing to do by itself.
fn seen() -> Bed {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    bed
}

#[test]
fn systemd_hears_how_things_stand_then_that_the_agent_is_ready() {
    let bed = Bed::with(Setup { hook: "attempts = 1", ..Setup::default() });
    bed.push("one");
    bed.check(0);
    let mut systemd = Supervisor::new(&bed);
    let agent = Agent::start(systemd.command(&bed, None));
    systemd.wait_for("READY=1");
    assert_eq!(systemd.heard(), ["STATUS=1 watch: 1 ok", "READY=1"]);

    bed.push("two");
    bed.hook.exits_with(1);
    bed.check(1);
    assert_eq!(systemd.wait_for("STATUS="), "1 watch: 1 ok; 1 delivery failed");

    bed.registry.delete_tag(support::bed::REPOSITORY, support::bed::TAG);
    bed.check(1);
    assert_eq!(systemd.wait_for("STATUS="), "1 watch: 1 failing; 1 delivery failed");
    agent.stop();
    systemd.wait_for("STOPPING=1");
}

#[test]
fn what_changes_nothing_is_not_told() {
    let bed = seen();
    let mut systemd = Supervisor::new(&bed);
    let agent = Agent::start(systemd.command(&bed, None));
    systemd.wait_for("READY=1");
    systemd.heard();
    for _ in 0..3 {
        bed.check(0);
    }
    agent.stop();
    systemd.wait_for("EXTEND_TIMEOUT_USEC=60000000");
    let stopping = ["STOPPING=1", "STATUS=stopping: running hooks have their grace", "EXTEND_TIMEOUT_USEC=60000000"];
    assert_eq!(systemd.heard(), stopping);
}

#[test]
fn around_a_reload_systemd_is_told_whether_it_succeeds_or_not() {
    let bed = seen();
    let mut systemd = Supervisor::new(&bed);
    let agent = Agent::start(systemd.command(&bed, None));
    systemd.wait_for("READY=1");
    let good = std::fs::read_to_string(bed.config_path()).unwrap();

    bed.run(&["reload"]).expect(0);
    systemd.heard();
    // For `Type=notify-reload`: a reload without this is an error there.
    assert!(systemd.wait_for("MONOTONIC_USEC=").parse::<u64>().is_ok());
    assert_eq!(systemd.heard()[0], "RELOADING=1");
    systemd.wait_for("READY=1");

    std::fs::write(bed.config_path(), format!("{good}\nnonsense = 1\n")).unwrap();
    bed.run(&["reload"]).expect(2);
    systemd.wait_for("RELOADING=1");
    systemd.wait_for("READY=1");
    let status = systemd.wait_for("STATUS=");
    assert!(status.contains("; the config as it is now was refused: "), "{status}");
    assert!(status.contains("nonsense"), "{status}");

    std::fs::write(bed.config_path(), good).unwrap();
    agent.sighup();
    systemd.wait_for("RELOADING=1");
    systemd.wait_for("READY=1");
    assert_eq!(systemd.wait_for("STATUS="), "1 watch: 1 ok");
    agent.stop();
}

#[test]
fn the_watchdog_hears_of_an_agent_only_while_its_store_answers() {
    let bed = seen();
    let mut systemd = Supervisor::new(&bed);
    let mut agent = Agent::start(systemd.command(&bed, Some(WATCHDOG)));
    systemd.wait_for("WATCHDOG=1");
    systemd.wait_for("WATCHDOG=1");

    // Who writes must wait now, and the thread of the store with it.
    let other = rusqlite::Connection::open(bed.state().join("taghook.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    bed.push("two");
    let check = bed.start(&["check"]);
    agent.wait_for("a part of the agent does not move", &[("part", "store")]);
    systemd.forget();
    systemd.hears_nothing_within(WATCHDOG * 5);
    other.execute_batch("ROLLBACK").unwrap();
    agent.wait_for("it moves again", &[("part", "store")]);
    systemd.wait_for("WATCHDOG=1");
    // On a machine that is busy elsewhere this may have lasted longer than a write waits, and the check has failed.
    check.finish();
    agent.stop();
}

/// A part of an agent stands still while the rest goes on.
#[cfg(feature = "failpoints")]
struct Stall {
    file: std::path::PathBuf,
    systemd: Supervisor,
    agent: Agent,
    part: &'static str,
}

#[cfg(feature = "failpoints")]
impl Stall {
    /// An agent whose part can stand still, and does not yet.
    fn of(part: &'static str, bed: &Bed) -> Self {
        let (file, mut systemd) = (bed.path().join("stall"), Supervisor::new(bed));
        let mut command = systemd.command(bed, Some(WATCHDOG));
        command.env("TAGHOOK_STALL", format!("{part}:{}", file.display()));
        let agent = Agent::start(command);
        systemd.wait_for("WATCHDOG=1");
        Self { file, systemd, agent, part }
    }

    fn begin(&mut self) {
        std::fs::write(&self.file, "").unwrap();
        self.agent.wait_for("stands still", &[("part", self.part)]);
        self.agent.wait_for("a part of the agent does not move", &[("part", self.part)]);
        self.systemd.forget();
    }

    /// Nothing was heard all the while.
    fn end(mut self) {
        self.systemd.hears_nothing_within(WATCHDOG * 5);
        std::fs::remove_file(&self.file).unwrap();
        self.agent.wait_for("it moves again", &[("part", self.part)]);
        self.systemd.wait_for("WATCHDOG=1");
        self.agent.stop();
    }
}

#[cfg(feature = "failpoints")]
#[test]
fn the_watchdog_hears_nothing_while_the_scheduler_stands_still_and_hooks_run() {
    let bed = seen();
    let mut stall = Stall::of("scheduler", &bed);
    bed.push("two");
    bed.hook.holds();
    let check = bed.start(&["check"]);
    let first = bed.hook.call();
    stall.begin();
    // Its failure is recorded, and its second attempt claimed and started.
    first.exit(1);
    bed.hook.call().exit(0);
    stall.end();
    check.finish();
}

#[cfg(feature = "failpoints")]
#[test]
fn the_watchdog_hears_nothing_while_the_deliverer_stands_still_and_checks_go_on() {
    let bed = seen();
    let mut stall = Stall::of("deliverer", &bed);
    stall.begin();
    bed.push("two");
    assert_eq!(one(&bed.run(&["check", "--dry-run", "--json"]).expect(0))["outcome"], "moved");
    stall.end();
}

#[test]
fn without_a_watchdog_nothing_is_told_to_one() {
    let bed = seen();
    let mut systemd = Supervisor::new(&bed);
    let agent = Agent::start(systemd.command(&bed, None));
    agent.stop();
    systemd.wait_for("EXTEND_TIMEOUT_USEC=60000000");
    assert!(!systemd.heard().iter().any(|line| line.starts_with("WATCHDOG")));
}

#[test]
fn what_systemd_hands_to_the_agent_never_reaches_its_hooks() {
    let bed = seen();
    bed.push("two");
    let mut systemd = Supervisor::new(&bed);
    let mut command = systemd.command(&bed, Some(WATCHDOG));
    let others =
        ["WATCHDOG_PID", "CREDENTIALS_DIRECTORY", "INVOCATION_ID", "JOURNAL_STREAM", "LISTEN_FDS", "LISTEN_PID"];
    let folders = ["STATE_DIRECTORY", "RUNTIME_DIRECTORY", "CONFIGURATION_DIRECTORY"];
    for name in others {
        command.env(name, "0");
    }
    // Nobody's watchdog but ours.
    command.env_remove("WATCHDOG_PID");
    for name in folders {
        command.env(name, bed.path());
    }
    let agent = Agent::start(command);
    systemd.wait_for("WATCHDOG=1");
    bed.run(&["check"]).expect(0);
    let env = bed.hook.only_call().env;
    let ours = env.keys().filter(|name| !name.starts_with("TAGHOOK_")).map(String::as_str);
    // What bash sets by itself, and what the README promises.
    let expected = ["HOME", "LANG", "OLDPWD", "PATH", "PWD", "SHLVL", "_"];
    let more: Vec<&str> = ours.filter(|name| !expected.contains(name)).collect();
    assert_eq!(more, Vec::<&str>::new());
    agent.stop();
}
