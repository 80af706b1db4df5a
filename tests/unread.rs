//! Whoever reads the log, or systemd, stands still: the agent does not.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::io::{BufRead, BufReader};
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use support::DEADLINE;
use support::bed::{Bed, REPOSITORY, TAG};
use support::process::{Agent, Running, field};
use support::sandbox::Who;
use support::supervisor::{Supervisor, supervised};
use support::unread::{fill, full_pipe, full_socket};

/// A tag moves, its hook runs, and the agent answers.
#[track_caller]
fn expect_work(bed: &Bed, who: Who) {
    bed.push("one");
    bed.run_as(who, &["check"]).expect(0);
    bed.push("two");
    bed.run_as(who, &["check"]).expect(0);
    bed.hook.only_call();
    bed.run_as(who, &["health"]).expect(0);
}

#[test]
fn the_agent_works_and_stops_while_nobody_reads_its_log() {
    for args in [&[][..], &["--log-format", "json"]] {
        let bed = Bed::new();
        let mut systemd = Supervisor::new(&bed);
        let (reader, log) = full_pipe();
        let mut command = systemd.command(&bed, None);
        command.args(args).env("RUST_LOG", "debug").stderr(Stdio::from(log));

        let agent = Running::start_with_stderr(command);

        systemd.wait_for("READY=1");
        expect_work(&bed, Who::Us);
        agent.sigterm();
        agent.finish().expect(0);
        drop(reader);
    }
}

#[test]
fn a_command_that_fails_ends_while_nobody_reads_why() {
    let bed = Bed::new();
    std::fs::write(bed.state(), "a file in the place of a directory").unwrap();
    for (config, code) in [(bed.config_path(), 2), (bed.path().join("missing.toml"), 2)] {
        let (reader, log) = full_pipe();
        let mut command = bed.bare_command(Who::Us, &["run", "--config"]);
        command.arg(config).stderr(Stdio::from(log));
        Running::start_with_stderr(command).finish().expect(code);
        drop(reader);
    }
}

