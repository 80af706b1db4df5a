//! The state directory: what is done to its files is noticed and told, and what others put there does no harm.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::path::PathBuf;
use std::time::Duration;

use rustix::fs::{FlockOperation, fcntl_lock};
use support::bed::{Bed, Setup};
use support::process::Agent;
use support::sandbox::{Sandbox, Who, chmod};

/// An agent with a delivery that waits for its next attempt.
fn owing(sandbox: Sandbox) -> (Bed, Agent) {
    let bed = Bed::inside(sandbox, Setup { hook: "backoff = '1h'", ..Setup::default() });
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.hook.exits_with(1);
    bed.push("two");
    bed.check(1);
    bed.hook.only_call();
    (bed, agent)
}

fn saved(bed: &Bed) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(bed.state()).into_iter().flatten().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.display().to_string().contains("taghook.db.saved-")).collect()
}

#[test]
fn a_removed_database_is_told_at_once_ends_the_agent_and_what_was_owed_is_saved() {
    let (bed, mut agent) = owing(Sandbox::new());
    bed.shell(Who::Us, "rm state/taghook.db*").expect(0);

    let said = bed.run(&["health"]).expect(1).stdout;
    assert!(said.contains("is lost") && said.contains("taghook.db") && said.contains("was removed"), "{said}");
    assert!(bed.run(&["status"]).expect(0).stdout.contains("is lost"));
    let said = bed.run(&["deliveries"]).expect(1).stderr;
    assert!(said.contains("was removed") && said.contains(&agent.pid().to_string()), "{said}");
    // Nothing is accepted into a database that is gone.
    bed.push("three");
    let refused = bed.run(&["check", "--json"]).expect(1);
    assert!((refused.stdout + &refused.stderr).contains("is lost"));
    bed.hook.expect_no_call();

    assert_eq!(agent.wait_exit().code(), Some(1));
    let saved = saved(&bed);
    assert_eq!(saved.len(), 1, "{saved:?}");
    let log = agent.log().join("\n");
    assert!(log.contains(&saved[0].display().to_string()), "{log}");
    std::fs::rename(&saved[0], bed.state().join("taghook.db")).unwrap();
    assert_eq!(bed.deliveries()[0]["state"], "pending");
    bed.hook.exits_with(0);
    assert_eq!(bed.check(0)["outcome"], "moved");
}

#[test]
fn whatever_is_done_to_a_file_of_the_state_the_agent_says_so_and_ends() {
    let others = "cp state/taghook.db x && mv x state/taghook.db";
    let cases = [
        ("rm state/taghook.db-wal", "taghook.db-wal"),
        ("rm state/taghook.db-shm", "taghook.db-shm"),
        ("rm state/taghook.lock", "taghook.lock"),
        ("rm state/taghook.flock", "taghook.flock"),
        ("mv state elsewhere", "state"),
        ("mv state elsewhere && mkdir state", "state"),
        ("rm -r state", "state"),
        (others, "taghook.db"),
        (": > state/taghook.db", "taghook.db"),
        ("mv state/taghook.db x && touch state/taghook.db", "taghook.db"),
    ];
    std::thread::scope(|scope| {
        for (line, file) in cases {
            scope.spawn(move || {
                let bed = Bed::new();
                bed.push("one");
                let mut agent = bed.agent();
                agent.wait_for("first seen", &[]);
                bed.shell(Who::Us, line).expect(0);
                // It looks once a minute, and whenever it reads or writes.
                agent.sighup();
                assert_eq!(agent.wait_exit().code(), Some(1), "{line}");
                let log = agent.log().join("\n");
                assert!(log.contains("is lost") && log.contains(file), "{line}:\n{log}");
            });
        }
    });
}

#[test]
fn a_removed_log_costs_nothing_what_it_held_is_written_back() {
    let (bed, mut agent) = owing(Sandbox::new());
    bed.shell(Who::Us, "rm state/taghook.db-wal state/taghook.db-shm").expect(0);

    assert!(bed.run(&["health"]).expect(1).stdout.contains("is lost"));
    assert_eq!(agent.wait_exit().code(), Some(1));

    assert_eq!(bed.deliveries()[0]["state"], "pending");
    bed.agent().stop();
}

