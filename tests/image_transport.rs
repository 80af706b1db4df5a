//! `taghook check --image`: limits, trouble, proxies and redirects.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::time::Duration;

use support::ask::{Ask, acme};
use support::registry::{self, Bearer, Manner, Registry, Reply};
use support::sandbox::{Sandbox, Who};

// Limits and trouble.

#[test]
fn after_a_429_nothing_more_is_asked() {
    let (registry, image, _) = acme();
    registry.rule(|_, _| Reply::status(429).with("retry-after", "30"));
    let (kind, message) = Ask::image(&image).failure();
    assert_eq!(kind, "rate_limited");
    assert!(message.contains("wait 30 s"), "{message}");
    assert_eq!(registry.requests().len(), 1);
}

#[test]
fn a_429_of_the_token_endpoint_is_a_rate_limit() {
    let (registry, image, _) = acme();
    registry.wants_bearer(Bearer::default());
    registry.rule(|seen, reply| match seen.path.as_str() {
        "/token" => Reply::status(429).with("retry-after", "7"),
        _ => reply,
    });
    let (kind, message) = Ask::image(&image).failure();
    assert_eq!(kind, "rate_limited");
    assert!(message.contains("wait 7 s"), "{message}");
    assert_eq!(registry.requests(), ["HEAD /v2/acme/web/manifests/stable", "GET /token"]);
}

#[test]
fn a_wait_that_stands_only_in_the_body_is_read() {
    // As GHCR's token endpoint.
    let (registry, image, _) = acme();
    registry.wants_bearer(Bearer::default());
    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 1m2.5s, allowed: 44000/minute"}]}"#;
    registry.rule(move |seen, reply| if seen.path == "/token" { Reply::status(429).body(body) } else { reply });
    let (kind, message) = Ask::image(&image).failure();
    assert!(kind == "rate_limited" && message.contains("wait 62 s"), "{message}");
}

#[test]
fn a_limit_whose_explanation_never_comes_is_told_without_it() {
    let (registry, image, _) = acme();
    registry.wants_bearer(Bearer::default());
    let half = b"HTTP/1.1 429 Slow\r\ncontent-length: 99999999\r\n\r\n".to_vec();
    registry.rule(move |seen, reply| match seen.path.as_str() {
        "/token" => reply.manner(Manner::RawOpen(half.clone())),
        _ => reply,
    });
    let started = std::time::Instant::now();
    assert_eq!(Ask::image(&image).failure().0, "rate_limited");
    assert!(started.elapsed() < Duration::from_secs(20), "the client's own limit of 30 s was not waited for");
}

#[test]
fn a_broken_registry_is_a_server_error() {
    for status in [500, 502, 503] {
        let (registry, image, _) = acme();
        registry.rule(move |_, _| Reply::html(status));
        assert_eq!(Ask::image(&image).failure().0, "server", "{status}");
    }
}

#[test]
fn nobody_there_is_a_connect_error() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (kind, message) = Ask::image(&format!("{free}/acme/web:1")).failure();
    assert_eq!(kind, "connect", "{message}");
    assert!(message.contains("refused"), "{message}");
}

#[test]
fn a_name_that_does_not_resolve_is_a_dns_error() {
    let (kind, message) = Ask::image("nowhere.invalid/acme/web:1").failure();
    assert_eq!(kind, "dns", "{message}");
}

#[test]
fn ipv6_that_does_not_work_beside_ipv4_is_passed_over() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    let digest = registry.push_image("acme/web", "1", "a");
    let (_, port) = registry.host().rsplit_once(':').map(|(host, port)| (host.to_owned(), port.to_owned())).unwrap();
    // The registry listens at the second of these only. In a mount namespace of its own, so that nothing of the machine
    // is changed.
    let hosts = sandbox.path().join("hosts");
    std::fs::write(&hosts, "::1 both.test\n127.0.0.1 both.test\n").unwrap();
    let ask =
        format!("{} check --json --plain-http --image both.test:{port}/acme/web:1", env!("CARGO_BIN_EXE_taghook"));
    let inside = format!("mount --bind {} /etc/hosts && getent ahosts both.test >&2 && exec {ask}", hosts.display());

    let told = sandbox.shell(Who::Root, &format!("unshare -m /bin/sh -c '{inside}'")).expect(0);

    assert!(told.stderr.starts_with("::1") && told.stderr.contains("127.0.0.1"), "{}", told.stderr);
    assert_eq!(told.json()["digest"], *digest);
}

#[test]
fn https_is_the_default_and_the_remedy_is_named() {
    let (_registry, image, _) = acme();
    let told = Ask::new(&["--json", "--image", &image]).run();
    let error = &told.json()["error"];
    assert_eq!(error["kind"], "tls", "{error}");
    assert!(error["message"].as_str().unwrap().contains("add --plain-http"), "{error}");
}

#[test]
fn what_does_not_speak_http_is_not_a_registry() {
    let (registry, image, _) = acme();
    registry.rule(|_, reply| reply.manner(Manner::Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec())));
    assert_eq!(Ask::image(&image).failure().0, "not_a_registry");
}

