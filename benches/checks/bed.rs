//! The registry, and an agent with many watches of it, all of which have been seen.

use std::fmt::Write as _;
use std::io::{Read, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::time::Duration;

use crate::support::process::Agent;
use crate::support::sandbox::{Sandbox, Who};
use crate::support::stub::Stub;
use crate::support::usage::Usage;
use crate::support::{DEADLINE, pinned};

/// How the registry is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Protocol {
    Http,
    Tls,
    H2,
}

impl Protocol {
    pub const ALL: [Self; 3] = [Self::Http, Self::Tls, Self::H2];

    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http/1.1",
            Self::Tls => "TLS",
            Self::H2 => "h2",
        }
    }
}

pub struct Bed {
    pub protocol: Protocol,
    pub stub: Stub,
    pub sandbox: Sandbox,
    watches: u32,
}

/// What some checks have cost.
pub struct Measured {
    /// For each of them.
    pub cpu: Duration,
    pub requests_per_check: f64,
    /// All that the agent has made.
    pub connections: u64,
}

/// Long enough for all that is measured, on the slowest of machines.
pub const PATIENCE: Duration = Duration::from_secs(300);

impl Bed {
    /// One in which every watch has its baseline.
    pub fn new(protocol: Protocol, watches: u32) -> Self {
        let bed = Self { protocol, stub: Stub::start(1), sandbox: Sandbox::new(), watches };
        let in_flight = watches.min(256);
        bed.configure(in_flight);
        let agent = Agent::start(bed.agent());
        // Each has had its turn, and the last of them their answers.
        bed.stub.wait_for(u64::from(2 * watches + in_flight), PATIENCE);
        agent.stop();
        bed
    }

    /// Where the registry is, as references name it.
    pub fn host(&self) -> &str {
        match self.protocol {
            Protocol::Http => self.stub.host(),
            Protocol::Tls => &self.stub.tls,
            Protocol::H2 => &self.stub.h2,
        }
    }

    /// The manifest that the first watch asks for.
    pub fn url(&self) -> String {
        let scheme = if self.protocol == Protocol::Http { "http" } else { "https" };
        format!("{scheme}://{}/v2/team/service-0/manifests/stable", self.host())
    }

    pub fn configure(&self, in_flight: u32) {
        let way = match self.protocol {
            Protocol::Http => "plain_http = true".to_owned(),
            Protocol::Tls | Protocol::H2 => format!("ca_file = {:?}", self.stub.certificate()),
        };
        let host = self.host();
        let mut text = format!(
            "[defaults]\nschedule = '1s'\nhooks = ['nothing']\n[hook.nothing]\ncommand = ['/bin/true']\n\
             [registry.'{host}']\n{way}\nrate = '1000000/s'\nconcurrency = {in_flight}\n"
        );
        for n in 0..self.watches {
            writeln!(text, "[watch.service-{n}]\nimage = '{host}/team/service-{n}:stable'").unwrap();
        }
        self.sandbox.write_whole_config(&text);
    }

    pub fn agent(&self) -> Command {
        self.sandbox.command(Who::Us, &["run"])
    }

    /// Measures so many checks of a warm agent, so many of them in flight.
    pub fn checks(&self, in_flight: u32, count: u64) -> Measured {
        self.configure(in_flight);
        let fresh = self.stub.count();
        let agent = Agent::start(pinned(0, &self.agent()));
        self.stub.wait_for(fresh.requests + u64::from(self.watches), PATIENCE);
        let (before, used) = (self.stub.requests(), Usage::of(agent.pid()));
        self.stub.wait_for(before + count, PATIENCE);
        let (after, used) = (self.stub.requests(), Usage::of(agent.pid()).since(&used));
        let connections = self.stub.count().since(fresh).connections;
        let requests_per_check = self.requests_per_check();
        agent.stop();
        Measured { cpu: used.cpu.div_f64((after - before) as f64), requests_per_check, connections }
    }

    /// As the agent has counted them since it started. The server's own count is of another moment, thousands of checks later.
    fn requests_per_check(&self) -> f64 {
        let mut stream = UnixStream::connect(self.sandbox.state().join("control.sock")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nhost: taghook\r\nconnection: close\r\n\r\n").unwrap();
        let mut page = String::new();
        stream.read_to_string(&mut page).unwrap();
        let sum = |family: &str| {
            let samples = page.lines().filter(|line| line.starts_with(family));
            samples.map(|line| line.rsplit(' ').next().unwrap().parse::<f64>().unwrap()).sum::<f64>()
        };
        sum("taghook_registry_requests_total{") / sum("taghook_checks_total{")
    }
}
