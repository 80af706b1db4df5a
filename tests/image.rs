//! `taghook check --image`: the real binary asks a registry that behaves as real ones do.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::process::{Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;
use support::registry::{self, Bearer, Manner, Registry, Reply};

/// No test needs as long; a child that does is killed.
const PATIENCE: Duration = Duration::from_secs(60);

/// One run of the binary in an environment that has nothing of ours.
struct Ask {
    command: Command,
    home: tempfile::TempDir,
}

/// What came of it.
#[derive(Debug)]
struct Told {
    code: i32,
    out: String,
    err: String,
}

impl Ask {
    fn new(arguments: &[&str]) -> Self {
        let home = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_taghook"));
        command.env_clear().env("HOME", home.path()).arg("check").args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Self { command, home }
    }

    /// Over plain HTTP, as JSON.
    fn image(image: &str) -> Self {
        Self::new(&["--plain-http", "--json", "--image", image])
    }

    fn platform(mut self, platform: &str) -> Self {
        self.command.args(["--platform", platform]);
        self
    }

    /// With `docker login` for a registry.
    fn docker_login(self, registry: &str, login: &str) -> Self {
        let auth = registry::base64(login);
        self.docker_config(&serde_json::json!({"auths": {registry: {"auth": auth}}}).to_string())
    }

    fn docker_config(self, text: &str) -> Self {
        std::fs::create_dir_all(self.home.path().join(".docker")).unwrap();
        std::fs::write(self.home.path().join(".docker/config.json"), text).unwrap();
        self
    }

