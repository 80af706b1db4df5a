//! What is refused, and the very text that people then read.

use super::*;

/// Compares the faults of a config with what is expected, which starts on a line of its own.
#[track_caller]
fn refused(config: &str, expected: &str) {
    let faults = faults(config);
    assert_eq!(faults, expected.trim_matches('\n'), "got:\n{faults}");
}

#[test]
fn several_syntax_errors_are_told_in_one_pass() {
    refused(
        "[watch.a]\nimage = \"nginx\"\nimage = \"redis\"\n[watch.b]\nimage = \"/x\nplatform = /y\n",
        r#"
error: image is set twice
 --> config.toml:3:1
  = note: first defined at config.toml:2:1
  = help: remove one of the two

error: this is not TOML: invalid basic string, expected `"`
 --> config.toml:5:12
  = help: a quote or a bracket may be missing, here or above; text stands in quotes, as in KEY = "text"

error: this is not TOML: string values must be quoted, expected literal string
 --> config.toml:6:12
  = help: a quote or a bracket may be missing, here or above; text stands in quotes, as in KEY = "text"
"#,
    );
}

#[test]
fn after_a_syntax_error_nothing_else_is_said_of_the_file() {
    let config = "x = 1\n[watch.a]\nimage = \"nginx\ncolour = 1\n[watch.a]\nimage = 7\n";
    let faults = Folder::new(config, &[("a.toml", "y = 1\n")]).load().unwrap_err();
    let messages: Vec<&str> = faults.iter().map(Fault::message).collect();
    assert_eq!(messages[0], "unknown key \"x\"", "it stands above");
    assert!(messages[1].starts_with("this is not TOML: "), "{messages:?}");
    assert_eq!(messages[2..], ["unknown key \"y\""], "it stands in another file");
}

#[test]
fn an_unknown_key_names_the_one_that_was_meant() {
    refused(
        "[watch.web]\nimage = \"nginx\"\nshedule = \"5m\"\ncolour = 1\n",
        r#"
error: watch "web": unknown key "shedule"
 --> config.toml:3:1
  = help: did you mean "schedule"?

error: watch "web": unknown key "colour"
 --> config.toml:4:1
  = help: known keys are image, schedule, timezone, jitter, platform, settle, confirm_after, absent_after, hooks, enabled
"#,
    );
}

#[test]
fn a_wrong_type_says_what_to_write() {
    refused(
        "shutdown_grace = 30\n[watch.web]\nimage = \"nginx\"\nenabled = \"yes\"\nhooks = 3\n[[hook]]\n",
        r#"
error: shutdown_grace must be a duration in quotes, not an integer
 --> config.toml:1:18
  |
1 | shutdown_grace = 30
  |                  ^^
  |
  = help: write it with a unit, as in "30s"

error: watch "web": enabled must be true or false, not a string
 --> config.toml:4:11
  |
4 | enabled = "yes"
  |           ^^^^^
  |
  = help: write true or false, without quotes

error: watch "web": hooks must be a list of strings, not an integer
 --> config.toml:5:9
  |
5 | hooks = 3
  |         ^
  |
  = help: write for example ["a", "b"]

error: hook must be a table, not a list
 --> config.toml:6:1
  = help: write [hook.NAME]
"#,
    );
}

#[test]
fn a_bad_duration_schedule_zone_and_platform_are_underlined() {
    refused(
        "[watch.web]\nimage = \"nginx\"\nsettle = \"3x\"\nschedule = \"0 0 31 2 *\"\ntimezone = \"Berlin\"\nplatform = \"linux\"\n\
         [watch.x]\nimage = \"nginx\"\nschedule = \"every 5x\"\n",
        r#"
error: watch "web": settle "3x" is not a duration; write for example "30s", "15m", "1h 30m" or "3d"
 --> config.toml:3:10
  |
3 | settle = "3x"
  |          ^^^^

error: watch "web": schedule "0 0 31 2 *": it never comes: no month of "2" has a day of "31"
 --> config.toml:4:17
  |
4 | schedule = "0 0 31 2 *"
  |                 ^^^^

error: watch "web": timezone "Berlin" is not known
 --> config.toml:5:12
  |
5 | timezone = "Berlin"
  |            ^^^^^^^^
  |
  = help: did you mean "Europe/Berlin"?

error: watch "web": platform "linux" is not a platform; write os/architecture or os/architecture/variant, for example linux/arm64, linux/arm/v7 or windows/amd64:10.0.20348
 --> config.toml:6:12
  |
6 | platform = "linux"
  |            ^^^^^^^

error: watch "x": schedule "every 5x" is neither a duration nor a cron expression; try "15m" or "*/15 * * * *"
 --> config.toml:9:12
  |
9 | schedule = "every 5x"
  |            ^^^^^^^^^^
"#,
    );
}

