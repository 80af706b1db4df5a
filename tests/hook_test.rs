//! `taghook hook test`: a hook is tried as it would be run, and nothing is recorded.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use serde_json::{Value, json};

use support::bed::{Bed, REPOSITORY, Setup, TAG, one};
use support::process::Running;
use support::sandbox::{Sandbox, Who};
use support::terminal::on_terminal;

#[test]
fn a_hook_is_told_of_its_watch_and_nothing_is_recorded() {
    let bed = Bed::new();
    let first = bed.push("one");
    bed.check(0);
    let second = bed.push("two");
    bed.check(0);
    let real = bed.hook.only_call();
    let before = (bed.history(), bed.deliveries(), bed.status());

    let said = bed.run(&["hook", "test", "redeploy"]).expect(0).stdout;

    let call = bed.hook.only_call();
    for (name, value) in [
        ("TAGHOOK_CHANGE", "moved"),
        ("TAGHOOK_WATCH", "web"),
        ("TAGHOOK_IMAGE", &bed.image()),
        ("TAGHOOK_PREVIOUS_DIGEST", &first),
        ("TAGHOOK_DIGEST", &second),
        ("TAGHOOK_ATTEMPT", "1"),
    ] {
        assert_eq!(call.var(name), value, "{name}");
    }
    let names = |env: &std::collections::BTreeMap<String, String>| env.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&call.env), names(&real.env), "the same clean environment");
    assert_ne!(call.var("TAGHOOK_DELIVERY"), real.var("TAGHOOK_DELIVERY"));
    assert_eq!(call.json()["digest"], *second);
    assert!(said.contains(call.var("TAGHOOK_DELIVERY")) && said.contains("  | the hook was run\n"), "{said}");
    assert!(said.lines().last().unwrap().starts_with("succeeded: exit status 0 after "), "{said}");
    assert_eq!((bed.history(), bed.deliveries(), bed.status()), before);
}

#[test]
fn a_hook_can_be_tried_before_anything_is_known() {
    let bed = Bed::with(Setup { hook: "on = ['removed', 'failing']", ..Setup::default() });

    let told = one(&bed.run(&["hook", "test", "redeploy", "web", "--json"]).expect(0));

    let call = bed.hook.only_call();
    assert_eq!((call.var("TAGHOOK_CHANGE"), call.var("TAGHOOK_DIGEST")), ("removed", ""));
    assert!(call.var("TAGHOOK_PREVIOUS_DIGEST").starts_with("sha256:"));
    assert_eq!((call.var("TAGHOOK_REPOSITORY"), call.var("TAGHOOK_TAG")), (REPOSITORY, TAG));
    assert_eq!((&told["exit_code"], &told["error"]), (&json!(0), &Value::Null));
    assert_eq!((&told["output"], &told["to"]), (&json!("the hook was run\n"), &Value::Null));
    assert!(!bed.state().exists(), "nothing is created");
    for (kind, from_is_known) in [("first", false), ("moved", true), ("recovered", true)] {
        bed.run(&["hook", "test", "redeploy", "--change", kind]).expect(0);
        let call = bed.hook.only_call();
        assert_eq!(call.var("TAGHOOK_CHANGE"), kind);
        assert_eq!(!call.var("TAGHOOK_PREVIOUS_DIGEST").is_empty(), from_is_known, "{kind}");
        assert!(call.var("TAGHOOK_DIGEST").starts_with("sha256:"), "{kind}");
    }
}

#[test]
fn a_hook_that_fails_is_told_with_its_reason() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config(
        "[hook.fails]\ncommand = 'echo oops >&2; exit 3'\n[hook.hangs]\ncommand = 'sleep 1000'\ntimeout = '10ms'\n\
         [hook.missing]\ncommand = ['/nowhere/at/all']\n",
    );
    for (hook, parts) in [
        ("fails", vec!["fails is told moved of sample (", "made up", "  | oops\n", "failed: exit status 3 after "]),
        ("hangs", vec!["timeout 10ms", "failed: timed out and was ended; see `timeout` after "]),
        ("missing", vec!["failed: cannot start \"/nowhere/at/all\"", "give the full path"]),
    ] {
        let said = sandbox.run(&["hook", "test", hook]).expect(1).stdout;
        assert!(parts.iter().all(|part| said.contains(part)), "{hook}: {said}");
    }
    let said = sandbox.run(&["hook", "test", "fail"]).expect(2).stderr;
    assert!(said.contains("there is no hook \"fail\"; did you mean \"fails\"?"), "{said}");
    let said = sandbox.run(&["hook", "test", "fails", "web"]).expect(2).stderr;
    assert!(said.contains("there is no watch \"web\""), "{said}");
}

