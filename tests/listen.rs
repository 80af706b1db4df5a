//! `listen`: what monitoring reads over TCP, and that nothing can be changed there.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::net::TcpListener;

use rusqlite::Connection;
use serde_json::Value;

use support::bed::{Bed, Setup};
use support::http::{curl, listening};
use support::registry::{Manner, Registry};
use support::sandbox::{Sandbox, Who};

const SETUP: Setup = Setup { top: "listen = '127.0.0.1:0'", watch: "schedule = '30d'", hook: "", registry: "" };

#[test]
fn what_reads_stands_on_tcp_and_what_acts_does_not() {
    let bed = Bed::with(SETUP);
    bed.push("one");
    let (mut agent, address) = listening(&bed);
    agent.wait_for("first seen", &[]);

    for path in ["/healthz", "/readyz"] {
        assert_eq!(curl(&bed, &format!("http://{address}{path}")), (200, "ok\n".to_owned()), "{path}");
    }
    for path in ["/v1/status", "/v1/health"] {
        let (code, body) = curl(&bed, &format!("http://{address}{path}"));
        let told: Value = serde_json::from_str(&body).unwrap();
        assert!(code == 200 && (told["source"] == "agent" || told["ok"] == true), "{body}");
    }
    for verb in ["check", "retry", "pause", "prune", "reload"] {
        let answer = curl(&bed, &format!("-d '{{}}' http://{address}/v1/{verb}"));
        assert_eq!(answer, (404, format!("{{\"error\":\"/v1/{verb} is on the control socket only\"}}")));
    }
    let (code, body) = curl(&bed, &format!("-d '{{}}' http://{address}/readyz"));
    assert_eq!((code, body.as_str()), (405, "{\"error\":\"/readyz takes GET, not POST\"}"));
    agent.stop();
}

#[test]
fn an_agent_with_overdue_checks_is_alive_and_not_ready() {
    let (sandbox, registry) = (Sandbox::new(), Registry::start());
    let host = registry.host();
    sandbox.write_whole_config(&format!(
        "listen = '127.0.0.1:0'\n[watch.web]\nimage = '{host}/acme/web:stable'\nschedule = '30d'\n\
         [registry.'{host}']\nplain_http = true\n"
    ));
    registry.push_image("acme/web", "stable", "1");
    sandbox.run(&["check"]).expect(0);
    let database = Connection::open(sandbox.state().join("taghook.db")).unwrap();
    database.execute("UPDATE watches SET last_checked = last_checked - 7776000000", []).unwrap();
    drop(database);
    registry.rule(|_, reply| reply.manner(Manner::Hang));
    registry.clear_log();
    let (agent, address) = listening(&sandbox);
    registry.await_log(|log| !log.is_empty());

    assert_eq!(curl(&sandbox, &format!("http://{address}/healthz")).0, 200);
    let (code, body) = curl(&sandbox, &format!("http://{address}/readyz"));
    assert!(code == 503 && body.starts_with("web: its check was due at "), "{code} {body}");
    agent.kill();
}

#[test]
fn a_store_that_hangs_is_told_as_what_makes_no_progress() {
    let bed = Bed::with(SETUP);
    bed.push("one");
    let (mut agent, address) = listening(&bed);
    agent.wait_for("first seen", &[]);
    let database = Connection::open(bed.state().join("taghook.db")).unwrap();
    database.execute_batch("BEGIN IMMEDIATE").unwrap();

    let (code, body) = curl(&bed, &format!("http://{address}/healthz"));

    assert!(code == 503 && body.ends_with(" makes no progress\n"), "{code} {body}");
    database.execute_batch("ROLLBACK").unwrap();
    agent.stop();
}

#[test]
fn a_port_that_is_held_is_told_and_opened_once_it_is_free() {
    let bed = Bed::new();
    bed.push("one");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let config = std::fs::read_to_string(bed.config_path()).unwrap();
    std::fs::write(bed.config_path(), format!("listen = '{address}'\n{config}")).unwrap();

    let mut agent = bed.agent();

    // It works without it, and says so.
    agent.wait_for("first seen", &[]);
    let told = format!(
        "cannot listen on {address}: Address already in use (os error 98); another program has the port: `ss -ltnp`"
    );
    agent.wait_for("cannot listen on", &[]);
    let status = bed.run(&["status", "--json"]).expect(0).json();
    assert_eq!(status["listen"]["address"], address.to_string());
    assert!(status["listen"]["message"].as_str().unwrap().starts_with(&told), "{status:#}");
    let words = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
    assert!(words(&bed.run(&["status"]).expect(0).stdout).contains(&told));
    let said = bed.run(&["health"]).expect(1).stdout;
    assert!(said.starts_with(&format!("unreachable: {told}")) && said.lines().count() == 1, "{said}");

    drop(taken);
    agent.wait_for("listening now", &[("listen", &address.to_string())]);
    assert_eq!(curl(&bed, &format!("http://{address}/healthz")).0, 200);
    bed.run(&["health"]).expect(0);
    assert_eq!(bed.run(&["status", "--json"]).expect(0).json().get("listen"), None);
    agent.stop();
}

