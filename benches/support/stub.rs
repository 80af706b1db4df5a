//! A registry that is faster than any client: nginx, which answers with fixed headers. Every tag has the same digest.

use std::cell::Cell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

use super::{DEADLINE, pinned};

pub struct Stub {
    child: Child,
    /// As references name them; http/1.1 without TLS.
    pub hosts: Vec<String>,
    /// The same over TLS, http/1.1 and nothing else.
    pub tls: String,
    /// The same over TLS, with h2 offered.
    pub h2: String,
    /// How often it was asked for its count.
    counted: Cell<u64>,
    dir: tempfile::TempDir,
}

/// What it has had, but for those who asked for this.
#[derive(Debug, Clone, Copy)]
pub struct Count {
    pub connections: u64,
    pub requests: u64,
}

impl Count {
    pub fn since(self, before: Self) -> Self {
        Self { connections: self.connections - before.connections, requests: self.requests - before.requests }
    }
}

impl Stub {
    /// So many registries, up to 250: one server on as many addresses.
    pub fn start(registries: u8) -> Self {
        // The ports are free now; should somebody else take one before nginx does, there are others.
        (0..5).find_map(|_| Self::try_start(registries)).expect("nginx comes up; run scripts/test, which installs it")
    }

    fn try_start(registries: u8) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let free = [(); 3].map(|()| TcpListener::bind("127.0.0.1:0").unwrap());
        let [port, tls, h2] = free.each_ref().map(|listener| listener.local_addr().unwrap().port());
        drop(free);
        let path = dir.path().display();
        let hosts: Vec<String> = (1..=registries).map(|n| format!("127.0.0.{n}:{port}")).collect();
        let listen: String = hosts.iter().map(|host| format!("listen {host} backlog=4096; ")).collect();
        let (tls, h2) = (format!("127.0.0.1:{tls}"), format!("127.0.0.1:{h2}"));
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        std::fs::write(dir.path().join("cert.pem"), made.cert.pem()).unwrap();
        std::fs::write(dir.path().join("key.pem"), made.signing_key.serialize_pem()).unwrap();
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
                 ssl_certificate {path}/cert.pem; ssl_certificate_key {path}/key.pem;
                 http2_max_concurrent_streams 512;
                 server {{
                     {listen}
                     listen {tls} ssl backlog=4096;
                     listen {h2} ssl http2 backlog=4096;
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
        let mut stub = Self { child, hosts, tls, h2, counted: Cell::new(0), dir };
        let deadline = Instant::now() + DEADLINE;
        while Instant::now() < deadline && stub.child.try_wait().unwrap().is_none() {
            // nginx writes its pid once it has all ports; before, it may be another one that answers at ours.
            if stub.dir.path().join("pid").exists() && TcpStream::connect(&stub.hosts[0]).is_ok() {
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

    /// The certificate of those that speak TLS.
    pub fn certificate(&self) -> PathBuf {
        self.dir.path().join("cert.pem")
    }

    pub fn requests(&self) -> u64 {
        self.count().requests
    }

    pub fn count(&self) -> Count {
        let mut stream = TcpStream::connect(self.host()).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"GET /count HTTP/1.0\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        // "server accepts handled requests\n 3 3 17"
        let counts = answer.lines().find(|line| line.starts_with(' ')).unwrap();
        let mut counts = counts.split_whitespace().map(|count| count.parse::<u64>().unwrap());
        let (connections, requests) = (counts.next().unwrap(), counts.nth(1).unwrap());
        self.counted.set(self.counted.get() + 1);
        // One connection more was the first sign of life.
        Count { connections: connections - self.counted.get() - 1, requests: requests - self.counted.get() }
    }

    /// Waits until it has had so many requests; at most for this long.
    #[track_caller]
    pub fn wait_for(&self, requests: u64, length: Duration) {
        let deadline = Instant::now() + length;
        loop {
            let had = self.requests();
            if had >= requests {
                return;
            }
            assert!(Instant::now() < deadline, "{had} of {requests} requests in {length:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
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
