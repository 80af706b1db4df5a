//! Disks that are full, read-only or damaged: nothing is forgotten, and the error says what to do.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::io::Write;
use std::path::PathBuf;

use jiff::SignedDuration;
use serde_json::Value;
use support::bed::{Bed, Setup};
use support::fault;
use support::process::{Agent, Running};
use support::sandbox::Who;
use support::wall_clock::WallClock;

/// A file system of half a MiB below the state directory, gone when it is dropped.
struct SmallDisk<'a> {
    bed: &'a Bed,
    filler: PathBuf,
}

impl<'a> SmallDisk<'a> {
    fn below(bed: &'a Bed) -> Self {
        std::fs::create_dir(bed.state()).unwrap();
        let disk = Self { bed, filler: bed.state().join("filler") };
        disk.as_root("mount -t tmpfs -o size=512k,mode=0777 tmpfs");
        disk
    }

    fn as_root(&self, command: &str) {
        self.bed.shell(Who::Root, &format!("{command} {:?}", self.bed.state())).expect(0);
    }

    fn fills(&self) {
        let mut file = std::fs::File::create(&self.filler).unwrap();
        while file.write_all(&[b'x'; 512]).is_ok() {}
    }

    fn has_room(&self) {
        std::fs::remove_file(&self.filler).unwrap();
    }

    /// The status says that hooks are held, and why.
    #[track_caller]
    fn is_said_to_be_full(&self) {
        let store = store(self.bed);
        assert_eq!(store["kind"], "full", "{store}");
        assert!(store["message"].as_str().unwrap().contains("is full; make room"), "{store}");
        let said = self.bed.run(&["status"]).expect(0).stdout;
        assert!(said.starts_with("hooks are held: the disk of ") && said.contains("make room"), "{said}");
        let said = self.bed.run(&["health"]).expect(1).stdout;
        assert!(said.starts_with("held: the disk of "), "{said}");
    }
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        self.bed.shell(Who::Root, &format!("umount -l {:?}", self.bed.state()));
    }
}

fn every_second() -> Bed {
    Bed::with(Setup { watch: "schedule = '1s'", ..Setup::default() })
}

/// What `status` says of the state's disk.
fn store(bed: &Bed) -> Value {
    bed.run(&["status", "--json"]).expect(0).json()["store"].take()
}

#[test]
fn a_move_that_cannot_be_recorded_is_found_again_when_there_is_room() {
    let bed = every_second();
    let disk = SmallDisk::below(&bed);
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    disk.fills();
    let second = bed.push("two");

    agent.wait_for("check failed", &[("kind", "store")]);

    let status = bed.status();
    assert_eq!((&status["state"], &status["error"]["kind"]), (&"failing".into(), &"store".into()));
    assert!(status["error"]["message"].as_str().unwrap().contains("is full; make room"), "{status}");
    disk.is_said_to_be_full();
    bed.hook.expect_no_call();
    disk.has_room();
    agent.wait_for("tag moved", &[("to", &second)]);
    assert_eq!(store(&bed), Value::Null);
    assert_eq!(bed.hook.only_call().var("TAGHOOK_DIGEST"), second);
    agent.stop();
}

#[test]
fn the_end_of_a_hook_that_cannot_be_recorded_is_recorded_when_there_is_room() {
    let bed = every_second();
    let disk = SmallDisk::below(&bed);
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.hook.holds();
    bed.push("two");
    let call = bed.hook.call();
    disk.fills();

    call.exit(0);

    let said = agent.wait_for("cannot record the end of a hook", &[]);
    assert!(said.contains("is full; make room"), "{said}");
    disk.is_said_to_be_full();
    disk.has_room();
    agent.wait_for("hook succeeded", &[("attempt", "1")]);
    assert_eq!(store(&bed), Value::Null);
    assert_eq!(bed.deliveries()[0]["state"], "succeeded");
    bed.hook.expect_no_call();
    agent.stop();
}

#[test]
fn a_run_that_cannot_be_claimed_is_held_until_there_is_room() {
    let bed = Bed::with(Setup { hook: "backoff = '2s'", ..Setup::default() });
    let disk = SmallDisk::below(&bed);
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.hook.exits_with(1);
    let second = bed.push("two");
    bed.check(1);
    bed.hook.only_call();
    bed.hook.exits_with(0);
    disk.fills();

    agent.wait_for("hooks are held", &[("kind", "full")]);

    disk.is_said_to_be_full();
    assert_eq!(bed.deliveries()[0]["state"], "pending");
    bed.hook.expect_no_call();
    disk.has_room();
    agent.wait_for("hook succeeded", &[("attempt", "2")]);
    assert_eq!(bed.hook.only_call().var("TAGHOOK_DIGEST"), second);
    assert_eq!(store(&bed), Value::Null);
    agent.stop();
}

#[test]
fn a_heartbeat_that_cannot_be_written_is_said_and_the_next_one_clears_it() {
    let bed = Bed::new();
    let disk = SmallDisk::below(&bed);
    let clock = WallClock::of_all_time(bed.path());
    bed.push("one");
    let mut agent = Agent::start(clock.under(bed.command(Who::Us, &["run"])));
    agent.wait_for("first seen", &[]);
    let a_minute_passes = |minutes: i64| {
        clock.is_off_by(SignedDuration::from_mins(minutes));
        // Whoever asks wakes the agent.
        bed.run(&["status"]).expect(0);
    };
    disk.fills();

    a_minute_passes(1);

    let said = agent.wait_for("cannot write the heartbeat", &[("kind", "full")]);
    assert!(said.contains("make room"), "{said}");
    disk.is_said_to_be_full();
    disk.has_room();
    a_minute_passes(2);
    // The answer comes from behind the write.
    assert_eq!(store(&bed), Value::Null);
    disk.fills();
    // What cannot be written does not keep it from ending.
    agent.stop();
}

