//! How the agent treats a registry that wants to be left alone, or that is in trouble.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::time::Duration;

use support::registry::{Bearer, Manner, Registry, Reply, Seen};
use support::sandbox::Sandbox;

/// A registry with three tags, a watch on each, and the agent's config. The registry's table may say more.
fn scene(schedule: &str, table: &str) -> (Registry, Sandbox) {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    let mut text = String::new();
    for tag in ["a", "b", "c"] {
        registry.push_image("acme/web", tag, tag);
        let image = registry.image("acme/web", tag);
        text += &format!("[watch.{tag}]\nimage = '{image}'\nschedule = '{schedule}'\n");
    }
    let host = registry.host();
    sandbox.write_whole_config(&format!("{text}[registry.'{host}']\nplain_http = true\n{table}\n"));
    (registry, sandbox)
}

/// Limits the first request to this path, as these headers say.
fn limit_once(registry: &Registry, path: &'static str, status: u16, headers: &'static [(&str, &str)]) {
    let mut done = false;
    registry.rule(move |seen, reply| {
        if done || !seen.path.contains(path) {
            return reply;
        }
        done = true;
        headers.iter().fold(Reply::status(status), |reply, (name, value)| reply.with(name, value))
    });
}

/// The pause after the request that was limited, the first to this path.
#[track_caller]
fn pause_after(log: &[Seen], path: &str) -> Duration {
    let limited = log.iter().position(|seen| seen.path.contains(path)).unwrap();
    assert!(log.iter().all(|seen| seen.method == "HEAD" || seen.path == "/token"), "no GET after a limit: {log:#?}");
    log[limited + 1].at.duration_since(log[limited].at)
}

const TWO_SECONDS: &[(&str, &str)] = &[("retry-after", "2")];
const TWO_SECONDS_BY_DATE: &[(&str, &str)] =
    &[("date", "Mon, 23 Nov 2026 12:00:00 GMT"), ("retry-after", "Mon, 23 Nov 2026 12:00:02 GMT")];

#[test]
fn a_limit_holds_for_all_watches_and_what_it_sent_away_comes_back_when_it_ends() {
    for (path, status, headers) in [
        ("/manifests/", 429, TWO_SECONDS),
        ("/manifests/", 429, TWO_SECONDS_BY_DATE),
        ("/manifests/", 503, TWO_SECONDS),
        ("/token", 429, TWO_SECONDS),
        ("/token", 429, TWO_SECONDS_BY_DATE),
    ] {
        // One at a time, so that the others find the gate closed; due again in a month.
        let (registry, sandbox) = scene("30d", "concurrency = 1");
        if path == "/token" {
            registry.wants_bearer(Bearer::default());
        }
        limit_once(&registry, path, status, headers);
        let mut agent = sandbox.agent();
        agent.wait_for("registry held off", &[]);
        let tags: &[&str] = if status == 429 { &["a", "b", "c"] } else { &["b", "c"] };
        for tag in tags {
            agent.wait_for("first seen", &[("watch", tag)]);
        }
        let pause = pause_after(&registry.log(), path);
        let allowed = Duration::from_secs(2)..Duration::from_secs(5);
        assert!(allowed.contains(&pause), "{path} {status} {headers:?}: {pause:?}");
        let log = registry.log();
        assert!(log.last().unwrap().at.duration_since(log[0].at) < Duration::from_secs(10), "nobody waits for longer");
        agent.stop();
    }
}

#[test]
fn a_closed_gate_is_not_bypassed_by_hand() {
    let (registry, sandbox) = scene("30d", "concurrency = 1");
    registry.rule(|_, _| Reply::status(429).with("retry-after", "3600"));
    let mut agent = sandbox.agent();
    agent.wait_for("registry held off", &[]);
    for line in sandbox.run(&["check", "--json"]).expect(1).json_lines() {
        assert_eq!(line["error"]["kind"], "rate_limited", "{line}");
    }
    assert_eq!(registry.requests().len(), 1);
    agent.stop();
}

#[test]
fn a_failing_registry_is_probed_by_one_watch() {
    let (registry, sandbox) = scene("1s", "concurrency = 1");
    // Broken off twice each time, as a question is asked again on a new connection.
    let mut left = 4;
    registry.rule(move |_, reply| {
        left -= i32::from(left > 0);
        if left > 0 { reply.manner(Manner::Drop) } else { reply }
    });
    let mut agent = sandbox.agent();
    agent.wait_for("registry held off", &[("kind", "connect")]);
    let log = registry.await_log(|log| log.len() >= 4);
    let pause = log[2].at.duration_since(log[1].at);
    assert!(pause >= Duration::from_secs(5), "the others waited: {pause:?}");
    for tag in ["a", "b", "c"] {
        agent.wait_for("first seen", &[("watch", tag)]);
    }
    agent.stop();
}

#[test]
fn no_more_than_the_configured_checks_are_under_way() {
    let (registry, sandbox) = scene("30d", "concurrency = 2\ntimeout = '2s'");
    registry.rule(|_, reply| reply.manner(Manner::Hang));
    let mut agent = sandbox.agent();
    agent.wait_for("registry held off", &[("kind", "timeout")]);
    assert!(registry.requests().len() <= 2, "{:?}", registry.requests());
    agent.stop();
}