#[test]
fn a_state_that_cannot_be_seen_for_a_moment_holds_the_agent_and_does_not_end_it() {
    let bed = Bed::inside(Sandbox::of_owner(), Setup { top: "socket = '../control.sock'", ..Setup::default() });
    bed.push("one");
    let mut agent = bed.agent_as(Who::Owner);
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.shell(Who::Root, "chmod 0 state").expect(0);
    // Root sees it all the same.
    let said = bed.run_as(Who::Root, &["check"]).expect(1).stdout;
    assert!(said.contains("ermission") && said.contains("chmod 0750"), "{said}");
    let said = bed.run_as(Who::Root, &["health"]).expect(1).stdout;
    assert!(said.contains("ermission") && said.contains("chmod 0750"), "{said}");
    assert_eq!(agent.ends_within(Duration::from_secs(6)), None);

    bed.shell(Who::Root, "chmod 0750 state").expect(0);
    bed.run_as(Who::Owner, &["check"]).expect(0);
    bed.hook.only_call();
    bed.run_as(Who::Owner, &["health"]).expect(0);
    agent.stop();
}

#[test]
fn a_link_or_a_pipe_in_place_of_a_file_of_the_state_is_refused_and_leads_nowhere() {
    for name in
        ["taghook.lock", "taghook.flock", "taghook.db", "taghook.db-wal", "taghook.db-shm", "taghook.db-journal"]
    {
        for plant in ["ln -s", "ln", "mkfifo"] {
            let bed = Bed::new();
            bed.push("one");
            let victim = bed.path().join("victim");
            std::fs::write(&victim, "precious").unwrap();
            let planted = if plant == "mkfifo" { plant.to_owned() } else { format!("{plant} {}", victim.display()) };
            bed.shell(Who::Us, &format!("mkdir state && {planted} state/{name}")).expect(0);

            for verb in ["run", "check"] {
                let said = bed.run(&[verb]).expect(2).stderr;
                assert!(said.contains(name) && said.contains("move it away"), "{plant} {name}: {said}");
            }
            // It is not waited for, whatever comes of it.
            bed.run(&["deliveries"]);
            assert_eq!(std::fs::read(&victim).unwrap(), b"precious", "{plant} {name}");
        }
    }
}

#[test]
fn a_lock_on_a_file_that_readers_may_read_keeps_no_agent_from_starting() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    let file = std::fs::File::open(bed.state().join("taghook.lock")).unwrap();
    file.lock().unwrap();

    let agent = bed.agent();
    assert_eq!(bed.run(&["status", "--json"]).expect(0).json()["source"], "agent");
    assert_eq!(bed.shell(Who::Us, "stat -c %a state/taghook.flock").expect(0).stdout, "600\n");
    agent.stop();
}

#[test]
fn whoever_holds_the_state_or_locks_its_database_is_named() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    let us = format!("pid {} (", std::process::id());
    let other = rusqlite::Connection::open(bed.state().join("taghook.db")).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();

    let said = bed.run(&["pause", "web"]).expect(1).stderr;
    assert!(said.contains("is locked by") && said.contains(&us), "{said}");
    drop(other);
    bed.check(0);

    let index = std::fs::File::open(bed.state().join("taghook.db-shm")).unwrap();
    fcntl_lock(&index, FlockOperation::LockShared).unwrap();
    let said = bed.run(&["pause", "web"]).expect(1).stderr;
    assert!(said.contains("is locked by") && said.contains(&us), "{said}");
    drop(index);
    bed.run(&["pause", "web"]).expect(0);
}