#[test]
fn lines_that_the_log_has_no_room_for_are_counted_in_their_place() {
    let bed = Bed::new();
    let host = bed.registry.host();
    bed.write_whole_config(&format!(
        "[watch.web]\nimage = '{host}/{REPOSITORY}:{TAG}'\nhooks = ['talker']\nschedule = '30d'\n\
         [hook.talker]\ncommand = 'yes | tr -d \"\\n\" | fold -w 4000 | head -n 900'\n\
         [registry.'{host}']\nplain_http = true\n"
    ));
    let mut systemd = Supervisor::new(&bed);
    let (reader, log) = full_pipe();
    let mut command = systemd.command(&bed, None);
    command.stderr(Stdio::from(log));
    let agent = Running::start_with_stderr(command);
    systemd.wait_for("READY=1");
    for salt in ["zero", "one", "two", "three"] {
        bed.push(salt);
        bed.check(0);
    }

    let (sender, lines) = mpsc::channel();
    std::thread::spawn(move || {
        BufReader::new(reader).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    let mut logged: Vec<String> = Vec::new();
    while logged.last().is_none_or(|line| !line.contains("lines of the log are missing here")) {
        logged.push(lines.recv_timeout(DEADLINE).expect("a notice"));
    }
    let lost: usize = field(logged.last().unwrap(), "lines").unwrap().parse().unwrap();
    agent.sigterm();
    agent.finish().expect(0);

    logged.retain(|line| !line.is_empty());
    let told = logged.iter().filter(|line| line.contains("yyyy")).count();
    assert!((1000..2700).contains(&told) && told + lost >= 2700, "{told} told, {lost} lost");
    let after: Vec<String> = lines.iter().collect();
    assert!(after.last().unwrap().contains("stopped"), "{after:#?}");
    assert!(!after.iter().any(|line| line.contains("yyyy")), "all were in the gap: {after:#?}");
}

/// So often that a test need not wait.
const WATCHDOG: Duration = Duration::from_millis(20);

#[test]
fn a_systemd_that_does_not_read_holds_up_nothing_and_misses_nothing_that_matters() {
    let bed = Bed::new();
    let socket = full_socket(&bed.path().join("notify"));
    let agent = Agent::start(supervised(&bed, Some(WATCHDOG)));
    expect_work(&bed, Who::Us);
    bed.run(&["reload"]).expect(0);

    let again = socket.try_clone().unwrap();
    let mut systemd = Supervisor::of(socket);
    systemd.wait_for("RELOADING=1");
    systemd.wait_for("READY=1");
    systemd.wait_for("WATCHDOG=1");
    drop(again);
    agent.sigterm();
    systemd.wait_for("STOPPING=1");
    agent.finish();
}

#[test]
fn an_agent_stops_although_systemd_never_reads() {
    let bed = Bed::new();
    let socket = full_socket(&bed.path().join("notify"));
    let mut agent = Agent::start(supervised(&bed, Some(WATCHDOG)));
    agent.sigterm();
    agent.wait_for("stopped", &[]);
    assert!(agent.wait_exit().success());
    drop(socket);
}

/// The agent with a journal of the test's in the place of the machine's, in a mount namespace of its own.
fn with_journal(bed: &Bed, journal: &Path) -> Command {
    let run = bed.command(Who::Us, &["run"]);
    let words: Vec<String> = std::iter::once(run.get_program())
        .chain(run.get_args())
        .map(|word| format!("{:?}", word.to_str().unwrap()))
        .collect();
    let line = format!(
        "mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind {journal:?} /run/systemd/journal && \
         export JOURNAL_STREAM=$(stat -L -c %d:%i /proc/self/fd/2) NOTIFY_SOCKET={:?} && exec {}",
        bed.path().join("notify"),
        words.join(" ")
    );
    let mut command = Who::Root.command(&[("PATH", "/usr/sbin:/usr/bin:/sbin:/bin".into())], Path::new("unshare"));
    command.args(["-m", "/bin/sh", "-c", &line]);
    command
}

/// The fields of an entry (systemd.io/JOURNAL_NATIVE_PROTOCOL), each with its length before it.
fn fields(mut entry: &[u8]) -> Vec<(String, String)> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut fields = Vec::new();
    while let Some(at) = entry.iter().position(|byte| *byte == b'\n') {
        let (name, rest) = (text(&entry[..at]), &entry[at + 1..]);
        let length = usize::try_from(u64::from_le_bytes(rest[..8].try_into().unwrap())).unwrap();
        fields.push((name, text(&rest[8..8 + length])));
        assert_eq!(rest[8 + length], b'\n');
        entry = &rest[8 + length + 1..];
    }
    fields
}

/// Reads entries until one has this field.
#[track_caller]
fn entry(journal: &UnixDatagram, name: &str, value: &str) -> Vec<(String, String)> {
    let mut buffer = vec![0; 1 << 18];
    loop {
        let length = journal.recv(&mut buffer).unwrap_or_else(|error| panic!("no {name}={value}: {error}"));
        if buffer[..length] == *b"FILLER=1" {
            continue;
        }
        let fields = fields(&buffer[..length]);
        if fields.iter().any(|field| field.0 == name && field.1 == value) {
            return fields;
        }
    }
}

#[test]
fn a_journal_that_stands_still_holds_up_nothing_and_has_all_fields_later() {
    let bed = Bed::new();
    let dir = bed.path().join("journal");
    std::fs::create_dir(&dir).unwrap();
    let journal = full_socket(&dir.join("socket"));
    journal.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut systemd = Supervisor::new(&bed);
    let agent = Running::start(with_journal(&bed, &dir));
    systemd.wait_for("READY=1");
    expect_work(&bed, Who::Root);

    let moved = entry(&journal, "MESSAGE", "tag moved");
    for (name, value) in [("PRIORITY", "5"), ("SYSLOG_IDENTIFIER", "taghook"), ("F_WATCH", "web")] {
        assert!(moved.iter().any(|field| field.0 == name && field.1 == value), "{name}: {moved:#?}");
    }
    let line = entry(&journal, "MESSAGE", "the hook was run");
    for (name, value) in [("TARGET", "taghook::hook"), ("F_STREAM", "stdout"), ("F_HOOK", "redeploy")] {
        assert!(line.iter().any(|field| field.0 == name && field.1 == value), "{name}: {line:#?}");
    }
    fill(&dir.join("socket"));
    agent.sigterm();
    let ended = agent.finish().expect(0);
    assert_eq!(ended.stderr, "", "all went to the journal");
}
