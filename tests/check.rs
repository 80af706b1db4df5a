//! `taghook check` against a real registry, with no agent on the state.

mod support;

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use support::bed::{Bed, REPOSITORY, Setup, TAG, one};
use support::distribution::{Distribution, INDEX, MANIFEST};
use support::sandbox::Sandbox;
use support::silent::Silent;

#[test]
fn a_first_sighting_is_a_baseline_and_runs_no_hook() {
    let bed = Bed::new();
    let first = bed.push("one");

    let line = bed.check(0);

    assert_eq!(line["outcome"], "first");
    assert_eq!(line["digest"], *first);
    assert_eq!(line["previous"], Value::Null);
    assert_eq!(line["deliveries"], json!([]));
    bed.hook.expect_no_call();
    assert_eq!(bed.deliveries(), Vec::<Value>::new());
    assert_eq!(bed.status()["digest"], *first);
}

#[test]
fn a_first_sighting_runs_the_hooks_that_asked_for_it() {
    let bed = Bed::with(Setup { hook: "on = ['first', 'moved']", ..Setup::default() });
    let first = bed.push("one");

    let line = bed.check(0);

    assert_eq!((&line["outcome"], &line["deliveries"][0]["state"]), (&json!("first"), &json!("succeeded")));
    let call = bed.hook.only_call();
    assert_eq!((call.var("TAGHOOK_CHANGE"), call.var("TAGHOOK_DIGEST")), ("first", first.as_str()));
}

#[test]
fn a_move_runs_the_hook_once_and_an_unchanged_tag_does_not() {
    let bed = Bed::new();
    let first = bed.push("one");
    bed.check(0);
    let second = bed.push("two");

    let moved = bed.check(0);

    assert_eq!((&moved["digest"], &moved["previous"]), (&json!(second), &json!(first)));
    let call = bed.hook.only_call();
    let delivery = call.var("TAGHOOK_DELIVERY");
    assert!(!delivery.is_empty());
    let elapsed = &moved["elapsed_ms"];
    assert!(elapsed.is_u64(), "{moved}");
    let expected = json!({
        "watch": "web", "image": bed.image(), "outcome": "moved", "digest": second, "previous": first, "error": null,
        "elapsed_ms": elapsed,
        "deliveries": [{"id": delivery, "hook": "redeploy", "state": "succeeded", "exit_code": 0}],
    });
    assert_eq!(moved, expected);

    let unchanged = bed.check(0);

    assert_eq!((&unchanged["outcome"], &unchanged["digest"]), (&json!("unchanged"), &json!(second)));
    assert_eq!((&unchanged["previous"], &unchanged["deliveries"]), (&Value::Null, &json!([])));
    bed.hook.expect_no_call();
}

#[test]
fn a_hook_hears_of_the_move_in_its_environment_and_on_its_standard_input() {
    let setup = Setup { hook: "env = { COLOUR = 'blue' }\npass_env = ['PASSED', 'ABSENT']", ..Setup::default() };
    let bed = Bed::with(setup);
    let first = bed.push("one");
    bed.check(0);
    let second = bed.push("two");
    let before = Timestamp::now();
    bed.check(0);
    let after = Timestamp::now();

    let call = bed.hook.only_call();

    let (host, pinned) = (bed.registry.host(), format!("{}/{REPOSITORY}@{second}", bed.registry.host()));
    let expected = [
        ("change", "moved"),
        ("watch", "web"),
        ("hook", "redeploy"),
        ("image", &bed.image()),
        ("registry", &host),
        ("repository", REPOSITORY),
        ("tag", TAG),
        ("digest", &second),
        ("previous_digest", &first),
        ("pinned", &pinned),
        ("media_type", MANIFEST),
        ("detected_at", call.var("TAGHOOK_DETECTED_AT")),
        ("delivery", call.var("TAGHOOK_DELIVERY")),
    ];
    let json = call.json();
    for (name, value) in expected {
        assert_eq!(call.var(&format!("TAGHOOK_{}", name.to_uppercase())), value, "{name}");
        assert_eq!(json[name], *value, "{name} in {json:#}");
    }
    assert_eq!(call.var("TAGHOOK_ATTEMPT"), "1");
    assert_eq!(json["attempt"], 1);

    // Written with whole seconds at the least.
    let detected: Timestamp = call.var("TAGHOOK_DETECTED_AT").parse().unwrap();
    assert!(before - SignedDuration::from_secs(1) <= detected && detected <= after, "{before} {detected} {after}");
}

