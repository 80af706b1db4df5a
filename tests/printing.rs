//! What hooks print, however much and of whatever kind: it holds up nobody, and what is shown of it is what was said.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Instant;

use support::DEADLINE;
use support::bed::{Bed, REPOSITORY, TAG};
use support::process::{Agent, Running, field};
use support::sandbox::{Sandbox, Who};
use support::unread::full_pipe;

/// A bed whose image moves, with this hook beside the usual one, which has a watch of its own.
fn bed_with(hook: &str) -> Bed {
    let bed = Bed::new();
    let (host, usual) = (bed.registry.host(), bed.hook.toml());
    let watch = |name: &str, repository: &str, hook: &str| {
        format!("[watch.{name}]\nimage = '{host}/{repository}:{TAG}'\nhooks = ['{hook}']\nschedule = '30d'\n")
    };
    bed.write_whole_config(&format!(
        "{}{}[hook.talker]\nattempts = 1\n{hook}\n[hook.usual]\ncommand = {usual}\n\
         [registry.'{host}']\nplain_http = true\n",
        watch("web", REPOSITORY, "talker"),
        watch("other", "team/other", "usual"),
    ));
    bed.push("one");
    bed.registry.push_image("team/other", TAG, "one");
    bed
}

/// A named pipe, and its lines as they come.
fn fifo(sandbox: &Sandbox, name: &str) -> (PathBuf, mpsc::Receiver<String>) {
    let path = sandbox.path().join(name);
    assert!(Command::new("mkfifo").arg(&path).status().unwrap().success());
    let (sender, said) = mpsc::channel();
    let end = path.clone();
    std::thread::spawn(move || sender.send(std::fs::read_to_string(end).unwrap()));
    (path, said)
}

#[test]
fn a_hook_that_prints_without_end_is_ended_in_time_and_holds_up_nothing() {
    let bed = bed_with("command = 'yes'\ntimeout = '5s'");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[("watch", "web")]);
    agent.wait_for("first seen", &[("watch", "other")]);
    bed.push("two");
    bed.registry.push_image("team/other", TAG, "two");
    let began = Instant::now();
    let check = bed.start(&["check", "web", "--json"]);
    agent.wait_for("hook started", &[("hook", "talker")]);

    // All of this while it prints.
    bed.run(&["check", "other", "--json"]).expect(0);
    assert_eq!(bed.hook.call().var("TAGHOOK_WATCH"), "other");
    let status = bed.run(&["status", "--json"]).expect(0).json();
    let running = status["watches"].as_array().unwrap().iter().find(|watch| watch["watch"] == "web").unwrap();
    assert_eq!(running["owed"]["running"], 1, "{status:#}");

    check.finish().expect(1);
    assert!(began.elapsed() < DEADLINE, "the limit was to come after 5 s: {:?}", began.elapsed());
    let failed = agent.wait_for("hook failed: timed out", &[("hook", "talker")]);
    let told = agent.wait_for("lines not logged; `taghook log", &[("hook", "talker")]);
    let id = field(&failed, "delivery").unwrap();
    assert!(told.contains(&format!("`taghook log {id}` has the first and the last 32 KiB")), "{told}");
    let lines = agent.log().into_iter().filter(|line| field(line, "stream") == Some("stdout")).count();
    assert!((1000..1500).contains(&lines), "{lines} of its lines are in the log");
    let kept = bed.run(&["log", id]).expect(0).stdout;
    assert!(kept.contains("\n  | y\n") && kept.contains(" bytes not kept]\n"), "{}", kept.len());
    agent.stop();
}

#[test]
fn all_that_is_not_logged_is_counted() {
    let bed = bed_with("command = 'seq 3000; seq 3000 >&2; printf \"the end\"'");
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[("watch", "web")]);
    bed.push("two");
    bed.run(&["check", "web"]).expect(0);
    agent.wait_for("hook succeeded", &[]);
    let log = agent.log();
    let logged = log.iter().filter(|line| field(line, "stream").is_some()).count();
    let counts = log.iter().filter_map(|line| line.split_once(" lines not logged")?.0.rsplit(' ').next());
    let counted: usize = counts.map(|count| count.parse::<usize>().unwrap()).sum();
    assert_eq!(logged + counted, 6001);
    assert!(counted > 0, "{log:#?}");
    agent.stop();
}

#[test]
fn hook_test_ends_the_hook_in_time_although_nobody_reads_what_it_prints() {
    let sandbox = Sandbox::new();
    let (ended, said) = fifo(&sandbox, "ended");
    sandbox.write_whole_config(&format!(
        "[hook.talker]\ncommand = 'trap \"echo ended > {}\" TERM; yes'\ntimeout = '1s'\n",
        ended.display()
    ));
    let (reader, output) = full_pipe();
    let mut command = sandbox.command(Who::Us, &["hook", "test", "talker"]);
    // Its heading has room.
    let (mut drained, mut room) = (&reader, [0; 4096 * 2]);
    std::io::Read::read_exact(&mut drained, &mut room).unwrap();
    command.stdout(Stdio::from(output)).stderr(Stdio::piped());
    let running = Running::start_with_streams(command);

    assert_eq!(said.recv_timeout(DEADLINE).unwrap(), "ended\n");

    running.sigterm();
    running.finish().expect(1);
    drop(reader);
}