#[test]
fn operators_are_told_that_the_disk_is_full() {
    for by_agent in [false, true] {
        let bed = Bed::with(Setup { hook: "attempts = 1", ..Setup::default() });
        let disk = SmallDisk::below(&bed);
        bed.push("one");
        bed.check(0);
        bed.hook.exits_with(1);
        bed.push("two");
        bed.check(1);
        bed.hook.only_call();
        let agent = by_agent.then(|| bed.agent());
        disk.fills();

        for verb in [["pause", "web"], ["retry", "--failed"]] {
            let said = bed.run(&verb).expect(1);
            assert!(said.stderr.contains("is full; make room"), "{verb:?}: {}", said.stderr);
        }
        disk.has_room();
        let (status, deliveries) = (bed.status(), bed.deliveries());
        assert_eq!((&status["paused"], &deliveries[0]["state"]), (&false.into(), &"failed".into()));
        assert_eq!(deliveries.len(), 1);
        drop(agent);
    }
}

#[test]
fn a_start_on_a_full_disk_is_tried_again_and_forgets_nothing() {
    for new in [true, false] {
        let bed = Bed::new();
        let disk = SmallDisk::below(&bed);
        bed.push("one");
        if !new {
            bed.check(0);
        }
        disk.fills();

        for verb in ["run", "check"] {
            // systemd does not try again what ends with 2.
            let said = bed.run(&[verb]).expect(1);
            assert!(said.stderr.contains("is full; make room"), "{verb}: {}", said.stderr);
        }
        disk.has_room();
        let second = bed.push("two");
        assert_eq!(bed.check(0)["outcome"], if new { "first" } else { "moved" });
        let told: Vec<_> = bed.hook.more_calls().iter().map(|call| call.var("TAGHOOK_DIGEST").to_owned()).collect();
        assert_eq!(told, if new { vec![] } else { vec![second] });
    }
}

/// A check finds a move and runs the hook while its first write fails, then while its second does, and so on up to one
/// that does not come any more. Some do not matter to a check, most do.
fn whichever_fails(writes: u32, fault: impl Fn(u32) -> String) {
    let bed = Bed::new();
    let mut before = bed.push("baseline");
    bed.check(0);
    let mut failed = 0;
    for nth in 1..=writes {
        let now = bed.push(&format!("push {nth}"));
        let check = bed.command(Who::Us, &["check", "--json"]);

        let done = Running::start(fault::with(&fault(nth), &check)).finish();

        // The disk is well again.
        let then = bed.check(0);
        let told: Vec<_> = bed.hook.more_calls().iter().map(|call| call.var("TAGHOOK_DIGEST").to_owned()).collect();
        assert!(!told.is_empty() && told.iter().all(|digest| *digest == now), "{nth}: {told:?}, {done:?}, {then}");
        let (change, delivery) = (bed.history().remove(0), bed.deliveries().remove(0));
        assert_eq!((&change["from"], &change["to"]), (&before.into(), &now.clone().into()), "{nth}: {done:?}");
        assert_eq!(
            (&delivery["state"], &delivery["to"]),
            (&"succeeded".into(), &now.clone().into()),
            "{nth}: {done:?}"
        );
        before = now;
        if done.code != Some(0) {
            assert!((done.stderr + &done.stdout).contains("the disk of "), "{nth}: it does not say why");
            failed += 1;
        } else {
            assert_eq!(told.len(), 1, "{nth}: told twice");
        }
        assert!(nth < writes || done.code == Some(0), "there are more writes");
    }
    assert!(failed >= 3, "{failed} of {writes} failed");
}

#[test]
fn wherever_the_disk_is_full_in_a_check_its_move_is_told_by_the_next() {
    whichever_fails(50, |nth| format!("pwrite64:error=ENOSPC:when={nth}+"));
}

#[test]
fn wherever_the_disk_fails_in_a_check_its_move_is_told_by_the_next() {
    whichever_fails(10, |nth| format!("fsync,fdatasync:error=EIO:when={nth}"));
}

#[test]
fn a_read_only_file_system_is_named() {
    let bed = Bed::new();
    let disk = SmallDisk::below(&bed);
    bed.push("one");
    bed.check(0);
    disk.as_root("mount -o remount,ro");

    for verb in [["run"].as_slice(), &["check"]] {
        let said = bed.run(verb).expect(2);
        assert!(said.stderr.contains("ead-only") && said.stderr.contains("/state"), "{}", said.stderr);
    }
    // Reading goes on.
    assert_eq!(bed.status()["state"], "ok");
}

#[test]
fn a_damaged_database_is_refused_and_left_alone() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    let path = bed.state().join("taghook.db");
    let mut bytes = std::fs::read(&path).unwrap();
    let end = bytes.len();
    bytes[4096..end].fill(0xa5);
    std::fs::write(&path, &bytes).unwrap();

    for verb in [["run"].as_slice(), &["check"]] {
        let said = bed.run(verb).expect(2);
        assert!(said.stderr.contains("is damaged") && said.stderr.contains("backup"), "{}", said.stderr);
    }
    assert_eq!(std::fs::read(&path).unwrap(), bytes);
}

#[test]
fn a_database_of_a_newer_taghook_is_refused() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    let newer = rusqlite::Connection::open(bed.state().join("taghook.db")).unwrap();
    newer.execute_batch("PRAGMA user_version = 99").unwrap();
    drop(newer);

    for verb in [["run"].as_slice(), &["check"], &["status"], &["history"]] {
        let said = bed.run(verb).expect(2);
        assert!(said.stderr.contains("version 99") && said.stderr.contains("newer taghook"), "{}", said.stderr);
    }
}
