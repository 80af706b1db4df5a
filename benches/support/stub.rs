//! A registry that is faster than any client: nginx, which answers with fixed headers. Every tag has the same digest.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{DEADLINE, pinned};

pub struct Stub {
    child: Child,
    /// As references name them.
    pub hosts: Vec<String>,
    /// How often it was asked for its count.
    counted: Cell<u64>,
    dir: tempfile::TempDir,
}

impl Stub {
    /// So many registries, up to 250: one server on as many addresses.
    pub fn start(registries: u8) -> Self {
        // The port is free now; should somebody else take it before nginx does, there are others.
        (0..5).find_map(|_| Self::try_start(registries)).expect("nginx comes up; run scripts/test, which installs it")
    }

    fn try_start(registries: u8) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = dir.path().display();
        let hosts: Vec<String> = (1..=registries).map(|n| format!("127.0.0.{n}:{port}")).collect();
        let listen: String = hosts.iter().map(|host| format!("listen {host} backlog=4096; ")).collect();
        let config = dir.path().join("nginx.conf");
        let answer = format!(
            "default_type application/vnd.oci.image.index.v1+json; add_header Docker-Content-Digest {DIGEST};
             return 200 '{{\"schemaVersion\":2}}';"
        );
        let text = format!(
            "daemon off; pid {path}/pid; worker_processes 1; worker_rlimit_nofile 8192;
             events {{ worker_connections 4096; }}
             http {{
                 access_log off; log_format timed '$msec $uri'; keepalive_requests 100000000; keepalive_timeout 600s;
                 client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
                 fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
                 server {{
                     {listen}
                     location = /count {{ stub_status; }}
                     location /v2/timed/ {{ access_log {path}/times timed; {answer} }}
                     location /v2/ {{ {answer} }}
                 }}
             }}"
        );
        std::fs::write(&config, text).unwrap();
        let mut command = Command::new("nginx");
        command.args(["-e", "stderr", "-c"]).arg(config);
        command.env("PATH", format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap()));
        let child = pinned(1, &command).stdin(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
        let mut stub = Self { child, hosts, counted: Cell::new(0), dir };
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline && stub.child.try_wait().unwrap().is_none() {
            if TcpStream::connect(&stub.hosts[0]).is_ok() {
                return Some(stub);
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        None
    }

    /// The first of them.
    pub fn host(&self) -> &str {
        &self.hosts[0]
    }

    /// How many requests it has had, but for those of this function.
    pub fn requests(&self) -> u64 {
        let mut stream = TcpStream::connect(self.host()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"GET /count HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        // "server accepts handled requests\n 3 3 17"
        let counts = answer.lines().find(|line| line.starts_with(' ')).unwrap();
        let all: u64 = counts.split_whitespace().nth(2).unwrap().parse().unwrap();
        self.counted.set(self.counted.get() + 1);
        all - self.counted.get()
    }
}

/// When something was asked, in seconds since 1970 to the millisecond, and of which repository below `timed/`.
pub struct Asked {
    pub at: f64,
    pub repository: String,
}

/// What it answers for every tag.
pub const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

impl Stub {
    /// What was asked of repositories below `timed/`, in order.
    pub fn times(&self) -> Vec<Asked> {
        let log = std::fs::read_to_string(self.dir.path().join("times")).unwrap();
        let read = |line: &str| {
            let (at, path) = line.split_once(' ')?;
            let repository = path.strip_prefix("/v2/timed/")?.split_once('/')?.0;
            Some(Asked { at: at.parse().ok()?, repository: repository.to_owned() })
        };
        log.lines().filter_map(read).collect()
    }
}

impl Drop for Stub {
    fn drop(&mut self) {
        // Not killed: its workers would stay.
        if let Some(pid) = Pid::from_raw(self.child.id().try_into().unwrap()) {
            kill_process(pid, Signal::TERM).ok();
        }
        self.child.wait().ok();
    }
}
