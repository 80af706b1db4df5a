//! `taghook history` and `deliveries`: what moved when, how long that stood, and what hooks did about it.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use rusqlite::Connection;
use serde_json::Value;

use support::bed::{Bed, Setup};
use support::terminal::{on_terminal, without_colours};

/// One baseline three days ago, and two moves: one of two hours ago that the hook has taken, one of now that it refuses.
fn with_a_past() -> Bed {
    let bed = Bed::with(Setup { hook: "attempts = 1", ..Setup::default() });
    for (salt, code) in [("one", 0), ("two", 0), ("three", 1)] {
        bed.push(salt);
        bed.hook.exits_with(code);
        bed.check(code);
    }
    let database = Connection::open(bed.state().join("taghook.db")).unwrap();
    let hour = 3_600_000;
    for (id, earlier) in [(1, 74 * hour), (2, 2 * hour)] {
        database.execute("UPDATE changes SET at = at - ?2 WHERE id = ?1", [id, earlier]).unwrap();
    }
    bed
}

fn kinds(bed: &Bed, args: &[&str]) -> Vec<String> {
    let args: Vec<&str> = ["history", "--json"].iter().chain(args).copied().collect();
    let text = |change: &Value| format!("{} {}", change["id"], change["change"].as_str().unwrap());
    bed.run(&args).expect(0).json_lines().iter().map(text).collect()
}

#[test]
fn a_person_sees_how_long_each_digest_stood_and_what_hooks_did_about_it() {
    let bed = with_a_past();

    let said = without_colours(&on_terminal(&bed, 100, "", "history").expect(0).stdout);

    let history = bed.history();
    let short = |value: &Value| value.as_str().unwrap()[7..19].to_owned();
    let moved = |change: &Value| format!("  moved  {} → {}  for ", short(&change["from"]), short(&change["to"]));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines[0], format!("web: {}", bed.image()));
    assert!(lines[1].contains(&moved(&history[0])) && lines[1].ends_with(" so far"), "{said}");
    assert!(lines[2].starts_with("    redeploy failed: exit status 1 ("), "{said}");
    assert!(lines[3].ends_with(&format!("{}2 h", moved(&history[1]))), "{said}");
    assert!(lines[4].starts_with("    redeploy succeeded ("), "{said}");
    assert!(lines[5].ends_with(&format!("  first  {}  for 3 d", short(&history[2]["to"]))), "{said}");
    assert_eq!(lines.len(), 6, "{said}");
}

#[test]
fn in_a_pipe_each_change_is_one_line() {
    let bed = with_a_past();
    let said = bed.run(&["history"]).expect(0).stdout;
    let cells = |line: &str| -> Vec<String> {
        line.split("  ").map(|cell| cell.trim().to_owned()).filter(|cell| !cell.is_empty()).collect()
    };
    let words: Vec<Vec<String>> = said.lines().map(cells).collect();
    assert_eq!(words[0], ["TIME", "WATCH", "CHANGE", "FROM", "TO", "STOOD", "HOOKS"]);
    assert_eq!(words.len(), 4, "{said}");
    assert_eq!(words[1].last().unwrap(), "redeploy failed: exit status 1", "{said}");
    assert_eq!(words[2][5..], ["2 h", "redeploy succeeded"], "{said}");
}

#[test]
fn the_past_is_searched_by_time_and_kind() {
    let bed = with_a_past();
    let at = bed.history()[1]["at"].as_str().unwrap().to_owned();
    assert_eq!(kinds(&bed, &["--since", "1d"]), ["3 moved", "2 moved"]);
    assert_eq!(kinds(&bed, &["--until", "1d"]), ["1 first"]);
    assert_eq!(kinds(&bed, &["--since", &at]), ["3 moved", "2 moved"]);
    assert_eq!(kinds(&bed, &["--until", &at]), ["1 first"]);
    assert_eq!(kinds(&bed, &["--since", "2020-01-31", "--until", "1h"]), ["2 moved", "1 first"]);
    assert_eq!(kinds(&bed, &["--change", "first"]), ["1 first"]);
    assert_eq!(kinds(&bed, &["web", "--change", "moved", "-n", "1"]), ["3 moved"]);
    assert!(bed.run(&["history", "--change", "removed"]).expect(0).stdout.contains("no such change yet"));

    let said = bed.run(&["history", "--since", "yesterday"]).expect(2).stderr;
    assert!(said.contains("neither a time ago, as \"2d\", nor a date, as \"2026-01-31\""), "{said}");
    let said = bed.run(&["history", "--change", "move"]).expect(2).stderr;
    assert!(said.contains("moved"), "it names the kinds: {said}");
}

#[test]
fn deliveries_are_searched_by_state_and_hook() {
    let bed = with_a_past();
    let states = |args: &[&str]| -> Vec<String> {
        let args: Vec<&str> = ["deliveries", "--json"].iter().chain(args).copied().collect();
        let rows = bed.run(&args).expect(0).json_lines();
        rows.iter().map(|row| row["state"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(states(&["--only", "failed"]), ["failed"]);
    assert_eq!(states(&["--hook", "redeploy"]), ["failed", "succeeded"]);
    assert_eq!(states(&["--hook", "other"]), Vec::<String>::new());
    assert_eq!(states(&["--until", "1h", "--change", "moved"]), ["succeeded"]);
}

#[test]
fn before_anything_has_happened_nothing_was_looked_for_in_vain() {
    let bed = Bed::new();
    let told = |args: &[&str]| bed.run(args).expect(0).stdout;
    assert_eq!(told(&["deliveries"]), "no hook is owed anything yet\n");
    assert_eq!(told(&["history"]), "no tag was seen yet\n");
    assert_eq!(told(&["deliveries", "--only", "failed"]), "no such delivery yet\n");
    assert_eq!(told(&["history", "web"]), "no such change yet\n");
}
