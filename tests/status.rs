//! `taghook status`, `history` and `deliveries` where no agent runs.

mod support;

use jiff::Timestamp;
use serde_json::{Value, json};

use support::bed::{Bed, Setup, one};

#[track_caller]
fn keys(object: &Value) -> Vec<&str> {
    let mut keys: Vec<&str> =
        object.as_object().into_iter().flat_map(|object| object.keys()).map(String::as_str).collect();
    keys.sort_unstable();
    keys
}

#[track_caller]
fn time(value: &Value) -> Timestamp {
    let text = value.as_str().unwrap_or_else(|| panic!("{value} is no time"));
    assert!(text.ends_with('Z'), "{text} is not in UTC");
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

#[test]
fn before_the_first_check_all_is_unknown_and_nothing_is_created() {
    let bed = Bed::new();

    let status = bed.run(&["status", "--json"]).expect(0).json();

    assert_eq!(status["source"], "database");
    let watch = &status["watches"][0];
    assert_eq!((&watch["watch"], &watch["state"], &watch["digest"]), (&json!("web"), &json!("unknown"), &Value::Null));
    assert_eq!((bed.history(), bed.deliveries()), (vec![], vec![]));
    bed.run(&["status"]).expect(0);
    assert!(!bed.state().exists(), "a reader creates nothing");
}

#[test]
fn status_has_these_fields() {
    let bed = Bed::new();
    let before = Timestamp::now();
    bed.push("one");
    bed.check(0);
    let digest = bed.push("two");
    bed.check(0);

    let status = bed.run(&["status", "--json"]).expect(0).json();

    assert_eq!(keys(&status), ["as_of", "failed", "left_over", "registries", "source", "store", "watches"]);
    assert_eq!(status["store"], Value::Null);
    let watch = &status["watches"][0];
    let expected = [
        "consecutive_failures",
        "digest",
        "due",
        "enabled",
        "error",
        "image",
        "index_digest",
        "last_changed",
        "last_checked",
        "last_ok",
        "next_check",
        "owed",
        "paused",
        "platform",
        "state",
        "watch",
    ];
    assert_eq!(keys(watch), expected);
    let known = json!({
        "watch": "web", "image": bed.image(), "platform": null, "digest": digest, "index_digest": null, "state": "ok",
        "paused": false, "enabled": true, "consecutive_failures": 0, "error": null,
        "owed": {"pending": 0, "running": 0, "failed": 0, "held": 0},
    });
    for (name, value) in known.as_object().unwrap() {
        assert_eq!(&watch[name], value, "{name}");
    }
    let after = Timestamp::now();
    for name in ["last_ok", "last_changed"] {
        let time = time(&watch[name]);
        assert!(before.as_second() <= time.as_second() && time <= after, "{name} is {time}");
    }
    time(&status["as_of"]);
}

#[test]
fn a_platform_shows_the_child_and_the_index() {
    let bed = Bed::with(Setup { watch: "platform = 'linux/arm64'", ..Setup::default() });
    let index = bed.registry.push_index("team/web", "stable", &[("linux/amd64", "one"), ("linux/arm64", "one")]);
    bed.check(0);

    let watch = bed.status();

    assert_eq!((&watch["platform"], &watch["index_digest"]), (&json!("linux/arm64"), &json!(index.digest)));
    assert_eq!(watch["digest"], index.children["linux/arm64"]);
}

#[test]
fn a_failure_shows_with_its_reason_and_the_last_good_check() {
    let mut bed = Bed::new();
    let digest = bed.push("one");
    bed.check(0);
    let good = bed.status()["last_ok"].clone();
    bed.registry.stop();
    bed.check(1);

    let watch = bed.status();

    assert_eq!((&watch["state"], &watch["digest"]), (&json!("failing"), &json!(digest)));
    assert_eq!((&watch["error"]["kind"], &watch["consecutive_failures"]), (&json!("connect"), &json!(1)));
    assert_eq!(watch["last_ok"], good);
    let said = bed.run(&["status"]).expect(0).stdout;
    assert!(said.contains("failing"), "{said}");
}

#[test]
fn another_image_starts_a_new_baseline_and_the_old_one_resumes() {
    let bed = Bed::new();
    let first = bed.push("one");
    bed.check(0);
    let config = std::fs::read_to_string(bed.config_path()).unwrap();
    bed.registry.push_image("team/web", "edge", "other");
    std::fs::write(bed.config_path(), config.replace(":stable", ":edge")).unwrap();

    assert_eq!(bed.status()["state"], "unknown");
    assert_eq!(bed.check(0)["outcome"], "first");
    bed.hook.expect_no_call();

    std::fs::write(bed.config_path(), config).unwrap();
    assert_eq!(bed.status()["digest"], *first);
    let second = bed.push("two");
    assert_eq!(bed.check(0)["outcome"], "moved");
    let call = bed.hook.only_call();
    assert_eq!((call.var("TAGHOOK_PREVIOUS_DIGEST"), call.var("TAGHOOK_DIGEST")), (&*first, &*second));
}

#[test]
fn the_history_is_newest_first() {
    let bed = Bed::new();
    let digests = ["one", "two", "three"].map(|salt| {
        let digest = bed.push(salt);
        bed.check(0);
        digest
    });

    let history = bed.history();

    let told: Vec<_> = history.iter().map(|change| json!([change["change"], change["from"], change["to"]])).collect();
    let expected = [
        json!(["moved", digests[1], digests[2]]),
        json!(["moved", digests[0], digests[1]]),
        json!(["first", null, digests[0]]),
    ];
    assert_eq!(told, expected);
    for change in &history {
        assert_eq!(keys(change), ["at", "change", "from", "id", "to", "watch"]);
        assert_eq!(change["watch"], "web");
        time(&change["at"]);
    }
    let times: Vec<_> = history.iter().map(|change| time(&change["at"])).collect();
    assert!(times.is_sorted_by(|newer, older| newer >= older), "{times:?}");
    assert_eq!(bed.run(&["history", "web", "--json"]).expect(0).json_lines(), history);
}

#[test]
fn a_delivery_has_these_fields() {
    let bed = Bed::new();
    let first = bed.push("one");
    bed.check(0);
    let second = bed.push("two");
    bed.check(0);
    let call = bed.hook.only_call();

    let deliveries = bed.deliveries();

    let expected = json!([{
        "id": call.var("TAGHOOK_DELIVERY"), "watch": "web", "hook": "redeploy", "change": "moved",
        "from": first, "to": second, "state": "succeeded", "attempts": 1, "due": null, "exit_code": 0, "error": null, "held": null,
    }]);
    assert_eq!(Value::from(deliveries.clone()), expected);
    assert_eq!(bed.run(&["deliveries", "web", "--json"]).expect(0).json_lines(), deliveries);
}

#[test]
fn a_delivery_that_is_still_owed_says_when_it_is_due() {
    let bed = Bed::with(Setup { hook: "backoff = '1h'", ..Setup::default() });
    bed.push("one");
    bed.check(0);
    bed.push("two");
    bed.hook.exits_with(3);
    bed.check(1);
    bed.hook.only_call();

    let owed = bed.deliveries().remove(0);

    let due = time(&owed["due"]).duration_since(Timestamp::now()).as_mins();
    assert!((28..=60).contains(&due), "the pause is between half an hour and an hour, not {due} min: {owed}");
    // Not due yet, so not attempted.
    assert_eq!(one(&bed.run(&["check", "--json"]))["outcome"], "unchanged");
    bed.hook.expect_no_call();
}

#[test]
fn tables_are_plain_in_a_pipe() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    bed.push("two");
    bed.check(0);
    for (verb, words) in
        [("status", ["web", "ok"]), ("history", ["web", "moved"]), ("deliveries", ["redeploy", "succeeded"])]
    {
        let said = bed.run(&[verb]).expect(0).stdout;
        assert!(words.iter().all(|word| said.contains(word)), "{verb}: {said}");
        assert!(!said.contains(['│', '┆', '─']), "{verb}: no drawn lines into a pipe: {said}");
        assert!(!said.contains('\x1b'), "{verb}: no colours into a pipe: {said:?}");
    }
}

#[test]
fn a_watch_that_is_not_known_is_the_callers_fault() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    for verb in ["status", "history", "deliveries"] {
        let said = bed.run(&[verb, "wbe", "--json"]).expect(2);
        assert!(said.stderr.contains("did you mean \"web\""), "{verb}: {}", said.stderr);
        assert_eq!(said.stdout, "");
    }
}
