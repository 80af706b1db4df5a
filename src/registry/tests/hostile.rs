//! A server that means ill or is broken in ways that no quirk explains: nothing that it sends panics, hangs, grows
//! memory without a bound, or is taken for "unchanged".

use super::*;

/// A check at a registry whose answers to this method (`*`: to any) are changed; to `GET`, where `HEAD` is not known.
async fn told(method: &'static str, change: impl Fn(Reply) -> Reply + Send + 'static) -> Result<Answer, Error> {
    let options = Options { timeout: Duration::from_secs(2), ..plain() };
    let (registry, client, question, _) = registry(&options);
    registry.rule(move |seen, reply| match seen.method == method || method == "*" {
        true => change(reply),
        false => Reply::status(405),
    });
    client.check(&question, Recorded::default()).await.result
}

fn failed(result: Result<Answer, Error>) -> FailureKind {
    result.expect_err("it was believed").kind()
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.oci.image.manifest.v1+json\r\n\
     transfer-encoding: chunked\r\n\r\n";

/// 4 KiB of a chunked body.
fn chunk() -> Vec<u8> {
    format!("1000\r\n{}\r\n", " ".repeat(0x1000)).into()
}

#[tokio::test]
async fn a_body_without_end_is_not_read_to_the_end() {
    let (registry, client, question, _) = registry(&plain());
    registry.rule(|seen, reply| match seen.method.as_str() {
        "HEAD" => reply.without("docker-content-digest"),
        _ => reply.manner(Manner::Endless(CHUNKED.into(), chunk())),
    });
    assert_eq!(kind(client.check(&question, Recorded::default()).await), FailureKind::NoDigest);
}

#[tokio::test]
async fn a_token_answer_without_end_is_no_token() {
    let (registry, client, question, _) = registry(&plain());
    registry.wants_bearer(Bearer::default());
    registry.rule(|seen, reply| match seen.path.as_str() {
        "/token" => reply.manner(Manner::Endless(CHUNKED.into(), chunk())),
        _ => reply,
    });
    assert_eq!(kind(client.check(&question, Recorded::default()).await), FailureKind::Protocol);
}

#[tokio::test]
async fn headers_without_end_are_no_answer() {
    let none = |error| matches!(error, FailureKind::NotARegistry | FailureKind::Timeout);
    let one = b"x-more: and more and more and more\r\n".to_vec();
    let endless = Manner::Endless(b"HTTP/1.1 200 OK\r\n".to_vec(), one);
    assert!(none(failed(told("*", move |reply| reply.manner(endless.clone())).await)));
    let long = Manner::Endless(b"HTTP/1.1 200 OK\r\nx-long: ".to_vec(), vec![b'x'; 4096]);
    assert!(none(failed(told("*", move |reply| reply.manner(long.clone())).await)));
}

#[tokio::test]
async fn what_comes_in_drips_is_a_timeout_in_all() {
    let pause = Duration::from_millis(20);
    let headers = Manner::Drip(b"HTTP/1.1 200 OK\r\nx-slow: ".to_vec(), b"x".to_vec(), pause);
    assert_eq!(failed(told("*", move |reply| reply.manner(headers.clone())).await), FailureKind::Timeout);
    let body = Manner::Drip(CHUNKED.into(), b"1\r\n \r\n".to_vec(), pause);
    let result = told("GET", move |reply| reply.manner(body.clone()));
    assert_eq!(failed(result.await), FailureKind::Timeout);
    let interim = Manner::Drip(Vec::new(), b"HTTP/1.1 103 Early Hints\r\n\r\n".to_vec(), pause);
    assert_eq!(failed(told("*", move |reply| reply.manner(interim.clone())).await), FailureKind::Timeout);
}

#[tokio::test]
async fn a_content_coding_that_was_not_asked_for_is_not_hashed() {
    for codings in [&["gzip"][..], &["identity", "gzip"], &["br"], &["\u{e9}"]] {
        let result = told("*", move |reply| {
            let reply = reply.without("docker-content-digest").body(b"\x1f\x8b\x08".to_vec());
            codings.iter().fold(reply, |reply, coding| reply.with("content-encoding", coding))
        });
        assert_eq!(failed(result.await), FailureKind::Protocol, "{codings:?}");
    }
    let plain = told("*", |reply| reply.without("docker-content-digest").with("content-encoding", "Identity"));
    assert!(matches!(plain.await, Ok(Answer::Present(_))));
}

#[tokio::test]
async fn half_a_manifest_has_no_digest() {
    // Without a length, where it breaks off looks like its end.
    for half in ["", "{\"schemaVersion\":2,\"mani", "<html>", "{}", "[]", "{\"schemaVersion\":1}"] {
        let bytes = format!(
            "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.oci.image.manifest.v1+json\r\nconnection: close\r\n\r\n{half}"
        );
        let result = told("*", move |reply| reply.manner(Manner::Raw(bytes.clone().into())));
        assert_eq!(failed(result.await), FailureKind::NotARegistry, "{half}");
    }
}

#[tokio::test]
async fn a_body_that_breaks_off_before_its_length_is_an_error() {
    let bytes =
        "HTTP/1.1 200 OK\r\ncontent-type: application/vnd.oci.image.manifest.v1+json\r\ncontent-length: 99\r\n\r\n{";
    let result = told("*", move |reply| reply.manner(Manner::Raw(bytes.into())));
    assert_eq!(failed(result.await), FailureKind::Connect);
}

#[tokio::test]
async fn challenges_and_locations_without_measure_are_refused() {
    let many = "Bearer realm=\"ftp://x\", ".repeat(10_000) + "Basic realm=\"x\"";
    let long = format!("Bearer realm=\"https://{}\"", "\\\"".repeat(100_000));
    let unclosed = format!("Bearer realm=\"{}", ", a=\"".repeat(50_000));
    for challenge in [many, long, unclosed] {
        let result = told("*", move |_| Reply::status(401).with("www-authenticate", &challenge)).await;
        let error = result.unwrap_err();
        assert_eq!(error.kind(), FailureKind::Unauthorized);
        assert!(error.to_string().len() < 1000, "what a server sends does not fill the log");
    }
    let location = format!("https://{}.example/", "x".repeat(100_000));
    let error = told("*", move |_| Reply::redirect(307, &location)).await.unwrap_err();
    assert!(error.kind() == FailureKind::Redirect && error.to_string().len() < 1000);
}

#[tokio::test]
async fn headers_that_are_no_text_tell_nothing() {
    let garbled = |status: u16, name: &str| {
        let manifest = "content-type: application/vnd.oci.image.manifest.v1+json";
        let mut bytes = format!("HTTP/1.1 {status} X\r\n{manifest}\r\ncontent-length: 0\r\n{name}: ").into_bytes();
        bytes.extend(b"sha256:\xff\xfe\xc3\x28\r\n\r\n");
        Manner::Raw(bytes)
    };
    for (status, name, expected) in [
        (200, "docker-content-digest", FailureKind::NotARegistry),
        (200, "content-encoding", FailureKind::Protocol),
        (401, "www-authenticate", FailureKind::Unauthorized),
        (429, "retry-after", FailureKind::RateLimited),
        (503, "retry-after", FailureKind::Server),
        (307, "location", FailureKind::Redirect),
    ] {
        let manner = garbled(status, name);
        let result = told("*", move |reply| reply.manner(manner.clone()));
        assert_eq!(failed(result.await), expected, "{status} {name}");
    }
}

#[tokio::test]
async fn of_several_digests_none_is_believed_unless_they_agree() {
    let (registry, client, question, expected) = registry(&plain());
    let other = scripted::sha256(b"other");
    for first in [true, false] {
        registry.no_rules();
        let other = other.clone();
        registry.rule(move |_, mut reply| {
            let at = if first { 0 } else { reply.headers.len() };
            reply.headers.insert(at, ("docker-content-digest".to_owned(), other.clone()));
            reply
        });
        assert_eq!(digest(&client, &question).await, expected, "the bytes decide");
        assert_eq!(registry.log().last().unwrap().method, "GET");
    }
    let (registry, client, question, expected) = self::registry(&plain());
    let same = expected.to_string();
    registry.rule(move |_, reply| reply.with("docker-content-digest", &same));
    assert_eq!(digest(&client, &question).await, expected);
    assert_eq!(registry.requests().len(), 1);
}

#[tokio::test]
async fn a_digest_of_another_algorithm_is_neither_what_is_known_nor_what_was_asked_for() {
    let (registry, client, question, expected) = registry(&plain());
    let known = present(client.check(&question, Recorded::default()).await);
    for other in [format!("sha512:{}", "ab".repeat(64)), expected.to_string().replace("sha256:", "sha256+x:")] {
        registry.no_rules();
        let told = other.clone();
        registry.rule(move |_, reply| reply.replacing("docker-content-digest", &told));
        let seen = present(client.check(&question, recorded(&known)).await);
        assert_ne!(seen.digest, known.digest, "{other}");
        assert_eq!(kind(client.resolve(&question.repository, &expected).await), FailureKind::BadDigest, "{other}");
    }
}

#[tokio::test]
async fn other_statuses_are_no_answer() {
    for status in [204, 205, 206, 226, 300, 304, 305, 410, 451] {
        let result = told("*", move |reply| Reply { status, body: Vec::new(), ..reply });
        assert_eq!(failed(result.await), FailureKind::Protocol, "{status}");
    }
}

#[tokio::test]
async fn a_body_after_head_spoils_no_later_question() {
    // As broken proxies send it. It may arrive after the connection was taken for the next question.
    let (registry, client, question, expected) = registry(&plain());
    let mut spoilt = std::collections::HashSet::new();
    registry.rule(move |seen, reply| match spoilt.insert(seen.connection) {
        true => reply,
        false => reply.manner(Manner::Raw(b"<html>what belongs to the answer before</html>\r\n\r\n".to_vec())),
    });
    for _ in 0..3 {
        assert_eq!(digest(&client, &question).await, expected);
    }
}

#[tokio::test]
async fn an_answer_that_nobody_asked_for_answers_no_later_question() {
    let (registry, client, question, expected) = registry(&plain());
    let answer = |digest: &str| {
        format!(
            "HTTP/1.1 200 OK\r\ncontent-type: {}\r\ndocker-content-digest: {digest}\r\ncontent-length: 2\r\n\r\n",
            scripted::OCI_MANIFEST
        )
    };
    let forged = scripted::sha256(b"forged");
    let both = answer(expected.as_str()) + &answer(&forged);
    registry.rule(move |seen, reply| match seen.connection {
        0 => reply.manner(Manner::RawOpen(both.clone().into())),
        _ => reply,
    });
    for _ in 0..3 {
        assert_eq!(digest(&client, &question).await, expected);
    }
    assert_eq!(registry.log().last().unwrap().connection, 1);
}
