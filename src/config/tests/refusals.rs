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
        "state = \"/x\nsocket = /y\n[watch.a]\nimage = \"nginx\"\nimage = \"redis\"\n",
        r#"
error: this is not TOML: invalid basic string, expected `"`
 --> config.toml:1:12
  |
1 | state = "/x
  |            ^

error: this is not TOML: string values must be quoted, expected literal string
 --> config.toml:2:10
  |
2 | socket = /y
  |          ^^

error: this is not TOML: duplicate key
 --> config.toml:5:1
  |
5 | image = "redis"
  | ^^^^^
"#,
    );
}

#[test]
fn an_unknown_key_names_the_one_that_was_meant() {
    refused(
        "[watch.web]\nimage = \"nginx\"\nshedule = \"5m\"\ncolour = 1\n",
        r#"
error: watch "web": unknown key "shedule"
 --> config.toml:3:1
  |
3 | shedule = "5m"
  | ^^^^^^^
  |
  = help: did you mean "schedule"?

error: watch "web": unknown key "colour"
 --> config.toml:4:1
  |
4 | colour = 1
  | ^^^^^^
  |
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
  |
6 | [[hook]]
  | ^^^^^^^^
  |
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

error: watch "web": schedule "0 0 31 2 *" never comes: no date matches it
 --> config.toml:4:12
  |
4 | schedule = "0 0 31 2 *"
  |            ^^^^^^^^^^^^

error: watch "web": timezone "Berlin" is not known
 --> config.toml:5:12
  |
5 | timezone = "Berlin"
  |            ^^^^^^^^
  |
  = help: did you mean "Europe/Berlin"?

error: watch "web": platform "linux" is not a platform; write os/architecture or os/architecture/variant, for example linux/arm64 or linux/arm/v7
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
  |
7 | [watch.z]
  |        ^
  |
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
  |
1 | state = "/b"
  | ^^^^^ defined again here
  |
 ::: config.toml:1:1
  |
1 | state = "/a"
  | ----- first defined here

error: watch "web" is defined twice
 --> conf.d/a.toml:2:8
  |
2 | [watch.web]
  |        ^^^ defined again here
  |
 ::: config.toml:2:8
  |
2 | [watch.web]
  |        --- first defined here"#;
    assert_eq!(folder.faults(), expected, "got:\n{}", folder.faults());
    let faults = folder.load().unwrap_err();
    let first = faults.iter().nth(1).unwrap();
    assert_eq!((first.line(), first.column(), first.first_defined().unwrap().1), (Some(2), Some(8), 2));
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

/// The message and remedy of each fault, and its line and column.
fn messages(config: &str) -> Vec<String> {
    let faults = Folder::new(config, &[]).load().unwrap_err();
    let text = |fault: &Fault| {
        let remedy = fault.remedy().map(|remedy| format!("; {remedy}")).unwrap_or_default();
        format!("{}:{} {}{remedy}", fault.line().unwrap(), fault.column().unwrap(), fault.message())
    };
    faults.iter().map(text).collect()
}

#[test]
fn names_are_fit_for_file_names_and_urls() {
    let long = "x".repeat(129);
    assert_eq!(
        messages(&format!(
            "[watch.\"we b\"]\nimage = \"a\"\n[watch.-x]\nimage = \"a\"\n[hook.\"\"]\ncommand = \"x\"\n[hook.{long}]\ncommand = \"x\"\n"
        )),
        [
            "1:11 watch \"we b\": a name cannot have ' '; it is made of letters, digits, \".\", \"_\" and \"-\""
                .to_owned(),
            "3:8 watch \"-x\": a name starts with a letter or a digit".to_owned(),
            "5:8 hook \"\": a name starts with a letter or a digit".to_owned(),
            format!("7:7 hook {long:?}: a name is at most 128 characters long, not 129"),
        ]
    );
}

#[test]
fn a_hook_has_a_command_and_sensible_limits() {
    assert_eq!(
        messages(
            "[hook.a]\n[hook.b]\ncommand = []\non = []\ntimeout = \"0s\"\nattempts = 0\nbackoff = \"2h\"\n\
             [hook.c]\ncommand = \"  \"\non = [\"mvoed\", \"x\"]\nconcurrency = -1\ncwd = \"~/x\"\ntimeout = \"9999999h\"\n"
        ),
        [
            "1:7 hook \"a\": there is no command; add for example command = [\"/usr/local/bin/redeploy\", \"web\"]",
            "3:11 hook \"b\": command names no program; write for example [\"/bin/echo\", \"moved\"]",
            "4:6 hook \"b\": on is empty, so the hook would never run; write for example [\"moved\"]",
            "5:11 hook \"b\": timeout \"0s\" is too short; write for example \"30s\"",
            "6:12 hook \"b\": attempts 0 is out of range; it is at least 1",
            "7:11 hook \"b\": backoff (7200s) is longer than backoff_max (3600s); raise backoff_max",
            "9:11 hook \"c\": command names no program; write for example [\"/bin/echo\", \"moved\"]",
            "10:7 hook \"c\": on: there is no change \"mvoed\"; did you mean \"moved\"?",
            "10:16 hook \"c\": on: there is no change \"x\"; changes are first, moved, removed, restored, failing, recovered",
            "11:15 hook \"c\": concurrency -1 is out of range; it is at least 1",
            "12:8 hook \"c\": cwd \"~/x\" is taken as it is written; write the whole path",
            "13:11 hook \"c\": timeout \"9999999h\" is too long; at most a year (\"366d\") is allowed",
        ]
    );
}

#[test]
fn what_belongs_to_the_agent_is_not_given_to_hooks() {
    let config = "[hook.a]\ncommand = \"x\"\nenv = { TAGHOOK_TAG = \"1\", \"A=B\" = \"\" }\n\
                  pass_env = [\"NOTIFY_SOCKET\", \"WATCHDOG_USEC\", \"CREDENTIALS_DIRECTORY\", \"TAGHOOK_CONFIG\", \"HOME\"]\n";
    let found = messages(config);
    assert_eq!(found.len(), 6, "{found:?}");
    assert!(found[0].starts_with("3:9 hook \"a\": env: \"TAGHOOK_TAG\" is taghook's own"));
    assert!(found[1].starts_with("3:28 hook \"a\": env: \"A=B\" is not the name"));
    assert!(found[2].starts_with("4:13 hook \"a\": pass_env: \"NOTIFY_SOCKET\" belongs to the agent"));
}

#[test]
fn a_registry_is_checked_too() {
    assert_eq!(
        messages(
            "[registry.a]\nusername = \"u\"\nrate = \"5\"\nendpoint = \"mirror\"\ntimeout = \"x\"\n\
             [registry.b]\npassword_file = \"/x\"\nrate = \"0/s\"\nendpoint = \"https://a/?q\"\nconcurrency = 0\n\
             [registry.\"https://c\"]\n[registry.d]\nplain_http = true\nendpoint = \"http://x\"\n[registry.\"e:0\"]\n"
        ),
        [
            "2:1 registry \"a\": username needs password_file; add password_file, or remove username",
            "3:8 registry \"a\": rate \"5\" is not a rate; write for example \"10/s\", \"600/m\" or \"1000/h\"",
            "4:12 registry \"a\": endpoint: it is not a URL; write for example \"https://mirror.example.com/hub\"",
            "5:11 registry \"a\": timeout \"x\" is not a duration; write for example \"30s\", \"15m\", \"1h 30m\" or \"3d\"",
            "7:1 registry \"b\": password_file needs username; add username, or remove password_file",
            "8:8 registry \"b\": rate \"0/s\" is out of range; a rate is at least \"0.05/h\" and at most \"1000000/s\"",
            "9:12 registry \"b\": endpoint: it has a query or a fragment; write for example \"https://mirror.example.com/hub\"",
            "10:15 registry \"b\": concurrency 0 is out of range; it is at least 1",
            "11:17 registry \"https://c\": a registry is named by its host alone, as in [registry.\"registry.example.com:5000\"]",
            "13:1 registry \"d\": plain_http has no effect beside endpoint, whose scheme says it; remove plain_http",
            "15:13 registry \"e:0\": `0` is not a port number",
        ]
    );
}

#[test]
fn no_secret_is_shown() {
    let faults = Folder::new(
        "[watch.a]\nimage = \"https://ann:hunter2@ghcr.io/x\"\n[registry.a]\npassword = \"hunter2\"\n\
         endpoint = \"https://ann:hunter2@mirror/\"\n[hook.h]\ncommand = 3\nenv = { API_TOKEN = \"hunter2\", B = 1 }\n",
        &[("a.toml", "[registry.b]\npassword = hunter2\n")],
    );
    for colour in [true, false] {
        let text = faults.load().unwrap_err().render(colour);
        assert!(!text.contains("hunter2"), "{text}");
    }
    let lines: String = faults.load().unwrap_err().iter().map(|fault| format!("{fault}\n")).collect();
    assert!(!lines.contains("hunter2"), "{lines}");
}

#[test]
fn what_may_stand_in_an_unreadable_part_is_not_called_missing() {
    let config = "[watch.a]\nhooks = [\"h\"]\nimage = \"nginx\n";
    assert_eq!(messages(config), ["3:15 this is not TOML: invalid basic string, expected `\"`"]);
}

#[test]
fn a_long_list_of_faults_is_cut_and_counted() {
    let config: String = (0..130).map(|n| format!("x{n} = 1\n")).collect();
    assert!(faults(&config).ends_with("\n\nand 30 more"));
    assert_eq!(messages(&config).len(), 130);
}

#[test]
fn a_fault_on_one_line_has_its_place_and_remedy() {
    let folder = Folder::new("sokcet = \"/x\"\n", &[]);
    let faults = folder.load().unwrap_err();
    let line = faults.iter().next().unwrap().to_string();
    assert_eq!(line, format!("{}:1:1: unknown key \"sokcet\"; did you mean \"socket\"?", folder.path().display()));
}
