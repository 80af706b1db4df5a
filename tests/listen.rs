//! `listen`: what monitoring reads over TCP, and that nothing can be changed there.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::net::TcpListener;

use rusqlite::Connection;
use serde_json::Value;

use support::bed::{Bed, Setup};
use support::http::{curl, listening};
use support::registry::{Manner, Registry};
use support::sandbox::Sandbox;

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
fn a_port_in_use_is_a_clear_error_at_start() {
    let sandbox = Sandbox::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    sandbox.write_whole_config(&format!("listen = '{address}'\n"));
    let said = sandbox.run(&["run"]).expect(2).stderr;
    let told =
        format!("error: cannot listen on {address}: Address already in use (os error 98); set `listen` to a free port");
    assert!(said.contains(&told), "{said}");
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
