//! `taghook run`: the agent against a real registry.

mod support;

use jiff::Timestamp;
use rusqlite::Connection;
use serde_json::{Value, json};

use support::bed::{Bed, REPOSITORY, Setup, one};
use support::process::{Running, field};
use support::sandbox::{Sandbox, Who};
use support::silent::Silent;

/// Checked each second: the shortest interval there is.
fn every_second() -> Bed {
    Bed::with(Setup { watch: "schedule = '1s'", ..Setup::default() })
}

#[test]
fn the_agent_sees_a_move_and_runs_the_hook_once() {
    let bed = every_second();
    let first = bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[("watch", "web"), ("digest", &first)]);
    let second = bed.push("two");

    agent.wait_for("tag moved", &[("watch", "web"), ("from", &first), ("to", &second)]);
    agent.wait_for("hook succeeded", &[("watch", "web"), ("hook", "redeploy"), ("attempt", "1")]);

    bed.registry.await_asked(REPOSITORY, 2);
    let call = bed.hook.only_call();
    assert_eq!((call.var("TAGHOOK_DIGEST"), call.var("TAGHOOK_PREVIOUS_DIGEST")), (&*second, &*first));
    assert_eq!((call.var("TAGHOOK_CHANGE"), call.var("TAGHOOK_ATTEMPT")), ("moved", "1"));
    agent.stop();
    assert_eq!(bed.deliveries()[0]["state"], "succeeded");
}

#[test]
fn the_agent_says_how_many_watches_it_has() {
    let bed = Bed::new();
    let mut agent = bed.agent_unready();
    let line = agent.wait_for("ready", &[]);
    assert_eq!(field(&line, "watches"), Some("1"), "{line}");
    agent.stop();
}

#[test]
fn the_agent_is_quiet_while_nothing_moves() {
    let bed = every_second();
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    let said = agent.log().len();
    let database = Connection::open(bed.state().join("taghook.db")).unwrap();
    // Another value for each look that finds commits of others since the last one.
    let version = || database.query_row("PRAGMA data_version", [], |row| row.get::<_, i64>(0)).unwrap();

    let mut versions = vec![version()];
    for _ in 0..4 {
        bed.registry.await_asked(REPOSITORY, 1);
        versions.push(version());
    }

    assert_eq!(agent.log()[said..], Vec::<String>::new());
    versions.dedup();
    assert!(versions.len() <= 2, "more than a heartbeat was written in four unchanged checks: {versions:?}");
}

#[test]
fn an_unchanged_tag_costs_the_agent_one_request_a_check() {
    let bed = every_second();
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.registry.await_asked(REPOSITORY, 1);
    let wanted = format!("HEAD /v2/{REPOSITORY}/manifests/stable");

    let asked = bed.registry.await_asked(REPOSITORY, 3);

    assert_eq!(asked, [wanted.clone(), wanted.clone(), wanted]);
}

#[test]
fn news_while_a_hook_is_busy_is_one_further_run_to_the_newest() {
    let bed = every_second();
    let first = bed.push("one");
    bed.hook.holds();
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    let second = bed.push("two");
    let busy = bed.hook.call();
    assert_eq!((busy.var("TAGHOOK_PREVIOUS_DIGEST"), busy.var("TAGHOOK_DIGEST")), (&*first, &*second));
    let third = bed.push("three");
    agent.wait_for("tag moved", &[("to", &third)]);
    let fourth = bed.push("four");
    agent.wait_for("tag moved", &[("to", &fourth)]);
    bed.hook.expect_no_call();

    busy.exit(0);

    let call = bed.hook.call();
    assert_eq!((call.var("TAGHOOK_PREVIOUS_DIGEST"), call.var("TAGHOOK_DIGEST")), (&*second, &*fourth));
    call.exit(0);
    agent.wait_for("hook succeeded", &[]);
    agent.wait_for("hook succeeded", &[]);
    bed.registry.await_asked(REPOSITORY, 2);
    bed.hook.expect_no_call();
}