#[test]
fn a_hook_of_several_watches_is_not_run_for_one_that_was_guessed() {
    let sandbox = Sandbox::new();
    let hook = sandbox.hook();
    sandbox.write_whole_config(&format!(
        "[defaults]\nhooks = ['tell']\n[watch.b]\nimage = 'localhost/b'\n[watch.a]\nimage = 'localhost/a'\n\
         [hook.tell]\ncommand = {}\ntimeout = '90m'\n",
        hook.toml()
    ));

    let said = sandbox.run(&["hook", "test", "tell"]).expect(2).stderr;

    assert!(said.contains("hook \"tell\" is fed by 2 watches (a, b); name one: `taghook hook test tell a`"), "{said}");
    hook.expect_no_call();
    let said = sandbox.run(&["hook", "test", "tell", "b"]).expect(0).stdout;
    assert_eq!(hook.only_call().var("TAGHOOK_WATCH"), "b");
    assert!(said.contains("; timeout 1h 30m, in /; "), "{said}");
}

#[test]
fn who_interrupts_it_ends_the_hook() {
    let bed = Bed::new();
    bed.hook.holds();
    let running = Running::start(bed.command(Who::Us, &["hook", "test", "redeploy"]));
    let call = bed.hook.call();
    running.sigterm();
    call.await_end();
    let said = running.finish().expect(1).stdout;
    assert!(said.contains("failed: was cut"), "{said}");
}

#[test]
fn on_a_terminal_a_hook_is_told_that_it_has_none() {
    let sandbox = Sandbox::new();
    let asks = sandbox.path().join("asks");
    std::fs::write(&asks, "#!/bin/sh\necho leads $(ps -o sid= -p $$) $$\nread answer </dev/tty\n").unwrap();
    support::sandbox::chmod(&asks, 0o755);
    let headless = sandbox.path().join("headless");
    std::fs::write(&headless, "exit 0\n").unwrap();
    support::sandbox::chmod(&headless, 0o755);
    sandbox.write_whole_config(&format!(
        "[hook.asks]\ncommand = [{asks:?}]\n[hook.shell]\ncommand = 'read answer </dev/tty'\n\
         [hook.late]\ncommand = 'setsid --wait sleep 1000; sleep 1000'\ntimeout = '10ms'\n\
         [hook.missing]\ncommand = ['/nowhere/at/all']\n[hook.headless]\ncommand = [{headless:?}]\n\
         [hook.vars]\ncommand = 'env; cat; exit 3'\n"
    ));
    for (hook, part) in [
        ("asks", "/dev/tty: No such device or address"),
        ("shell", "/dev/tty: No such device or address"),
        ("late", "failed: timed out and was ended"),
        ("missing", "failed: cannot start \"/nowhere/at/all\""),
        ("headless", "begin a script with #!/bin/sh"),
        ("vars", "failed: exit status 3"),
    ] {
        let args = format!("hook test {hook}");
        let said = on_terminal(&sandbox, 200, "NO_COLOR=1", &args).expect(1).stdout;
        assert!(said.contains(part) && (hook == "late") == said.contains("timed out"), "{hook}: {said}");
        let leads = said.lines().find_map(|line| line.split_once("leads ")?.1.split_once(' '));
        assert!(leads.is_none_or(|(session, pid)| session == pid), "{said}");
        if hook != "vars" {
            continue;
        }
        // The same without a terminal, but for what is different each time.
        let told = |said: &str| -> Vec<String> {
            let is_lasting =
                |line: &&str| line.contains("  | ") && !line.contains("_DELIVERY=") && !line.contains("_AT=");
            let names = said
                .lines()
                .filter(is_lasting)
                .map(|line| line.split(['=', ':']).next().unwrap_or_default().to_owned());
            let mut all: Vec<String> = names.collect();
            all.sort();
            all
        };
        let without = sandbox.run(&["hook", "test", hook]).expect(1).stdout;
        assert_eq!(told(&said), told(&without));
    }
}
