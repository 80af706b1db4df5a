//! The client against a scripted registry: what only shows over several questions, or with options of its own.

#![allow(unreachable_pub)]

mod hostile;
#[path = "../../tests/support/registry.rs"]
mod scripted;
mod trust;

use std::sync::Arc;
use std::time::Duration;

use scripted::{Bearer, Manner, Registry, Reply};

use super::{Account, Client, Counted, Error, Options, Password, Recorded};
use crate::domain::{Answer, Digest, FailureKind, Platform, Question, Sighting};

fn plain() -> Options {
    Options { plain_http: true, ..Options::default() }
}

/// With a login of our own; the file is the password's.
fn with_password(password: &str) -> (Options, tempfile::NamedTempFile) {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), password).unwrap();
    let account = Account { username: "robot".into(), password: Password::File(file.path().to_owned()) };
    (Options { account: Some(account), ..plain() }, file)
}

fn question(registry: &Registry, repository: &str, tag: &str) -> Question {
    Question::parse(&registry.image(repository, tag), None).unwrap()
}

/// A registry with `acme/web:stable`, a client of it, the question and the digest.
fn registry(options: &Options) -> (Registry, Client, Question, Digest) {
    let registry = Registry::start();
    let digest = Digest::parse(&registry.push_image("acme/web", "stable", "1")).unwrap();
    let client = Client::new(&registry.host(), options).unwrap();
    let question = question(&registry, "acme/web", "stable");
    (registry, client, question, digest)
}

/// What is recorded of a tag that is believed to be there.
fn recorded(sighting: &Sighting) -> Recorded<'_> {
    Recorded { sighting: Some(sighting), is_there: true }
}

fn present(asked: Counted<Answer>) -> Sighting {
    match asked.result.unwrap() {
        Answer::Present(sighting) => sighting,
        Answer::Absent => panic!("absent"),
    }
}

fn kind<T: std::fmt::Debug>(asked: Counted<T>) -> FailureKind {
    asked.result.unwrap_err().kind()
}

async fn digest(client: &Client, question: &Question) -> Digest {
    present(client.check(question, Recorded::default()).await).digest
}

// What a check costs.

#[tokio::test]
async fn an_unchanged_platform_costs_one_head_and_no_get() {
    let (registry, client, question, _) = registry(&plain());
    let question = Question { platform: Some(Platform::parse("linux/arm64").unwrap()), ..question };
    let pushed = registry.push_index("acme/web", "stable", "1", &["linux/amd64=x", "linux/arm64=y"]);
    let known = present(client.check(&question, Recorded::default()).await);
    assert_eq!(known.digest.as_str(), pushed.children["linux/arm64"]);
    assert_eq!(known.tag_digest().as_str(), pushed.digest);

    registry.clear_log();
    let asked = client.check(&question, recorded(&known)).await;
    assert_eq!(asked.requests, 1);
    assert_eq!(present(asked), known);
    assert_eq!(registry.requests(), ["HEAD /v2/acme/web/manifests/stable"]);

    // Another platform moved: the index is another one, the child is not.
    let moved = registry.push_index("acme/web", "stable", "2", &["linux/amd64=z", "linux/arm64=y"]);
    let asked = client.check(&question, recorded(&known)).await;
    assert_eq!(asked.requests, 2);
    let seen = present(asked);
    assert_eq!(seen.digest, known.digest);
    assert_eq!(seen.index_digest.unwrap().as_str(), moved.digest);
}

#[tokio::test]
async fn every_request_is_counted() {
    let (registry, client, question, _) = registry(&plain());
    registry.wants_bearer(Bearer::default());
    assert_eq!(client.check(&question, Recorded::default()).await.requests, 3);
    assert_eq!(client.check(&question, Recorded::default()).await.requests, 1);
    assert_eq!(registry.log().len(), 4);
}

