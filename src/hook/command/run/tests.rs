//! Tests with real processes.

use super::*;
use std::collections::BTreeMap;

fn shell(script: &str) -> Command {
    Command {
        argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
        cwd: None,
        env: BTreeMap::new(),
        pass_env: Vec::new(),
    }
}

const LONG: Duration = Duration::from_secs(60);

async fn run_within(timeout: Duration, command: &Command, stdin: &[u8]) -> CommandRun {
    let vars = [("TAGHOOK_WATCH".into(), "web".into())];
    run(command, &vars, stdin, timeout, || (), std::future::pending(), nobody()).await.unwrap()
}

async fn run_quietly(command: &Command, stdin: &[u8]) -> CommandRun {
    run_within(LONG, command, stdin).await
}

#[tokio::test]
async fn exit_status_and_output_are_told() {
    let ran = run_quietly(&shell("echo out; echo err >&2; exit 3"), b"").await;
    assert_eq!(ran.end, End::Exited(3));
    assert!(ran.output.text().contains("out\n") && ran.output.text().contains("err\n"));
}

#[tokio::test]
async fn the_environment_is_clean_and_the_input_complete() {
    let ran = run_quietly(&shell("env; cat"), b"{\"a\":1}").await;
    let text = ran.output.text();
    assert!(text.contains("TAGHOOK_WATCH=web\n") && text.ends_with("{\"a\":1}"), "{text}");
    assert!(!text.contains("CARGO"), "{text}");
}

#[tokio::test]
async fn a_hook_that_never_reads_its_input_is_fine() {
    let ran = run_quietly(&shell("exit 0"), &vec![b'x'; 1 << 20]).await;
    assert_eq!(ran.end, End::Exited(0));
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let began = std::time::Instant::now();
    let ran = run_within(Duration::from_millis(200), &shell("sleep 300 & echo $!; wait"), b"").await;
    assert_eq!(ran.end, End::TimedOut);
    assert!(began.elapsed() < Duration::from_secs(9), "SIGTERM sufficed");
    let child = ran.output.text().trim().parse().unwrap();
    assert!(rustix::process::test_kill_process(Pid::from_raw(child).unwrap()).is_err() || is_zombie(child));
}

fn is_zombie(pid: i32) -> bool {
    std::fs::read_to_string(format!("/proc/{pid}/stat")).is_ok_and(|stat| stat.contains(") Z "))
}

#[tokio::test]
async fn a_background_child_does_not_keep_the_run_open() {
    let ran = run_quietly(&shell("sleep 20 & echo started"), b"").await;
    assert_eq!(ran.end, End::Exited(0));
    assert_eq!(ran.output.text(), "started\n");
}

#[tokio::test]
async fn a_stop_cuts_the_run() {
    let stop = async {};
    let ran = run(&shell("exec sleep 300"), &[], b"", LONG, || (), stop, nobody()).await.unwrap();
    assert_eq!(ran.end, End::Cut);
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    for (program, cwd, part) in [
        ("/nonexistent/hook", None, "full path"),
        ("/etc/passwd", None, "chmod +x"),
        ("/bin/true", Some("/nowhere"), "cwd"),
    ] {
        let mut command = shell("");
        command.argv = vec![program.into()];
        command.cwd = cwd.map(Into::into);
        let End::NotStarted(why) = run_quietly(&command, b"").await.end else { panic!("{program} started") };
        assert!(why.contains(part), "{why}");
    }
}

#[tokio::test]
async fn who_ignores_sigterm_is_killed_with_all_it_started() {
    let script =
        "trap '' TERM; (trap '' TERM; echo $BASHPID; while :; do sleep 1; done) & wait; while :; do sleep 1; done";
    let mut command = shell(script);
    command.argv[0] = "/bin/bash".into();
    let began = std::time::Instant::now();
    let ran = run_within(Duration::from_millis(200), &command, b"").await;
    assert_eq!(ran.end, End::TimedOut);
    assert!(began.elapsed() >= survivors::KILL_AFTER, "it has had its time to end");
    let child = ran.output.text().trim().parse().unwrap();
    assert!(rustix::process::test_kill_process(Pid::from_raw(child).unwrap()).is_err() || is_zombie(child));
}

#[tokio::test]
async fn a_signal_that_ends_a_hook_is_told() {
    let ran = run_quietly(&shell("kill -SEGV $$"), b"").await;
    assert_eq!(ran.end, End::Signalled(11));
    assert_eq!(ran.end.error().unwrap(), "ended by signal 11");
}

#[tokio::test]
async fn any_amount_of_output_is_read_and_little_of_it_is_kept() {
    let script = "echo first; head -c 50000000 /dev/zero; echo last >&2";
    let ran = run_quietly(&shell(script), b"").await;
    assert_eq!(ran.end, End::Exited(0));
    assert_eq!(ran.output.dropped() + 2 * 32 * 1024, 50_000_000 + 6 + 5);
    let text = ran.output.text();
    assert!(text.starts_with("first\n") && text.len() < 70_000 && text.contains("bytes not kept"));
}

#[tokio::test]
async fn output_that_is_not_utf8_is_kept_readable() {
    let ran = run_quietly(&shell(r"printf 'caf\351\n'"), b"").await;
    assert_eq!(ran.output.text(), "caf\u{fffd}\n");
}

fn nobody() -> Listener<impl Fn(Printed<'_>)> {
    Listener::of_all(|_| ())
}
