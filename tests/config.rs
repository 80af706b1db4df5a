//! `taghook config` and `taghook init`: what people and editors are told of a config.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking, its helpers too")]

mod support;

use serde_json::{Value, json};
use support::process::Running;
use support::sandbox::{Sandbox, Who, chmod};

/// The smallest useful config; the README shows it.
const SMALLEST: &str = "[watch.web]\nimage = \"ghcr.io/acme/web:stable\"\nhooks = [\"redeploy\"]\n[hook.redeploy]\ncommand = \"docker compose --project-directory /srv/web up -d --pull always\"\n";

fn write(sandbox: &Sandbox, text: &str) {
    std::fs::write(sandbox.config_path(), text).unwrap();
    chmod(&sandbox.config_path(), 0o644);
}

#[test]
fn five_lines_are_a_config_and_the_readme_shows_them() {
    let sandbox = Sandbox::new();
    write(&sandbox, SMALLEST);
    assert_eq!(SMALLEST.lines().count(), 5);
    // Not every machine has the program that it runs.
    let docker = sandbox.path().join("docker");
    std::fs::write(&docker, "#!/bin/sh\n").unwrap();
    chmod(&docker, 0o755);
    let mut command = sandbox.command(Who::Us, &["config", "check"]);
    command.env("PATH", sandbox.path());
    let said = Running::start(command).finish().expect(0);
    assert!(said.stdout.ends_with("config.toml: 1 watch, 1 hook, no faults\n"), "{said:?}");
    assert_eq!(said.stderr, "");
    let readme = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/README.md")).unwrap();
    assert!(readme.contains(SMALLEST));
}

#[test]
fn faults_of_all_files_are_told_at_once_and_counted() {
    let sandbox = Sandbox::new();
    write(&sandbox, "[watch.web]\nimage = 'nginx'\nschedule = '*/100 * * * *'\n[hook.h]\ncommand = ['/nowhere/x']\n");
    std::fs::create_dir(sandbox.path().join("conf.d")).unwrap();
    std::fs::write(sandbox.path().join("conf.d/a.toml"), "[watch.web]\nimage = nginx\n").unwrap();

    let said = sandbox.run(&["config", "check"]).expect(2);

    for word in ["config.toml:3:13", "conf.d/a.toml:2:9", "this is not TOML: ", "\"/nowhere/x\" does not exist"] {
        assert!(said.stderr.contains(word), "{word:?} is missing: {}", said.stderr);
    }
    assert!(said.stderr.ends_with("config.toml: 3 errors, 1 warning\n"), "{}", said.stderr);
    assert_eq!(said.stdout, "");

    let found = sandbox.run(&["config", "check", "--json"]).expect(2);
    assert_eq!(found.stderr, "");
    let found: Value = serde_json::from_str(&found.stdout).unwrap();
    assert_eq!(found["ok"], false);
    let faults = found["faults"].as_array().unwrap();
    let places: Vec<Value> =
        faults.iter().map(|fault| json!([fault["level"], fault["line"], fault["column"]])).collect();
    let expected = [json!(["error", 3, 13]), json!(["error", 1, 8]), json!(["error", 2, 9]), json!(["warning", 5, 11])];
    assert_eq!(places, expected);
    assert_eq!(faults[1]["first_defined"]["line"], 1);
    assert!(faults[2]["file"].as_str().unwrap().ends_with("conf.d/a.toml"));
    assert!(faults[2]["remedy"].as_str().unwrap().contains("text stands in quotes"), "{}", faults[2]);
}

#[test]
fn the_config_that_the_variable_names_is_the_one() {
    let sandbox = Sandbox::new();
    write(&sandbox, SMALLEST);
    let mut command = sandbox.bare_command(Who::Us, &["config", "check"]);
    let output = command.env("TAGHOOK_CONFIG", sandbox.config_path()).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

#[test]
fn what_is_shown_is_a_config_that_means_the_same() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config(
        "[defaults]\nschedule = '@daily'\ntimezone = 'Asia/Tokyo'\n[watch.web]\nimage = 'nginx'\nhooks = 'h'\n\
         [watch.\"a.b\"]\nimage = 'localhost:5000/x:1'\nschedule = '90s'\nplatform = 'linux/aarch64'\n\
         [hook.h]\ncommand = ['/bin/echo', 'a \"quoted\" word']\nbackoff = '90s'\n\
         [registry.'localhost:5000']\nplain_http = true\nrate = '100/m'\n",
    );
    let shown = sandbox.run(&["config", "show"]).expect(0);
    assert_eq!(shown.stderr, "");
    let line = shown.stdout.lines().find(|line| line.starts_with("schedule = \"@daily\"")).unwrap();
    assert!(line.ends_with("config.toml:3 [defaults]"), "{line}");
    assert!(shown.stdout.contains("platform = \"linux/arm64\""), "{}", shown.stdout);

    let other = Sandbox::new();
    write(&other, &shown.stdout);
    let check = other.run(&["config", "check"]).expect(0);
    assert!(check.stdout.ends_with("2 watches, 1 hook, no faults\n"), "{check:?}");
    let again = other.run(&["config", "show"]).expect(0).stdout;
    let values = |text: &str| -> Vec<String> {
        text.lines().map(|line| line.split("  # ").next().unwrap().trim_end().to_owned()).collect()
    };
    assert_eq!(values(&again), values(&shown.stdout));

    let json: Value = serde_json::from_str(&sandbox.run(&["config", "show", "--json"]).expect(0).stdout).unwrap();
    assert_eq!(json["watch"]["web"]["settle"], json!({ "value": "0s", "from": "default" }));
    let schedule = &json["watch"]["web"]["schedule"];
    assert_eq!((&schedule["from"], &schedule["line"]), (&json!("defaults"), &json!(3)));
    assert_eq!(json["registry"]["localhost:5000"]["rate"]["value"], "100/m");
}

