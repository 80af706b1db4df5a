//! `taghook check --image`: tokens, logins and helpers.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use support::ask::{Ask, acme};
use support::registry::{self, Bearer, Registry, Reply};

#[test]
fn a_token_is_had_for_exactly_one_scope() {
    for scope in [None, Some("*"), Some("repository:{name}:pull"), Some("repository:{name}:pull,push")] {
        let (registry, image, digest) = acme();
        registry.wants_bearer(Bearer { scope: scope.map(str::to_owned), ..Bearer::default() });
        assert_eq!(Ask::image(&image).digest(), digest, "{scope:?}");
        let log = registry.log();
        assert_eq!(log.len(), 3, "{scope:?}");
        assert_eq!(registry::parameter(&log[1].query, "scope"), "repository:acme/web:pull");
        assert_eq!(registry::parameter(&log[1].query, "service"), "test");
        assert_eq!(log[2].header("authorization"), Some("Bearer token-1"));
    }
}

#[test]
fn a_login_goes_to_the_token_endpoint_only() {
    let (registry, image, digest) = acme();
    registry.wants_bearer(Bearer { login: Some("robot:hunter2".into()), anonymous: false, ..Bearer::default() });
    assert_eq!(Ask::image(&image).docker_login(&registry.host(), "robot:hunter2").digest(), digest);
    let basic = format!("Basic {}", registry::base64("robot:hunter2"));
    for seen in registry.log() {
        let sent = seen.header("authorization");
        assert_eq!(sent == Some(basic.as_str()), seen.path == "/token", "{seen:?}");
    }
}

#[test]
fn basic_is_answered_with_the_login() {
    let (registry, image, digest) = acme();
    registry.wants_basic("robot:hunter2");
    assert_eq!(Ask::image(&image).docker_login(&registry.host(), "robot:hunter2").digest(), digest);
    assert_eq!(registry.requests().len(), 2);
}

#[test]
fn without_a_login_the_refusal_says_what_to_do() {
    let (registry, image, _) = acme();
    registry.wants_basic("robot:hunter2");
    let (kind, message) = Ask::image(&image).failure();
    assert_eq!(kind, "unauthorized");
    assert!(message.contains("docker login"), "{message}");
}

#[test]
fn a_refused_login_is_named_without_its_secret() {
    let (registry, image, _) = acme();
    registry.wants_basic("robot:hunter2");
    let (kind, message) = Ask::image(&image).docker_login(&registry.host(), "robot:wrong-secret").failure();
    assert_eq!(kind, "unauthorized");
    assert!(message.contains("robot") && !message.contains("wrong-secret"), "{message}");
}

#[test]
fn of_two_challenges_bearer_is_preferred_and_basic_is_the_way_out() {
    for token_endpoint_works in [true, false] {
        let (registry, image, digest) = acme();
        registry.wants_bearer(Bearer::default());
        let login = format!("Basic {}", registry::base64("robot:hunter2"));
        let page = registry::image("1");
        registry.rule(move |seen, reply| {
            if seen.path == "/token" && !token_endpoint_works {
                return Reply::status(404);
            }
            if seen.is_manifest() && seen.header("authorization") == Some(login.as_str()) {
                let digest = registry::sha256(page.as_bytes());
                return Reply::status(200)
                    .with("content-type", registry::OCI_MANIFEST)
                    .with("docker-content-digest", &digest);
            }
            if reply.status == 401 { reply.with("www-authenticate", "Basic realm=\"gitea\"") } else { reply }
        });
        let ask = Ask::image(&image).docker_login(&registry.host(), "robot:hunter2");
        if token_endpoint_works {
            assert_eq!(ask.digest(), digest);
            assert_eq!(registry.log().last().unwrap().header("authorization"), Some("Bearer token-1"));
        } else {
            let told = ask.run();
            assert_eq!(told.code, 0, "{told:?}");
        }
    }
}

#[test]
fn a_stale_login_does_not_break_a_public_image() {
    // As ECR Public: any login is refused with 400 and no challenge, none is needed.
    let (registry, image, digest) = acme();
    registry.wants_bearer(Bearer { login: Some("robot:new".into()), anonymous: true, ..Bearer::default() });
    assert_eq!(Ask::image(&image).docker_login(&registry.host(), "robot:stale").digest(), digest);
    assert_eq!(registry.log().iter().filter(|seen| seen.path == "/token").count(), 2);
}