#[test]
fn a_bad_reference_is_underlined_at_the_very_character() {
    refused(
        "[watch.web]\nimage = \"ghcr.io/Acme/web\"\n[watch.x]\nimage = 'nginx:é'\n[watch.y]\nimage = \"gh\\u0063r.io/A\"\n[watch.z]\n",
        r#"
error: watch "web": image "ghcr.io/Acme/web": a repository name is lower case; write `acme`
 --> config.toml:2:18
  |
2 | image = "ghcr.io/Acme/web"
  |                  ^

error: watch "x": image "nginx:é": a tag cannot have 'é'
 --> config.toml:4:16
  |
4 | image = 'nginx:é'
  |                ^

error: watch "y": image "ghcr.io/A": a repository name is lower case; write `a`
 --> config.toml:6:9
  |
6 | image = "gh\u0063r.io/A"
  |         ^^^^^^^^^^^^^^^^

error: watch "z": there is no image
 --> config.toml:7:8
  = help: add for example image = "ghcr.io/acme/web:stable"
"#,
    );
}

#[test]
fn a_hook_that_does_not_exist_names_the_one_that_was_meant() {
    refused(
        "[defaults]\nhooks = [\"redeploy\", \"mail\"]\n[hook.redploy]\ncommand = [\"/bin/echo\"]\n",
        r#"
error: defaults: there is no hook "redeploy"
 --> config.toml:2:10
  |
2 | hooks = ["redeploy", "mail"]
  |          ^^^^^^^^^^
  |
  = help: did you mean "redploy"?

error: defaults: there is no hook "mail"
 --> config.toml:2:22
  |
2 | hooks = ["redeploy", "mail"]
  |                      ^^^^^^
  |
  = help: define it: [hook.mail] with a command
"#,
    );
}

#[test]
fn a_name_that_is_defined_twice_names_both_places() {
    let folder = Folder::new(
        "state = \"/a\"\n[watch.web]\nimage = \"nginx\"\n",
        &[("a.toml", "state = \"/b\"\n[watch.web]\nimage = \"redis\"\n")],
    );
    let expected = r#"error: state is set twice
 --> conf.d/a.toml:1:1
  = note: first defined at config.toml:1:1
  = help: remove one of the two

error: watch "web" is defined twice
 --> conf.d/a.toml:2:8
  = note: first defined at config.toml:2:8
  = help: remove one of the two"#;
    assert_eq!(folder.faults(), expected, "got:\n{}", folder.faults());
    let faults = folder.load().unwrap_err();
    let first = &faults[1];
    assert_eq!((first.line(), first.column(), first.first_defined().unwrap().1), (Some(2), Some(8), 2));
}

#[test]
fn a_name_that_is_defined_twice_in_one_file_names_both_places() {
    for (config, message, again, first) in [
        (
            "[watch.web]\nimage = 'a'\n[hook.h]\ncommand = 'b'\n[watch.\"web\"]",
            "watch \"web\" is defined twice",
            (5, 8),
            1,
        ),
        ("\n[watch.web]\nimage = 'a'\nsettle = '1s'\n\"image\" = 'b'", "image is set twice", (5, 1), 3),
        ("state = 'a'\nsocket = 'b'\nstate = 'c'\nstate = 'd'", "state is set twice", (3, 1), 1),
        ("[defaults]\nsettle = '1s'\nsettle = '2s'", "defaults: settle is set twice", (3, 1), 2),
        ("[hook.h]\ncommand = 'x'\nenv = { A = '1', B = '2', A = '3' }", "A is set twice", (3, 27), 3),
        ("[[hook]]\n[hook.h]\ncommand = 'x'\n[watch]\n[registry]\n[watch]", "watch is set twice", (6, 2), 4),
    ] {
        let faults = Folder::new(config, &[]).load().unwrap_err();
        let fault = faults.iter().find(|fault| fault.message() == message).unwrap_or_else(|| panic!("{faults}"));
        assert_eq!((fault.line(), fault.column()), (Some(again.0), Some(again.1)), "{config}");
        assert_eq!(fault.first_defined().map(|(_, line)| line), Some(first), "{config}");
    }
}

#[test]
fn a_registry_that_is_named_twice_in_other_words_names_both_places() {
    let faults = faults("[registry.\"index.docker.io\"]\n[registry.\"docker.io\"]\n");
    assert!(faults.starts_with("error: registry \"docker.io\" is defined twice: it is the same as \"index.docker.io\"\n --> config.toml:2:11"), "{faults}");
}

#[test]
fn a_host_without_quotes_is_told_to_be_quoted() {
    let faults = faults("[registry.ghcr.io]\nplain_http = true\n");
    assert!(faults.contains("as in [registry.\"ghcr.io\"]"), "{faults}");
}
