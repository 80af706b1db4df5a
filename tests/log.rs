//! `taghook log`: what a hook has printed, and how it ended.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use rusqlite::Connection;
use serde_json::{Value, json};

use support::bed::Bed;
use support::registry::Registry;
use support::sandbox::Sandbox;
use support::terminal::{on_terminal, without_colours};

#[test]
fn status_leads_to_what_a_failed_hook_printed_and_to_its_retry() {
    let bed = Bed::given_up();
    let id = bed.deliveries()[0]["id"].as_str().unwrap().to_owned();
    let short = &id[id.len() - 12..];

    let status = bed.run(&["status", "--json"]).expect(0).json();
    let failed = &status["failed"][0];
    assert_eq!((&failed["id"], &failed["hook"], &failed["attempts"]), (&json!(id), &json!("redeploy"), &json!(2)));
    let said = without_colours(&on_terminal(&bed, 500, "", "status").expect(0).stdout);
    let line = said.lines().find(|line| line.starts_with("web: hook redeploy failed")).unwrap();
    assert!(line.contains("after 2 attempts: exit status 4: the hook was run; see"), "{line}");
    assert!(line.contains(&format!("`taghook log {short}`, then `taghook retry {short}`")), "{line}");

    let log = bed.run(&["log", short]).expect(0).stdout;
    assert!(log.starts_with(&format!("web: hook redeploy for `moved`, delivery {id}\n")), "{log}");
    assert!(log.contains("attempt 2, started ") && log.contains(": exit status 4 after "), "{log}");
    assert!(log.ends_with("  | the hook was run\n") && !log.contains("attempt 1,"), "the newest only: {log}");
    bed.run(&["retry", short]).expect(0);
}

#[test]
fn an_attempt_is_chosen_by_its_number_and_all_are_told_in_order() {
    let bed = Bed::given_up();
    let id = bed.deliveries()[0]["id"].as_str().unwrap().to_owned();

    let first = bed.run(&["log", &id, "--attempt", "1", "--json"]).expect(0).json();

    let mut keys: Vec<&str> = first.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let expected =
        ["attempt", "change", "delivery", "ended", "error", "exit_code", "hook", "output", "started", "watch"];
    assert_eq!(keys, expected);
    assert_eq!((&first["attempt"], &first["exit_code"], &first["delivery"]), (&json!(1), &json!(3), &json!(id)));
    assert_eq!(first["output"], "the hook was run\n");
    let all = bed.run(&["log", &id, "--all", "--json"]).expect(0).json_lines();
    let codes: Vec<&Value> = all.iter().map(|attempt| &attempt["exit_code"]).collect();
    assert_eq!(codes, [&json!(3), &json!(4)]);
    let none = bed.run(&["log", &id, "--attempt", "7"]).expect(2).stderr;
    assert!(none.contains("has 2 attempts, and no attempt 7"), "{none}");
}

#[test]
fn what_is_not_kept_any_more_is_not_passed_off_as_nothing() {
    let bed = Bed::given_up();
    let id = bed.deliveries()[0]["id"].as_str().unwrap().to_owned();
    let database = Connection::open(bed.state().join("taghook.db")).unwrap();
    database.execute("UPDATE attempts SET output = NULL WHERE attempt = 1", ()).unwrap();
    let told = |attempt: &str| bed.run(&["log", &id, "--attempt", attempt]).expect(0).stdout;
    assert!(told("1").contains("not kept any more; see [retention]"), "{}", told("1"));
    assert!(told("2").contains("  | the hook was run"), "{}", told("2"));
}

