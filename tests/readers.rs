//! Another user of the state's group reads everything, whether an agent runs or not, and changes nothing.

mod support;

use serde_json::Value;

use support::bed::{Bed, Setup};
use support::sandbox::{Sandbox, Who};

/// A state that belongs to another user than the reader, with two changes in it.
fn bed() -> Bed {
    Bed::inside(Sandbox::of_owner(), Setup { watch: "schedule = '1s'", ..Setup::default() })
}

/// What the reader is told: digest, changes, deliveries.
#[track_caller]
fn read_as(bed: &Bed, who: Who) -> (Value, Vec<Value>, Vec<Value>) {
    let mut status = bed.run_as(who, &["status", "--json"]).expect(0).json();
    let history = bed.run_as(who, &["history", "--json"]).expect(0).json_lines();
    let deliveries = bed.run_as(who, &["deliveries", "--json"]).expect(0).json_lines();
    (status["watches"][0]["digest"].take(), history, deliveries)
}

#[track_caller]
fn assert_reads(bed: &Bed, who: Who, digest: &str) {
    let (known, history, deliveries) = read_as(bed, who);
    assert_eq!(known, *digest);
    assert_eq!((history.len(), &history[0]["to"]), (2, &known));
    assert_eq!((deliveries.len(), &deliveries[0]["to"]), (1, &known));
}

#[test]
fn a_reader_of_the_group_reads_while_an_agent_runs() {
    let bed = bed();
    bed.push("one");
    let mut agent = bed.agent_as(Who::Owner);
    agent.wait_for("first seen", &[]);
    let second = bed.push("two");
    agent.wait_for("hook succeeded", &[]);

    assert_reads(&bed, Who::Reader, &second);

    let third = bed.push("three");
    agent.wait_for("tag moved", &[("to", &third)]);
    agent.stop();
}

#[test]
fn a_reader_of_the_group_reads_when_no_agent_runs() {
    let bed = bed();
    bed.push("one");
    let mut agent = bed.agent_as(Who::Owner);
    agent.wait_for("first seen", &[]);
    let second = bed.push("two");
    agent.wait_for("hook succeeded", &[]);
    agent.stop();

    assert_reads(&bed, Who::Reader, &second);

    assert_eq!(bed.run_as(Who::Reader, &["status", "--json"]).expect(0).json()["source"], "database");
    // Nor is the reader in the owner's way afterwards.
    bed.push("three");
    bed.run_as(Who::Owner, &["check"]).expect(0);
}

#[test]
fn a_reader_of_the_group_reads_after_a_kill() {
    let bed = bed();
    bed.push("one");
    let mut agent = bed.agent_as(Who::Owner);
    agent.wait_for("first seen", &[]);
    let second = bed.push("two");
    agent.wait_for("hook succeeded", &[]);
    agent.kill();

    assert_reads(&bed, Who::Reader, &second);

    let third = bed.push("three");
    let mut agent = bed.agent_as(Who::Owner);
    agent.wait_for("tag moved", &[("from", &second), ("to", &third)]);
    agent.stop();
}

#[test]
fn a_reader_reads_after_a_one_shot_check() {
    let bed = bed();
    bed.push("one");
    bed.run_as(Who::Owner, &["check"]).expect(0);
    let second = bed.push("two");
    bed.run_as(Who::Owner, &["check"]).expect(0);

    assert_reads(&bed, Who::Reader, &second);
}

#[test]
fn a_reader_changes_nothing() {
    let bed = bed();
    bed.push("one");
    bed.run_as(Who::Owner, &["check"]).expect(0);
    bed.push("two");
    let before = bed.snapshot(&bed.state());

    let refused = bed.run_as(Who::Reader, &["check"]);

    assert!(matches!(refused.code, Some(1 | 2)), "{refused:#?}");
    assert!(refused.stderr.contains("/state") && refused.stderr.contains("ermission"), "{}", refused.stderr);
    let agent = bed.run_as(Who::Reader, &["run"]);
    assert!(matches!(agent.code, Some(1 | 2)), "{agent:#?}");
    for attempt in ["touch state/new", "for file in state/*; do : >> $file || exit 1; done", "rm state/taghook.db"] {
        assert_ne!(bed.shell(Who::Reader, attempt).code, Some(0), "{attempt}");
    }
    assert_eq!(bed.snapshot(&bed.state()), before);
    bed.hook.expect_no_call();
}

#[test]
fn whoever_is_not_of_the_group_reads_nothing() {
    let bed = bed();
    bed.push("one");
    bed.run_as(Who::Owner, &["check"]).expect(0);

    assert_ne!(bed.shell(Who::Nobody, "cat state/taghook.db").code, Some(0));

    let refused = bed.run_as(Who::Nobody, &["status"]);
    assert!(matches!(refused.code, Some(1 | 2)), "{refused:#?}");
    assert!(refused.stderr.contains("/state") && refused.stderr.contains("ermission"), "{}", refused.stderr);
}

#[test]
fn root_may_read_and_leaves_nothing_of_its_own() {
    let bed = bed();
    bed.push("one");
    let mut agent = bed.agent_as(Who::Owner);
    agent.wait_for("first seen", &[]);
    let second = bed.push("two");
    agent.wait_for("hook succeeded", &[]);
    assert_reads(&bed, Who::Root, &second);
    agent.kill();

    assert_reads(&bed, Who::Root, &second);

    let foreign = bed.shell(Who::Root, "find state ! -user $(stat -c %u state)").expect(0).stdout;
    assert_eq!(foreign, "", "these would be in the owner's way");
}