#[test]
fn a_hook_has_a_clean_environment() {
    let setup = Setup { hook: "env = { COLOUR = 'blue' }\npass_env = ['PASSED', 'ABSENT']", ..Setup::default() };
    let bed = Bed::with(setup);
    bed.push("one");
    bed.check(0);
    bed.push("two");
    bed.check(0);

    let call = bed.hook.only_call();

    assert_eq!((call.var("COLOUR"), call.var("PASSED")), ("blue", "handed on"));
    assert_eq!(call.var("HOME"), bed.path().join("home").display().to_string());
    assert!(!call.var("PATH").is_empty());
    let known = ["PATH", "HOME", "LANG", "COLOUR", "PASSED"];
    let unknown: Vec<_> =
        call.env.keys().filter(|name| !name.starts_with("TAGHOOK_") && !known.contains(&name.as_str())).collect();
    assert!(unknown.is_empty(), "{unknown:?}");
}

#[test]
fn a_command_that_is_a_string_is_given_to_the_shell() {
    let bed = Bed::new();
    let written = bed.path().join("written");
    let host = bed.registry.host();
    bed.write_whole_config(&format!(
        "[watch.web]\nimage = '{}'\nhooks = ['write']\n\
         [hook.write]\ncommand = 'echo \"$TAGHOOK_WATCH is $TAGHOOK_CHANGE\" > {}'\n\
         [registry.'{host}']\nplain_http = true\n",
        bed.image(),
        written.display()
    ));
    bed.push("one");
    bed.check(0);
    bed.push("two");

    bed.check(0);

    assert_eq!(std::fs::read_to_string(written).unwrap(), "web is moved\n");
}

#[test]
fn without_json_a_line_says_what_happened_in_words() {
    let bed = Bed::new();
    bed.push("one");
    for outcome in ["first", "unchanged"] {
        let said = bed.run(&["check"]).expect(0).stdout;
        assert!(said.lines().any(|line| line.contains("web") && line.contains(outcome)), "{said}");
        assert!(!said.contains('\x1b'), "no colours into a pipe: {said:?}");
    }
    bed.push("two");
    let said = bed.run(&["check"]).expect(0).stdout;
    assert!(said.contains("moved") && said.contains("redeploy"), "{said}");
}

#[test]
fn only_the_named_watches_are_checked() {
    let bed = Bed::new();
    let (host, first) = (bed.registry.host(), bed.push("one"));
    bed.registry.push_image("team/other", "stable", "one");
    let watch = |name, repository| format!("[watch.{name}]\nimage = '{host}/{repository}:stable'\n");
    let config = watch("web", "team/web") + &watch("other", "team/other");
    bed.write_whole_config(&format!("{config}[registry.'{host}']\nplain_http = true\n"));

    let line = one(&bed.run(&["check", "web", "--json"]).expect(0));

    assert_eq!((&line["watch"], &line["digest"]), (&json!("web"), &json!(first)));
    let asked = bed.registry.requests();
    assert!(asked.iter().all(|request| !request.starts_with("HEAD /v2/team/other/")), "{asked:?}");
    assert_eq!(bed.run(&["check", "--json"]).expect(0).json_lines().len(), 2);
}

#[test]
fn an_unchanged_tag_costs_one_request() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    bed.registry.requests();

    bed.check(0);

    assert_eq!(bed.registry.requests(), [format!("HEAD /v2/{REPOSITORY}/manifests/{TAG}")]);
}

#[test]
fn a_dry_run_records_nothing_and_runs_nothing() {
    let bed = Bed::new();
    let first = bed.push("one");

    let line = one(&bed.run(&["check", "--dry-run", "--json"]).expect(0));
    assert_eq!((&line["outcome"], &line["digest"]), (&json!("first"), &json!(first)));
    assert_eq!(bed.history(), Vec::<Value>::new());
    assert_eq!(bed.check(0)["outcome"], "first");

    let second = bed.push("two");
    let line = one(&bed.run(&["check", "--dry-run", "--json"]).expect(0));
    assert_eq!(
        (&line["outcome"], &line["digest"], &line["previous"]),
        (&json!("moved"), &json!(second), &json!(first))
    );
    assert_eq!(line["deliveries"], json!([]));
    bed.hook.expect_no_call();
    assert_eq!(bed.status()["digest"], *first);

    assert_eq!(bed.check(0)["outcome"], "moved");
    bed.hook.only_call();
}

