//! What is wrong with config, state or caller is said once, with the remedy, and changes nothing.

mod support;

use std::path::Path;

use support::bed::{Bed, REPOSITORY, Setup, TAG};
use support::process::Output;
use support::sandbox::{Sandbox, Who, chmod};

/// A config that is good, for a registry that nobody asks.
const GOOD: &str = "[watch.web]\nimage = '127.0.0.1:1/team/web:stable'\n";

/// One error, no output, none of the exit statuses that are left for other things.
#[track_caller]
fn assert_one_error(output: &Output, codes: &[i32], words: &[&str]) {
    assert!(output.code.is_some_and(|code| codes.contains(&code)), "exit status not in {codes:?}: {output:#?}");
    assert_eq!(output.stdout, "", "{output:#?}");
    let errors = output.stderr.lines().filter(|line| line.starts_with("error")).count();
    assert_eq!(errors, 1, "one line that begins with \"error\": {output:#?}");
    for word in words {
        assert!(output.stderr.contains(word), "{word:?} is missing: {}", output.stderr);
    }
    for word in ["panicked", "RUST_BACKTRACE", "os error 2)\n\nStack", "\x1b"] {
        assert!(!output.stderr.contains(word), "{}", output.stderr);
    }
}

/// Every verb that reads the config.
const VERBS: [&str; 5] = ["run", "check", "status", "history", "deliveries"];

/// Each verb refuses in the same way, and the sandbox stays as it was.
#[track_caller]
fn assert_refused(sandbox: &Sandbox, who: Who, verbs: &[&str], codes: &[i32], words: &[&str]) {
    // Once, so that the binary is in place where another user needs it there.
    sandbox.command(who, &[]);
    let before = sandbox.snapshot(sandbox.path());
    for verb in verbs {
        assert_one_error(&sandbox.run_as(who, &[verb]), codes, words);
        assert_eq!(changed(&before, &sandbox.snapshot(sandbox.path())), Vec::<String>::new(), "{verb} left something");
    }
}

type Snapshot = std::collections::BTreeMap<std::path::PathBuf, support::sandbox::Found>;

/// The paths that differ. The lock may be there: it is taken before anything is looked at.
fn changed(before: &Snapshot, after: &Snapshot) -> Vec<String> {
    let paths = before.keys().chain(after.keys());
    let differ = paths.filter(|path| before.get(*path) != after.get(*path));
    differ.filter(|path| !path.ends_with("taghook.lock")).map(|path| path.display().to_string()).collect()
}

#[test]
fn a_config_that_is_missing() {
    let sandbox = Sandbox::new();
    assert_refused(&sandbox, Who::Us, &VERBS, &[2], &["config.toml", "--config"]);
}

#[test]
fn a_config_that_may_not_be_read() {
    let sandbox = Sandbox::of_owner();
    sandbox.write_whole_config(GOOD);
    chmod(&sandbox.config_path(), 0o000);
    // Root reads everything, so another user tries.
    assert_refused(&sandbox, Who::Nobody, &VERBS, &[2], &["config.toml", "ermission"]);
}

#[test]
fn a_directory_in_place_of_the_config() {
    let sandbox = Sandbox::new();
    std::fs::create_dir(sandbox.config_path()).unwrap();
    assert_refused(&sandbox, Who::Us, &VERBS, &[2], &["config.toml", "directory"]);
}

#[test]
fn a_config_that_is_not_toml_is_refused_with_line_and_column() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config("[watch.web]\nimage = nginx:1\n");
    assert_refused(&sandbox, Who::Us, &VERBS, &[2], &["config.toml:3:"]);
    let said = sandbox.run(&["check"]).stderr;
    let column = said.split("config.toml:3:").nth(1).unwrap();
    assert!(column.starts_with(|first: char| ('1'..='9').contains(&first)), "{said}");
}

#[test]
fn a_config_that_is_not_text() {
    let sandbox = Sandbox::new();
    std::fs::write(sandbox.config_path(), b"state = \"\xff\xfe\x00\"\n").unwrap();
    assert_refused(&sandbox, Who::Us, &VERBS, &[2], &["config.toml", "UTF-8"]);
}