#[tokio::test]
async fn second_opinions_are_bounded_and_what_they_teach_is_remembered() {
    for status in [403, 404] {
        let (registry, client, here, _) = registry(&plain());
        let gone = question(&registry, "acme/web", "gone");
        registry.rule(move |_, reply| if reply.status == 404 { Reply::status(status) } else { reply });
        let gets = || registry.log().iter().filter(|seen| seen.is_manifest() && seen.method == "GET").count();
        for _ in 0..15 {
            let result = client.check(&gone, Recorded::default()).await.result;
            assert!(matches!(result, Ok(Answer::Absent) | Err(Error::Unauthorized { status: 403, .. })), "{result:?}");
        }
        assert_eq!(gets(), 10, "{status}");
        digest(&client, &here).await;
        assert_eq!(gets(), 10, "HEAD is asked as long as GET was of no use");
    }
    let (registry, client, here, expected) = registry(&plain());
    registry.rule(|seen, reply| if seen.method == "HEAD" { Reply::status(403) } else { reply });
    assert_eq!(digest(&client, &here).await, expected);
    assert_eq!(client.check(&here, Recorded::default()).await.requests, 1);
}

#[tokio::test]
async fn a_limit_in_the_second_opinion_is_a_limit() {
    let (registry, client, here, _) = registry(&plain());
    registry.rule(|seen, _| if seen.method == "HEAD" { Reply::status(403) } else { Reply::status(429) });
    assert_eq!(kind(client.check(&here, Recorded::default()).await), FailureKind::RateLimited);
}

#[tokio::test]
async fn a_head_that_was_honest_once_needs_no_second_opinion() {
    let (registry, client, here, _) = registry(&plain());
    let gone = question(&registry, "acme/web", "gone");
    digest(&client, &here).await;
    let asked = client.check(&gone, Recorded::default()).await;
    assert_eq!((asked.result.unwrap(), asked.requests), (Answer::Absent, 1));
}

#[tokio::test]
async fn what_head_is_worth_is_learnt_for_each_repository() {
    let (registry, client, honest, _) = registry(&plain());
    let expected = registry.push_image("proxied/web", "stable", "2");
    let proxied = question(&registry, "proxied/web", "stable");
    registry.rule(|seen, reply| match seen.method == "HEAD" && seen.path.contains("proxied") {
        true => Reply::status(404),
        false => reply,
    });
    digest(&client, &honest).await;
    assert_eq!(
        digest(&client, &proxied).await.as_str(),
        expected,
        "another repository's honest HEAD says nothing here"
    );
    registry.clear_log();
    digest(&client, &proxied).await;
    digest(&client, &honest).await;
    assert_eq!(registry.requests(), ["GET /v2/proxied/web/manifests/stable", "HEAD /v2/acme/web/manifests/stable"]);
}

#[tokio::test]
async fn a_no_of_head_that_contradicts_what_is_recorded_is_confirmed_by_get() {
    for status in [403, 404] {
        let (registry, client, here, _) = registry(&plain());
        let known = present(client.check(&here, Recorded::default()).await);
        registry.rule(move |seen, reply| if seen.method == "HEAD" { Reply::status(status) } else { reply });
        for _ in 0..2 {
            let asked = client.check(&here, recorded(&known)).await;
            assert_eq!(present(asked), known, "{status}: an honest HEAD is no proof for ever");
        }
        let asked = client.check(&here, recorded(&known)).await;
        assert_eq!((asked.requests, present(asked)), (1, known), "{status}: GET is used at once from then on");
    }
    let (registry, client, here, _) = registry(&plain());
    let known = present(client.check(&here, Recorded::default()).await);
    registry.delete_tag("acme/web", "stable");
    let asked = client.check(&here, recorded(&known)).await;
    assert_eq!((asked.requests, asked.result.unwrap()), (2, Answer::Absent));
    let gone = Recorded { sighting: Some(&known), is_there: false };
    let asked = client.check(&here, gone).await;
    assert_eq!((asked.requests, asked.result.unwrap()), (1, Answer::Absent), "what was confirmed is not asked again");
}

#[tokio::test]
async fn a_no_of_head_that_get_may_not_confirm_is_a_failure_and_no_absence() {
    let (registry, client, here, _) = registry(&plain());
    let known = present(client.check(&here, Recorded::default()).await);
    registry.rule(|seen, reply| if seen.is_manifest() { Reply::status(404) } else { reply });
    for _ in 0..10 {
        assert_eq!(client.check(&here, recorded(&known)).await.result.unwrap(), Answer::Absent);
    }
    let asked = client.check(&here, recorded(&known)).await;
    assert_eq!((asked.requests, kind(asked)), (1, FailureKind::NotFound));
}

