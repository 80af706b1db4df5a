//! What checks cost, counted where they are answered.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use support::registry::{Bearer, OCI_MANIFEST, Registry, Reply, Seen, image, parameter, sha256};
use support::sandbox::Sandbox;

/// A config with these watches, each as a name, an image and further lines, on a registry that may be asked at will.
fn configure(sandbox: &Sandbox, registry: &Registry, watches: &[(String, String)], lines: &str) {
    let tables: String =
        watches.iter().map(|(name, image)| format!("[watch.{name}]\nimage = '{image}'\n{lines}\n")).collect();
    let host = registry.host();
    sandbox.write_whole_config(&format!("{tables}[registry.'{host}']\nplain_http = true\nrate = '100000/s'\n"));
}

/// `count` repositories with `tags` tags each, as watches.
fn fill(registry: &Registry, count: usize, tags: usize) -> Vec<(String, String)> {
    let mut watches = Vec::new();
    for number in 0..count {
        for tag in 0..tags {
            let (repository, tag) = (format!("acme/app{number}"), format!("v{tag}"));
            registry.push_image(&repository, &tag, &format!("{repository} {tag}"));
            watches.push((format!("app{number}-{tag}"), registry.image(&repository, &tag)));
        }
    }
    watches
}

/// Manifest requests, those of them that were challenged, and the scopes that tokens were had for.
fn costs(log: &[Seen]) -> (usize, usize, Vec<String>) {
    let manifests: Vec<_> = log.iter().filter(|seen| seen.is_manifest()).collect();
    let bare = manifests.iter().filter(|seen| seen.header("authorization").is_none()).count();
    let tokens = log.iter().filter(|seen| seen.path == "/token").map(|seen| parameter(&seen.query, "scope"));
    assert!(log.iter().all(|seen| seen.is_manifest() || seen.path == "/token"), "{log:#?}");
    assert!(manifests.iter().all(|seen| seen.method == "HEAD"));
    (manifests.len(), bare, tokens.collect())
}

#[test]
fn two_hundred_tags_cost_a_head_each_one_challenge_and_a_token_for_each_repository() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.wants_bearer(Bearer::default());
    let watches = fill(&registry, 10, 20);
    configure(&sandbox, &registry, &watches, "schedule = '30d'");

    let checked = sandbox.run(&["check", "--json"]).expect(0).json_lines();

    assert_eq!(checked.len(), 200);
    let log = registry.log();
    let (heads, bare, scopes) = costs(&log);
    let distinct: BTreeSet<_> = scopes.iter().collect();
    assert_eq!((heads, bare, scopes.len(), distinct.len()), (201, 1, 10, 10), "{scopes:?}");
    let connections: BTreeSet<_> = log.iter().map(|seen| seen.connection).collect();
    assert!(connections.len() <= 4, "as many as may be under way at a time: {connections:?}");
}

#[test]
fn in_steady_state_an_unchanged_tag_costs_the_agent_one_head_a_check() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.wants_bearer(Bearer::default());
    configure(&sandbox, &registry, &fill(&registry, 1, 1), "schedule = '1s'");
    let agent = sandbox.agent();

    let log = registry.await_log(|log| log.len() >= 7);
    agent.stop();

    let (heads, bare, scopes) = costs(&log[..7]);
    assert_eq!((heads, bare, scopes.len()), (6, 1, 1));
    // The first check has its challenge and its token; what follows comes a second apart.
    for pair in log[3..7].windows(2) {
        assert!(pair[1].at.duration_since(pair[0].at) > Duration::from_millis(500), "two for one check: {log:#?}");
    }
    assert_eq!(log[6].connection, 0, "one connection is enough");
}