#[test]
fn a_key_that_does_not_exist_is_refused_with_its_place_and_a_guess() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config("[watch.web]\nimage = 'nginx'\nschedul = '5m'\n");
    assert_refused(&sandbox, Who::Us, &VERBS, &[2], &["config.toml:4:", "schedul", "did you mean \"schedule\""]);
}

#[test]
fn all_faults_are_named_at_once() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config(
        "[watch.web]\nimage = 'nginx'\nschedule = 'every 5x'\nhooks = ['redploy']\n[hook.redeploy]\ncommand = 'true'\n",
    );

    let said = sandbox.run(&["run"]).expect(2);

    for word in ["config.toml:4:", "every 5x", "config.toml:5:", "redploy", "did you mean \"redeploy\""] {
        assert!(said.stderr.contains(word), "{word:?} is missing: {}", said.stderr);
    }
    assert!(!sandbox.state().exists());
}

#[test]
fn a_state_directory_that_cannot_be_made() {
    let sandbox = Sandbox::of_owner();
    sandbox.write_whole_config(GOOD);
    chmod(sandbox.path(), 0o555);
    assert_refused(&sandbox, Who::Owner, &["run", "check"], &[1, 2], &["/state", "ermission"]);
    chmod(sandbox.path(), 0o755);
}

#[test]
fn a_state_directory_that_cannot_be_written() {
    let sandbox = Sandbox::of_owner();
    sandbox.write_whole_config(GOOD);
    sandbox.shell(Who::Owner, "mkdir -m 555 state").expect(0);
    assert_refused(&sandbox, Who::Owner, &["run", "check"], &[1, 2], &["/state", "ermission"]);
}

#[test]
fn a_file_in_place_of_the_state_directory() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config(GOOD);
    std::fs::write(sandbox.state(), "not a directory").unwrap();
    assert_refused(&sandbox, Who::Us, &VERBS, &[1, 2], &["/state", "directory"]);
}

#[test]
fn a_database_that_is_not_one() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config(GOOD);
    std::fs::create_dir(sandbox.state()).unwrap();
    std::fs::write(sandbox.state().join("taghook.db"), "this is not a database\n".repeat(500)).unwrap();
    assert_refused(&sandbox, Who::Us, &VERBS, &[1, 2], &["taghook.db", "not a database"]);
}

#[test]
fn a_directory_in_place_of_the_database() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config(GOOD);
    std::fs::create_dir_all(sandbox.state().join("taghook.db")).unwrap();
    assert_refused(&sandbox, Who::Us, &VERBS, &[1, 2], &["taghook.db"]);
}

#[test]
fn a_database_of_somebody_else() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config(GOOD);
    std::fs::create_dir(sandbox.state()).unwrap();
    let database = rusqlite::Connection::open(sandbox.state().join("taghook.db")).unwrap();
    database.execute_batch("CREATE TABLE songs (title TEXT); INSERT INTO songs VALUES ('one')").unwrap();
    drop(database);
    assert_refused(&sandbox, Who::Us, &VERBS, &[1, 2], &["taghook.db"]);
}

#[test]
fn root_on_the_state_of_another_user() {
    let bed = Bed::inside(Sandbox::of_owner(), Setup::default());
    bed.push("one");
    bed.run_as(Who::Owner, &["check"]).expect(0);

    assert_refused(&bed, Who::Root, &["run", "check"], &[1, 2], &["sudo -u", "root"]);

    bed.push("two");
    bed.run_as(Who::Owner, &["check"]).expect(0);
    bed.hook.only_call();
}

#[test]
fn an_image_that_is_no_reference() {
    let sandbox = Sandbox::new();
    for image in ["", "UPPER/Case:x", "host:port:tag", "https://ghcr.io/acme/web:stable"] {
        assert_one_error(&sandbox.run_bare(&["check", "--image", image]), &[2], &[image]);
    }
}

#[test]
fn arguments_that_do_not_exist() {
    let sandbox = Sandbox::new();
    for arguments in [&["chekc"][..], &["check", "--imgae", "x"], &["check", "web", "--image", "x"], &["run", "web"]] {
        assert_one_error(&sandbox.run_bare(arguments), &[2], &[]);
    }
}

