//! What stands on TCP, asked with curl.

use super::process::{Agent, field};
use super::sandbox::{Sandbox, Who};

/// An agent with `listen = "127.0.0.1:0"`, and where it listens.
pub fn listening(sandbox: &Sandbox) -> (Agent, String) {
    let mut agent = sandbox.agent_unready();
    let ready = agent.wait_for("ready", &[]);
    let address = field(&ready, "listen").unwrap_or_else(|| panic!("{ready}")).to_owned();
    (agent, address)
}

/// The status and the body of an answer; `args` as for curl.
pub fn curl(sandbox: &Sandbox, args: &str) -> (u16, String) {
    let line = format!("curl -sS --max-time 30 -w '\\n%{{http_code}}' {args}");
    let said = sandbox.shell(Who::Us, &line).expect(0).stdout;
    let (body, code) = said.rsplit_once('\n').unwrap();
    (code.parse().unwrap(), body.to_owned())
}
