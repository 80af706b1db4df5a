//! `taghook explain`: one check aloud, which leaves no trace.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use serde_json::Value;

use support::hook::Hook;
use support::process::Running;
use support::registry::{Bearer, Manner, Registry, Reply};
use support::sandbox::{Sandbox, Who};

fn scene() -> (Sandbox, Registry, Hook) {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    let (host, hook) = (registry.host(), sandbox.hook());
    sandbox.write_whole_config(&format!(
        "[watch.web]\nimage = '{host}/acme/web:stable'\nschedule = '30d'\nhooks = ['redeploy']\n\
         [hook.redeploy]\ncommand = {}\n[registry.'{host}']\nplain_http = true\n",
        hook.toml()
    ));
    registry.push_image("acme/web", "stable", "1");
    sandbox.run(&["check"]).expect(0);
    (sandbox, registry, hook)
}

/// The parts in this order, each after the one before.
#[track_caller]
fn assert_story(said: &str, parts: &[&str]) {
    let mut rest = said;
    for part in parts {
        let Some(at) = rest.find(part) else { panic!("no {part:?} after the ones before it:\n{said}") };
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_move_is_told_step_by_step_and_leaves_no_trace() {
    let (sandbox, registry, hook) = scene();
    let new = registry.push_image("acme/web", "stable", "2");
    registry.wants_bearer(Bearer::default());
    // Beside these there is an index of the log, in which readers note where they are.
    let kept = || ["taghook.db", "taghook.db-wal"].map(|name| std::fs::read(sandbox.state().join(name)).unwrap());
    let before = kept();

    let said = sandbox.run(&["explain", "web"]).expect(0).stdout;

    let host = registry.host();
    assert_story(
        &said,
        &[
            "recorded  watch=web",
            "gate  open=no agent answers",
            &format!("request  method=HEAD  url=http://{host}/v2/acme/web/manifests/stable"),
            "authorization=none",
            "status=401",
            "www_authenticate=Bearer",
            &format!("challenged  foreign=false  basic=false  bearer={host}  service=test"),
            ".docker/config.json",
            "credentials: none, so anonymously",
            "a token is asked for, by an anonymous request",
            "scope=repository:acme/web:pull",
            "a token is granted",
            "authorization=Bearer ***",
            "status=200",
            &format!("docker_content_digest={new}"),
            "digest from the header",
            "another digest: does it resolve by itself?",
            "resolves by itself",
            "checked: another digest than the recorded one",
            "outcome=moved",
            "would be owed  hook=redeploy  change=moved",
            "web  moved  ",
            "nothing was recorded, and no hook was run",
        ],
    );
    assert!(kept() == before, "the state is as it was");
    hook.expect_no_call();
    let events = sandbox.run(&["explain", "web", "--json"]).expect(0).json_lines();
    let named = |name: &str| events.iter().find(|event| event["event"] == name).unwrap_or(&Value::Null);
    assert_eq!(
        (&named("answer")["fields"]["status"], &named("request")["fields"]["method"]),
        (&401.into(), &"HEAD".into())
    );
    assert_eq!(events.last().unwrap()["outcome"], "moved");
}

#[test]
fn what_a_failure_means_is_told_as_well() {
    let (sandbox, registry, _hook) = scene();
    registry.delete_tag("acme/web", "stable");
    let said = sandbox.run(&["explain", "web"]).expect(1).stdout;
    assert_story(
        &said,
        &[
            "status=404",
            "checked: not found; that counts only once it has repeated over `absent_after`",
            "outcome=failed",
            "nothing would be owed  hook=redeploy  on=moved",
            "not_found: ",
        ],
    );
    registry.push_image("acme/web", "stable", "1");
    registry.rule(|_, reply| reply.without("docker-content-digest"));
    let said = sandbox.run(&["explain", "web"]).expect(0).stdout;
    assert_story(
        &said,
        &["HEAD tells no digest here; GET does", "method=GET", "digest of the content", "outcome=unchanged"],
    );
    let said = sandbox.run(&["explain", "wbe"]).expect(2).stderr;
    assert!(said.contains("did you mean \"web\""), "{said}");
}

#[test]
fn a_limit_is_not_bypassed_and_other_trouble_is_looked_at() {
    let (sandbox, registry, _hook) = scene();
    let agent = sandbox.agent();
    registry.rule(|_, _| Reply::status(429).with("retry-after", "3600"));
    sandbox.run(&["check"]).expect(1);
    registry.clear_log();

    let said = sandbox.run(&["explain", "web"]).expect(1).stdout;

    assert_story(&said, &["held_off=rate_limited", "asked_again=in 1 h", "not asked"]);
    assert_eq!(registry.log().len(), 0);
    agent.stop();

    registry.no_rules();
    registry.rule(|_, reply| reply.manner(Manner::Drop));
    let agent = sandbox.agent();
    sandbox.run(&["check"]).expect(1);
    registry.clear_log();
    let said = sandbox.run(&["explain", "web"]).expect(1).stdout;
    assert_story(&said, &["held_off=connect", "request", "no answer", "outcome=failed"]);
    assert!(!registry.log().is_empty());
    agent.stop();
}

#[test]
fn a_limit_in_the_record_is_not_bypassed_by_who_may_not_ask_the_agent() {
    let (sandbox, registry) = (Sandbox::of_owner(), Registry::start());
    let host = registry.host();
    sandbox.write_whole_config(&format!(
        "[watch.web]\nimage = '{host}/acme/web:stable'\nschedule = '30d'\n\
         [watch.other]\nimage = '{host}/acme/other:stable'\nschedule = '30d'\n\
         [registry.'{host}']\nplain_http = true\nconcurrency = 1\n"
    ));
    registry.rule(|_, _| Reply::status(429).with("retry-after", "3600"));
    sandbox.run_as(Who::Owner, &["check", "other"]).expect(1);
    let mut agent = sandbox.agent_as(Who::Owner);
    agent.wait_for("registry held off", &[]);
    sandbox.shell(Who::Owner, "chmod 0600 state/control.sock").expect(0);
    registry.clear_log();

    let said = sandbox.run_as(Who::Reader, &["explain", "web"]).expect(1).stdout;

    assert_story(&said, &["gate  registry=127", "recorded=rate_limited", "not asked"]);
    assert_eq!(registry.log().len(), 0);
    agent.stop();
    // Nor without an agent; a limit of long ago is none.
    assert!(sandbox.run_as(Who::Reader, &["explain", "web"]).expect(1).stdout.contains("not asked"));
    let database = rusqlite::Connection::open(sandbox.state().join("taghook.db")).unwrap();
    database.execute("UPDATE watches SET last_checked = last_checked - 3600000", []).unwrap();
    assert!(sandbox.run(&["explain", "web"]).expect(1).stdout.contains("status=429"));
}

#[test]
fn any_image_is_explained_without_a_config() {
    let registry = Registry::start();
    let digest = registry.push_image("acme/web", "stable", "1");
    let sandbox = Sandbox::new();
    let image = registry.image("acme/web", "stable");
    let said = sandbox.run_bare(&["explain", "--plain-http", "--image", &image]).expect(0).stdout;
    assert_story(&said, &["request  method=HEAD", "digest from the header", &format!("{digest}  {image}")]);
}

#[test]
fn the_proxy_of_a_request_is_told_without_its_login() {
    let proxy = Registry::start();
    let sandbox = Sandbox::new();
    let mut command =
        sandbox.bare_command(Who::Us, &["explain", "--plain-http", "--image", "registry.invalid/acme/web:1"]);
    command.env("ALL_PROXY", format!("http://robot:hunter2@{}", proxy.host()));
    let said = Running::start(command).finish().expect(1).stdout;
    assert_story(&said, &["request  method=HEAD", &format!("proxy=http://{}/", proxy.host())]);
    assert!(!said.contains("hunter2"), "{said}");
    assert_eq!(proxy.requests().len(), 2, "{said}");
}