#[test]
fn a_lock_that_was_left_behind_is_no_obstacle() {
    let bed = Bed::new();
    bed.push("one");
    let stale = r#"{"pid": 1, "socket": "/nowhere/control.sock"}"#;
    std::fs::create_dir(bed.state()).unwrap();
    std::fs::write(bed.state().join("taghook.lock"), stale).unwrap();
    // The file of a socket on which nobody listens any more.
    drop(std::os::unix::net::UnixListener::bind(bed.state().join("control.sock")).unwrap());

    assert_eq!(bed.check(0)["outcome"], "first");
    let agent = bed.agent();
    assert_eq!(bed.run(&["status", "--json"]).expect(0).json()["source"], "agent");
    agent.stop();
}

#[test]
fn a_socket_path_where_something_else_lies() {
    let bed = Bed::new();
    let precious = bed.path().join("precious");
    std::fs::write(&precious, "data").unwrap();
    bed.write_whole_config(&format!("socket = {precious:?}\n"));

    let said = bed.run(&["run"]).expect(2);

    assert!(said.stderr.contains("precious") && said.stderr.contains("`socket`"), "{}", said.stderr);
    assert_eq!(std::fs::read_to_string(&precious).unwrap(), "data");
}

#[test]
fn a_hooks_output_and_a_registrys_answer_cannot_forge_a_line() {
    let bed = Bed::new();
    let host = bed.registry.host();
    bed.write_whole_config(&format!(
        "[watch.web]\nimage = '{host}/{REPOSITORY}:{TAG}'\nhooks = ['forger']\nschedule = '1s'\n\
         [hook.forger]\ncommand = '''printf 'x\\033[31m\\rtag moved watch=web\\n' '''\n\
         [registry.'{host}']\nplain_http = true\n"
    ));
    bed.push("one");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[]);
    bed.push("two");
    agent.wait_for("hook succeeded", &[]);
    for line in agent.log() {
        assert!(!line.contains(['\x1b', '\r']), "{line:?}");
    }
}

#[test]
fn the_sandbox_itself_notices_a_change() {
    let sandbox = Sandbox::new();
    let before = sandbox.snapshot(sandbox.path());
    std::fs::write(sandbox.path().join("new"), "").unwrap();
    assert_eq!(changed(&before, &sandbox.snapshot(sandbox.path())).len(), 1);
    assert!(Path::new(env!("CARGO_BIN_EXE_taghook")).is_file());
}

#[test]
fn a_ca_file_that_is_missing_fails_its_own_registry_only() {
    let bed = Bed::new();
    let host = bed.registry.host();
    bed.push("one");
    bed.write_whole_config(&format!(
        "[watch.web]\nimage = '{}'\nschedule = '30d'\n[registry.'{host}']\nplain_http = true\n\
         [watch.other]\nimage = 'registry.invalid/other'\nschedule = '30d'\n\
         [registry.'registry.invalid']\nca_file = '/nonexistent/ca.pem'\n",
        bed.image()
    ));

    let lines = bed.run(&["check", "--json"]).expect(1).json_lines();

    let of = |name: &str| lines.iter().find(|line| line["watch"] == name).unwrap_or_else(|| panic!("{lines:?}"));
    assert_eq!(of("web")["outcome"], "first");
    assert_eq!(of("other")["outcome"], "failed");
    assert!(of("other")["error"]["message"].as_str().unwrap().contains("/nonexistent/ca.pem"), "{lines:?}");
}