/// Commands that hold a secret in ways in which people write them, and what may be shown of each.
const SECRET_COMMANDS: [(&str, &str); 11] = [
    ("'curl -u admin:hunter2 https://h.example'", "curl ***"),
    ("['/usr/bin/curl', '-u', 'admin:hunter2']", "/usr/bin/curl|***|***"),
    ("['sshpass', '-p', 'hunter2', 'ssh', 'h']", "sshpass|***|***|***|***"),
    ("'PASS=hunter2 deploy'", "***"),
    ("'MYSQL_PWD=hunter2 mysql -e x'", "***"),
    ("'docker login -p hunter2'", "docker ***"),
    ("'mysql -phunter2'", "mysql ***"),
    ("['deploy', '--pass=hunter2']", "deploy|***"),
    ("['env', 'X_KEY=hunter2', 'deploy']", "env|***|***"),
    ("['curl https://hooks.example/hunter2']", "curl ***"),
    ("['/bin/sh', '-c', 'curl -H \"Authorization: hunter2\" x']", "curl ***"),
];

#[test]
fn of_a_command_only_the_program_is_shown() {
    let sandbox = Sandbox::new();
    for (command, expected) in SECRET_COMMANDS {
        sandbox.write_whole_config(&format!(
            "[watch.web]\nimage = 'nginx'\nhooks = ['h']\n[hook.h]\ncommand = {command}\nenv = {{ SLACK = 'hunter2' }}\n"
        ));
        let toml = sandbox.run(&["config", "show"]).expect(0);
        assert!(toml.stdout.contains("env = { SLACK = \"***\" }"), "{toml:?}");
        let json = sandbox.run(&["config", "show", "--json"]).expect(0);
        for shown in [&toml, &json] {
            assert!(!shown.stdout.contains("hunter2"), "{command}: {shown:?}");
        }
        let json: Value = serde_json::from_str(&json.stdout).unwrap();
        let shown = &json["hook"]["h"]["command"]["value"];
        let words = shown.as_array().map(|words| words.iter().filter_map(Value::as_str).collect::<Vec<_>>().join("|"));
        assert_eq!(words.as_deref().or(shown.as_str()), Some(expected), "{command}");
    }
}

/// Configs with a fault in a line that holds a secret.
const SECRET_LINES: [&str; 18] = [
    "[hook.h]\ncommand = 'x'\nenv = { WEBHOOK = 'https://hooks.example/hunter2', P = 7 }\n",
    "[hook.h]\ncomand = 'curl https://hooks.example/hunter2'\n",
    "[hook.h]\ncommand = ['no-such-program', '-p', 'hunter2']\n",
    "[hook.h]\ncommand = ['no-such-program -p hunter2']\n",
    "[hook.h]\ncommand = curl -u hunter2\n",
    "[hook.h]\ncommand = 'curl -u hunter2\n",
    "[hook.h]\ncommand = 'x'\npass_env = ['TOKEN=hunter2']\n",
    "[hook.h.env]\nimage = 'hunter2'\nB = 7\n",
    "[hook.h]\ncommand = 'x'\ntimeout = '0s' # hunter2\n",
    "hook.h = { command = 'curl hunter2', timeout = '0s' }\n",
    "[watch.w]\nimage = 'https://u:hunter2@h/p?q'\n",
    "[watch.w]\nimage = 'u:hunter2@h/p'\n",
    "[registry.h]\nendpoint = 'https://u:hu/hunter2@h/p'\n",
    "[registry.h]\npassword = hunter2==\n",
    "[registry.\"u:hunter2@h\"]\nrate = 7\n",
    "[wtach.w]\nimage = 'hunter2'\n",
    "[hook.h]\nenv = { A = \"\nhunter2 = 'x'\n\" }\n",
    "[defaults]\nschedule = \"\"\"5m\n[hook.h]\ncommand = 'hunter2'\n",
];

#[test]
fn no_fault_shows_a_secret() {
    let sandbox = Sandbox::new();
    for config in SECRET_LINES {
        sandbox.write_whole_config(config);
        for args in [&["config", "check"][..], &["config", "check", "--json"], &["config", "show"], &["reload"]] {
            let said = sandbox.run(args);
            assert!(args[0] == "reload" || format!("{said:?}").contains("config.toml"), "{config}: {said:?}");
            assert!(!format!("{said:?}").contains("hunter2"), "{config}: {said:?}");
        }
    }
}

