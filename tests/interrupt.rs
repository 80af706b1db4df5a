//! What a signal does to commands that work or wait: nothing is lost, nothing is left behind, and it is told.

mod support;

use serde_json::json;
use support::bed::{Bed, Setup};

/// A bed whose image was seen once and has moved since.
fn moved() -> Bed {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    bed.push("two");
    bed
}

#[test]
fn an_interrupted_check_ends_its_hook_and_owes_it_again() {
    let bed = moved();
    bed.hook.holds();
    let check = bed.start(&["check", "--json"]);
    let cut = bed.hook.call();

    check.sigterm();

    let said = check.finish().expect(1);
    assert!(said.stderr.contains("interrupted"), "{}", said.stderr);
    cut.await_end();
    let owed = bed.deliveries().remove(0);
    assert_eq!((&owed["state"], &owed["attempts"]), (&json!("pending"), &json!(1)));
    bed.hook.exits_with(0);
    bed.check(0);
    assert_eq!(bed.hook.call().var("TAGHOOK_ATTEMPT"), "2");
}

#[test]
fn a_command_that_waits_for_another_can_be_interrupted() {
    let bed = moved();
    bed.hook.holds();
    let check = bed.start(&["check", "--json"]);
    let call = bed.hook.call();
    // The first one holds the state; these wait for it.
    let waiting = [bed.start(&["check"]), bed.start(&["run"])];

    for command in &waiting {
        command.sigterm();
    }

    // They end while the first one still works: it is only let go afterwards.
    for command in waiting {
        command.finish();
    }
    call.exit(0);
    check.finish().expect(0);
}

#[test]
fn a_check_through_an_agent_that_stops_has_failed() {
    let bed = Bed::with(Setup { top: "shutdown_grace = '1s'", ..Setup::default() });
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.hook.holds();
    let check = bed.start(&["check", "--json"]);
    let _call = bed.hook.call();

    agent.stop();

    let said = check.finish().expect(1);
    assert!(said.stderr.contains("agent"), "{}", said.stderr);
}

#[test]
fn a_second_signal_does_not_wait_for_the_grace() {
    let bed = Bed::with(Setup { top: "shutdown_grace = '1h'", ..Setup::default() });
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.hook.holds();
    let check = bed.start(&["check"]);
    let cut = bed.hook.call();
    agent.sigterm();
    agent.wait_for("waiting for running hooks", &[]);

    agent.sigterm();

    cut.await_end();
    agent.finish();
    check.finish();
    assert_eq!(bed.deliveries()[0]["state"], "pending");
}