#[test]
fn a_busy_hook_delays_no_check() {
    let bed = every_second();
    bed.push("one");
    bed.hook.holds();
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.push("two");
    let _busy = bed.hook.call();

    bed.registry.await_asked(REPOSITORY, 3);
}

#[test]
fn a_hook_that_fails_is_tried_again_after_its_pause() {
    let bed = every_second();
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.hook.holds();
    bed.push("two");
    bed.hook.call().exit(3);
    agent.wait_for("hook failed", &[("watch", "web"), ("hook", "redeploy"), ("attempt", "1")]);

    let again = bed.hook.call();

    assert_eq!(again.var("TAGHOOK_ATTEMPT"), "2");
    again.exit(0);
    agent.wait_for("hook succeeded", &[("attempt", "2")]);
}

#[test]
fn a_hook_that_is_too_slow_is_ended_with_its_whole_process_group() {
    let bed = Bed::with(Setup {
        watch: "schedule = '1s'",
        hook: "timeout = '1s'\nattempts = 1\nbackoff = '1ms'",
        ..Setup::default()
    });
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.hook.holds();
    bed.push("two");

    bed.hook.call().await_end();

    agent.wait_for("hook failed", &[("attempt", "1")]);
    assert_eq!(bed.status()["owed"]["failed"], 1);
}

#[test]
fn a_failed_check_is_said_with_its_kind_and_is_no_move() {
    let mut bed = every_second();
    let first = bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.registry.stop();

    agent.wait_for("check failed", &[("watch", "web"), ("kind", "connect")]);

    let status = bed.status();
    assert_eq!((&status["state"], &status["digest"]), (&json!("failing"), &json!(first)));
    assert!(status["consecutive_failures"].as_u64().unwrap() >= 1);
    assert_eq!(status["error"]["kind"], "connect");
    bed.hook.expect_no_call();
}

#[test]
fn a_cron_schedule_is_due_at_the_full_minute() {
    let bed = Bed::with(Setup { watch: "schedule = '* * * * *'\ntimezone = 'UTC'\njitter = '0s'", ..Setup::default() });
    bed.push("one");
    let _agent = bed.agent();

    let next = bed.status()["next_check"].clone();

    let next: Timestamp = next.as_str().unwrap_or_else(|| panic!("next_check is {next}")).parse().unwrap();
    let ahead = next.duration_since(Timestamp::now()).as_secs();
    assert!(next.as_second() % 60 == 0 && (-1..=60).contains(&ahead), "{next} is {ahead} s ahead");
}

#[test]
fn a_stop_waits_for_a_running_hook() {
    let bed = every_second();
    bed.push("one");
    bed.hook.holds();
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.push("two");
    let call = bed.hook.call();

    agent.sigterm();
    call.exit(0);

    agent.finish();
    assert_eq!(bed.deliveries()[0]["state"], "succeeded");
    let _agent = bed.agent();
    bed.registry.await_asked(REPOSITORY, 2);
    bed.hook.expect_no_call();
}

#[test]
fn a_hook_that_outlasts_the_grace_is_ended_and_owed_again() {
    let bed = Bed::with(Setup { top: "shutdown_grace = '1s'", watch: "schedule = '1s'", ..Setup::default() });
    bed.push("one");
    bed.hook.holds();
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    let second = bed.push("two");
    let cut = bed.hook.call();
    let delivery = cut.var("TAGHOOK_DELIVERY").to_owned();

    agent.stop();

    cut.await_end();
    let owed = bed.deliveries().remove(0);
    assert_eq!((&owed["id"], &owed["state"]), (&json!(delivery), &json!("pending")));
    let mut agent = bed.agent();
    let again = bed.hook.call();
    assert_eq!((again.var("TAGHOOK_DELIVERY"), again.var("TAGHOOK_ATTEMPT")), (&*delivery, "2"));
    assert_eq!(again.var("TAGHOOK_DIGEST"), second);
    again.exit(0);
    agent.wait_for("hook succeeded", &[("attempt", "2")]);
}

