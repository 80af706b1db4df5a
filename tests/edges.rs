//! Where the config, the registry and the ledger meet: each rule here was once broken.

mod support;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;

use serde_json::json;
use support::DEADLINE;
use support::bed::{Bed, REPOSITORY};
use support::registry::{Registry, Reply};
use support::sandbox::Sandbox;

#[test]
fn a_check_does_not_wait_out_the_back_off_of_a_dead_registry() {
    let bed = Bed::new();
    bed.push("one");
    let dead = "127.0.0.1:1";
    let watches: String =
        (0..40).map(|n| format!("[watch.dead-{n}]\nimage = '{dead}/x:{n}'\nschedule = '30d'\n")).collect();
    bed.write_whole_config(&format!(
        "{watches}[watch.web]\nimage = '{}'\nschedule = '30d'\n\
         [registry.'{}']\nplain_http = true\n[registry.'{dead}']\nplain_http = true\n",
        bed.image(),
        bed.registry.host(),
    ));

    let lines = bed.run(&["check", "--json"]).expect(1).json_lines();

    assert_eq!(lines.len(), 41, "each watch has its line");
    for line in lines.iter().filter(|line| line["watch"] != "web") {
        assert_eq!((&line["outcome"], &line["error"]["kind"]), (&json!("failed"), &json!("connect")));
    }
    let held = lines.iter().filter(|line| line["error"]["message"].as_str().is_some_and(|m| m.contains("held off")));
    assert!(held.count() >= 36, "no more were asked than may be under way at a time: {lines:?}");
}

#[cfg(feature = "failpoints")]
#[test]
fn a_bug_in_the_checks_of_one_watch_fails_these_and_nothing_else() {
    let (sandbox, registry) = (Sandbox::new(), support::registry::Registry::start());
    let watch = |name: &str| {
        registry.push_image(name, "v1", "one");
        format!("[watch.{name}]\nimage = '{}'\nschedule = '30d'\n", registry.image(name, "v1"))
    };
    let tables = [watch("odd"), watch("well")].concat();
    sandbox
        .write_whole_config(&format!("{tables}[registry.'{}']\nplain_http = true\nconcurrency = 1\n", registry.host()));
    let mut command = sandbox.command(support::sandbox::Who::Us, &["run"]);
    command.env("TAGHOOK_PANIC", "odd");
    let agent = support::process::Agent::start(command);

    // More often than there are permits, if one were lost with each.
    for _ in 0..3 {
        let lines = sandbox.run(&["check", "--json"]).expect(1).json_lines();
        let [odd, well] = ["odd", "well"].map(|name| lines.iter().find(|line| line["watch"] == name).unwrap());
        assert!(odd["error"]["message"].as_str().unwrap().contains("taghook has a bug here"), "{odd}");
        assert_ne!(well["outcome"], "failed", "{well}");
    }
    agent.stop();
}

#[test]
fn what_an_earlier_image_owes_is_held_until_that_image_returns() {
    let bed = Bed::new();
    bed.push("one");
    bed.check(0);
    bed.push("two");
    bed.hook.exits_with(1);
    bed.check(1);
    assert_eq!(bed.hook.only_call().var("TAGHOOK_ATTEMPT"), "1");
    bed.hook.exits_with(0);
    bed.registry.push_image(REPOSITORY, "other", "three");
    let before = std::fs::read_to_string(bed.config_path()).unwrap();

    std::fs::write(bed.config_path(), before.replace(&bed.image(), &bed.image().replace(":stable", ":other"))).unwrap();
    assert_eq!(bed.check(0)["outcome"], "first");
    bed.hook.expect_no_call();
    let agent = bed.agent();
    agent.stop();
    bed.hook.expect_no_call();

    std::fs::write(bed.config_path(), before).unwrap();
    assert_eq!(bed.check(0)["outcome"], "unchanged");
    let call = bed.hook.only_call();
    assert_eq!((call.var("TAGHOOK_ATTEMPT"), call.var("TAGHOOK_IMAGE")), ("2", &*bed.image()));
}

#[test]
fn who_asks_while_a_check_ends_in_a_limit_does_not_wait_for_the_gate() {
    let (registry, sandbox) = (Registry::start(), Sandbox::new());
    let (host, image) = (registry.host(), registry.image("acme/web", "1"));
    let ((asked, was_asked), (go, may_go)) = (mpsc::channel(), mpsc::channel());
    registry.rule(move |_, _| {
        asked.send(()).ok();
        may_go.recv_timeout(DEADLINE).ok();
        Reply::status(429).with("retry-after", "3600")
    });
    sandbox.write_whole_config(&format!(
        "[watch.web]\nimage = '{image}'\nschedule = '30d'\n[registry.'{host}']\nplain_http = true\n"
    ));
    let agent = sandbox.agent();
    was_asked.recv_timeout(DEADLINE).unwrap();

    let mut socket = UnixStream::connect(sandbox.state().join("control.sock")).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    let body = r#"{"watches": ["web"]}"#;
    let head = "POST /v1/check HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: application/json\r\n";
    write!(socket, "{head}content-length: {}\r\n\r\n{body}", body.len()).unwrap();
    // The head of the answer says that the watch is asked for; the check under way has not ended yet.
    let mut answer = vec![0; 12];
    socket.read_exact(&mut answer).unwrap();
    assert_eq!(answer, b"HTTP/1.1 200");
    go.send(()).unwrap();

    let mut rest = String::new();
    socket.read_to_string(&mut rest).unwrap();
    assert!(rest.contains("registry held off: rate_limited"), "{rest}");
    agent.stop();
}
