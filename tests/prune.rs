//! What is left over from an earlier config, and how it is given up.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::process::Command;

use support::bed::{Bed, Setup, one};
use support::process::Running;

const FED: &str = "hooks = ['redeploy']";

/// A bed whose hook was taken from its watch while it was owed something, or had failed for it.
fn left_over(has_failed: bool) -> Bed {
    let bed = Bed::with(Setup { hook: "attempts = 2\nbackoff = '30d'\nbackoff_max = '30d'", ..Setup::default() });
    bed.push("one");
    bed.check(0);
    bed.push("two");
    bed.hook.exits_with(1);
    bed.check(1);
    bed.hook.only_call();
    if has_failed {
        let database = rusqlite::Connection::open(bed.state().join("taghook.db")).unwrap();
        database.execute("UPDATE deliveries SET due = 0 WHERE state = 'pending'", []).unwrap();
        bed.check(1);
        bed.hook.call();
    }
    edit(&bed, FED, "hooks = []");
    bed
}

fn edit(bed: &Bed, from: &str, to: &str) {
    let text = std::fs::read_to_string(bed.config_path()).unwrap();
    assert!(text.contains(from), "{text}");
    std::fs::write(bed.config_path(), text.replace(from, to)).unwrap();
}

#[test]
fn what_is_left_over_is_told_and_discarded_only_when_it_is_meant() {
    for (by_agent, has_failed) in [(false, false), (true, true)] {
        let bed = left_over(has_failed);
        let agent = by_agent.then(|| bed.agent());
        let state = if has_failed { "failed" } else { "pending" };

        let told = one(&bed.run(&["prune", "--json"]).expect(0));
        assert_eq!((&told["state"], &told["discarded"]), (&state.into(), &false.into()), "{told}");
        let output = bed.run(&["prune"]).expect(0);
        assert!(output.stdout.contains("redeploy") && output.stdout.contains("nothing was discarded"), "{output:#?}");
        assert_eq!(bed.deliveries()[0]["state"], state);

        let done = one(&bed.run(&["prune", "--yes", "--json"]).expect(0));
        assert_eq!((&done["id"], &done["discarded"]), (&told["id"], &true.into()));
        assert_eq!(bed.deliveries()[0]["state"], "superseded");
        assert!(bed.run(&["prune"]).expect(0).stdout.contains("nothing to prune"));

        // When the hook returns it is owed what comes, from where it stands.
        if let Some(agent) = agent {
            agent.stop();
        }
        edit(&bed, "hooks = []", FED);
        bed.hook.exits_with(0);
        bed.check(0);
        bed.hook.expect_no_call();
        let three = bed.push("three");
        bed.check(0);
        let call = bed.hook.call();
        assert_eq!(call.var("TAGHOOK_DIGEST"), three);
    }
}

#[test]
fn what_is_left_over_is_no_failure_and_is_told_apart() {
    let bed = left_over(true);
    let agent = bed.agent();

    assert_eq!(bed.run(&["health"]).expect(0).stdout, "ok: 1 watch\n");
    let said = bed.run(&["status"]).expect(0).stdout;
    assert!(said.contains("0 failed deliveries") && !said.contains("1 failed"), "{said}");
    assert!(said.contains("1 delivery is left over from an earlier config: `taghook prune`"), "{said}");
    assert!(!said.contains("hook redeploy failed"), "{said}");

    edit(&bed, "hooks = []", FED);
    bed.run(&["reload"]).expect(0);
    assert!(bed.run(&["health"]).expect(1).stdout.starts_with("failed: web: hook redeploy failed"));
    let said = bed.run(&["status"]).expect(0).stdout;
    assert!(said.contains("1 failed delivery") && !said.contains("left over"), "{said}");
    agent.stop();
}

#[test]
fn what_the_config_feeds_is_never_left_over() {
    let bed = left_over(false);
    edit(&bed, "hooks = []", FED);
    let output = bed.run(&["prune", "--yes"]).expect(0);
    assert!(output.stdout.contains("nothing to prune"), "{output:#?}");
    assert_eq!(bed.deliveries()[0]["state"], "pending");
}

#[test]
fn on_a_terminal_it_asks() {
    for (answer, state) in [("n", "pending"), ("y", "superseded")] {
        let bed = left_over(false);
        let taghook = env!("CARGO_BIN_EXE_taghook");
        let config = bed.config_path();
        let line =
            format!("echo {answer} | script -qec \"'{taghook}' prune --config '{}'\" /dev/null", config.display());
        let mut shell = Command::new("sh");
        shell.args(["-c", &line]);
        let output = Running::start(shell).finish();
        assert!(output.stdout.contains("Discard 1 delivery?"), "{output:#?}");
        assert_eq!(bed.deliveries()[0]["state"], state, "{output:#?}");
    }
}