#[test]
fn the_log_of_a_start_has_each_warning_as_one_line_without_secrets() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config("[hook.h]\ncommand = ['no-such-program', '-p', 'hunter2']\n");
    let mut agent = sandbox.agent();
    agent.wait_for("is not in $PATH", &[]);
    agent.sigterm();
    agent.wait_exit();
    let log = agent.log().join("\n");
    assert!(log.contains("WARN") && !log.contains("-->") && !log.contains("hunter2"), "{log}");
}

#[test]
fn the_schema_is_printed_without_a_config() {
    let sandbox = Sandbox::new();
    let schema: Value = serde_json::from_str(&sandbox.run_bare(&["config", "schema"]).expect(0).stdout).unwrap();
    assert_eq!(schema["$schema"], "http://json-schema.org/draft-07/schema#");
    assert_eq!(schema["definitions"]["watch"]["required"], json!(["image"]));
}

#[test]
fn a_config_to_start_from_passes_the_check_and_is_never_overwritten() {
    let sandbox = Sandbox::new();
    let path = sandbox.path().join("new/config.toml");
    let place = path.to_str().unwrap();
    let said = sandbox.run_bare(&["init", place]).expect(0);
    assert!(said.stdout.contains(&format!("taghook config check --config {place}")), "{said:?}");
    let check = sandbox.run_bare(&["config", "check", "--config", place]).expect(0);
    assert!(check.stdout.ends_with("1 watch, 1 hook, no faults\n") && check.stderr.is_empty(), "{check:?}");

    std::fs::write(&path, "mine").unwrap();
    let again = sandbox.run_bare(&["init", place]).expect(2);
    assert!(again.stderr.contains(place) && again.stderr.contains("taghook init PATH"), "{again:?}");
    assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
}

#[test]
fn what_the_start_has_as_comments_works_too() {
    let sandbox = Sandbox::new();
    let starter = sandbox.run_bare(&["init", "-"]).expect(0).stdout;
    let is_setting = |rest: &str| rest.starts_with(|c: char| c.is_ascii_lowercase() || c == '[');
    let lines = starter.lines().map(|line| line.strip_prefix('#').filter(|rest| is_setting(rest)).unwrap_or(line));
    let all = lines.collect::<Vec<_>>().join("\n");
    write(&sandbox, &all);
    let said = sandbox.run(&["config", "check"]).expect(0);
    assert!(all.contains("\nusername = ") && all.contains("\n[registry."), "{all}");
    assert!(said.stdout.contains("1 watch, 1 hook"), "{said:?}");
}

#[test]
fn without_a_path_the_start_is_written_where_configs_are_looked_for() {
    let sandbox = Sandbox::of_owner();
    let said = {
        let output = sandbox.bare_command(Who::Owner, &["init"]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let path = sandbox.path().join("home/.config/taghook/config.toml");
    assert!(said.starts_with(&format!("wrote {}\n", path.display())), "{said}");
    assert!(path.exists());
}

#[test]
fn a_time_zone_of_the_host_that_there_is_not_is_told_wherever_the_config_is_read() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config("[watch.w]\nimage = '127.0.0.1:1/a'\nschedule = '@daily'\n");
    let run = |zone: &str, verb: &[&str]| {
        let mut command = sandbox.command(Who::Us, verb);
        command.env("TZ", zone);
        Running::start(command).finish().expect(0)
    };
    for zone in ["Mars/Olympus", ":Europe/Berlinn", "/nowhere/zone"] {
        for verb in [["config", "check"], ["config", "show"]] {
            let said = run(zone, &verb).stderr;
            let expected =
                format!("warning: $TZ is \"{zone}\", which names no known time zone, so UTC is used in its place");
            assert!(said.contains(&expected) && said.contains("such as Europe/Berlin"), "{said}");
        }
    }
    for zone in [
        "",
        "UTC",
        "Europe/Berlin",
        ":Europe/Berlin",
        "CET-1CEST,M3.5.0,M10.5.0/3",
        "<+02>-2",
        "/usr/share/zoneinfo/Europe/Berlin",
    ] {
        assert_eq!(run(zone, &["config", "check"]).stderr, "", "{zone:?}");
    }
    let mut command = sandbox.command(Who::Us, &["run"]);
    command.env("TZ", "Mars/Olympus");
    let mut agent = support::process::Agent::start(command);
    agent.sigterm();
    agent.wait_exit();
    assert!(agent.log().iter().any(|line| line.contains("WARN config: $TZ is ")), "{:?}", agent.log());
}

#[test]
fn a_time_zone_at_the_head_of_a_cron_expression_is_told_where_it_belongs() {
    let sandbox = Sandbox::new();
    write(&sandbox, "[watch.w]\nimage = 'nginx'\nschedule = 'CRON_TZ=Europe/Berlin 0 3 * * *'\n");
    let said = sandbox.run(&["config", "check"]).expect(2).stderr;
    let remedy = "names its time zone; write schedule = \"0 3 * * *\" and timezone = \"Europe/Berlin\"";
    assert!(said.contains(remedy), "{said}");
}