#[test]
fn a_hook_that_was_cut_by_a_kill_is_ended_and_run_again() {
    let bed = every_second();
    bed.push("one");
    bed.hook.holds();
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    let second = bed.push("two");
    let cut = bed.hook.call();
    let delivery = cut.var("TAGHOOK_DELIVERY").to_owned();

    agent.kill();

    let mut agent = bed.agent();
    let again = bed.hook.call();
    cut.await_end();
    assert_eq!((again.var("TAGHOOK_DELIVERY"), again.var("TAGHOOK_ATTEMPT")), (&*delivery, "2"));
    assert_eq!(again.var("TAGHOOK_DIGEST"), second);
    again.exit(0);
    agent.wait_for("hook succeeded", &[("attempt", "2")]);
    bed.hook.expect_no_call();
}

#[test]
fn an_agent_that_was_killed_goes_on_where_it_was() {
    let bed = every_second();
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    agent.kill();
    let second = bed.push("two");

    let mut agent = bed.agent();

    agent.wait_for("tag moved", &[("to", &second)]);
    bed.hook.call();
}

#[test]
fn a_check_is_done_by_the_agent_that_runs() {
    let bed = Bed::new();
    let first = bed.push("one");
    let mut agent = bed.agent();

    // Perhaps the agent has looked by itself already; it is the one who sees the tag either way.
    let line = bed.check(0);
    assert_eq!(line["digest"], *first);
    agent.wait_for("first seen", &[("watch", "web"), ("digest", &first)]);

    let second = bed.push("two");
    let line = bed.check(0);
    agent.wait_for("tag moved", &[("from", &first), ("to", &second)]);
    let call = bed.hook.only_call();
    let done = json!([
        {"id": call.var("TAGHOOK_DELIVERY"), "hook": "redeploy", "state": "succeeded", "exit_code": 0}
    ]);
    assert_eq!((&line["outcome"], &line["deliveries"]), (&json!("moved"), &done));

    assert_eq!(bed.check(0)["outcome"], "unchanged");
    let said = bed.run(&["check"]).expect(0).stdout;
    assert!(said.contains("web") && said.contains("unchanged"), "{said}");
    bed.hook.expect_no_call();
    agent.stop();
}

#[test]
fn a_check_through_the_agent_waits_for_the_hook() {
    let bed = Bed::with(Setup { hook: "backoff = '1h'", ..Setup::default() });
    bed.push("one");
    let _agent = bed.agent();
    bed.check(0);
    bed.push("two");
    bed.hook.holds();
    let check = bed.start(&["check", "--json"]);

    bed.hook.call().exit(3);

    let line = one(&check.finish().expect(1));
    assert_eq!((&line["outcome"], &line["deliveries"][0]["exit_code"]), (&json!("moved"), &json!(3)));
}

#[test]
fn a_dry_run_through_the_agent_records_nothing() {
    let bed = Bed::new();
    let first = bed.push("one");
    let _agent = bed.agent();
    bed.check(0);
    bed.push("two");

    assert_eq!(one(&bed.run(&["check", "--dry-run", "--json"]).expect(0))["outcome"], "moved");

    assert_eq!(bed.status()["digest"], *first);
    bed.hook.expect_no_call();
    assert_eq!(bed.check(0)["outcome"], "moved");
}

#[test]
fn a_failed_check_through_the_agent_says_why() {
    let bed = Bed::new();
    let _agent = bed.agent();

    let line = bed.check(1);

    assert_eq!((&line["outcome"], &line["error"]["kind"]), (&json!("failed"), &json!("not_found")));
}

#[test]
fn an_unknown_watch_is_refused_by_the_agent_too() {
    let bed = Bed::new();
    let _agent = bed.agent();

    let said = bed.run(&["check", "wbe"]).expect(2);

    assert!(said.stderr.contains("did you mean \"web\""), "{}", said.stderr);
}

