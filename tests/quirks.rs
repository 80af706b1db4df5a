//! What registries do over time, as the agent meets it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::collections::HashSet;
use std::time::Duration;

use serde_json::json;
use support::bed::one;
use support::hook::Hook;
use support::registry::{DOCKER_MANIFEST, Manner, OCI_MANIFEST, Registry, Reply, base64, image};
use support::sandbox::Sandbox;
use support::silent::Silent;

/// A watch of `acme/web:stable` with a hook; these lines are the watch's, and those of the registry's table.
fn scene(watch: &str, table: &str) -> (Registry, Sandbox, Hook) {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    registry.push_image("acme/web", "stable", "1");
    let (hook, host) = (sandbox.hook(), registry.host());
    sandbox.write_whole_config(&format!(
        "[watch.web]\nimage = '{host}/acme/web:stable'\nhooks = ['redeploy']\n{watch}\n\
         [hook.redeploy]\ncommand = {}\n[registry.'{host}']\nplain_http = true\n{table}\n",
        hook.toml()
    ));
    (registry, sandbox, hook)
}

#[test]
fn the_rate_is_kept_by_default_for_ecr_public_and_as_configured() {
    // The host, its table, how many watches, and how long they take at least: the burst is as large as the concurrency.
    for (host, table, count, at_least) in [
        ("registry.invalid", "", 24, 2000),
        ("public.ecr.aws", "", 3, 2000),
        ("registry.invalid", "rate = '4/s'\nconcurrency = 1", 7, 1500),
        ("public.ecr.aws", "rate = '100000/s'", 3, 0),
    ] {
        let (registry, sandbox) = (Registry::start(), Sandbox::new());
        let mut text = format!("[registry.'{host}']\nendpoint = 'http://{}'\n{table}\n", registry.host());
        for n in 0..count {
            registry.push_image("acme/web", &n.to_string(), "1");
            text += &format!("[watch.w{n}]\nimage = '{host}/acme/web:{n}'\nschedule = '30d'\n");
        }
        sandbox.write_whole_config(&text);
        let agent = sandbox.agent();
        let log = registry.await_log(|log| log.len() >= count);
        agent.stop();
        let took = log[count - 1].at.duration_since(log[0].at);
        // A request may be under way for longer than the next one.
        assert!(took + Duration::from_millis(250) >= Duration::from_millis(at_least), "{host} {table:?}: {took:?}");
    }
}

#[test]
fn a_mirror_that_goes_back_must_say_so_twice() {
    let (registry, sandbox, hook) = scene("schedule = '30d'\nconfirm_after = '2s'", "");
    let first = registry.push_image("acme/web", "stable", "1");
    let mut agent = sandbox.agent();
    agent.wait_for("first seen", &[("digest", &first)]);
    let outcome = || one(&sandbox.run(&["check", "--json"]).expect(0))["outcome"].take();
    let second = registry.push_image("acme/web", "stable", "2");
    assert_eq!(outcome(), "moved");
    assert_eq!(hook.only_call().var("TAGHOOK_DIGEST"), second);

    // Stale for a moment: nothing has moved.
    registry.move_tag("acme/web", "stable", &first);
    assert_eq!(outcome(), "settling");
    registry.move_tag("acme/web", "stable", &second);
    assert_eq!(outcome(), "unchanged");

    // Rolled back: confirmed by the agent itself, long before the watch is due.
    registry.move_tag("acme/web", "stable", &first);
    registry.clear_log();
    assert_eq!(outcome(), "settling");
    hook.expect_no_call();
    agent.wait_for("tag moved", &[("from", &second), ("to", &first)]);
    let log = registry.log();
    let asked: Vec<_> = log.iter().filter(|seen| seen.path.ends_with("/stable")).map(|seen| seen.at).collect();
    assert!(asked[asked.len() - 1].duration_since(asked[0]) >= Duration::from_millis(1900), "{log:#?}");
    let call = hook.only_call();
    assert_eq!((call.var("TAGHOOK_PREVIOUS_DIGEST"), call.var("TAGHOOK_DIGEST")), (&*second, &*first));
    agent.stop();
}

#[test]
fn a_digest_of_another_media_type_is_looked_at_twice() {
    let (registry, sandbox, hook) = scene("schedule = '30d'\nconfirm_after = '1s'", "");
    let mut agent = sandbox.agent();
    agent.wait_for("first seen", &[]);
    let body = image("2").replace(OCI_MANIFEST, DOCKER_MANIFEST);
    let digest = registry.push("acme/web", "stable", body.as_bytes(), DOCKER_MANIFEST);
    assert_eq!(one(&sandbox.run(&["check", "--json"]).expect(0))["outcome"], "settling");
    agent.wait_for("tag moved", &[("to", &digest)]);
    assert_eq!(hook.only_call().var("TAGHOOK_MEDIA_TYPE"), DOCKER_MANIFEST);
    agent.stop();
}

