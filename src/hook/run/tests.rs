//! Real processes: what a command may do, and what becomes of it.

use super::*;
use std::collections::BTreeMap;

fn shell(script: &str, timeout: Duration) -> Command {
    Command {
        argv: vec!["/bin/sh".into(), "-c".into(), script.into()],
        timeout,
        cwd: None,
        env: BTreeMap::new(),
        pass_env: Vec::new(),
    }
}

const LONG: Duration = Duration::from_secs(60);

async fn run_quietly(command: &Command, stdin: &[u8]) -> Run {
    run(command, &[("TAGHOOK_WATCH".into(), "web".into())], stdin, std::future::pending(), |_, _| {}).await
}

#[tokio::test]
async fn exit_status_and_output_are_told() {
    let ran = run_quietly(&shell("echo out; echo err >&2; exit 3", LONG), b"").await;
    assert_eq!(ran.end, End::Exited(3));
    assert!(ran.output.text().contains("out\n") && ran.output.text().contains("err\n"));
}

#[tokio::test]
async fn the_environment_is_clean_and_the_input_complete() {
    let ran = run_quietly(&shell("env; cat", LONG), b"{\"a\":1}").await;
    let text = ran.output.text();
    assert!(text.contains("TAGHOOK_WATCH=web\n") && text.ends_with("{\"a\":1}"), "{text}");
    assert!(!text.contains("CARGO"), "{text}");
}

#[tokio::test]
async fn a_hook_that_never_reads_its_input_is_fine() {
    let ran = run_quietly(&shell("exit 0", LONG), &vec![b'x'; 1 << 20]).await;
    assert_eq!(ran.end, End::Exited(0));
}

#[tokio::test]
async fn a_timeout_ends_the_whole_group() {
    let began = std::time::Instant::now();
    let ran = run_quietly(&shell("sleep 300 & echo $!; wait", Duration::from_millis(200)), b"").await;
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
    let ran = run_quietly(&shell("sleep 20 & echo started", LONG), b"").await;
    assert_eq!(ran.end, End::Exited(0));
    assert_eq!(ran.output.text(), "started\n");
}

#[tokio::test]
async fn a_stop_cuts_the_run() {
    let stop = async {};
    let ran = run(&shell("exec sleep 300", LONG), &[], b"", stop, |_, _| {}).await;
    assert_eq!(ran.end, End::Cut);
}

#[tokio::test]
async fn what_cannot_start_says_why() {
    for (program, cwd, part) in [
        ("/nonexistent/hook", None, "full path"),
        ("/etc/passwd", None, "chmod +x"),
        ("/bin/true", Some("/nowhere"), "cwd"),
    ] {
        let mut command = shell("", LONG);
        command.argv = vec![program.into()];
        command.cwd = cwd.map(Into::into);
        let End::NotStarted(why) = run_quietly(&command, b"").await.end else { panic!("{program} started") };
        assert!(why.contains(part), "{why}");
    }
}