#[test]
fn a_file_of_ones_own_that_is_read_only_is_told_with_chmod() {
    let bed = Bed::inside(Sandbox::of_owner(), Setup::default());
    bed.push("one");
    bed.run_as(Who::Owner, &["check"]).expect(0);
    for (name, whole, mode) in [
        ("", 0o750, "0750"),
        ("taghook.db", 0o640, "0640"),
        ("taghook.db-wal", 0o640, "0640"),
        ("taghook.db-shm", 0o640, "0640"),
        ("taghook.lock", 0o640, "0640"),
    ] {
        let path = bed.state().join(name);
        bed.shell(Who::Root, &format!("chmod a-w {}", path.display())).expect(0);
        let said = bed.run_as(Who::Owner, &["check"]);
        let remedy = format!("chmod {mode} {}", path.display().to_string().trim_end_matches('/'));
        assert!(matches!(said.code, Some(1 | 2)) && said.stderr.contains(&remedy), "{name}: {said:#?}");
        chmod(&path, whole);
    }
    bed.run_as(Who::Owner, &["check"]).expect(0);
}

#[test]
fn a_reader_that_sees_no_schema_yet_says_that_no_agent_has_run_here() {
    let bed = Bed::new();
    let dir = bed.state().display().to_string();
    std::fs::create_dir(bed.state()).unwrap();
    for make in ["true", "touch state/taghook.db", "printf '' > state/taghook.db-wal"] {
        bed.shell(Who::Us, make).expect(0);
        let said = bed.run_bare(&["history", "--state", &dir]).expect(2).stderr;
        assert!(said.contains("no agent has run here yet"), "{make}: {said}");
        assert_eq!(bed.status()["state"], "unknown");
        assert!(bed.run(&["health"]).expect(1).stdout.contains("no agent answers"));
    }
    rusqlite::Connection::open(bed.state().join("taghook.db"))
        .unwrap()
        .execute_batch("PRAGMA journal_mode=WAL")
        .unwrap();
    let said = bed.run_bare(&["history", "--state", &dir]).expect(2).stderr;
    assert!(said.contains("no agent has run here yet"), "{said}");
}

#[test]
fn an_empty_database_beside_a_log_with_changes_is_refused() {
    let (bed, agent) = owing(Sandbox::new());
    agent.kill();
    bed.shell(Who::Us, ": > state/taghook.db").expect(0);
    let before = bed.snapshot(&bed.state());

    for verb in ["run", "check"] {
        let said = bed.run(&[verb]).expect(2).stderr;
        assert!(said.contains("taghook.db-wal") && said.contains("backup"), "{said}");
    }
    let log = bed.state().join("taghook.db-wal");
    assert_eq!(before.get(&log), bed.snapshot(&bed.state()).get(&log));
}

#[test]
fn a_log_that_grows_because_of_a_reader_is_told_with_its_name() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    let reader = rusqlite::Connection::open(bed.state().join("taghook.db")).unwrap();
    reader.execute_batch("BEGIN; SELECT * FROM watches").unwrap();
    let log = std::fs::OpenOptions::new().write(true).open(bed.state().join("taghook.db-wal")).unwrap();
    // As large as a log that could not begin anew for long; what is beyond its last commit is not looked at.
    log.set_len(65 << 20).unwrap();

    let mut agent = bed.agent();
    let said = agent.wait_for("the log of the database has grown to 65 MiB", &[]);
    assert!(said.contains(&format!("pid {} (", std::process::id())), "{said}");
    assert_eq!(agent.ends_within(Duration::ZERO), None);
    drop(reader);
    agent.stop();
}

#[test]
fn a_state_that_others_may_write_is_warned_of() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    assert!(!bed.run(&["config", "check"]).expect(0).stderr.contains("can be written by"));
    chmod(&bed.state(), 0o777);

    let said = bed.run(&["config", "check"]).expect(0);
    let remedy = format!("chmod o-w {}", bed.state().display());
    assert!(said.stderr.contains("can be written by anyone") && said.stderr.contains(&remedy), "{said:?}");
    let mut agent = bed.agent_unready();
    agent.wait_for("can be written by anyone", &[]);
    agent.wait_for("ready", &[]);
    agent.stop();
}
