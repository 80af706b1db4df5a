//! `taghook check --image`: the real binary asks a registry that behaves as real ones do.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use support::ask::{Ask, acme};
use support::registry::{self, Registry, Reply};

// What is said.

#[test]
fn a_present_tag_costs_one_head_request() {
    let (registry, image, digest) = acme();
    let told = Ask::new(&["--plain-http", "--image", &image]).run();
    assert_eq!((told.code, told.out.as_str(), told.err.as_str()), (0, &*format!("{digest}  {image}\n"), ""));
    assert_eq!(registry.requests(), ["HEAD /v2/acme/web/manifests/stable"]);
}

#[test]
fn json_has_every_field_of_a_check() {
    let (_registry, image, digest) = acme();
    let mut line = Ask::image(&image).run().json();
    assert!(line["elapsed_ms"].take().is_u64());
    let expected = serde_json::json!({"watch": null, "image": image, "outcome": "present", "digest": digest,
        "previous": null, "error": null, "elapsed_ms": null, "deliveries": []});
    assert_eq!(line, expected);
}

#[test]
fn the_request_accepts_all_four_types_in_one_header_and_names_its_sender() {
    let (registry, image, _) = acme();
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
    let (registry, _, _) = acme();
    let image = registry.image("acme/web", "gone");
    let (kind, message) = Ask::image(&image).failure();
    assert_eq!((kind.as_str(), message.as_str()), ("not_found", "not found, or not allowed to see it"));
    let told = Ask::new(&["--plain-http", "--image", &image]).run();
    let expected = format!("error: {image}: not found, or not allowed to see it\n");
    assert_eq!((told.code, told.out.as_str(), told.err), (1, "", expected));
}

#[test]
fn answers_come_in_the_order_of_the_questions() {
    let (registry, image, digest) = acme();
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
        let (registry, image, digest) = acme();
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
    let (registry, image, _) = acme();
    let wrong = registry::sha256(b"something else");
    registry.rule(move |seen, reply| match seen.method.as_str() {
        "HEAD" => Reply::status(405),
        _ => reply.replacing("docker-content-digest", &wrong),
    });
    assert_eq!(Ask::image(&image).failure().0, "bad_digest");
}

#[test]
fn a_sha512_digest_is_taken_whole() {
    let (registry, image, _) = acme();
    let digest = format!("sha512:{}", "ab".repeat(64));
    let told = digest.clone();
    registry.rule(move |_, reply| reply.replacing("docker-content-digest", &told));
    assert_eq!(Ask::image(&image).digest(), digest);
}

#[test]
fn a_static_file_server_is_a_registry() {
    let (registry, image, digest) = acme();
    registry.rule(|_, reply| reply.without("docker-content-digest").replacing("content-type", "binary/octet-stream"));
    assert_eq!(Ask::image(&image).digest(), digest);
}

#[test]
fn head_that_is_not_supported_becomes_get() {
    for status in [405, 501] {
        let (registry, image, digest) = acme();
        registry.rule(move |seen, reply| if seen.method == "HEAD" { Reply::status(status) } else { reply });
        assert_eq!(Ask::image(&image).digest(), digest, "{status}");
    }
}

#[test]
fn what_was_learnt_about_head_is_remembered_for_the_repository() {
    let (registry, image, _) = acme();
    registry.rule(|seen, reply| if seen.method == "HEAD" { Reply::status(405) } else { reply });
    // Five, because four are asked at a time.
    let mut arguments = vec!["--plain-http"];
    for _ in 0..5 {
        arguments.extend(["--image", &image]);
    }
    assert_eq!(Ask::new(&arguments).run().code, 0);
    let heads = registry.log().iter().filter(|seen| seen.method == "HEAD").count();
    assert_eq!(heads, 4, "{:?}", registry.requests());
}

#[test]
fn a_head_that_says_no_where_get_says_200_is_not_believed() {
    for status in [403, 404] {
        let (registry, image, digest) = acme();
        registry.rule(move |seen, reply| if seen.method == "HEAD" { Reply::status(status) } else { reply });
        assert_eq!(Ask::image(&image).digest(), digest, "{status}");
    }
}

#[test]
fn a_head_without_a_length_is_enough() {
    let (registry, image, digest) = acme();
    registry.rule(|_, reply| reply.with("content-length", "0"));
    assert_eq!(Ask::image(&image).digest(), digest);
}

#[test]
fn a_web_page_is_not_a_registry() {
    for status in [200, 404] {
        let (registry, image, _) = acme();
        registry.rule(move |_, _| Reply::html(status).with("docker-content-digest", &registry::sha256(b"x")));
        let (kind, message) = Ask::image(&image).failure();
        assert_eq!(kind, "not_a_registry", "{status}: {message}");
    }
}

#[test]
fn a_manifest_of_schema_1_is_no_news() {
    // As old Artifactory, now and then.
    let (registry, image, _) = acme();
    let schema_1 = "application/vnd.docker.distribution.manifest.v1+prettyjws";
    registry.rule(move |_, reply| reply.replacing("content-type", schema_1));
    let (kind, message) = Ask::image(&image).failure();
    assert_eq!(kind, "protocol");
    assert!(message.contains("schema 1"), "{message}");
}

#[test]
fn json_that_is_no_manifest_is_not_a_registry() {
    let (registry, image, _) = acme();
    registry.rule(|_, _| Reply::status(200).with("content-type", "application/json").body("{\"hello\":1}"));
    assert_eq!(Ask::image(&image).failure().0, "not_a_registry");
}

