//! What becomes of hooks that misbehave, seen from outside.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use serde_json::json;
use support::bed::{Bed, Setup};

#[test]
fn a_hook_that_says_later_spends_no_attempt() {
    let bed = Bed::with(Setup { hook: "attempts = 1\nbackoff = '1ms'\nbackoff_max = '1ms'", ..Setup::default() });
    bed.push("one");
    bed.check(0);
    bed.push("two");
    bed.hook.exits_with(75);

    for attempt in ["1", "2", "3"] {
        let line = bed.check(1);
        assert_eq!(bed.hook.only_call().var("TAGHOOK_ATTEMPT"), attempt);
        let owed = &line["deliveries"][0];
        assert_eq!((&owed["state"], &owed["exit_code"]), (&json!("pending"), &json!(75)));
    }

    bed.hook.exits_with(1);
    assert_eq!(bed.check(1)["deliveries"][0]["state"], "failed", "the one attempt that it had");
}

#[test]
fn no_more_runs_of_a_hook_than_its_concurrency_over_all_watches() {
    let bed = Bed::new();
    let (host, command) = (bed.registry.host(), bed.hook.toml());
    let watch = |name: &str| {
        format!("[watch.{name}]\nimage = '{host}/team/{name}:v1'\nschedule = '30d'\nhooks = ['redeploy']\n")
    };
    let names = ["a", "b", "c"];
    let watches: String = names.iter().map(|name| watch(name)).collect();
    bed.write_whole_config(&format!(
        "{watches}[hook.redeploy]\ncommand = {command}\non = ['first']\nconcurrency = 2\n\
         [registry.'{host}']\nplain_http = true\n"
    ));
    for name in names {
        bed.registry.push_image(&format!("team/{name}"), "v1", name);
    }
    bed.hook.holds();
    let mut agent = bed.agent();
    for name in names {
        agent.wait_for("first seen", &[("watch", name)]);
    }

    let (one, two) = (bed.hook.call(), bed.hook.call());
    // The third is owed, and waits; the agent has seen all three and answers.
    let owed = bed.run(&["status", "--json"]).expect(0).json();
    let states: Vec<_> = owed["watches"].as_array().unwrap().iter().map(|watch| watch["owed"].clone()).collect();
    let sum = |state: &str| states.iter().map(|owed| owed[state].as_u64().unwrap()).sum::<u64>();
    assert_eq!((sum("running"), sum("pending")), (2, 1), "{states:?}");
    bed.hook.expect_no_call();

    one.exit(0);
    let three = bed.hook.call();
    two.exit(0);
    three.exit(0);
    for _ in names {
        agent.wait_for("hook succeeded", &[]);
    }
    agent.stop();
}