#[test]
fn a_kept_connection_that_the_server_closes_costs_one_retry_and_no_failure() {
    // Closed when it is used again, and closed at once without a word.
    for (at_once, wanted) in [(false, [0, 0, 1, 1, 2, 2]), (true, [0, 1, 2, 3, 4, 5])] {
        let (registry, sandbox, _hook) = scene("schedule = '1s'", "");
        let mut used = HashSet::new();
        registry.rule(move |seen, reply| {
            let Some((_, digest)) = reply.headers.iter().find(|(name, _)| name == "docker-content-digest") else {
                return reply;
            };
            match (used.insert(seen.connection), at_once) {
                (false, _) => reply.manner(Manner::Drop),
                (true, false) => reply,
                (true, true) => {
                    let head = format!(
                        "HTTP/1.1 200 OK\r\ncontent-type: {OCI_MANIFEST}\r\ndocker-content-digest: {digest}\r\n\
                         content-length: 2\r\n\r\n"
                    );
                    reply.manner(Manner::Raw(head.into()))
                }
            }
        });
        let mut agent = sandbox.agent();
        agent.wait_for("first seen", &[]);
        let log = registry.await_log(|log| log.len() >= 6);
        assert_eq!(log[..6].iter().map(|seen| seen.connection).collect::<Vec<_>>(), wanted);
        let failed: Vec<_> = agent.log().into_iter().filter(|line| line.contains("fail")).collect();
        assert_eq!(failed, Vec::<String>::new());
        agent.stop();
    }
}

#[test]
fn a_login_that_is_changed_is_picked_up_by_the_agent_that_runs() {
    let docker =
        |registry: &Registry, login: &str| json!({"auths": {registry.host(): {"auth": base64(login)}}}).to_string();
    for in_docker_config in [false, true] {
        let table = if in_docker_config { "" } else { "username = 'robot'\npassword_file = 'password'" };
        let (registry, sandbox, _hook) = scene("schedule = '1s'", table);
        let write = |password: &str| {
            let path = match in_docker_config {
                true => sandbox.path().join("home/.docker/config.json"),
                false => sandbox.path().join("password"),
            };
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            let login = format!("robot:{password}");
            let text = if in_docker_config { docker(&registry, &login) } else { format!("{password}\n") };
            std::fs::write(path, text).unwrap();
        };
        registry.wants_basic("robot:old");
        write("old");
        let mut agent = sandbox.agent();
        agent.wait_for("first seen", &[]);
        registry.wants_basic("robot:new");
        agent.wait_for("check failed", &[("kind", "unauthorized")]);
        write("new");
        agent.wait_for("check succeeded after failures", &[]);
        agent.stop();
    }
}

#[test]
fn the_agent_tells_what_kept_it_from_a_registry() {
    let (tls, silent, sandbox) = (Registry::start(), Silent::start(), Sandbox::new());
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string();
    let hosts = [
        ("dns", "nowhere.invalid".to_owned(), "plain_http = true"),
        ("connect", free, "plain_http = true"),
        ("tls", tls.host(), ""),
        ("timeout", silent.host(), "plain_http = true\ntimeout = '1s'"),
    ];
    let text: String = hosts
        .iter()
        .map(|(kind, host, table)| {
            format!("[watch.{kind}]\nimage = '{host}/acme/web:1'\n[registry.'{host}']\n{table}\n")
        })
        .collect();
    sandbox.write_whole_config(&text);
    let mut agent = sandbox.agent();
    for (kind, host, _) in &hosts {
        let line = agent.wait_for("check failed", &[("watch", kind), ("kind", kind)]);
        assert!(line.contains(host), "it names who was asked: {line}");
        agent.wait_for("registry held off", &[("registry", host), ("kind", kind)]);
    }
    let status = sandbox.run(&["status", "--json"]).json();
    for watch in status["watches"].as_array().unwrap() {
        assert_eq!((&watch["error"]["kind"], &watch["state"]), (&watch["watch"], &json!("failing")), "{watch}");
    }
    agent.stop();
}

#[test]
fn absence_that_proxies_make_up_is_no_removal() {
    let (registry, sandbox, hook) = scene("schedule = '30d'", "");
    let mut agent = sandbox.agent();
    agent.wait_for("first seen", &[]);
    registry.rule(|_, _| Reply::error(404, "MANIFEST_UNKNOWN"));
    for _ in 0..4 {
        let line = one(&sandbox.run(&["check", "--json"]).expect(1));
        assert_eq!(line["error"]["kind"], "not_found", "{line}");
    }
    registry.no_rules();
    assert_eq!(one(&sandbox.run(&["check", "--json"]).expect(0))["outcome"], "unchanged");
    hook.expect_no_call();
    agent.stop();
}

#[test]
fn no_hook_hears_of_a_removal_that_only_head_tells() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    let (host, hook) = (registry.host(), sandbox.hook());
    for repository in ["proxied/web", "acme/web"] {
        registry.push_image(repository, "stable", "1");
    }
    // One repository of the host is a front for another registry, whose HEAD finds nothing.
    registry.rule(|seen, reply| match seen.method == "HEAD" && seen.path.contains("proxied") {
        true => Reply::error(404, "MANIFEST_UNKNOWN"),
        false => reply,
    });
    sandbox.write_whole_config(&format!(
        "[defaults]\nschedule = '30d'\nabsent_after = '0s'\nhooks = ['tell']\n[watch.honest]\nimage = '{host}/acme/web:stable'\n\
         [watch.proxied]\nimage = '{host}/proxied/web:stable'\n[hook.tell]\ncommand = {}\non = ['moved', 'removed']\n\
         [registry.'{host}']\nplain_http = true\n",
        hook.toml()
    ));
    let agent = sandbox.agent();
    for _ in 0..5 {
        sandbox.run(&["check", "honest"]).expect(0);
        let line = one(&sandbox.run(&["check", "proxied", "--json"]).expect(0));
        assert!(line["outcome"] == "unchanged" || line["outcome"] == "first", "{line}");
    }
    hook.expect_no_call();
    agent.stop();
}