#[test]
fn what_a_hook_has_left_in_the_background_may_go_on_printing() {
    let bed = bed_with("");
    let ((done, said), go) = (fifo(&bed, "done"), bed.path().join("go"));
    assert!(Command::new("mkfifo").arg(&go).status().unwrap().success());
    let script = format!(
        "( read -r line < {}; echo out; echo err >&2; yes | head -c 300000; echo alive > {} ) & exit 0",
        go.display(),
        done.display()
    );
    let config = std::fs::read_to_string(bed.config_path()).unwrap();
    std::fs::write(bed.config_path(), config.replace("attempts = 1\n", &format!("command = '''{script}'''\n")))
        .unwrap();
    let mut agent = bed.agent();
    agent.wait_for("first seen", &[("watch", "web")]);
    bed.push("two");
    bed.run(&["check", "web"]).expect(0);
    agent.wait_for("hook succeeded", &[("hook", "talker")]);

    std::fs::write(&go, "go\n").unwrap();

    assert_eq!(said.recv_timeout(DEADLINE).unwrap(), "alive\n");
    assert!(!agent.log().iter().any(|line| field(line, "stream").is_some()), "its run is over: {:#?}", agent.log());
    agent.stop();
}

#[test]
fn what_was_left_in_the_background_beyond_a_bound_is_told() {
    const MAX_RUNS: usize = 64;
    let bed = Bed::new();
    let (host, go) = (bed.registry.host(), bed.path().join("go"));
    assert!(Command::new("mkfifo").arg(&go).status().unwrap().success());
    let mut config = format!(
        "[hook.leaver]\ncommand = 'cat {} > /dev/null &'\nconcurrency = 100\n[registry.'{host}']\nplain_http = true\n",
        go.display()
    );
    for number in 0..=MAX_RUNS {
        config += &format!(
            "[watch.w{number}]\nimage = '{host}/{REPOSITORY}:t{number}'\nhooks = ['leaver']\nschedule = '30d'\n"
        );
    }
    let push =
        |salt| (0..=MAX_RUNS).for_each(|number| drop(bed.registry.push_image(REPOSITORY, &format!("t{number}"), salt)));
    bed.write_whole_config(&config);
    push("one");
    bed.run(&["check"]).expect(0);
    push("two");
    let mut agent = bed.agent();
    bed.run(&["check"]).expect(0);
    let told = agent.wait_for("what it left in the background is not read", &[("hook", "leaver")]);
    assert!(told.contains("let them write to a file instead"), "{told}");
    for _ in 0..=MAX_RUNS {
        agent.wait_for("hook succeeded", &[]);
    }
    let count = agent.log().iter().filter(|line| line.contains("is not read")).count();
    assert_eq!(count, 1, "{:#?}", agent.log());
    // They all end at the end of this file.
    drop(std::fs::OpenOptions::new().write(true).open(&go).unwrap());
    agent.stop();
}

/// One of each kind: a control, a C1 control, a format character, a bidirectional override, an isolate, a separator.
const UNSEEN: [char; 8] = ['\u{1b}', '\u{9b}', '\u{200b}', '\u{202e}', '\u{2066}', '\u{2028}', '\u{feff}', '\u{e0041}'];

#[test]
fn characters_that_act_instead_of_being_seen_reach_no_terminal_and_no_log() {
    let said: String = UNSEEN.iter().map(|c| format!("a{c}b")).collect();
    let in_toml: String = said.chars().map(|c| format!("\\U{:08x}", u32::from(c))).collect();
    let bed = bed_with(&format!("command = 'printf \"%s\\n\" \"$WORDS\"; exit 1'\nenv = {{ WORDS = \"{in_toml}\" }}"));
    let mut seen = Vec::new();
    for format in ["text", "json"] {
        let mut agent = Agent::start(bed.command(Who::Us, &["run", "--log-format", format]));
        bed.run(&["check"]);
        bed.push(format);
        bed.run(&["check"]).expect(1);
        agent.wait_for("hook failed", &[]);
        let log = agent.log();
        assert!(log.iter().any(|line| line.contains("202e")), "{log:#?}");
        seen.extend(log);
        agent.stop();
    }
    let id = bed.deliveries()[0]["id"].as_str().unwrap().to_owned();
    let verbs: [&[&str]; 7] = [
        &["log", &id],
        &["log", &id, "--json"],
        &["status"],
        &["status", "web"],
        &["health"],
        &["hook", "test", "talker"],
        &["hook", "test", "talker", "--json"],
    ];
    for verb in verbs {
        let said = bed.run(verb);
        assert!(said.stdout.contains("202e"), "{verb:?}: {said:#?}");
        seen.extend(said.stdout.lines().chain(said.stderr.lines()).map(str::to_owned));
    }
    for line in seen {
        assert!(!line.contains(UNSEEN), "{line:?}");
    }
    let kept = bed.run(&["log", &id, "--json"]).json();
    assert_eq!(kept["output"], said + "\n", "for a program it is what was said");
}