/// A newer taghook wrote it, or somebody by hand.
#[test]
fn one_row_that_cannot_be_read_keeps_no_verb_from_all_others() {
    let bed = Bed::given_up();
    let database = rusqlite::Connection::open(bed.state().join("taghook.db")).unwrap();
    database.execute("UPDATE changes SET kind = 'promoted' WHERE kind = 'moved'", []).unwrap();
    database
        .execute("INSERT INTO watches (name, reference, platform) VALUES ('odd', 'no reference!', 'no platform')", [])
        .unwrap();
    drop(database);
    let all_answer = || {
        assert_eq!(bed.status()["owed"]["failed"], 1);
        assert_eq!(bed.history().len(), 1, "the first sighting is left");
        assert!(bed.deliveries().is_empty());
        let health = bed.run(&["health", "--json"]);
        assert!(health.json()["problems"].is_array(), "{health:#?}");
    };
    all_answer();
    let agent = bed.agent();
    all_answer();
    // The hook leaves the config while its delivery cannot be named.
    let text = std::fs::read_to_string(bed.config_path()).unwrap();
    std::fs::write(bed.config_path(), text.replace("hooks = ['redeploy']", "hooks = []")).unwrap();
    bed.run(&["reload"]).expect(0);
    agent.stop();
    bed.run(&["prune", "--yes"]).expect(0);
    assert_eq!(bed.run(&["status", "--json"]).expect(0).json()["left_over"], 0);
}

/// Each took time or memory out of all proportion once: one error for each byte, or another parse for each name.
#[test]
fn a_bad_config_costs_no_more_than_its_length_allows() {
    let sandbox = Sandbox::new();
    let many = |count: usize, text: &str| text.repeat(count);
    let deep = "nested more than 16 deep";
    let strange = |n| format!("[watch.w{n}]\nimage='h{n}.example.com/x'\n[registry.'hx{n}.example.net']\nrate='1/s'\n");
    let strange_hosts = (0..3000).map(strange).collect::<String>();
    for (name, text, word) in [
        ("tables in tables", format!("a={}", many(300_000, "{a=")), deep),
        ("lists in lists", format!("a={}", many(300_000, "[")), deep),
        ("lists in lists, closed", format!("a={}{}", many(300_000, "["), many(300_000, "]")), deep),
        ("a key of many parts", format!("{}b=1", many(300_000, "a.")), "more than 16 parts"),
        ("a table of many parts", format!("[{}b]", many(300_000, "a.")), "more than 16 parts"),
        ("carriage returns", many(1_000_000, "\r"), "this is not TOML"),
        ("NULs", many(500_000, "\0\n"), "and 900 more"),
        ("wrong escapes", format!("a=\"{}\"", many(1_000_000, "\\q")), "this is not TOML"),
        ("a key again and again", many(100_000, "state='/'\n"), "and 901 more"),
        ("a table again and again", many(50_000, "[hook.a]\ncommand='true'\n"), "and 901 more"),
        ("a key again on one line", format!("a={{{}}}", many(100_000, "a=1,")), "and 901 more"),
        ("keys that nobody knows", (0..50_000).map(|n| format!("k{n}=1\n")).collect(), "and 901 more"),
        ("hooks that nobody knows", format!("state=7\n[defaults]\nhooks=[{}]", many(50_000, "'x',")), "and 901 more"),
        ("hosts that nobody asks", strange_hosts, "no watch uses registry"),
        ("a long value", format!("state=7\n[watch.w]\nimage='{}'", many(8 << 20, "x")), "is at most 1024 characters"),
        ("a long number", format!("[retention]\nchanges={}", many(1_000_000, "9")), "is out of range"),
        ("words and signs", many(8 << 20, "=\n"), "this is not TOML"),
    ] {
        std::fs::write(sandbox.config_path(), text).unwrap();
        let taghook = sandbox.command(Who::Us, &["config", "check"]);
        let mut limited = std::process::Command::new("prlimit");
        // Seconds of the processor, not of the clock: a few are used, without optimisation.
        limited.args(["--as=500000000", "--cpu=30"]).arg(taghook.get_program()).args(taghook.get_args());
        let said = support::process::Running::start(limited).finish();
        let code = if word.starts_with("no watch") { 0 } else { 2 };
        assert_eq!(said.code, Some(code), "{name}: {}", said.stderr);
        assert!(said.stderr.contains(word) && said.stderr.len() < 50_000, "{name}: {}", said.stderr);
    }
}