#[test]
fn what_is_known_reads_the_same_from_the_agent_and_from_the_database() {
    let bed = Bed::new();
    let first = bed.push("one");
    let agent = bed.agent();
    bed.check(0);
    let second = bed.push("two");
    bed.check(0);

    let live = bed.run(&["status", "--json"]).expect(0).json();
    let (history, deliveries) = (bed.history(), bed.deliveries());
    assert_eq!(live["source"], "agent");
    agent.stop();
    let stored = bed.run(&["status", "--json"]).expect(0).json();

    assert_eq!(stored["source"], "database");
    for known in ["watch", "image", "platform", "digest", "state", "last_changed", "paused", "enabled", "owed"] {
        assert_eq!(live["watches"][0][known], stored["watches"][0][known], "{known}");
    }
    assert_eq!((&live["watches"][0]["digest"], &live["watches"][0]["state"]), (&json!(second), &json!("ok")));
    assert_eq!((bed.history(), bed.deliveries()), (history.clone(), deliveries.clone()));
    let changes: Vec<_> = history.iter().map(|change| (&change["change"], &change["from"], &change["to"])).collect();
    let (moved, seen) = (json!("moved"), json!("first"));
    assert_eq!(changes, [(&moved, &json!(first), &json!(second)), (&seen, &Value::Null, &json!(first))]);
    assert_eq!((deliveries.len(), &deliveries[0]["state"]), (1, &json!("succeeded")));
}

#[test]
fn a_running_hook_shows_in_status_and_deliveries() {
    let bed = every_second();
    bed.push("one");
    bed.hook.holds();
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.push("two");
    let call = bed.hook.call();

    assert_eq!(bed.status()["owed"], json!({"pending": 0, "running": 1, "failed": 0, "held": 0}));
    let running = bed.deliveries().remove(0);
    assert_eq!((&running["state"], &running["attempts"]), (&json!("running"), &json!(1)));

    call.exit(0);
    agent.wait_for("hook succeeded", &[]);
    assert_eq!(bed.status()["owed"], json!({"pending": 0, "running": 0, "failed": 0, "held": 0}));
}

#[test]
fn a_second_agent_on_the_same_state_is_refused_and_the_first_goes_on() {
    let bed = every_second();
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);

    let refused = bed.run(&["run"]);

    assert!(matches!(refused.code, Some(1 | 2)), "{refused:#?}");
    assert!(refused.stderr.contains(&agent.pid().to_string()), "it names who holds the state: {}", refused.stderr);
    assert!(refused.stderr.contains(&bed.state().display().to_string()), "and the state: {}", refused.stderr);
    assert!(!agent.has_exited());
    let second = bed.push("two");
    agent.wait_for("tag moved", &[("to", &second)]);
    agent.stop();
}

#[test]
fn the_lock_names_the_owner_and_its_socket() {
    let bed = Bed::new();
    let agent = bed.agent();

    let lock: Value = serde_json::from_slice(&std::fs::read(bed.state().join("taghook.lock")).unwrap()).unwrap();

    assert_eq!(lock["pid"], agent.pid());
    assert_eq!(lock["socket"], bed.state().join("control.sock").display().to_string());
    agent.stop();
    assert!(!bed.state().join("control.sock").exists(), "a clean stop leaves no socket behind");
}

#[test]
fn the_agent_waits_for_a_check_that_holds_the_state() {
    let bed = every_second();
    bed.push("one");
    bed.check(0);
    bed.push("two");
    bed.hook.holds();
    let check = bed.start(&["check", "--json"]);
    let call = bed.hook.call();
    let mut agent = bed.agent_unready();
    // Long enough for the agent to find the state taken: what another process of the same kind takes to its end.
    bed.run(&["status"]).expect(0);

    call.exit(0);

    assert_eq!(one(&check.finish().expect(0))["outcome"], "moved");
    agent.wait_for("ready", &[]);
    bed.registry.await_asked(REPOSITORY, 2);
    bed.hook.expect_no_call();
}

