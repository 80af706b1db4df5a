//! What operators do by hand: retry, pause, resume; through an agent and without one.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use serde_json::{Value, json};
use support::bed::{Bed, Setup, one};

/// A bed whose hook has failed for the newest digest, and is given up.
fn failed() -> Bed {
    let bed = Bed::with(Setup { hook: "attempts = 1", ..Setup::default() });
    bed.push("one");
    bed.check(0);
    bed.push("two");
    bed.hook.exits_with(1);
    bed.check(1);
    assert_eq!(bed.hook.only_call().var("TAGHOOK_ATTEMPT"), "1");
    assert_eq!(bed.deliveries()[0]["state"], "failed");
    bed.hook.exits_with(0);
    bed
}

fn id(delivery: &Value) -> String {
    delivery["id"].as_str().unwrap().to_owned()
}

#[test]
fn a_failed_delivery_is_owed_again_in_a_new_one() {
    for by_agent in [false, true] {
        let bed = failed();
        let agent = by_agent.then(|| bed.agent());
        let earlier = bed.deliveries().remove(0);

        let line = one(&bed.run(&["retry", "--json", &id(&earlier)[24..]]).expect(0));

        assert_ne!(line["id"], earlier["id"]);
        if !by_agent {
            bed.hook.expect_no_call();
            bed.check(0);
        }
        let call = bed.hook.call();
        assert_eq!((call.var("TAGHOOK_DELIVERY"), call.var("TAGHOOK_ATTEMPT")), (line["id"].as_str().unwrap(), "1"));
        assert_eq!(
            (call.var("TAGHOOK_DIGEST"), call.var("TAGHOOK_PREVIOUS_DIGEST")),
            (earlier["to"].as_str().unwrap(), earlier["from"].as_str().unwrap())
        );
        if let Some(mut agent) = agent {
            agent.wait_for("hook succeeded", &[]);
        }
        let states: Vec<Value> = bed.deliveries().into_iter().map(|delivery| delivery["state"].clone()).collect();
        assert_eq!(states, ["succeeded", "superseded"]);
    }
}

#[test]
fn all_that_has_failed_is_owed_again() {
    let bed = failed();
    bed.run(&["retry", "--failed"]).expect(0);
    assert_eq!(bed.check(0)["deliveries"][0]["state"], "succeeded");
    let said = bed.run(&["retry", "--failed"]).expect(0);
    assert!(said.stdout.contains("nothing has failed"), "{}", said.stdout);
}

#[test]
fn what_cannot_be_retried_is_refused_with_the_reason() {
    let bed = failed();
    let outdated = id(&bed.deliveries()[0]);
    let newest = bed.push("three");
    bed.check(0);
    let current = bed.deliveries().remove(0);
    assert_eq!(current["to"], json!(newest));

    let refused = |id: &str| bed.run(&["retry", id]).expect(2).stderr;

    assert!(refused(&outdated).contains(&id(&current)), "the newest is named");
    assert!(refused("ffffffffffff").contains("there is no delivery"));
    assert!(refused("x' OR 1").contains("there is no delivery"));
    // One that has succeeded may be run again; while it is owed, not once more.
    bed.run(&["retry", &id(&current)]).expect(0);
    let again = id(&bed.deliveries()[0]);
    assert!(refused(&again).contains("is pending already"));
}

#[test]
fn a_paused_watch_is_checked_and_its_hooks_are_held_until_it_is_resumed() {
    for by_agent in [false, true] {
        let bed = Bed::new();
        let first = bed.push("one");
        bed.check(0);
        let agent = by_agent.then(|| bed.agent());

        for changed in [1, 0] {
            assert_eq!(bed.run(&["pause", "web", "--json"]).expect(0).json(), json!({"changed": changed}));
        }
        assert_eq!(bed.status()["paused"], true);
        bed.push("two");
        // It is owed, and so the command says that not all is done.
        assert_eq!(bed.check(1)["outcome"], "moved");
        let third = bed.push("three");
        assert_eq!(bed.check(1)["outcome"], "moved");
        bed.hook.expect_no_call();

        bed.run(&["resume", "web"]).expect(0);
        if !by_agent {
            bed.check(0);
        }
        let call = bed.hook.call();
        assert_eq!((call.var("TAGHOOK_PREVIOUS_DIGEST"), call.var("TAGHOOK_DIGEST")), (&*first, &*third));
        bed.hook.expect_no_call();
        assert_eq!(bed.status()["paused"], false);
        drop(agent);
    }
}

#[test]
fn what_is_held_says_why_instead_of_when_it_was_due() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    bed.run(&["pause", "web"]).expect(0);
    bed.push("two");
    bed.check(1);
    let told = |verb: &str| bed.run(&[verb]).expect(0).stdout;

    assert_eq!(bed.deliveries()[0]["held"], "paused");
    assert_eq!(bed.status()["owed"], json!({"pending": 1, "running": 0, "failed": 0, "held": 1}));
    for (verb, word) in [("deliveries", "held: paused"), ("history", "held: paused"), ("status", "1 held")] {
        let said = told(verb);
        assert!(said.contains(word) && !said.contains("due ") && !said.contains("1 pending"), "{verb}: {said}");
    }

    let text = std::fs::read_to_string(bed.config_path()).unwrap();
    std::fs::write(bed.config_path(), text.replace("hooks = ['redeploy']", "hooks = []")).unwrap();
    bed.run(&["resume", "web"]).expect(0);
    bed.check(1);
    assert_eq!(bed.deliveries()[0]["held"], "not_fed");
    assert!(told("deliveries").contains("held: the config does not feed it"), "{}", told("deliveries"));
    assert!(told("status").contains("1 held"), "{}", told("status"));
}

#[test]
fn a_watch_that_is_not_known_cannot_be_paused() {
    let bed = Bed::new();
    for agent in [None, Some(bed.agent())] {
        let said = bed.run(&["pause", "wbe"]).expect(2);
        assert!(said.stderr.contains("did you mean \"web\""), "{}", said.stderr);
        drop(agent);
    }
}