#[test]
fn without_a_platform_an_index_counts_as_a_whole() {
    let bed = Bed::new();
    let first = bed.registry.push_index(REPOSITORY, TAG, &[("linux/amd64", "one"), ("linux/arm64", "one")]);
    assert_eq!(bed.check(0)["digest"], *first.digest);

    let second = bed.registry.push_index(REPOSITORY, TAG, &[("linux/amd64", "two"), ("linux/arm64", "one")]);

    assert_eq!(bed.check(0)["outcome"], "moved");
    let call = bed.hook.only_call();
    assert_eq!((call.var("TAGHOOK_DIGEST"), call.var("TAGHOOK_PREVIOUS_DIGEST")), (&*second.digest, &*first.digest));
    assert_eq!(call.var("TAGHOOK_MEDIA_TYPE"), INDEX);
}

#[test]
fn with_a_platform_only_a_move_of_its_manifest_counts() {
    let bed = Bed::with(Setup { watch: "platform = 'linux/arm64'", ..Setup::default() });
    let first = bed.registry.push_index(REPOSITORY, TAG, &[("linux/amd64", "one"), ("linux/arm64", "one")]);
    let line = bed.check(0);
    assert_eq!((&line["outcome"], &line["digest"]), (&json!("first"), &json!(first.children["linux/arm64"])));

    let other = bed.registry.push_index(REPOSITORY, TAG, &[("linux/amd64", "two"), ("linux/arm64", "one")]);
    assert_ne!(other.digest, first.digest);
    let line = bed.check(0);
    assert_eq!((&line["outcome"], &line["digest"]), (&json!("unchanged"), &json!(first.children["linux/arm64"])));
    bed.hook.expect_no_call();

    let ours = bed.registry.push_index(REPOSITORY, TAG, &[("linux/amd64", "two"), ("linux/arm64", "two")]);
    let child = &ours.children["linux/arm64"];
    let line = bed.check(0);
    assert_eq!((&line["outcome"], &line["digest"]), (&json!("moved"), &json!(child)));
    let call = bed.hook.only_call();
    assert_eq!((call.var("TAGHOOK_PLATFORM"), call.var("TAGHOOK_INDEX_DIGEST")), ("linux/arm64", &*ours.digest));
    assert_eq!((call.var("TAGHOOK_DIGEST"), call.var("TAGHOOK_MEDIA_TYPE")), (&**child, MANIFEST));
    assert_eq!(call.var("TAGHOOK_PREVIOUS_DIGEST"), first.children["linux/arm64"]);
    assert!(call.var("TAGHOOK_PINNED").ends_with(&format!("/{REPOSITORY}@{child}")), "{}", call.var("TAGHOOK_PINNED"));
}

#[test]
fn a_platform_that_the_index_does_not_have_is_a_failure() {
    let bed = Bed::with(Setup { watch: "platform = 'linux/s390x'", ..Setup::default() });
    bed.registry.push_index(REPOSITORY, TAG, &[("linux/amd64", "one"), ("linux/arm64", "one")]);

    let line = bed.check(1);

    assert_eq!((&line["outcome"], &line["error"]["kind"]), (&json!("failed"), &json!("platform_missing")));
}

#[test]
fn a_tag_that_does_not_exist_is_a_failure_and_records_no_digest() {
    let bed = Bed::new();
    bed.registry.push_image(REPOSITORY, "another-tag", "one");

    let line = bed.check(1);

    assert_eq!((&line["outcome"], &line["error"]["kind"]), (&json!("failed"), &json!("not_found")));
    assert!(line["error"]["message"].as_str().is_some_and(|message| !message.is_empty()), "{line}");
    assert_eq!(bed.history(), Vec::<Value>::new());
    let status = bed.status();
    assert_eq!((&status["digest"], &status["state"]), (&Value::Null, &json!("failing")));
}

#[test]
fn a_tag_that_is_gone_once_is_a_failure_and_not_a_move() {
    let bed = Bed::new();
    let first = bed.push("one");
    bed.check(0);
    bed.registry.delete_tag(REPOSITORY, TAG);

    let line = bed.check(1);

    assert_eq!((&line["outcome"], &line["error"]["kind"]), (&json!("failed"), &json!("not_found")));
    assert_eq!(bed.status()["digest"], *first);
    bed.registry.move_tag(REPOSITORY, TAG, &first);
    assert_eq!(bed.check(0)["outcome"], "unchanged");
    bed.hook.expect_no_call();
}

#[test]
fn a_registry_that_is_down_leaves_the_digest_alone() {
    let mut bed = Bed::new();
    let first = bed.push("one");
    bed.check(0);
    bed.registry.stop();

    let line = bed.check(1);

    assert_eq!((&line["outcome"], &line["error"]["kind"]), (&json!("failed"), &json!("connect")));
    let status = bed.status();
    assert_eq!((&status["digest"], &status["state"]), (&json!(first), &json!("failing")));
    assert_eq!(bed.history().len(), 1, "{:?}", bed.history());

    bed.registry.restart();
    assert_eq!(bed.check(0)["outcome"], "unchanged");
    assert_eq!(bed.status()["state"], "ok");
    bed.hook.expect_no_call();
}

