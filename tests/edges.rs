//! Where the config, the registry and the ledger meet: each rule here was once broken.

mod support;

use serde_json::json;
use support::bed::{Bed, REPOSITORY};

#[test]
fn a_check_does_not_wait_out_the_back_off_of_a_dead_registry() {
    let bed = Bed::new();
    bed.push("one");
    let dead = "127.0.0.1:1";
    let watches: String =
        (0..40).map(|n| format!("[watch.dead-{n}]\nimage = '{dead}/x:{n}'\nschedule = '30d'\n")).collect();
    bed.write_whole_config(&format!(
        "{watches}[watch.web]\nimage = '{}'\nschedule = '30d'\n\
         [registry.'{}']\nplain_http = true\n[registry.'{dead}']\nplain_http = true\n",
        bed.image(),
        bed.registry.host(),
    ));

    let lines = bed.run(&["check", "--json"]).expect(1).json_lines();

    assert_eq!(lines.len(), 41, "each watch has its line");
    for line in lines.iter().filter(|line| line["watch"] != "web") {
        assert_eq!((&line["outcome"], &line["error"]["kind"]), (&json!("failed"), &json!("connect")));
    }
    let held = lines.iter().filter(|line| line["error"]["message"].as_str().is_some_and(|m| m.contains("held off")));
    assert!(held.count() >= 36, "no more were asked than may be under way at a time: {lines:?}");
}

#[test]
fn what_an_earlier_image_owes_is_held_until_that_image_returns() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    bed.push("two");
    bed.hook.exits_with(1);
    bed.check(1);
    assert_eq!(bed.hook.only_call().var("TAGHOOK_ATTEMPT"), "1");
    bed.hook.exits_with(0);
    bed.registry.push_image(REPOSITORY, "other", "three");
    let before = std::fs::read_to_string(bed.config_path()).unwrap();

    std::fs::write(bed.config_path(), before.replace(&bed.image(), &bed.image().replace(":stable", ":other"))).unwrap();
    assert_eq!(bed.check(0)["outcome"], "first");
    bed.hook.expect_no_call();
    let agent = bed.agent();
    agent.stop();
    bed.hook.expect_no_call();

    std::fs::write(bed.config_path(), before).unwrap();
    assert_eq!(bed.check(0)["outcome"], "unchanged");
    let call = bed.hook.only_call();
    assert_eq!((call.var("TAGHOOK_ATTEMPT"), call.var("TAGHOOK_IMAGE")), ("2", &*bed.image()));
}
