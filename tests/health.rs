//! `taghook health`: silent but for one line while all is well.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use jiff::{SignedDuration, Timestamp};
use rusqlite::Connection;
use serde_json::{Value, json};

use support::bed::Bed;
use support::process::Running;
use support::registry::{Manner, Registry};
use support::sandbox::{Sandbox, Who};
use support::wall_clock::WallClock;

#[test]
fn all_is_well_while_the_agent_runs_and_stale_without_it() {
    let bed = Bed::new();
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);

    assert_eq!(bed.run(&["health"]).expect(0).stdout, "ok: 1 watch\n");
    let said = bed.run(&["health", "--json"]).expect(0).json();
    assert_eq!(said, json!({"ok": true, "watches": 1, "problems": []}));

    agent.stop();
    let said = bed.run(&["health"]).expect(1).stdout;
    assert!(said.starts_with("stale: no agent answers, so nothing is checked (the last sign of one is of "), "{said}");
    assert_eq!(said.lines().count(), 1, "{said}");
}

#[test]
fn what_failed_comes_before_what_is_failing() {
    let mut bed = Bed::given_up();
    let agent = bed.agent();
    let said = bed.run(&["health"]).expect(1).stdout;
    assert!(said.starts_with("failed: web: hook redeploy failed for `moved` ") && said.lines().count() == 1, "{said}");
    bed.registry.stop();
    bed.run(&["check"]).expect(1);

    let said = bed.run(&["health"]).expect(1).stdout;

    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    assert!(lines[0].starts_with("failed: web: hook redeploy failed"), "{said}");
    assert!(lines[1].starts_with("failing: web: ") && lines[1].contains("connect: "), "{said}");
    let said = bed.run(&["health", "--json"]).expect(1).json();
    let words: Vec<(&Value, &Value)> =
        said["problems"].as_array().unwrap().iter().map(|problem| (&problem["what"], &problem["hook"])).collect();
    assert_eq!(words, [(&json!("failed"), &json!("redeploy")), (&json!("failing"), &Value::Null)]);
    assert_eq!(said["ok"], false);
    agent.stop();
}

#[test]
fn a_check_that_is_long_overdue_is_stale() {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    let host = registry.host();
    sandbox.write_whole_config(&format!(
        "[watch.web]\nimage = '{host}/acme/web:stable'\nschedule = '30d'\n[registry.'{host}']\nplain_http = true\n"
    ));
    registry.push_image("acme/web", "stable", "1");
    sandbox.run(&["check"]).expect(0);
    let database = Connection::open(sandbox.state().join("taghook.db")).unwrap();
    let earlier = 90 * 86_400_000_i64;
    database.execute("UPDATE watches SET last_checked = last_checked - ?1", [earlier]).unwrap();
    drop(database);
    registry.rule(|_, reply| reply.manner(Manner::Hang));
    registry.clear_log();
    let agent = sandbox.agent();
    registry.await_log(|log| !log.is_empty());

    let said = sandbox.run(&["health"]).expect(1).stdout;

    assert!(said.starts_with("stale: web: was due ") && said.ends_with("last checked 90 d ago\n"), "{said}");
    agent.kill();
}

#[test]
fn a_watch_that_waits_for_its_first_check_too_long_is_stale() {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    let host = registry.host();
    sandbox.write_whole_config(&format!(
        "[defaults]\nschedule = '30d'\n[watch.a]\nimage = '{host}/acme/a:v1'\n[watch.b]\nimage = '{host}/acme/b:v1'\n\
         [registry.'{host}']\nplain_http = true\nconcurrency = 1\n"
    ));
    registry.rule(|_, reply| reply.manner(Manner::Hang));
    let agent = sandbox.agent();
    registry.await_log(|log| !log.is_empty());
    sandbox.run(&["health"]).expect(0);
    let clock = WallClock::new(sandbox.path());
    clock.is_off_by(SignedDuration::from_mins(20));

    let said = Running::start(clock.under(sandbox.command(Who::Us, &["health"]))).finish().expect(1).stdout;

    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 2, "{said}");
    for (line, name) in lines.iter().zip(["a", "b"]) {
        assert_eq!(*line, format!("stale: {name}: was due 20 min ago, and was never checked"), "{said}");
    }
    // The one that waits for the gate is checked when that opens, not a month later.
    let status = sandbox.run(&["status", "--json"]).expect(0).json();
    let soon = |watch: &&Value| {
        let next: Timestamp = watch["next_check"].as_str().unwrap().parse().unwrap();
        next.duration_since(Timestamp::now()) < SignedDuration::from_mins(1)
    };
    assert_eq!(status["watches"].as_array().unwrap().iter().filter(soon).count(), 1, "{status:#}");
    agent.kill();
}