#[test]
fn a_registry_that_needs_no_token_is_not_asked_for_one() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.wants_bearer(Bearer::default());
    // Only one of its repositories is private, as on many a forge.
    let watches = fill(&registry, 12, 1);
    let bodies: Vec<_> = (0..12).map(|n| image(&format!("acme/app{n} v0"))).collect();
    registry.rule(move |seen, reply| {
        let number = (0..12).find(|n| *n != 2 && seen.path.contains(&format!("app{n}/")));
        let Some(number) = number else { return reply };
        Reply::status(200)
            .with("content-type", OCI_MANIFEST)
            .with("docker-content-digest", &sha256(bodies[number].as_bytes()))
    });
    configure(&sandbox, &registry, &watches, "schedule = '30d'");
    sandbox.run(&["check"]).expect(0);
    let (_, bare, scopes) = costs(&registry.log());
    assert_eq!((bare, scopes), (12, vec!["repository:acme/app2:pull".to_owned()]));
}

#[test]
fn watches_of_one_image_that_are_due_together_share_one_request() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    let (first, hook) = (registry.push_image("acme/web", "stable", "1"), sandbox.hook());
    let image = registry.image("acme/web", "stable");
    let host = registry.host();
    let watch = |name: &str| format!("[watch.{name}]\nimage = '{image}'\nschedule = '30d'\nhooks = ['redeploy']\n");
    sandbox.write_whole_config(&format!(
        "{}{}{}[hook.redeploy]\ncommand = {}\n[registry.'{host}']\nplain_http = true\n",
        watch("one"),
        watch("two"),
        watch("three"),
        hook.toml()
    ));
    let asked = || {
        let requests = registry.requests();
        registry.clear_log();
        requests
    };

    // Due at once, because they were never checked.
    let mut agent = sandbox.agent();
    for name in ["one", "two", "three"] {
        agent.wait_for("first seen", &[("watch", name), ("digest", &first)]);
    }
    assert_eq!(asked(), ["HEAD /v2/acme/web/manifests/stable"]);

    // Asked for together; the new digest is verified once, and each watch's hook is run.
    let second = registry.push_image("acme/web", "stable", "2");
    let lines = sandbox.run(&["check", "--json"]).expect(0).json_lines();
    let told: BTreeSet<_> = lines
        .iter()
        .map(|line| (&line["watch"], &line["outcome"], &line["digest"]))
        .map(|it| format!("{it:?}"))
        .collect();
    assert_eq!(told.len(), 3, "{lines:#?}");
    assert!(lines.iter().all(|line| line["outcome"] == "moved" && line["digest"] == *second), "{lines:#?}");
    assert_eq!(
        asked(),
        ["HEAD /v2/acme/web/manifests/stable".to_owned(), format!("HEAD /v2/acme/web/manifests/{second}")]
    );
    let ran: BTreeSet<_> = (0..3).map(|_| hook.call().var("TAGHOOK_WATCH").to_owned()).collect();
    assert_eq!(ran.len(), 3);

    // One alone is asked for alone.
    sandbox.run(&["check", "two"]).expect(0);
    assert_eq!(asked().len(), 1);
    agent.stop();

    // The same without an agent.
    sandbox.run(&["check"]).expect(0);
    assert_eq!(asked().len(), 1);
}

#[test]
fn a_digest_that_does_not_resolve_is_no_move_for_any_watch_of_the_image() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.push_image("acme/web", "stable", "1");
    let image = registry.image("acme/web", "stable");
    let watches = [("one".to_owned(), image.clone()), ("two".to_owned(), image)];
    configure(&sandbox, &registry, &watches, "schedule = '30d'");
    sandbox.run(&["check"]).expect(0);
    let second = registry.push_image("acme/web", "stable", "2");
    let missing = format!("/{second}");
    registry.rule(move |seen, reply| match seen.path.ends_with(&missing) {
        true => Reply::error(404, "MANIFEST_UNKNOWN"),
        false => reply,
    });
    let lines = sandbox.run(&["check", "--json"]).expect(1).json_lines();
    assert_eq!(lines.len(), 2);
    assert!(lines.iter().all(|line| line["error"]["kind"] == "unresolvable"), "{lines:#?}");
}