#[test]
fn a_manifest_without_end_is_not_read() {
    let (registry, image, _) = acme();
    registry.rule(|_, reply| reply.without("docker-content-digest").body(vec![b' '; 5 << 20]));
    assert_eq!(Ask::image(&image).failure().0, "no_digest");
}

// Platforms.

#[test]
fn with_a_platform_the_childs_digest_counts() {
    let (registry, image, _) = acme();
    let pushed = registry.push_index("acme/web", "stable", "1", &["linux/amd64", "linux/arm64", "unknown/unknown"]);
    assert_eq!(Ask::image(&image).digest(), pushed.digest);
    assert_eq!(Ask::image(&image).platform("linux/arm64/v8").digest(), pushed.children["linux/arm64"]);
    let expected = format!("GET /v2/acme/web/manifests/{}", pushed.digest);
    assert_eq!(registry.requests().last(), Some(&expected), "the index is fetched by digest");
}

#[test]
fn a_digest_that_only_head_tells_is_computed_from_the_body_of_get() {
    // As ECR.
    let (registry, image, _) = acme();
    let pushed = registry.push_index("acme/web", "stable", "1", &["linux/amd64", "linux/arm64"]);
    registry.rule(|seen, reply| if seen.method == "GET" { reply.without("docker-content-digest") } else { reply });
    assert_eq!(Ask::image(&image).platform("linux/arm64").digest(), pushed.children["linux/arm64"]);
    registry.rule(|seen, reply| if seen.method == "GET" { reply.body(registry::index(&[], "forged")) } else { reply });
    assert_eq!(Ask::image(&image).platform("linux/arm64").failure().0, "bad_digest");
}

#[test]
fn the_nearest_older_variant_serves() {
    for platforms in [["linux/arm/v5", "linux/arm/v6", "linux/arm64"], ["linux/arm/v6", "linux/arm/v5", "linux/arm64"]]
    {
        let (registry, image, _) = acme();
        let pushed = registry.push_index("acme/web", "stable", "1", &platforms);
        assert_eq!(Ask::image(&image).platform("linux/arm/v7").digest(), pushed.children["linux/arm/v6"]);
    }
}

#[test]
fn a_platform_that_is_not_there_is_an_error_that_says_what_is() {
    let (registry, image, _) = acme();
    registry.push_index("acme/web", "stable", "1", &["linux/amd64", "linux/arm64", "unknown/unknown"]);
    let (kind, message) = Ask::image(&image).platform("windows/amd64").failure();
    assert_eq!(kind, "platform_missing");
    assert!(message.ends_with("it has linux/amd64, linux/arm64"), "{message}");
}

#[test]
fn children_that_a_host_can_tell_apart_are_for_the_config_to_choose_from() {
    let (registry, image, _) = acme();
    let versions = ["10.0.20348.2700", "10.0.17763.6293"];
    let digests = versions.map(|version| registry.push_image("acme/web", version, version));
    let entry = |version: usize, features: &[&str]| {
        let mut child = registry::child(registry::OCI_MANIFEST, &digests[version], "windows/amd64");
        child["platform"]["os.version"] = versions[version].into();
        child["platform"]["os.features"] = features.into();
        child
    };
    let push = |children: &[serde_json::Value]| {
        registry.push("acme/web", "stable", registry::index(children, "").as_bytes(), registry::OCI_INDEX)
    };
    push(&[entry(0, &[]), entry(1, &[])]);
    let (kind, message) = Ask::image(&image).platform("windows/amd64").failure();
    assert_eq!(kind, "platform_ambiguous");
    assert!(
        message.contains("windows/amd64:10.0.20348.2700, windows/amd64:10.0.17763.6293; write one of these"),
        "{message}"
    );
    assert_eq!(Ask::image(&image).platform("windows/amd64:10.0.17763").digest(), digests[1]);

    // What demands a feature comes after what does not.
    push(&[entry(0, &["win32k"]), entry(1, &[])]);
    assert_eq!(Ask::image(&image).platform("windows/amd64").digest(), digests[1]);
    assert_eq!(Ask::image(&image).platform("windows/amd64+win32k").digest(), digests[0]);

    // What nothing tells apart is one platform, and clients take the first.
    push(&[entry(0, &[]), {
        let mut same = entry(1, &[]);
        same["platform"]["os.version"] = versions[0].into();
        same
    }]);
    assert_eq!(Ask::image(&image).platform("windows/amd64").digest(), digests[0]);
}

#[test]
fn a_single_manifest_is_its_own_child() {
    let (registry, image, digest) = acme();
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
    let (registry, image, _) = acme();
    let digest = nested(&registry, 3);
    assert_eq!(Ask::image(&image).platform("linux/amd64").digest(), digest);
    nested(&registry, 4);
    assert_eq!(Ask::image(&image).platform("linux/amd64").failure().0, "platform_missing");
}

#[test]
fn an_index_whose_bytes_are_not_its_digests_is_not_believed() {
    let (registry, image, _) = acme();
    registry.push_index("acme/web", "stable", "1", &["linux/amd64"]);
    registry.rule(|seen, reply| if seen.method == "GET" { reply.body(registry::index(&[], "forged")) } else { reply });
    assert_eq!(Ask::image(&image).platform("linux/amd64").failure().0, "bad_digest");
}