/// One quote too many makes a value of all that follows it.
#[test]
fn a_quote_too_many_shows_nothing_of_what_follows_it() {
    let bed = Bed::new();
    let mut agent = bed.agent();
    let text = std::fs::read_to_string(bed.config_path()).unwrap();
    let secret = "[hook.h]\ncommand = ['curl', '-u', 'hunter2']\nenv = { TOKEN = 'hunter2' }\n";
    let torn = format!("[registry.\"r.example\"]\nrate = \"\"\"5/s\"\n{secret}");
    // The other one closes it, so that all of it is TOML.
    for torn in [format!("{torn}\"\"\"\n"), torn] {
        std::fs::write(bed.config_path(), format!("{text}{torn}")).unwrap();
        let mut said = String::new();
        let quiet =
            ["config check", "config check --json", "reload", "status", "status --json", "health", "health --json"];
        for verb in quiet.iter().chain(&["run", "check"]) {
            let output = bed.run(&verb.split(' ').collect::<Vec<_>>());
            said += &(output.stdout + &output.stderr);
        }
        assert!(said.contains("rate is one line") || said.contains("this is not TOML"), "{said}");
        assert!(!said.contains("hunter2"), "{said}");
    }
    agent.sigterm();
    agent.wait_exit();
    let log = agent.log().join("\n");
    assert!(log.contains("config not reloaded") && !log.contains("hunter2"), "{log}");
}

#[test]
fn an_output_that_cannot_be_written_is_no_panic_and_changes_no_exit_status_of_a_fault() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config(GOOD);
    let bad = sandbox.path().join("bad.toml");
    std::fs::write(&bad, "state = 7\n").unwrap();
    sandbox.command(Who::Us, &[]);
    let (taghook, good, bad) = (env!("CARGO_BIN_EXE_taghook"), sandbox.config_path(), bad);
    let (good, bad) = (good.display(), bad.display());
    let image = "check --image 127.0.0.1:1/a:b";
    for (line, code) in [
        (format!("--config {bad} config check"), 2),
        (format!("--config {bad} config check --json"), 2),
        (format!("--config {bad} config show"), 2),
        (format!("--config {bad} run"), 2),
        (format!("--config {bad} reload"), 2),
        (format!("--config {good} reload"), 1),
        (format!("--config {good} check"), 1),
        (format!("--config {good} status nosuch"), 2),
        (image.to_owned(), 1),
        ("no-such-verb".to_owned(), 2),
    ] {
        for full in ["2>/dev/full", "2>&-", "2>/dev/full >&-"] {
            let output = sandbox.shell(Who::Us, &format!("'{taghook}' {line} {full}"));
            assert_eq!(output.code, Some(code), "{line} {full}: {output:#?}");
        }
    }
    for line in ["config schema", "generate man", "generate completions bash", "--help", "--version", "check --help"] {
        let output = sandbox.shell(Who::Us, &format!("'{taghook}' {line} >/dev/full"));
        assert_eq!(output.code, Some(1), "{line}: {output:#?}");
        let output = sandbox.shell(Who::Us, &format!("'{taghook}' {line} >/dev/full 2>&1"));
        assert_eq!(output.code, Some(1), "{line}: {output:#?}");
        let output = sandbox.shell(Who::Us, &format!("'{taghook}' {line} | :"));
        assert_eq!(output.code, Some(0), "{line}: {output:#?}");
    }
}

#[test]
fn an_agent_whose_log_cannot_be_written_works_on() {
    let bed = Bed::new();
    let host = bed.registry.host();
    bed.write_whole_config(&format!(
        "[watch.web]\nimage = '{host}/{REPOSITORY}:{TAG}'\nhooks = ['redeploy']\nschedule = '1s'\n\
         [hook.redeploy]\ncommand = {}\n[registry.'{host}']\nplain_http = true\n",
        bed.hook.toml()
    ));
    bed.push("one");
    bed.check(0);
    bed.push("two");
    let mut command = bed.command(Who::Us, &["run"]);
    command.stderr(std::fs::File::create("/dev/full").unwrap()).stdout(std::process::Stdio::null());
    let mut agent = command.spawn().unwrap();
    bed.hook.only_call();
    rustix::process::kill_process(rustix::process::Pid::from_child(&agent), rustix::process::Signal::TERM).unwrap();
    assert!(agent.wait().unwrap().success());
}
