//! What an operator reads at night: `taghook status` on a terminal, and all about one watch.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use support::bed::Bed;
use support::registry::Registry;
use support::sandbox::Sandbox;
use support::terminal::{on_terminal, without_colours};

const LONG: &str = "a-watch-whose-name-somebody-has-made-so-long-that-no-table-on-80-columns-has-room-for-it";

/// One watch that is well, one with a long name, one whose registry is gone; each was checked once.
fn three() -> (Sandbox, Registry) {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    registry.push_image("acme/web", "stable", "1");
    let host = registry.host();
    sandbox.write_whole_config(&format!(
        "[watch.zebra]\nimage = '127.0.0.1:1/acme/web:stable'\n[watch.well]\nimage = '{host}/acme/web:stable'\n\
         [watch.{LONG}]\nimage = '{host}/acme/web:stable'\n\
         [registry.'{host}']\nplain_http = true\n[registry.'127.0.0.1:1']\nplain_http = true\n"
    ));
    sandbox.run(&["check"]).expect(1);
    (sandbox, registry)
}

#[test]
fn status_fits_the_terminal_with_the_worst_first() {
    let (sandbox, _registry) = three();

    let narrow = on_terminal(&sandbox, 80, "", "status").expect(0).stdout;

    let plain = without_colours(&narrow);
    assert!(narrow.contains("\x1b[31mfailing\x1b[0m"), "{narrow:?}");
    assert!(plain.lines().all(|line| line.chars().count() <= 80), "{plain}");
    let rows: Vec<&str> = plain.lines().collect();
    assert!(rows[0].starts_with("WATCH ") && rows[1].starts_with("zebra "), "{plain}");
    assert!(plain.contains(&LONG[..12]) && plain.contains('…') && !plain.contains(LONG), "{plain}");
    assert!(plain.contains("connect: no connection to 127.0.0.1:1"), "{plain}");
    assert!(plain.contains("3 watches: 2 ok, 1 failing; 0 failed deliveries; no agent answers"), "{plain}");

    let one = sandbox.run(&["status", "well"]).expect(0).stdout;
    assert!(one.contains("  schedule    15m, no hooks\n"), "{one}");
    let wide = on_terminal(&sandbox, 200, "", "status").expect(0).stdout;
    assert!(wide.contains(LONG) && wide.contains("LAST OK"), "{wide}");

    let bare = on_terminal(&sandbox, 80, "NO_COLOR=1", "status").expect(0).stdout;
    assert_eq!(bare, plain);
}

#[test]
fn in_a_pipe_nothing_is_cut_or_broken() {
    let (sandbox, _registry) = three();
    let said = sandbox.run(&["status"]).expect(0).stdout;
    assert!(said.contains(LONG) && said.contains("LAST OK") && said.contains("sha256:"), "{said}");
    let error: Vec<&str> = said.lines().filter(|line| line.starts_with("zebra: ")).collect();
    assert_eq!(error.len(), 1, "{said}");
    assert!(error[0].contains("connect: ") && error[0].ends_with("(1 check, never ok)"), "{said}");
}

#[test]
fn all_about_one_watch_is_told() {
    let bed = Bed::given_up();
    let agent = bed.agent();

    let said = bed.run(&["status", "web"]).expect(0).stdout;

    for line in ["web: ok", "  image       127", "  digest      sha256:", "  changed     ", "  owed        1 failed"] {
        assert!(said.lines().any(|told| told.starts_with(line)), "{line}: {said}");
    }
    let line = |name: &str| said.lines().find(|line| line.starts_with(&format!("  {name} "))).unwrap().to_owned();
    assert_eq!(line("next").matches("in ").count(), 3, "three due times: {said}");
    let gate = format!(
        "{} open; 0 of 4 checks under way, 0 waiting; 4 requests may go at once, 10 a second",
        bed.registry.host()
    );
    assert!(line("registry").contains(&gate), "{said}");
    assert_eq!(said.matches("moved").count(), 2, "once among the changes, once with the failed delivery: {said}");
    assert!(said.contains("exit status 3") && said.contains("exit status 4"), "the last attempts: {said}");
    agent.stop();
    let said = bed.run(&["status", "web"]).expect(0).stdout;
    assert!(said.contains("no agent runs; due by its schedule in "), "{said}");
    let said = bed.run(&["status", "wbe"]).expect(2).stderr;
    assert!(said.contains("did you mean \"web\""), "{said}");
}

#[test]
fn a_check_of_many_shows_how_far_it_is_to_those_who_look_and_leaves_nothing_behind() {
    let (sandbox, _registry) = three();
    let results = sandbox.path().join("results");

    let seen = on_terminal(&sandbox, 80, "", &format!("check > {}", results.display())).expect(1).stdout;

    let steps: Vec<&str> = seen.split("\r\x1b[K").collect();
    assert_eq!((steps[0], steps[1]), ("", "0 of 3 checked"), "{seen:?}");
    assert_eq!(steps[steps.len() - 2..], ["3 of 3 checked, 1 failed", ""], "the line is gone: {seen:?}");
    assert_eq!(std::fs::read_to_string(results).unwrap().matches(" ms\n").count(), 3);

    // Each result has a line of its own where both go to one terminal.
    let seen = on_terminal(&sandbox, 80, "", "check").expect(1).stdout;
    assert_eq!(seen.lines().filter(|line| line.ends_with(" ms")).count(), 3, "{seen:?}");
    assert!(
        seen.split('\n').all(|line| line.rsplit("\x1b[K").next().unwrap().matches(" checked").count() == 0),
        "{seen:?}"
    );

    let piped = sandbox.run(&["check"]).expect(1);
    assert_eq!(piped.stderr, "");
    let one = on_terminal(&sandbox, 80, "", "check well").expect(0).stdout;
    assert!(!one.contains("checked"), "{one:?}");
}
