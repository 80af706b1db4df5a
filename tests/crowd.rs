//! Connections that want nothing, or take nothing, cost others nothing.

#![allow(clippy::unwrap_used, reason = "helpers of tests fail by panicking, as tests do")]

mod support;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::Duration;

use support::DEADLINE;
use support::bed::{Bed, Setup};
use support::http::listening;
use support::sandbox::Sandbox;

/// More connections than a door serves at a time.
const CROWD: usize = 200;
/// Shorter than any limit that would have ended the others by itself.
const SOON: Duration = Duration::from_secs(8);

const SETUP: Setup = Setup { top: "listen = '127.0.0.1:0'", watch: "schedule = '30d'", hook: "", registry: "" };

/// The first line of the answer to a GET on a connection of its own, or why there is none.
fn get(mut stream: impl Read + Write, path: &str) -> std::io::Result<String> {
    write!(stream, "GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer.lines().next().unwrap_or_default().to_owned())
}

#[track_caller]
fn assert_answered_soon(address: &str, path: &str) {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(SOON)).unwrap();
    assert_eq!(get(stream, path).map_err(|why| why.to_string()), Ok("HTTP/1.1 200 OK".to_owned()), "{path}");
}

/// A crowd on the port, each of which has sent this, and which stays.
fn crowd(address: &str, bytes: &[u8]) -> Vec<TcpStream> {
    let one = |_| {
        let mut stream = TcpStream::connect(address).unwrap();
        // Whoever has been sent away already cannot take it.
        stream.write_all(bytes).ok();
        stream
    };
    (0..CROWD).map(one).collect()
}

#[test]
fn idle_connections_to_the_port_keep_nobody_waiting() {
    let sandbox = Sandbox::new();
    sandbox.write_whole_config("listen = '127.0.0.1:0'\n");
    let (agent, address) = listening(&sandbox);
    for begun in [
        "",
        "GET /healthz HTTP/1.1\r\nhost: loc",
        "POST /v1/check HTTP/1.1\r\nhost: localhost\r\ncontent-length: 9\r\n\r\n{",
    ] {
        let crowd = crowd(&address, begun.as_bytes());
        for path in ["/healthz", "/readyz", "/v1/status", "/metrics"] {
            assert_answered_soon(&address, path);
        }
        drop(crowd);
    }
    agent.stop();
}

#[test]
fn idle_connections_to_the_socket_keep_no_command_waiting() {
    let bed = Bed::with(SETUP);
    bed.push("one");
    let (mut agent, address) = listening(&bed);
    agent.wait_for("first seen", &[]);
    for begun in ["", "GET /v1/status HTT", "POST /v1/check HTTP/1.1\r\nhost: x\r\ncontent-length: 9\r\n\r\n{"] {
        let one = |_| {
            let mut stream = UnixStream::connect(bed.state().join("control.sock")).unwrap();
            stream.write_all(begun.as_bytes()).ok();
            stream
        };
        let crowd: Vec<UnixStream> = (0..CROWD).map(one).collect();
        assert_answered_soon(&address, "/healthz");
        let stream = UnixStream::connect(bed.state().join("control.sock")).unwrap();
        stream.set_read_timeout(Some(SOON)).unwrap();
        assert_eq!(get(stream, "/v1/health").unwrap(), "HTTP/1.1 200 OK");
        assert_eq!(bed.run(&["status", "--json"]).expect(0).json()["source"], "agent");
        assert_eq!(bed.check(0)["outcome"], "unchanged");
        drop(crowd);
    }
    agent.stop();
}

#[test]
fn who_asks_and_never_reads_keeps_nobody_waiting() {
    let sandbox = Sandbox::new();
    let watches: String = (0..300).map(|n| format!("[watch.w{n}]\nimage = 'w{n}'\nenabled = false\n")).collect();
    sandbox.write_whole_config(&format!("listen = '127.0.0.1:0'\n{watches}"));
    let (agent, address) = listening(&sandbox);
    let pipelined = "GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n".repeat(200);
    let crowd = crowd(&address, pipelined.as_bytes());
    for path in ["/healthz", "/readyz", "/v1/status", "/metrics"] {
        assert_answered_soon(&address, path);
    }
    drop(crowd);
    agent.stop();
}

#[test]
fn an_answer_that_nobody_takes_ends_its_connection() {
    let sandbox = Sandbox::new();
    let watches: String = (0..300).map(|n| format!("[watch.w{n}]\nimage = 'w{n}'\nenabled = false\n")).collect();
    sandbox.write_whole_config(&format!("listen = '127.0.0.1:0'\n{watches}"));
    let (agent, address) = listening(&sandbox);
    let mut stream = TcpStream::connect(&address).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    let request = b"GET /v1/status HTTP/1.1\r\nhost: localhost\r\n\r\n";
    // Until nothing more is taken, and from there on until the agent has hung up.
    let why = loop {
        if let Err(why) = stream.write_all(&request.repeat(1000)) {
            break why;
        }
    };
    assert!(matches!(why.raw_os_error(), Some(32 | 104)), "the agent has hung up: {why}");
    agent.stop();
}

#[test]
fn a_check_that_is_silent_for_long_is_not_idle() {
    let bed = Bed::with(SETUP);
    bed.push("one");
    let (mut agent, _) = listening(&bed);
    agent.wait_for("first seen", &[]);
    bed.push("two");
    bed.hook.holds();
    let check = bed.start(&["check", "--json"]);
    let call = bed.hook.call();
    let socket = bed.state().join("control.sock");
    let crowd: Vec<UnixStream> = (0..CROWD).map(|_| UnixStream::connect(&socket).unwrap()).collect();
    bed.run(&["status"]).expect(0);
    call.exit(0);
    let line = support::bed::one(&check.finish().expect(0));
    assert_eq!(line["deliveries"][0]["state"], "succeeded", "{line}");
    drop(crowd);
    agent.stop();
}