#[tokio::test]
async fn head_gets_another_chance_once_an_hour() {
    let (registry, client, here, _) = registry(&plain());
    let known = present(client.check(&here, Recorded::default()).await);
    registry.rule(|seen, reply| if seen.method == "HEAD" { Reply::status(405) } else { reply });
    for _ in 0..2 {
        present(client.check(&here, recorded(&known)).await);
    }
    client.age();
    registry.clear_log();
    for _ in 0..2 {
        present(client.check(&here, recorded(&known)).await);
    }
    let manifest = "/v2/acme/web/manifests/stable";
    assert_eq!(registry.requests(), [format!("HEAD {manifest}"), format!("GET {manifest}"), format!("GET {manifest}")]);

    // The tag goes while GET is what tells, which stays so.
    registry.delete_tag("acme/web", "stable");
    client.age();
    registry.clear_log();
    for _ in 0..2 {
        assert_eq!(client.check(&here, Recorded::default()).await.result.unwrap(), Answer::Absent);
    }
    assert_eq!(registry.requests(), [format!("HEAD {manifest}"), format!("GET {manifest}"), format!("GET {manifest}")]);

    registry.no_rules();
    registry.push_image("acme/web", "stable", "1");
    client.age();
    registry.clear_log();
    for _ in 0..2 {
        present(client.check(&here, recorded(&known)).await);
    }
    assert_eq!(registry.requests(), [format!("HEAD {manifest}"), format!("HEAD {manifest}")]);
}

#[tokio::test]
async fn a_web_page_that_says_404_is_no_absence() {
    let (registry, client, here, _) = registry(&plain());
    digest(&client, &here).await;
    registry.rule(|_, _| Reply::html(404));
    let asked = client.check(&here, Recorded::default()).await;
    assert_eq!((asked.requests, kind(asked)), (1, FailureKind::NotARegistry));
}

#[tokio::test]
async fn a_registry_without_digests_is_asked_once_by_get() {
    let (registry, client, question, expected) = registry(&plain());
    registry.rule(|_, reply| reply.without("docker-content-digest"));
    assert_eq!(digest(&client, &question).await, expected);
    registry.clear_log();
    assert_eq!(digest(&client, &question).await, expected);
    assert_eq!(registry.requests(), ["GET /v2/acme/web/manifests/stable"]);
}

#[tokio::test]
async fn a_hiccup_of_head_does_not_make_get_a_habit() {
    let (registry, client, question, expected) = registry(&plain());
    digest(&client, &question).await;
    registry.rule(|_, reply| reply.without("docker-content-digest"));
    assert_eq!(digest(&client, &question).await, expected);
    registry.no_rules();
    assert_eq!(client.check(&question, Recorded::default()).await.requests, 1);
    assert_eq!(registry.log().last().unwrap().method, "HEAD");
}

#[tokio::test]
async fn connections_are_kept() {
    let (registry, client, question, _) = registry(&plain());
    for _ in 0..3 {
        digest(&client, &question).await;
    }
    assert!(registry.log().iter().all(|seen| seen.connection == 0));
}

#[tokio::test]
async fn a_kept_connection_that_was_closed_is_replaced_without_a_failure() {
    let (registry, client, question, _) = registry(&plain());
    digest(&client, &question).await;
    registry.rule(|seen, reply| if seen.connection == 0 { reply.manner(Manner::Drop) } else { reply });
    digest(&client, &question).await;
    assert_eq!(registry.log().last().unwrap().connection, 1);
}

#[tokio::test]
async fn checks_can_be_spawned() {
    let (_registry, client, question, expected) = registry(&plain());
    let client = Arc::new(client);
    let task = tokio::spawn(async move { digest(&client, &question).await });
    assert_eq!(task.await.unwrap(), expected);
}

// Whether a digest resolves by itself.

#[tokio::test]
async fn a_digest_resolves_or_does_not() {
    let (registry, client, question, digest) = registry(&plain());
    assert!(client.resolve(&question.repository, &digest).await.result.is_ok());
    assert_eq!(registry.requests(), [format!("HEAD /v2/acme/web/manifests/{digest}")]);
    registry.delete_manifest("acme/web", digest.as_str());
    assert_eq!(kind(client.resolve(&question.repository, &digest).await), FailureKind::Unresolvable);
    registry.rule(|_, _| Reply::status(503));
    assert_eq!(kind(client.resolve(&question.repository, &digest).await), FailureKind::Server);
}