#[test]
fn a_connection_that_breaks_once_is_asked_again_and_twice_is_an_error() {
    let (registry, image, digest) = acme();
    let mut first = true;
    registry.rule(move |_, reply| match std::mem::take(&mut first) {
        true => reply.manner(Manner::Drop),
        false => reply,
    });
    assert_eq!(Ask::image(&image).digest(), digest);
    registry.clear_log();
    registry.rule(|_, reply| reply.manner(Manner::Drop));
    assert_eq!(Ask::image(&image).failure().0, "connect");
    assert_eq!(registry.requests().len(), 2);
}

#[test]
fn a_registry_on_this_machine_is_asked_without_a_proxy() {
    let registry = Registry::start();
    let digest = registry.push_image("acme/web", "1", "a");
    let mut ask = Ask::image(&registry.image("acme/web", "1"));
    ask.command.env("http_proxy", "http://127.0.0.1:9").env("HTTP_PROXY", "http://127.0.0.1:9");
    assert_eq!(ask.digest(), digest);
}

#[test]
fn the_environments_proxy_is_used() {
    let proxy = Registry::start();
    let digest = registry::sha256(b"x");
    let told = digest.clone();
    proxy.rule(move |_, _| {
        Reply::status(200).with("content-type", registry::OCI_MANIFEST).with("docker-content-digest", &told)
    });
    let mut ask = Ask::image("registry.invalid/acme/web:1");
    ask.command.env("HTTP_PROXY", format!("http://{}", proxy.host())).env("NO_PROXY", "other.invalid");
    assert_eq!(ask.digest(), digest);
    assert_eq!(proxy.requests(), ["HEAD http://registry.invalid/v2/acme/web/manifests/1"]);
}

#[test]
fn an_excluded_host_is_never_asked_through_the_proxy_however_the_exclusion_is_written() {
    for excluded in ["*.invalid", ".invalid", "registry.invalid:80", "other.invalid, invalid", "*"] {
        let proxy = Registry::start();
        let mut ask = Ask::image("registry.invalid/acme/web:1");
        ask.command.env("http_proxy", format!("http://{}", proxy.host())).env("NO_PROXY", excluded);
        assert_eq!(ask.failure().0, "dns", "{excluded}");
        assert_eq!(proxy.requests(), Vec::<String>::new(), "{excluded}");
    }
}

// Redirects.

#[test]
fn a_login_stays_with_its_origin() {
    for status in [301, 302, 307, 308] {
        let (here, image, _) = acme();
        let there = Registry::start();
        let digest = there.push_image("acme/web", "stable", "other");
        here.wants_basic("robot:hunter2");
        let location = format!("http://{}/v2/acme/web/manifests/stable", there.host());
        here.rule(move |_, reply| if reply.status == 200 { Reply::redirect(status, &location) } else { reply });
        assert_eq!(Ask::image(&image).docker_login(&here.host(), "robot:hunter2").digest(), digest, "{status}");
        assert_eq!(there.log().len(), 1);
        assert_eq!(there.log()[0].header("authorization"), None);
        assert_eq!(there.log()[0].method, "HEAD");
    }
}

#[test]
fn within_one_origin_the_login_is_kept() {
    let (registry, _, digest) = acme();
    registry.wants_basic("robot:hunter2");
    registry.rule(|seen, reply| match seen.path.as_str() {
        "/v2/old/web/manifests/stable" if reply.status != 401 => Reply::redirect(307, "/v2/acme/web/manifests/stable"),
        _ => reply,
    });
    let image = registry.image("old/web", "stable");
    assert_eq!(Ask::image(&image).docker_login(&registry.host(), "robot:hunter2").digest(), digest);
}

#[test]
fn another_origins_own_challenge_is_answered() {
    let (here, image, _) = acme();
    let there = Registry::start();
    let digest = there.push_image("acme/web", "stable", "other");
    there.wants_bearer(Bearer::default());
    let location = format!("http://{}/v2/acme/web/manifests/stable", there.host());
    here.rule(move |_, _| Reply::redirect(307, &location));
    assert_eq!(Ask::image(&image).digest(), digest);
}

#[test]
fn redirects_without_end_or_aim_are_errors() {
    let mut n = 0;
    let endless = move || {
        n += 1;
        Reply::redirect(302, &format!("/v2/{n}"))
    };
    let aimless = || Reply::status(302);
    let foreign = || Reply::redirect(302, "ftp://example.com/x");
    let rules: [Box<dyn FnMut() -> Reply + Send>; 3] = [Box::new(endless), Box::new(aimless), Box::new(foreign)];
    for (mut rule, requests) in rules.into_iter().zip([6, 1, 1]) {
        let (registry, image, _) = acme();
        registry.rule(move |_, _| rule());
        assert_eq!(Ask::image(&image).failure().0, "redirect");
        assert_eq!(registry.requests().len(), requests);
    }
}
