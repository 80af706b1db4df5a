//! nginx in front of a registry: a limit on requests, as operators configure it.

use std::net::TcpListener;
use std::process::{Child, Command, Stdio};

use rustix::process::{Pid, Signal, kill_process};

use super::DEADLINE;
use super::distribution::lines;

pub struct Nginx {
    child: Child,
    port: u16,
    _dir: tempfile::TempDir,
}

impl Nginx {
    /// Passes at most one request a second on to `upstream`; the others are told to come back after so many seconds.
    pub fn limiting(upstream: &str, retry_after: u32) -> Self {
        // The port is free now; should somebody else take it before nginx does, there are others.
        (0..5)
            .find_map(|_| Self::start(upstream, retry_after))
            .expect("nginx comes up; run scripts/test, which installs it")
    }

    fn start(upstream: &str, retry_after: u32) -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let path = dir.path().display();
        let config = dir.path().join("nginx.conf");
        let text = format!(
            "daemon off; pid {path}/pid; error_log stderr notice; events {{ worker_connections 64; }}
             http {{
                 access_log off; client_body_temp_path {path}/body; proxy_temp_path {path}/proxy;
                 fastcgi_temp_path {path}/fastcgi; uwsgi_temp_path {path}/uwsgi; scgi_temp_path {path}/scgi;
                 limit_req_zone $binary_remote_addr zone=all:1m rate=1r/s;
                 server {{
                     listen 127.0.0.1:{port}; limit_req zone=all; limit_req_status 429; error_page 429 = @limited;
                     location / {{ proxy_pass http://{upstream}; proxy_set_header Host $http_host; }}
                     location @limited {{ add_header Retry-After {retry_after} always; return 429; }}
                 }}
             }}"
        );
        std::fs::write(&config, text).unwrap();
        let path = format!("{}:/usr/sbin:/sbin", std::env::var("PATH").unwrap());
        let mut child = Command::new("nginx")
            .env("PATH", path)
            .args(["-e", "stderr", "-c"])
            .arg(config)
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("cannot run \"nginx\" ({error}); run scripts/test, which installs it"));
        let log = lines(child.stderr.take().unwrap());
        let nginx = Self { child, port, _dir: dir };
        // It listens before it has workers.
        while let Ok(line) = log.recv_timeout(DEADLINE) {
            if line.contains("start worker process ") {
                return Some(nginx);
            }
        }
        None
    }

    /// `127.0.0.1:PORT`, as references name it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // Not killed: its workers would stay.
        if let Some(pid) = Pid::from_raw(self.child.id().try_into().unwrap()) {
            kill_process(pid, Signal::TERM).ok();
        }
        self.child.wait().ok();
    }
}