#[tokio::test]
async fn a_digest_that_resolves_to_another_one_does_not() {
    let (registry, client, question, digest) = registry(&plain());
    let other = scripted::sha256(b"other");
    registry.rule(move |_, reply| reply.replacing("docker-content-digest", &other));
    assert_eq!(kind(client.resolve(&question.repository, &digest).await), FailureKind::BadDigest);
}

// Time.

#[tokio::test]
async fn a_registry_that_hangs_is_a_timeout() {
    let options = Options { timeout: Duration::from_millis(100), ..plain() };
    let (registry, client, question, _) = registry(&options);
    registry.rule(|_, reply| reply.manner(Manner::Hang));
    let asked = client.check(&question, Recorded::default()).await;
    assert_eq!(asked.requests, 1, "a timeout is not tried again");
    assert_eq!(kind(asked), FailureKind::Timeout);
}

#[tokio::test]
async fn retry_after_is_told_in_every_form() {
    let (registry, client, question, _) = registry(&plain());
    registry.rule(|_, _| {
        Reply::status(429)
            .with("date", "Mon, 23 Nov 2026 12:00:00 GMT")
            .with("retry-after", "Mon, 23 Nov 2026 12:02:00 GMT")
    });
    let error = client.check(&question, Recorded::default()).await.result.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(120)));
}

#[tokio::test]
async fn trouble_may_say_how_long_it_will_last() {
    let (registry, client, question, _) = registry(&plain());
    registry.rule(|_, _| Reply::status(503).with("retry-after", "120"));
    let error = client.check(&question, Recorded::default()).await.result.unwrap_err();
    assert_eq!((error.kind(), error.retry_after()), (FailureKind::Server, Some(Duration::from_secs(120))));
}

// Tokens and logins.

#[tokio::test]
async fn a_token_that_is_refused_is_minted_again_once() {
    // As ECR Public says it, and as everybody else does.
    for status in [401, 403, 400] {
        let (registry, client, question, expected) = registry(&plain());
        registry.wants_bearer(Bearer::default());
        digest(&client, &question).await;
        registry.revoke_tokens();
        registry.rule(move |seen, reply| match seen.header("authorization") {
            Some(sent) if sent.starts_with("Bearer") && reply.status == 401 => Reply::error(status, "DENIED"),
            _ => reply,
        });
        registry.clear_log();
        assert_eq!(digest(&client, &question).await, expected, "{status}");
        let path = "/v2/acme/web/manifests/stable";
        assert_eq!(registry.requests(), [format!("HEAD {path}"), "GET /token".into(), format!("HEAD {path}")]);
    }
}

#[tokio::test]
async fn a_token_that_has_expired_is_not_sent_but_minted_again() {
    let (registry, client, question, expected) = registry(&plain());
    registry.wants_bearer(Bearer { expires_in: Some(600), ..Bearer::default() });
    digest(&client, &question).await;
    client.age();
    registry.clear_log();
    assert_eq!(digest(&client, &question).await, expected);
    assert_eq!(registry.requests(), ["GET /token", "HEAD /v2/acme/web/manifests/stable"]);
    assert_eq!(registry.log()[1].header("authorization"), Some("Bearer token-2"));
}

#[tokio::test]
async fn bearer_is_not_given_up_because_a_token_was_refused() {
    // As Harbor: a rejected token is answered with Basic.
    let (options, _file) = with_password("hunter2");
    let (registry, client, question, expected) = registry(&options);
    registry.wants_bearer(Bearer::default());
    digest(&client, &question).await;
    registry.revoke_tokens();
    registry.rule(|seen, reply| match seen.header("authorization") {
        Some(_) if reply.status == 401 => reply.replacing("www-authenticate", "Basic realm=\"harbor\""),
        _ => reply,
    });
    registry.clear_log();
    assert_eq!(digest(&client, &question).await, expected);
    let log = registry.log();
    assert!(
        log.iter()
            .filter(|seen| seen.is_manifest())
            .all(|seen| { seen.header("authorization").is_some_and(|sent| sent.starts_with("Bearer")) })
    );
}