#[test]
fn a_registry_that_never_answers_delays_no_other() {
    let (bed, silent) = (Bed::new(), Silent::start());
    let (host, hung) = (bed.registry.host(), silent.host());
    let watch = |name: &str, host: &str| format!("[watch.{name}]\nimage = '{host}/team/web:stable'\nschedule = '1s'\n");
    let watches = (0..20).map(|number| watch(&format!("hung-{number}"), &hung)).collect::<String>();
    bed.write_whole_config(&format!(
        "{watches}{}[registry.'{host}']\nplain_http = true\n[registry.'{hung}']\nplain_http = true\n",
        watch("web", &host)
    ));
    let first = bed.push("one");
    let mut agent = bed.agent();
    silent.await_asked();

    bed.registry.await_asked(REPOSITORY, 3);
    agent.wait_for("first seen", &[("watch", "web"), ("digest", &first)]);
    let second = bed.push("two");
    agent.wait_for("tag moved", &[("to", &second)]);
    // And it still stops at once.
    agent.stop();
}

#[test]
fn a_registry_that_never_answers_is_a_failed_check() {
    let (sandbox, silent) = (Sandbox::new(), Silent::start());
    let hung = silent.host();
    sandbox.write_whole_config(&format!(
        "[watch.web]\nimage = '{hung}/team/web:stable'\nschedule = '1s'\n\
         [registry.'{hung}']\nplain_http = true\ntimeout = '1s'\n"
    ));
    let mut agent = sandbox.agent();

    agent.wait_for("check failed", &[("watch", "web"), ("kind", "timeout")]);
}

#[test]
fn a_config_without_watches_is_a_warning_and_the_agent_idles() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config("");
    let mut agent = sandbox.agent_unready();

    agent.wait_for("no watches", &[]);
    agent.wait_for("ready", &[("watches", "0")]);

    let status = sandbox.run(&["status", "--json"]).expect(0).json();
    assert_eq!((&status["source"], &status["watches"]), (&json!("agent"), &json!([])));
    agent.stop();
}

#[test]
fn a_disabled_watch_is_not_checked() {
    let bed = Bed::new();
    let host = bed.registry.host();
    let watch = |name, keys| format!("[watch.{name}]\nimage = '{host}/team/{name}:stable'\nschedule = '1s'\n{keys}\n");
    let watches = watch("web", "") + &watch("off", "enabled = false");
    bed.write_whole_config(&format!("{watches}[registry.'{host}']\nplain_http = true\n"));
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[("watch", "web")]);
    bed.registry.requests();

    bed.registry.await_asked(REPOSITORY, 2);

    let status = bed.run(&["status", "--json"]).expect(0).json();
    let off = status["watches"].as_array().unwrap().iter().find(|watch| watch["watch"] == "off").unwrap();
    assert_eq!((&off["enabled"], &off["state"], &off["next_check"]), (&json!(false), &json!("unknown"), &Value::Null));
    assert!(agent.log().iter().all(|line| !line.contains("team/off")));
}

#[test]
fn a_stop_while_idle_is_clean_and_quick_to_start_again() {
    let bed = Bed::new();
    bed.agent().stop();
    bed.agent().stop();
}

#[test]
fn an_interrupt_stops_the_agent_as_well() {
    let bed = Bed::new();
    let agent = bed.agent();

    bed.shell(Who::Us, &format!("kill -INT {}", agent.pid())).expect(0);

    agent.finish();
}

#[test]
fn several_checks_at_once_through_the_agent_all_get_an_answer() {
    let bed = Bed::new();
    let first = bed.push("one");
    let _agent = bed.agent();

    let checks: Vec<Running> = (0..5).map(|_| bed.start(&["check", "--json"])).collect();

    for check in checks {
        assert_eq!(one(&check.finish().expect(0))["digest"], *first);
    }
    assert_eq!(bed.history().len(), 1);
}