#[test]
fn without_a_challenge_the_root_is_asked_for_one() {
    let (registry, image, digest) = acme();
    registry.wants_bearer(Bearer::default());
    registry.rule(|seen, reply| match seen.is_manifest() && reply.status == 401 {
        true => reply.without("www-authenticate"),
        false => reply,
    });
    assert_eq!(Ask::image(&image).digest(), digest);
    assert_eq!(registry.requests()[1], "GET /v2/");
    assert_eq!(registry.log()[1].header("authorization"), None);
}

#[test]
fn a_root_that_is_a_web_page_is_no_challenge() {
    let (registry, image, _) = acme();
    registry.rule(|seen, _| if seen.is_manifest() { Reply::status(401) } else { Reply::html(200) });
    let (kind, message) = Ask::image(&image).failure();
    assert_eq!(kind, "unauthorized", "{message}");
    assert_eq!(registry.requests()[1], "GET /v2/");
}

#[test]
fn a_token_is_had_where_the_challenge_says() {
    // As lscr.io, whose realm and service are GHCR's.
    let ((front, image, digest), backend) = (acme(), Registry::start());
    backend.wants_bearer(Bearer::default());
    let challenge = format!(
        "Bearer realm=\"http://{}/token\",service=\"ghcr.example\",scope=\"repository:behind/web:pull\"",
        backend.host()
    );
    front.rule(move |seen, reply| match seen.header("authorization") {
        Some("Bearer token-1") => reply,
        _ => Reply::status(401).with("www-authenticate", &challenge),
    });
    assert_eq!(Ask::image(&image).docker_login("ghcr.example", "robot:hunter2").digest(), digest);
    let asked = &backend.log()[0];
    assert_eq!(registry::parameter(&asked.query, "service"), "ghcr.example");
    assert_eq!(registry::parameter(&asked.query, "scope"), "repository:behind/web:pull");
    assert_eq!(asked.header("authorization"), None, "a login for another name stays where it is");
}

#[test]
fn a_granted_token_that_is_refused_is_not_asked_for_again() {
    // As Docker Hub for a repository that is not there.
    let (registry, image, _) = acme();
    registry.wants_bearer(Bearer::default());
    registry.rule(|seen, reply| {
        let challenge = "Bearer realm=\"/token\",service=\"x\",error=\"insufficient_scope\"";
        if seen.is_manifest() { Reply::status(401).with("www-authenticate", challenge) } else { reply }
    });
    let (kind, message) = Ask::image(&image).failure();
    assert_eq!(kind, "unauthorized");
    assert!(message.contains("not found, or"), "{message}");
    assert_eq!(registry.requests().len(), 3, "{:?}", registry.requests());
}

#[test]
fn who_waits_for_a_token_shares_it() {
    let (registry, image, digest) = acme();
    registry.wants_bearer(Bearer::default());
    let mut arguments = vec!["--plain-http"];
    for _ in 0..12 {
        arguments.extend(["--image", image.as_str()]);
    }
    let told = Ask::new(&arguments).run();
    assert_eq!(told.out.matches(&digest).count(), 12, "{told:?}");
    assert_eq!(registry.log().iter().filter(|seen| seen.path == "/token").count(), 1);
}

#[test]
fn a_docker_config_that_is_garbled_is_a_credentials_error() {
    let (registry, image, digest) = acme();
    // Nobody asks for a login: it is not looked for.
    assert_eq!(Ask::image(&image).docker_config("{").digest(), digest);
    registry.wants_basic("robot:hunter2");
    let (kind, message) = Ask::image(&image).docker_config("{\"auths\": 7, \"x\": \"hunter2\"}").failure();
    assert_eq!(kind, "credentials");
    assert!(message.contains("config.json") && !message.contains("hunter2"), "{message}");
}

#[test]
fn a_helper_is_asked_with_the_registrys_name_and_again_when_its_login_is_stale() {
    let (registry, image, digest) = acme();
    registry.wants_bearer(Bearer { login: Some("robot:new".into()), anonymous: false, ..Bearer::default() });
    let host = registry.host();
    let script = format!(
        r#"test "$1" = get && test "$(cat)" = "{host}" || exit 1
        if test -e asked; then secret=new; else secret=stale; touch asked; fi
        echo '{{"ServerURL":"x","Username":"robot","Secret":"'$secret'"}}'"#
    );
    let config = serde_json::json!({"credHelpers": {host: "test"}}).to_string();
    assert_eq!(Ask::image(&image).docker_config(&config).helper("test", &script).digest(), digest);
}