#[test]
fn a_move_while_the_registry_was_down_is_found_when_it_is_back() {
    let mut bed = Bed::new();
    bed.push("one");
    bed.check(0);
    let second = bed.push("two");
    bed.registry.stop();
    bed.check(1);
    bed.registry.restart();

    assert_eq!(bed.check(0)["outcome"], "moved");
    assert_eq!(bed.hook.only_call().var("TAGHOOK_DIGEST"), second);
}

#[test]
fn a_registry_that_never_answers_is_given_up_after_its_timeout() {
    let (sandbox, silent) = (Sandbox::new(), Silent::start());
    let host = silent.host();
    let registry = format!("[registry.'{host}']\nplain_http = true\ntimeout = '1s'\n");
    sandbox.write_whole_config(&format!("[watch.web]\nimage = '{host}/team/web:stable'\n{registry}"));

    let line = one(&sandbox.run(&["check", "--json"]).expect(1));

    assert_eq!((&line["outcome"], &line["error"]["kind"]), (&json!("failed"), &json!("timeout")));
}

#[test]
fn one_watch_that_fails_does_not_keep_the_others_from_being_checked() {
    let bed = Bed::new();
    let (host, first) = (bed.registry.host(), bed.push("one"));
    let watch = |name, repository| format!("[watch.{name}]\nimage = '{host}/{repository}:stable'\n");
    let config = watch("absent", "team/absent") + &watch("web", "team/web");
    bed.write_whole_config(&format!("{config}[registry.'{host}']\nplain_http = true\n"));

    let lines = bed.run(&["check", "--json"]).expect(1).json_lines();

    let outcomes: BTreeSet<_> = lines.iter().map(|line| (line["watch"].as_str(), line["outcome"].as_str())).collect();
    assert_eq!(outcomes, BTreeSet::from([(Some("absent"), Some("failed")), (Some("web"), Some("first"))]));
    assert_eq!(lines.iter().find(|line| line["watch"] == "web").unwrap()["digest"], *first);
}

#[test]
fn an_image_is_asked_for_without_any_config() {
    let (registry, sandbox) = (Distribution::start(), Sandbox::new());
    let digest = registry.push_image("team/web", "stable", "one");
    let image = format!("{}/team/web:stable", registry.host());

    let said = sandbox.run_bare(&["check", "--plain-http", "--image", &image]).expect(0).stdout;
    assert!(said.contains(&digest), "{said}");

    let line = one(&sandbox.run_bare(&["check", "--plain-http", "--json", "--image", &image]).expect(0));
    assert_eq!((&line["outcome"], &line["digest"], &line["watch"]), (&json!("present"), &json!(digest), &Value::Null));
    assert_eq!((&line["image"], &line["error"]), (&json!(image), &Value::Null));
}

#[test]
fn an_image_is_asked_for_by_platform() {
    let (registry, sandbox) = (Distribution::start(), Sandbox::new());
    let index = registry.push_index("team/web", "stable", &[("linux/amd64", "one"), ("linux/arm64", "one")]);
    let image = format!("{}/team/web:stable", registry.host());

    let arguments = ["check", "--plain-http", "--json", "--platform", "linux/arm64", "--image", &image];
    let line = one(&sandbox.run_bare(&arguments).expect(0));

    assert_eq!(line["digest"], index.children["linux/arm64"]);
}

#[test]
fn images_that_do_not_exist_are_failures_and_the_others_are_still_asked_for() {
    let (registry, sandbox) = (Distribution::start(), Sandbox::new());
    let digest = registry.push_image("team/web", "stable", "one");
    let (absent, present) =
        (format!("{}/team/none:x", registry.host()), format!("{}/team/web:stable", registry.host()));

    let arguments = ["check", "--plain-http", "--json", "--image", &absent, &present];
    let lines = sandbox.run_bare(&arguments).expect(1).json_lines();

    let found = |image: &str| lines.iter().find(|line| line["image"] == image).unwrap();
    assert_eq!(found(&absent)["error"]["kind"], "not_found");
    assert_eq!((&found(&present)["outcome"], &found(&present)["digest"]), (&json!("present"), &json!(digest)));
}

