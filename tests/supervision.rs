//! What becomes of hooks that misbehave, seen from outside.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use serde_json::json;
use support::bed::{Bed, Setup, one};
use support::registry::{Manner, Registry, Seen};
use support::sandbox::Sandbox;

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

#[test]
fn no_amount_of_output_takes_more_memory_and_what_is_missing_is_counted() {
    // `TAGHOOK_OUTPUT=1000000000` for the gigabyte that an unoptimised build has no time for in CI.
    let bytes: u64 = std::env::var("TAGHOOK_OUTPUT").ok().and_then(|bytes| bytes.parse().ok()).unwrap_or(100_000_000);
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.push_image("web", "v1", "one");
    let seen = sandbox.path().join("memory");
    let script = format!(
        "echo first; head -c {bytes} /dev/zero | tr \"\\\\0\" x; echo last; grep VmHWM /proc/$PPID/status >\"$SEEN\""
    );
    sandbox.write_whole_config(&format!(
        "[watch.web]\nimage = '{}'\nhooks = ['loud']\n[registry.'{}']\nplain_http = true\n\
         [hook.loud]\ncommand = ['/bin/sh', '-c', '{script}']\non = ['first']\nenv = {{ SEEN = {seen:?} }}\n",
        registry.image("web", "v1"),
        registry.host()
    ));

    let checked = one(&sandbox.run(&["check", "--json"]).expect(0));

    let id = checked["deliveries"][0]["id"].as_str().unwrap();
    let log = sandbox.run(&["log", id]).expect(0).stdout;
    assert!(log.contains("first") && log.contains("last"), "head and tail are kept");
    let missing = bytes + "first\nlast\n".len() as u64 - 64 * 1024;
    assert!(log.contains(&format!("[{missing} bytes not kept]")) && log.len() < 1_000_000, "{missing}: {}", log.len());
    let peak = std::fs::read_to_string(seen).unwrap();
    let kilobytes: u64 = peak.split_whitespace().nth(1).unwrap().parse().unwrap();
    assert!(kilobytes < 100_000, "{peak}");
}

#[test]
fn a_check_that_takes_longer_than_its_interval_is_neither_overlapped_nor_made_up_for() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.push_image("slow", "v1", "one");
    registry.push_image("quick", "v1", "one");
    let host = registry.host();
    let watch = |name: &str| format!("[watch.{name}]\nimage = '{}'\nschedule = '1s'\n", registry.image(name, "v1"));
    sandbox.write_whole_config(&format!("[registry.'{host}']\nplain_http = true\n{}{}", watch("slow"), watch("quick")));
    let is_slow = |path: &str| path.starts_with("/v2/slow/");
    // One request to the slow repository is not answered; it ends when its connection does.
    registry.rule(move |seen, reply| if is_slow(&seen.path) { reply.manner(Manner::Hang) } else { reply });
    let agent = sandbox.agent();
    let asked = |log: &[Seen], slow: bool| log.iter().filter(|seen| is_slow(&seen.path) == slow).count();

    // The other watch's checks tell that time goes on.
    let log = registry.await_log(|log| asked(log, true) == 1 && asked(log, false) >= 5);

    assert_eq!(asked(&log, true), 1, "while one is under way there is no other");
    agent.kill();
}