#[tokio::test]
async fn a_password_that_was_changed_is_read_again_on_refusal() {
    // As ECR: expired is 403 and no challenge.
    let (options, file) = with_password("old\n");
    let (registry, client, question, expected) = registry(&options);
    registry.wants_basic("robot:old");
    assert_eq!(digest(&client, &question).await, expected);
    registry.clear_log();
    assert_eq!(client.check(&question, Recorded::default()).await.requests, 1, "what worked goes first");

    registry.wants_basic("robot:new");
    std::fs::write(file.path(), "new\n").unwrap();
    registry.rule(|seen, reply| match seen.header("authorization").is_some() && reply.status == 401 {
        true => Reply::status(403),
        false => reply,
    });
    assert_eq!(digest(&client, &question).await, expected);
}

#[tokio::test]
async fn a_login_that_was_rejected_rests() {
    let (options, file) = with_password("wrong");
    let (registry, client, here, _) = registry(&options);
    registry.wants_bearer(Bearer { login: Some("robot:right".into()), anonymous: false, ..Bearer::default() });
    registry.push_image("acme/db", "1", "2");
    let logins =
        || registry.log().iter().filter(|seen| seen.path == "/token" && seen.header("authorization").is_some()).count();
    let there = question(&registry, "acme/db", "1");
    for question in [&here, &there, &here] {
        assert_eq!(kind(client.check(question, Recorded::default()).await), FailureKind::Unauthorized);
    }
    assert_eq!(logins(), 1, "registries ban who insists");
    std::fs::write(file.path(), "right").unwrap();
    digest(&client, &there).await;
    assert_eq!(logins(), 2);
}

#[tokio::test]
async fn a_login_that_is_refused_for_one_repository_goes_on_for_others() {
    let (options, _file) = with_password("right");
    let (registry, client, here, _) = registry(&options);
    registry.wants_bearer(Bearer { login: Some("robot:right".into()), anonymous: false, ..Bearer::default() });
    registry.rule(|seen, reply| match seen.path == "/token" && seen.query.contains("secret") {
        true => Reply::error(403, "DENIED"),
        false => reply,
    });
    let secret = question(&registry, "acme/secret", "1");
    assert_eq!(kind(client.check(&secret, Recorded::default()).await), FailureKind::Unauthorized);
    digest(&client, &here).await;
}

#[tokio::test]
async fn under_basic_the_root_tells_a_bad_login_from_a_forbidden_repository() {
    let (options, _file) = with_password("hunter2");
    let (registry, client, here, expected) = registry(&options);
    registry.wants_basic("robot:hunter2");
    registry.rule(|seen, reply| if seen.path.contains("secret") { Reply::status(401) } else { reply });
    let secret = question(&registry, "acme/secret", "1");
    assert_eq!(kind(client.check(&secret, Recorded::default()).await), FailureKind::Unauthorized);
    assert_eq!(digest(&client, &here).await, expected);

    registry.wants_basic("robot:changed");
    assert_eq!(kind(client.check(&here, Recorded::default()).await), FailureKind::Unauthorized);
    registry.clear_log();
    assert_eq!(kind(client.check(&here, Recorded::default()).await), FailureKind::Unauthorized);
    assert!(registry.log().iter().all(|seen| seen.header("authorization").is_none()), "it rests");
}

#[tokio::test]
async fn the_anonymous_way_is_tried_once_and_then_rests() {
    let (options, _file) = with_password("hunter2");
    let (registry, client, here, _) = registry(&options);
    registry.wants_bearer(Bearer::default());
    registry.rule(|seen, reply| if seen.is_manifest() && reply.status == 200 { Reply::status(403) } else { reply });
    let mut cost = Vec::new();
    for _ in 0..3 {
        let asked = client.check(&here, Recorded::default()).await;
        cost.push(asked.requests);
        assert_eq!(kind(asked), FailureKind::Unauthorized);
    }
    // Two of each are the second opinion of GET.
    assert_eq!(cost, [7, 4, 4]);
}

#[tokio::test]
async fn a_limit_in_the_anonymous_try_is_a_limit() {
    let (options, _file) = with_password("stale");
    let (registry, client, here, _) = registry(&options);
    registry.wants_bearer(Bearer { login: Some("robot:new".into()), ..Bearer::default() });
    registry.rule(|seen, reply| match seen.path == "/token" && seen.header("authorization").is_none() {
        true => Reply::status(429).with("retry-after", "9"),
        false => reply,
    });
    let error = client.check(&here, Recorded::default()).await.result.unwrap_err();
    assert_eq!(error.retry_after(), Some(Duration::from_secs(9)), "{error}");
}