#[test]
fn a_helper_without_a_login_is_no_error_and_a_broken_one_repeats_nothing() {
    let (registry, image, digest) = acme();
    registry.wants_bearer(Bearer::default());
    let config = "{\"credsStore\": \"test\"}";
    let empty = "echo 'credentials not found in native keychain'; exit 1";
    assert_eq!(Ask::image(&image).docker_config(config).helper("test", empty).digest(), digest);

    let broken = "echo 'panic: hunter2'; exit 2";
    let (kind, message) = Ask::image(&image).docker_config(config).helper("test", broken).failure();
    assert_eq!(kind, "credentials");
    assert!(message.contains("docker-credential-test") && !message.contains("hunter2"), "{message}");
    let (kind, message) = Ask::image(&image).docker_config("{\"credsStore\": \"../evil\"}").failure();
    assert_eq!(kind, "credentials", "{message}");
}

#[test]
fn an_identity_token_is_exchanged_or_sent_as_a_password() {
    let config = |host: String| {
        let entry = serde_json::json!({"auth": registry::base64("00000000:"), "identitytoken": "idt&1"});
        serde_json::json!({"auths": {host: entry}}).to_string()
    };
    let exchanging = Bearer { identity: Some("idt&1".into()), anonymous: false, ..Bearer::default() };
    let refusing = Bearer { login: Some("<token>:idt&1".into()), anonymous: false, ..Bearer::default() };
    for (bearer, methods) in [(exchanging, vec!["POST"]), (refusing, vec!["POST", "GET"])] {
        let (registry, image, digest) = acme();
        registry.wants_bearer(bearer);
        assert_eq!(Ask::image(&image).docker_config(&config(registry.host())).digest(), digest);
        let log = registry.log();
        let seen: Vec<_> = log.iter().filter(|seen| seen.path == "/token").map(|seen| &*seen.method).collect();
        assert_eq!(seen, methods);
        assert!(log.iter().all(|seen| !seen.query.contains("idt")), "a secret in a URL ends in logs");
    }
}

#[test]
fn an_identity_token_that_is_not_exchanged_is_a_password_whatever_the_refusal() {
    for status in [400, 401, 404, 405] {
        let (registry, image, digest) = acme();
        let login = Some("<token>:idt".to_owned());
        registry.wants_bearer(Bearer { login, anonymous: false, ..Bearer::default() });
        registry.rule(move |seen, reply| if seen.method == "POST" { Reply::status(status) } else { reply });
        let config = serde_json::json!({"auths": {registry.host(): {"identitytoken": "idt"}}}).to_string();
        assert_eq!(Ask::image(&image).docker_config(&config).digest(), digest, "{status}");
    }
}

#[test]
fn an_identity_token_is_not_sent_on() {
    let (registry, image, _) = acme();
    let elsewhere = Registry::start();
    registry.wants_bearer(Bearer { anonymous: false, ..Bearer::default() });
    let location = format!("http://{}/token", elsewhere.host());
    registry.rule(move |seen, reply| if seen.method == "POST" { Reply::redirect(307, &location) } else { reply });
    let config = serde_json::json!({"auths": {registry.host(): {"identitytoken": "idt"}}}).to_string();
    assert_eq!(Ask::image(&image).docker_config(&config).failure().0, "redirect");
    assert!(elsewhere.log().is_empty());
}

#[test]
fn a_helper_is_asked_once_for_many_repositories() {
    let (registry, image, _) = acme();
    registry.push_image("acme/db", "1", "2");
    registry.wants_bearer(Bearer { login: Some("robot:x".into()), anonymous: false, ..Bearer::default() });
    let calls = tempfile::NamedTempFile::new().unwrap();
    let script = format!("echo x >> '{}'; echo '{{\"Username\":\"robot\",\"Secret\":\"x\"}}'", calls.path().display());
    let other = registry.image("acme/db", "1");
    let ask = Ask::new(&["--plain-http", "--image", &image, "--image", &other]);
    let told = ask.docker_config("{\"credsStore\": \"test\"}").helper("test", &script).run();
    assert_eq!(told.code, 0, "{told:?}");
    assert_eq!(std::fs::read_to_string(calls.path()).unwrap(), "x\n");
}