#[test]
fn a_delivery_is_found_by_the_end_of_its_id_if_that_is_the_end_of_one() {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    let host = registry.host();
    // Two of seventeen must have the same last digit.
    let names: Vec<String> = (0..17).map(|number| format!("h{number}")).collect();
    let hooks: String = names
        .iter()
        .map(|name| format!("[hook.{name}]\ncommand = 'for i in 1 2 3 4 5 6; do echo line $i; done; exit 75'\n"))
        .collect();
    sandbox.write_whole_config(&format!(
        "[watch.web]\nimage = '{host}/acme/web:stable'\nhooks = {names:?}\n{hooks}\
         [registry.'{host}']\nplain_http = true\n"
    ));
    registry.push_image("acme/web", "stable", "1");
    sandbox.run(&["check"]).expect(0);
    registry.push_image("acme/web", "stable", "2");
    sandbox.run(&["check"]).expect(1);
    let ids = sandbox.run(&["deliveries", "--json"]).expect(0).json_lines();
    let last = |row: &Value| row["id"].as_str().unwrap()[35..].to_owned();
    let twice = ids.iter().map(last).find(|digit| ids.iter().filter(|row| last(row) == *digit).count() > 1).unwrap();

    let ambiguous = sandbox.run(&["log", &twice]).expect(2).stderr;
    assert!(
        ambiguous.contains(&format!("more than one delivery ends in {twice:?}; give more of its id")),
        "{ambiguous}"
    );
    for unknown in ["ffffffffffff", "%"] {
        let said = sandbox.run(&["log", unknown]).expect(2).stderr;
        assert!(said.contains(&format!("there is no delivery {unknown:?}; `taghook deliveries` lists them")), "{said}");
    }

    let id = ids[0]["id"].as_str().unwrap();
    let cut = sandbox.run(&["log", id, "--head", "1", "--tail", "2"]).expect(0).stdout;
    assert!(cut.ends_with("  | line 1\n  | [3 lines not shown]\n  | line 5\n  | line 6\n"), "{cut}");
    assert!(cut.contains("exit status 75 (try later)"), "{cut}");
}

#[test]
fn a_nul_in_what_a_hook_prints_hides_nothing_that_follows() {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    let (host, image) = (registry.host(), registry.image("acme/web", "stable"));
    // The end of the output that a status looks at begins inside a character.
    let command = r"printf 'before\\000%s the reason\\n' $(printf 'ä%.0s' $(seq 1100)); exit 3";
    sandbox.write_whole_config(&format!(
        "[watch.web]\nimage = '{image}'\nhooks = ['tell']\n[registry.'{host}']\nplain_http = true\n\
         [hook.tell]\nattempts = 1\ncommand = \"{command}\"\n"
    ));
    registry.push_image("acme/web", "stable", "1");
    sandbox.run(&["check"]).expect(0);
    registry.push_image("acme/web", "stable", "2");
    let checked = sandbox.run(&["check", "--json"]).expect(1).json();

    let filler = |count| "ä".repeat(count);
    let whole = format!("before\0{} the reason", filler(1100));
    assert_eq!(checked["deliveries"][0]["output"][0], whole);
    let status = sandbox.run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["failed"][0]["last_line"], format!("{} the reason", filler(500 - " the reason\n".len())));
    let id = status["failed"][0]["id"].as_str().unwrap().to_owned();
    assert_eq!(sandbox.run(&["log", &id, "--json"]).expect(0).json()["output"], format!("{whole}\n"));

    // Somebody's hand, or a cut.
    let database = Connection::open(sandbox.state().join("taghook.db")).unwrap();
    database.execute("UPDATE attempts SET output = CAST(x'ff00' || 'the reason' AS TEXT)", ()).unwrap();
    let status = sandbox.run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["failed"][0]["last_line"], "\0the reason");
    assert_eq!(sandbox.run(&["log", &id, "--json"]).expect(0).json()["output"], "\u{fffd}\0the reason");

    // A reason, to which a discard adds something.
    database.execute("UPDATE deliveries SET error = 'a' || char(0) || 'b'", ()).unwrap();
    let text = std::fs::read_to_string(sandbox.config_path()).unwrap();
    std::fs::write(sandbox.config_path(), text.replace("hooks = ['tell']", "hooks = []")).unwrap();
    sandbox.run(&["prune", "--yes"]).expect(0);
    let deliveries = sandbox.run(&["deliveries", "--json"]).expect(0).json_lines();
    assert_eq!(deliveries[0]["error"], "a\0b; discarded by hand");
}