    /// With a credential helper of this name: a shell script that is run with `sh` in the home directory.
    fn helper(mut self, name: &str, script: &str) -> Self {
        use std::os::unix::fs::PermissionsExt as _;
        let path = self.home.path().join(format!("docker-credential-{name}"));
        std::fs::write(&path, format!("#!/bin/sh\ncd \"$HOME\"\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        self.command.env("PATH", format!("{}:/usr/bin:/bin", self.home.path().display()));
        self
    }

    fn run(mut self) -> Told {
        let child = self.command.spawn().unwrap();
        let pid = child.id().to_string();
        let (done, ended) = std::sync::mpsc::channel::<()>();
        let watchdog = std::thread::spawn(move || {
            if ended.recv_timeout(PATIENCE).is_err_and(|error| error == std::sync::mpsc::RecvTimeoutError::Timeout) {
                let _ = Command::new("kill").args(["-KILL", &pid]).status();
            }
        });
        let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
        drop(done);
        watchdog.join().unwrap();
        Told {
            code: status.code().unwrap_or(-1),
            out: String::from_utf8(stdout).unwrap(),
            err: String::from_utf8(stderr).unwrap(),
        }
    }

    /// The digest; anything else ends the test.
    fn digest(self) -> String {
        let told = self.run();
        let line = told.json();
        assert_eq!((told.code, line["outcome"].as_str()), (0, Some("present")), "{told:?}");
        line["digest"].as_str().unwrap().to_owned()
    }

    /// The kind and the message of the failure; anything else ends the test.
    fn failure(self) -> (String, String) {
        let told = self.run();
        let line = told.json();
        assert_eq!((told.code, line["outcome"].as_str()), (1, Some("failed")), "{told:?}");
        assert_eq!(line["digest"], Value::Null);
        (line["error"]["kind"].as_str().unwrap().to_owned(), line["error"]["message"].as_str().unwrap().to_owned())
    }
}

impl Told {
    fn json(&self) -> Value {
        serde_json::from_str(self.out.trim()).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// A registry that holds `acme/web:stable`, and the tag's digest.
fn registry() -> (Registry, String, String) {
    let registry = Registry::start();
    let digest = registry.push_image("acme/web", "stable", "1");
    let image = registry.image("acme/web", "stable");
    (registry, image, digest)
}

// What is said.

#[test]
fn a_present_tag_costs_one_head_request() {
    let (registry, image, digest) = registry();
    let told = Ask::new(&["--plain-http", "--image", &image]).run();
    assert_eq!((told.code, told.out.as_str(), told.err.as_str()), (0, &*format!("{digest}  {image}\n"), ""));
    assert_eq!(registry.requests(), ["HEAD /v2/acme/web/manifests/stable"]);
}

#[test]
fn json_has_every_field_of_a_check() {
    let (_registry, image, digest) = registry();
    let mut line = Ask::image(&image).run().json();
    assert!(line["elapsed_ms"].take().is_u64());
    let expected = serde_json::json!({"watch": null, "image": image, "outcome": "present", "digest": digest,
        "previous": null, "error": null, "elapsed_ms": null, "deliveries": []});
    assert_eq!(line, expected);
}

#[test]
fn the_request_accepts_all_four_types_in_one_header_and_names_its_sender() {
    let (registry, image, _) = registry();
    Ask::image(&image).digest();
    let seen = &registry.log()[0];
    let accepts: Vec<_> = seen.headers.iter().filter(|(name, _)| name == "accept").collect();
    assert_eq!(accepts.len(), 1);
    for media_type in [registry::OCI_INDEX, registry::OCI_MANIFEST, registry::DOCKER_LIST, registry::DOCKER_MANIFEST] {
        assert!(accepts[0].1.contains(media_type), "{media_type}");
    }
    assert_eq!(seen.header("user-agent"), Some(concat!("taghook/", env!("CARGO_PKG_VERSION"))));
    assert_eq!(seen.header("authorization"), None);
}

#[test]
fn a_missing_tag_is_not_found_or_hidden() {
    let (registry, _, _) = registry();
    let image = registry.image("acme/web", "gone");
    let (kind, message) = Ask::image(&image).failure();
    assert_eq!((kind.as_str(), message.as_str()), ("not_found", "not found, or not allowed to see it"));
    let told = Ask::new(&["--plain-http", "--image", &image]).run();
    let expected = format!("error: {image}: not found, or not allowed to see it\n");
    assert_eq!((told.code, told.out.as_str(), told.err), (1, "", expected));
}

#[test]
fn answers_come_in_the_order_of_the_questions() {
    let (registry, image, digest) = registry();
    let other = registry.push_image("acme/db", "1", "2");
    let images = [registry.image("acme/db", "1"), registry.image("acme/db", "none"), image.clone()];
    let told = Ask::new(&["--plain-http", "--image", &images[0], "--image", &images[1], "--image", &images[2]]).run();
    assert_eq!((told.code, told.out), (1, format!("{other}  {}\n{digest}  {image}\n", images[0])));
}

#[test]
fn a_bad_reference_is_pointed_at() {
    let told = Ask::new(&["--image", "ghcr.io/Acme/web"]).run();
    assert_eq!((told.code, told.out.as_str()), (2, ""));
    assert!(told.err.contains("  ghcr.io/Acme/web\n          ^"), "{}", told.err);
    let told = Ask::new(&["--image", "nginx", "--platform", "toaster"]).run();
    assert_eq!(told.code, 2);
    assert!(told.err.contains("linux/arm64"), "{}", told.err);
}

// Digests and media types.

#[test]
fn without_a_digest_header_the_bytes_are_hashed() {
    for header in [None, Some("sha256:short"), Some("")] {
        let (registry, image, digest) = registry();
        registry.rule(move |_, reply| match header {
            None => reply.without("docker-content-digest"),
            Some(value) => reply.replacing("docker-content-digest", value),
        });
        assert_eq!(Ask::image(&image).digest(), digest, "{header:?}");
        let log = registry.log();
        assert_eq!(registry.requests(), ["HEAD /v2/acme/web/manifests/stable", "GET /v2/acme/web/manifests/stable"]);
        assert_eq!(log[1].header("accept-encoding"), Some("identity"));
        assert_eq!(log[0].header("accept"), log[1].header("accept"));
    }
}

#[test]
fn a_digest_that_does_not_match_its_content_is_not_believed() {
    let (registry, image, _) = registry();
    let wrong = registry::sha256(b"something else");
    registry.rule(move |seen, reply| match seen.method.as_str() {
        "HEAD" => Reply::status(405),
        _ => reply.replacing("docker-content-digest", &wrong),
    });
    assert_eq!(Ask::image(&image).failure().0, "bad_digest");
}

#[test]
fn a_sha512_digest_is_taken_whole() {
    let (registry, image, _) = registry();
    let digest = format!("sha512:{}", "ab".repeat(64));
    let told = digest.clone();
    registry.rule(move |_, reply| reply.replacing("docker-content-digest", &told));
    assert_eq!(Ask::image(&image).digest(), digest);
}

#[test]
fn a_static_file_server_is_a_registry() {
    let (registry, image, digest) = registry();
    registry.rule(|_, reply| reply.without("docker-content-digest").replacing("content-type", "binary/octet-stream"));
    assert_eq!(Ask::image(&image).digest(), digest);
}

#[test]
fn head_that_is_not_supported_becomes_get() {
    for status in [405, 501] {
        let (registry, image, digest) = registry();
        registry.rule(move |seen, reply| if seen.method == "HEAD" { Reply::status(status) } else { reply });
        assert_eq!(Ask::image(&image).digest(), digest, "{status}");
    }
}

#[test]
fn what_was_learnt_about_head_is_remembered_for_the_registry() {
    let (registry, image, _) = registry();
    registry.push_image("acme/db", "1", "2");
    registry.rule(|seen, reply| if seen.method == "HEAD" { Reply::status(405) } else { reply });
    let other = registry.image("acme/db", "1");
    // Five, because four are asked at a time.
    let mut arguments = vec!["--plain-http"];
    for image in [&image, &other, &other, &other, &other] {
        arguments.extend(["--image", image]);
    }
    assert_eq!(Ask::new(&arguments).run().code, 0);
    let heads = registry.log().iter().filter(|seen| seen.method == "HEAD").count();
    assert_eq!(heads, 4, "{:?}", registry.requests());
}

#[test]
fn a_head_that_says_no_where_get_says_200_is_not_believed() {
    for status in [403, 404] {
        let (registry, image, digest) = registry();
        registry.rule(move |seen, reply| if seen.method == "HEAD" { Reply::status(status) } else { reply });
        assert_eq!(Ask::image(&image).digest(), digest, "{status}");
    }
}

#[test]
fn a_head_without_a_length_is_enough() {
    let (registry, image, digest) = registry();
    registry.rule(|_, reply| reply.with("content-length", "0"));
    assert_eq!(Ask::image(&image).digest(), digest);
}

#[test]
fn a_web_page_is_not_a_registry() {
    for status in [200, 404] {
        let (registry, image, _) = registry();
        registry.rule(move |_, _| Reply::html(status).with("docker-content-digest", &registry::sha256(b"x")));
        let (kind, message) = Ask::image(&image).failure();
        assert_eq!(kind, "not_a_registry", "{status}: {message}");
    }
}

#[test]
fn a_manifest_of_schema_1_is_no_news() {
    // As old Artifactory, now and then.
    let (registry, image, _) = registry();
    let schema_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    registry.rule(move |_, reply| reply.replacing("content-type", schema_1));
    let (kind, message) = Ask::image(&image).failure();
    assert_eq!(kind, "protocol");
    assert!(message.contains("schema 1"), "{message}");
}

#[test]
fn json_that_is_no_manifest_is_not_a_registry() {
    let (registry, image, _) = registry();
    registry.rule(|_, _| Reply::status(200).with("content-type", "application/json").body("{\"hello\":1}"));
    assert_eq!(Ask::image(&image).failure().0, "not_a_registry");
}

#[test]
fn a_manifest_without_end_is_not_read() {
    let (registry, image, _) = registry();
    registry.rule(|_, reply| reply.without("docker-content-digest").body(vec![b' '; 5 << 20]));
    assert_eq!(Ask::image(&image).failure().0, "no_digest");
}

// Limits and trouble.

#[test]
fn after_a_429_nothing_more_is_asked() {
    let (registry, image, _) = registry();
    registry.rule(|_, _| Reply::status(429).with("retry-after", "30"));
    let (kind, message) = Ask::image(&image).failure();
    assert_eq!(kind, "rate_limited");
    assert!(message.contains("wait 30 s"), "{message}");
    assert_eq!(registry.requests().len(), 1);
}

#[test]
fn a_429_of_the_token_endpoint_is_a_rate_limit() {
    let (registry, image, _) = registry();
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
    let (registry, image, _) = registry();
    registry.wants_bearer(Bearer::default());
    let body = r#"{"errors":[{"code":"TOOMANYREQUESTS","message":"retry-after: 1m2.5s, allowed: 44000/minute"}]}"#;
    registry.rule(move |seen, reply| if seen.path == "/token" { Reply::status(429).body(body) } else { reply });
    let (kind, message) = Ask::image(&image).failure();
    assert!(kind == "rate_limited" && message.contains("wait 62 s"), "{message}");
}

#[test]
fn a_limit_whose_explanation_never_comes_is_told_without_it() {
    let (registry, image, _) = registry();
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
        let (registry, image, _) = registry();
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
fn https_is_the_default_and_the_remedy_is_named() {
    let (_registry, image, _) = registry();
    let told = Ask::new(&["--json", "--image", &image]).run();
    let error = &told.json()["error"];
    assert_eq!(error["kind"], "tls", "{error}");
    assert!(error["message"].as_str().unwrap().contains("plain_http = true"), "{error}");
}

#[test]
fn what_does_not_speak_http_is_not_a_registry() {
    let (registry, image, _) = registry();
    registry.rule(|_, reply| reply.manner(Manner::Raw(b"SSH-2.0-OpenSSH_9.2\r\n\r\n".to_vec())));
    assert_eq!(Ask::image(&image).failure().0, "not_a_registry");
}

#[test]
fn a_connection_that_breaks_once_is_asked_again_and_twice_is_an_error() {
    let (registry, image, digest) = registry();
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

// Tokens and logins.

#[test]
fn a_token_is_had_for_exactly_one_scope() {
    for scope in [None, Some("*"), Some("repository:{name}:pull"), Some("repository:{name}:pull,push")] {
        let (registry, image, digest) = registry();
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
    let (registry, image, digest) = registry();
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
    let (registry, image, digest) = registry();
    registry.wants_basic("robot:hunter2");
    assert_eq!(Ask::image(&image).docker_login(&registry.host(), "robot:hunter2").digest(), digest);
    assert_eq!(registry.requests().len(), 2);
}

#[test]
fn without_a_login_the_refusal_says_what_to_do() {
    let (registry, image, _) = registry();
    registry.wants_basic("robot:hunter2");
    let (kind, message) = Ask::image(&image).failure();
    assert_eq!(kind, "unauthorized");
    assert!(message.contains("docker login"), "{message}");
}

#[test]
fn a_refused_login_is_named_without_its_secret() {
    let (registry, image, _) = registry();
    registry.wants_basic("robot:hunter2");
    let (kind, message) = Ask::image(&image).docker_login(&registry.host(), "robot:wrong-secret").failure();
    assert_eq!(kind, "unauthorized");
    assert!(message.contains("robot") && !message.contains("wrong-secret"), "{message}");
}

#[test]
fn of_two_challenges_bearer_is_preferred_and_basic_is_the_way_out() {
    for token_endpoint_works in [true, false] {
        let (registry, image, digest) = registry();
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
    let (registry, image, digest) = registry();
    registry.wants_bearer(Bearer { login: Some("robot:new".into()), anonymous: true, ..Bearer::default() });
    assert_eq!(Ask::image(&image).docker_login(&registry.host(), "robot:stale").digest(), digest);
    assert_eq!(registry.log().iter().filter(|seen| seen.path == "/token").count(), 2);
}

#[test]
fn without_a_challenge_the_root_is_asked_for_one() {
    let (registry, image, digest) = registry();
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
fn a_granted_token_that_is_refused_is_not_asked_for_again() {
    // As Docker Hub for a repository that is not there.
    let (registry, image, _) = registry();
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
    let (registry, image, digest) = registry();
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
    let (registry, image, digest) = registry();
    // Nobody asks for a login: it is not looked for.
    assert_eq!(Ask::image(&image).docker_config("{").digest(), digest);
    registry.wants_basic("robot:hunter2");
    let (kind, message) = Ask::image(&image).docker_config("{\"auths\": 7, \"x\": \"hunter2\"}").failure();
    assert_eq!(kind, "credentials");
    assert!(message.contains("config.json") && !message.contains("hunter2"), "{message}");
}

#[test]
fn a_helper_is_asked_with_the_registrys_name_and_again_when_its_login_is_stale() {
    let (registry, image, digest) = registry();
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
    let (registry, image, digest) = registry();
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
        let (registry, image, digest) = registry();
        registry.wants_bearer(bearer);
        assert_eq!(Ask::image(&image).docker_config(&config(registry.host())).digest(), digest);
        let log = registry.log();
        let seen: Vec<_> = log.iter().filter(|seen| seen.path == "/token").map(|seen| &*seen.method).collect();
        assert_eq!(seen, methods);
        assert!(log.iter().all(|seen| !seen.query.contains("idt")), "a secret in a URL ends in logs");
    }
}

#[test]
fn an_identity_token_is_not_sent_on() {
    let (registry, image, _) = registry();
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
    let (registry, image, _) = registry();
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

// Redirects.

#[test]
fn a_login_stays_with_its_origin() {
    for status in [301, 302, 307, 308] {
        let (here, image, _) = registry();
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
    let (registry, _, digest) = registry();
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
    let (here, image, _) = registry();
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
        let (registry, image, _) = registry();
        registry.rule(move |_, _| rule());
        assert_eq!(Ask::image(&image).failure().0, "redirect");
        assert_eq!(registry.requests().len(), requests);
    }
}

// Platforms.

#[test]
fn with_a_platform_the_childs_digest_counts() {
    let (registry, image, _) = registry();
    let pushed = registry.push_index("acme/web", "stable", "1", &["linux/amd64", "linux/arm64", "unknown/unknown"]);
    assert_eq!(Ask::image(&image).digest(), pushed.digest);
    assert_eq!(Ask::image(&image).platform("linux/arm64/v8").digest(), pushed.children["linux/arm64"]);
    let expected = format!("GET /v2/acme/web/manifests/{}", pushed.digest);
    assert_eq!(registry.requests().last(), Some(&expected), "the index is fetched by digest");
}

#[test]
fn the_nearest_older_variant_serves() {
    for platforms in [["linux/arm/v5", "linux/arm/v6", "linux/arm64"], ["linux/arm/v6", "linux/arm/v5", "linux/arm64"]]
    {
        let (registry, image, _) = registry();
        let pushed = registry.push_index("acme/web", "stable", "1", &platforms);
        assert_eq!(Ask::image(&image).platform("linux/arm/v7").digest(), pushed.children["linux/arm/v6"]);
    }
}

#[test]
fn a_platform_that_is_not_there_is_an_error_that_says_what_is() {
    let (registry, image, _) = registry();
    registry.push_index("acme/web", "stable", "1", &["linux/amd64", "linux/arm64", "unknown/unknown"]);
    let (kind, message) = Ask::image(&image).platform("windows/amd64").failure();
    assert_eq!(kind, "platform_missing");
    assert!(message.ends_with("it has linux/amd64, linux/arm64"), "{message}");
}

#[test]
fn a_single_manifest_is_its_own_child() {
    let (registry, image, digest) = registry();
    assert_eq!(Ask::image(&image).platform("linux/arm64").digest(), digest);
    assert_eq!(registry.requests().len(), 1);
}

/// An index that holds an index that … holds an image, `depth` indexes in all.
fn nested(registry: &Registry, depth: usize) -> String {
    let digest = registry.push_image("acme/web", "inner", "nested");
    let mut entry = registry::child(registry::OCI_MANIFEST, &digest, "linux/amd64");
    for level in 0..depth {
        let body = registry::index(&[entry], &level.to_string());
        let index = registry.push("acme/web", "stable", body.as_bytes(), registry::OCI_INDEX);
        entry = registry::child(registry::OCI_INDEX, &index, "");
    }
    digest
}

#[test]
fn an_index_may_hold_an_index_three_deep() {
    let (registry, image, _) = registry();
    let digest = nested(&registry, 3);
    assert_eq!(Ask::image(&image).platform("linux/amd64").digest(), digest);
    nested(&registry, 4);
    assert_eq!(Ask::image(&image).platform("linux/amd64").failure().0, "platform_missing");
}

#[test]
fn an_index_whose_bytes_are_not_its_digests_is_not_believed() {
    let (registry, image, _) = registry();
    registry.push_index("acme/web", "stable", "1", &["linux/amd64"]);
    registry.rule(|seen, reply| if seen.method == "GET" { reply.body(registry::index(&[], "forged")) } else { reply });
    assert_eq!(Ask::image(&image).platform("linux/amd64").failure().0, "bad_digest");
}