#[test]
fn a_hook_that_fails_is_owed_again_and_the_next_check_gives_it_another_attempt() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    let second = bed.push("two");
    bed.hook.exits_with(3);

    let line = bed.check(1);

    let call = bed.hook.only_call();
    let delivery = call.var("TAGHOOK_DELIVERY").to_owned();
    let owed = json!([{
        "id": delivery, "hook": "redeploy", "state": "pending", "exit_code": 3,
        "error": "exit status 3", "output": ["the hook was run"],
    }]);
    assert_eq!((&line["outcome"], &line["deliveries"]), (&json!("moved"), &owed));
    let deliveries = bed.deliveries();
    assert_eq!(deliveries.len(), 1, "{deliveries:?}");
    let recorded = &deliveries[0];
    assert_eq!((&recorded["state"], &recorded["attempts"]), (&json!("pending"), &json!(1)));
    assert_eq!((&recorded["exit_code"], &recorded["to"]), (&json!(3), &json!(second)));
    assert_eq!(bed.status()["owed"]["pending"], 1);

    bed.hook.exits_with(0);
    let line = bed.check(0);

    let call = bed.hook.only_call();
    assert_eq!((call.var("TAGHOOK_ATTEMPT"), call.var("TAGHOOK_DELIVERY")), ("2", &*delivery));
    assert_eq!((call.json()["attempt"].clone(), call.var("TAGHOOK_DIGEST")), (json!(2), &*second));
    let done = json!([{"id": delivery, "hook": "redeploy", "state": "succeeded", "exit_code": 0}]);
    assert_eq!((&line["outcome"], &line["deliveries"]), (&json!("unchanged"), &done));
    assert_eq!(bed.status()["owed"], json!({"pending": 0, "running": 0, "failed": 0, "held": 0}));
}

#[test]
fn a_hook_that_fails_too_often_is_visibly_failed() {
    let bed = Bed::with(Setup { hook: "attempts = 1", ..Setup::default() });
    bed.push("one");
    bed.check(0);
    bed.push("two");
    bed.hook.exits_with(3);

    let line = bed.check(1);

    assert_eq!(line["deliveries"][0]["state"], "failed");
    bed.hook.only_call();
    assert_eq!(bed.deliveries()[0]["state"], "failed");
    assert_eq!(bed.status()["owed"]["failed"], 1);
    bed.run(&["check"]);
    bed.hook.expect_no_call();
}

#[test]
fn the_newest_digest_supersedes_what_is_still_owed() {
    let bed = Bed::with(Setup { hook: "backoff = '1h'", ..Setup::default() });
    let first = bed.push("one");
    bed.check(0);
    bed.push("two");
    bed.hook.exits_with(3);
    bed.check(1);
    bed.hook.only_call();
    let third = bed.push("three");
    bed.hook.exits_with(0);

    assert_eq!(bed.check(0)["outcome"], "moved");

    let call = bed.hook.only_call();
    assert_eq!((call.var("TAGHOOK_DIGEST"), call.var("TAGHOOK_PREVIOUS_DIGEST")), (&*third, &*first));
    assert_eq!(call.var("TAGHOOK_ATTEMPT"), "1");
    let states: Vec<_> = bed.deliveries().iter().map(|delivery| delivery["state"].clone()).collect();
    assert_eq!(states, ["succeeded", "superseded"], "newest first");
}

#[test]
fn a_hook_that_cannot_be_started_is_a_failed_attempt() {
    let bed = Bed::new();
    let host = bed.registry.host();
    bed.write_whole_config(&format!(
        "[watch.web]\nimage = '{}'\nhooks = ['absent']\n\
         [hook.absent]\ncommand = ['{}/no-such-program']\n\
         [registry.'{host}']\nplain_http = true\n",
        bed.image(),
        bed.path().display()
    ));
    bed.push("one");
    bed.check(0);
    bed.push("two");

    let line = bed.check(1);

    assert_eq!((&line["outcome"], &line["deliveries"][0]["state"]), (&json!("moved"), &json!("pending")));
    assert_eq!(line["deliveries"][0]["exit_code"], Value::Null);
    let error = bed.deliveries()[0]["error"].clone();
    assert!(error.as_str().is_some_and(|error| error.contains("no-such-program")), "{error}");
}

#[test]
fn a_watch_that_is_not_in_the_config_is_the_callers_fault() {
    let bed = Bed::new();
    bed.push("one");

    let said = bed.run(&["check", "wbe", "--json"]).expect(2);

    assert!(said.stderr.contains("wbe") && said.stderr.contains("did you mean \"web\""), "{}", said.stderr);
    assert_eq!(said.stdout, "");
    assert!(!bed.registry.requests().iter().any(|request| request.starts_with("HEAD")));
}