#[test]
fn an_address_that_this_host_does_not_have_yet_does_not_end_the_agent() {
    let sandbox = Sandbox::new();
    // TEST-NET-1, which no host has.
    sandbox.write_whole_config("listen = '192.0.2.1:9464'\n");
    let mut agent = sandbox.agent();
    let line = agent.wait_for("cannot listen on 192.0.2.1:9464", &[]);
    assert!(line.contains("`ip address`"), "{line}");
    agent.stop();
}

#[test]
fn a_port_that_needs_a_capability_names_it() {
    let sandbox = Sandbox::of_owner();
    sandbox.write_whole_config("listen = '127.0.0.1:1'\n");
    let mut agent = sandbox.agent_as(Who::Owner);
    let line = agent.wait_for("cannot listen on 127.0.0.1:1", &[]);
    assert!(line.contains("CAP_NET_BIND_SERVICE") && line.contains("AmbientCapabilities"), "{line}");
    agent.stop();
}

#[test]
fn a_name_that_others_could_own_is_refused() {
    let sandbox = Sandbox::new();
    sandbox
        .write_whole_config("listen = '127.0.0.1:0'\nallowed_hosts = ['monitor.example.com', 'prometheus-target']\n");
    let (agent, address) = listening(&sandbox);
    for path in ["/healthz", "/readyz", "/v1/status", "/v1/health", "/metrics", "/nowhere"] {
        let (code, body) = curl(&sandbox, &format!("-H 'Host: rebound.example:9464' http://{address}{path}"));
        assert_eq!(code, 421, "{path}: {body}");
        assert!(body.contains("rebound.example") && body.contains("`allowed_hosts`"), "{body}");
    }
    for host in ["evil", "localhost.evil.example", ""] {
        assert_eq!(curl(&sandbox, &format!("-H 'Host;' -H 'Host: {host}' http://{address}/healthz")).0, 421, "{host}");
    }
    for host in ["localhost:1", "monitor.example.com:9464", "prometheus-target", "[::1]:9464", "10.0.0.1"] {
        assert_eq!(curl(&sandbox, &format!("-H 'Host: {host}' http://{address}/healthz")).0, 200, "{host}");
    }
    assert_eq!(curl(&sandbox, &format!("-0 -H 'Host:' http://{address}/healthz")).0, 200);
    // No web page can use the socket, so any name will do there.
    let socket = sandbox.state().join("control.sock");
    let of_socket = format!("--unix-socket {} http://rebound.example/healthz", socket.display());
    assert_eq!(curl(&sandbox, &of_socket).0, 200);

    sandbox.write_whole_config("listen = '127.0.0.1:0'\nallowed_hosts = ['rebound.example']\n");
    sandbox.run(&["reload"]).expect(0);
    assert_eq!(curl(&sandbox, &format!("-H 'Host: rebound.example:9464' http://{address}/healthz")).0, 200);
    agent.stop();
    sandbox.write_whole_config("allowed_hosts = ['http://monitor.example.com:9464']\n");
    assert!(sandbox.run(&["config", "check"]).expect(2).stderr.contains("without scheme and port"));
}

#[test]
fn no_line_that_a_hook_has_printed_stands_on_the_port() {
    let bed = Bed::given_up();
    let config = std::fs::read_to_string(bed.config_path()).unwrap();
    std::fs::write(bed.config_path(), format!("listen = '127.0.0.1:0'\n{config}")).unwrap();
    let (agent, address) = listening(&bed);
    for path in ["/v1/status", "/v1/health", "/metrics", "/healthz", "/readyz"] {
        let (_, body) = curl(&bed, &format!("http://{address}{path}"));
        assert!(!body.contains("the hook was run"), "{path}: {body}");
    }
    let (_, body) = curl(&bed, &format!("http://{address}/v1/status"));
    let status: Value = serde_json::from_str(&body).unwrap();
    assert_eq!((&status["failed"][0]["hook"], &status["failed"][0]["last_line"]), (&"redeploy".into(), &Value::Null));
    // The group that may use the socket sees it.
    assert_eq!(bed.run(&["status", "--json"]).expect(0).json()["failed"][0]["last_line"], "the hook was run");
    agent.stop();
}

#[test]
fn another_address_needs_a_restart() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config("");
    let agent = sandbox.agent();
    sandbox.write_whole_config("listen = '127.0.0.1:0'\n");
    let said = sandbox.run(&["reload"]).expect(2).stderr;
    assert!(said.contains("`listen` cannot change while the agent runs; restart it"), "{said}");
    agent.stop();
}

#[test]
fn an_address_that_others_can_reach_is_warned_of_and_one_without_a_port_refused() {
    let sandbox = Sandbox::new();
    let check = |listen: &str, code: i32| {
        sandbox.write_whole_config(&format!("listen = '{listen}'\n[watch.w]\nimage = 'w'\n"));
        sandbox.run(&["config", "check"]).expect(code).stderr
    };
    let said = check("0.0.0.0:9464", 0);
    assert!(said.contains("warning") && said.contains("listen \"0.0.0.0:9464\" can be reached from outside"), "{said}");
    assert_eq!(check("[::1]:9464", 0), "");
    for wrong in ["9464", "localhost:9464", "127.0.0.1"] {
        let said = check(wrong, 2);
        let told = format!("listen {wrong:?} is not an address with a port; write for example \"127.0.0.1:9464\"");
        assert!(said.contains(&told), "{said}");
    }
}
