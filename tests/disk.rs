//! Disks that are full, read-only or damaged: nothing is forgotten, and the error says what to do.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::io::Write;
use std::path::PathBuf;

use support::bed::{Bed, Setup};
use support::sandbox::Who;

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
}

impl Drop for SmallDisk<'_> {
    fn drop(&mut self) {
        self.bed.shell(Who::Root, &format!("umount -l {:?}", self.bed.state()));
    }
}

fn every_second() -> Bed {
    Bed::with(Setup { watch: "schedule = '1s'", ..Setup::default() })
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
    bed.hook.expect_no_call();
    disk.has_room();
    agent.wait_for("tag moved", &[("to", &second)]);
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
    disk.has_room();
    agent.wait_for("hook succeeded", &[("attempt", "1")]);
    assert_eq!(bed.deliveries()[0]["state"], "succeeded");
    bed.hook.expect_no_call();
    agent.stop();
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