#[tokio::test]
async fn a_token_endpoint_that_moved_is_found_again() {
    let (registry, client, question, _) = registry(&plain());
    let at = |place: &str| Bearer {
        realm: Some(format!("http://{}/token?at={place}", registry.host())),
        ..Bearer::default()
    };
    registry.wants_bearer(at("old"));
    digest(&client, &question).await;
    registry.revoke_tokens();
    registry.rule(|seen, reply| if seen.query.contains("at=old") { Reply::status(404) } else { reply });
    // Without a challenge of its own, the refusal of the old token leads to where that was had.
    registry.rule(|seen, reply| match seen.header("authorization") {
        Some(_) if reply.status == 401 => reply.without("www-authenticate"),
        _ => reply,
    });
    assert_eq!(kind(client.check(&question, Recorded::default()).await), FailureKind::Protocol);
    registry.wants_bearer(at("new"));
    digest(&client, &question).await;
}

#[tokio::test]
async fn a_limit_of_the_token_endpoint_is_not_evaded_by_basic() {
    let (options, _file) = with_password("hunter2");
    let (registry, client, here, _) = registry(&options);
    registry.wants_bearer(Bearer::default());
    registry.rule(|seen, reply| match seen.path == "/token" {
        true => Reply::status(429),
        false => reply.with("www-authenticate", "Basic realm=\"gitea\""),
    });
    let asked = client.check(&here, Recorded::default()).await;
    assert_eq!((asked.requests, kind(asked)), (2, FailureKind::RateLimited));
}

#[tokio::test]
async fn an_endpoints_path_is_part_of_the_scope() {
    let registry = Registry::start();
    registry.push_image("hub/library/nginx", "latest", "1");
    registry.wants_bearer(Bearer { scope: None, ..Bearer::default() });
    let options = Options { endpoint: Some(format!("http://{}/hub", registry.host())), ..Options::default() };
    let client = Client::new("docker.io", &options).unwrap();
    digest(&client, &Question::parse("nginx", None).unwrap()).await;
    assert_eq!(registry.requests()[0], "HEAD /v2/hub/library/nginx/manifests/latest");
    assert_eq!(scripted::parameter(&registry.log()[1].query, "scope"), "repository:hub/library/nginx:pull");
}

#[tokio::test]
async fn a_refusal_elsewhere_is_not_held_against_our_login() {
    let (options, _file) = with_password("hunter2");
    let (registry, client, here, expected) = registry(&options);
    let there = Registry::start();
    there.wants_basic("somebody:else");
    registry.wants_basic("robot:hunter2");
    let location = format!("http://{}/v2/acme/away/manifests/1", there.host());
    registry.rule(move |seen, reply| match seen.path.contains("away") && reply.status != 401 {
        true => Reply::redirect(307, &location),
        false => reply,
    });
    assert_eq!(digest(&client, &here).await, expected);
    let away = question(&registry, "acme/away", "1");
    assert_eq!(kind(client.check(&away, Recorded::default()).await), FailureKind::Unauthorized);
    assert!(there.log().iter().all(|seen| seen.header("authorization").is_none()));
    registry.clear_log();
    assert_eq!(digest(&client, &here).await, expected);
    assert_eq!(registry.log().len(), 1);
    assert_eq!(kind(client.check(&away, Recorded::default()).await), FailureKind::Unauthorized);
}

#[tokio::test]
async fn after_our_own_challenge_another_origins_is_answered_too() {
    let (options, _file) = with_password("hunter2");
    let (registry, client, here, _) = registry(&options);
    let there = Registry::start();
    let expected = there.push_image("acme/web", "stable", "there");
    there.wants_bearer(Bearer::default());
    registry.wants_basic("robot:hunter2");
    let location = format!("http://{}/v2/acme/web/manifests/stable", there.host());
    registry.rule(move |_, reply| if reply.status == 200 { Reply::redirect(307, &location) } else { reply });
    for _ in 0..2 {
        assert_eq!(digest(&client, &here).await.as_str(), expected);
    }
    assert!(!there.log().iter().any(|seen| seen.header("authorization").is_some_and(|it| it.starts_with("Basic"))));
}
