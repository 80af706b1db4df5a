//! The real CNCF Distribution (Debian's `docker-registry`) on a loopback port of its own, and how to push to it.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::Instant;

use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::DEADLINE;

pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";

/// A registry that serves until it is dropped.
pub struct Distribution {
    dir: tempfile::TempDir,
    port: u16,
    serving: Option<Serving>,
}

struct Serving {
    child: Child,
    /// The access log, a line a request, written before the answer leaves.
    requests: Receiver<String>,
}

/// A second registry on the same content, which is served in another way.
pub struct Front {
    /// Its end is the registry's.
    _serving: Serving,
    port: u16,
}

/// A pushed index and the children that it lists, by platform.
pub struct Index {
    pub digest: String,
    pub children: BTreeMap<String, String>,
}

/// An answer of the registry to one of our own requests.
pub struct Answer {
    pub status: u16,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

impl Distribution {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (serving, port) = Serving::start(dir.path(), 0, "");
        Self { dir, port, serving: Some(serving) }
    }

    /// The same content behind this password.
    pub fn with_htpasswd(&self, line: &str) -> Front {
        let file = self.dir.path().join("htpasswd");
        std::fs::write(&file, line).unwrap();
        self.front(&format!("auth: {{htpasswd: {{realm: bed, path: {file:?}}}}}\n"))
    }

    /// The same content over TLS, with this certificate and key.
    pub fn with_tls(&self, cert: &Path, key: &Path) -> Front {
        self.front(&format!("  tls: {{certificate: {cert:?}, key: {key:?}}}\n"))
    }

    fn front(&self, more: &str) -> Front {
        let (_serving, port) = Serving::start(self.dir.path(), 0, more);
        Front { _serving, port }
    }

    /// `127.0.0.1:PORT`, as references name it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Ends the registry; its port refuses connections from now on.
    pub fn stop(&mut self) {
        self.serving = None;
    }

    /// The same registry again, on the same port.
    pub fn restart(&mut self) {
        self.stop();
        let (serving, port) = Serving::start(self.dir.path(), self.port, "");
        assert_eq!(port, self.port);
        self.serving = Some(serving);
    }

    /// Pushes an image for linux/amd64 under a tag; another salt is another digest.
    pub fn push_image(&self, repository: &str, tag: &str, salt: &str) -> String {
        let manifest = self.push_config_and_layer(repository, "linux/amd64", salt);
        self.put_manifest(repository, tag, MANIFEST, &manifest)
    }

    /// Pushes an index under a tag, with a child for each (platform, salt).
    pub fn push_index(&self, repository: &str, tag: &str, children: &[(&str, &str)]) -> Index {
        let mut listed = Vec::new();
        let mut digests = BTreeMap::new();
        for (platform, salt) in children {
            let manifest = self.push_config_and_layer(repository, platform, salt);
            let digest = digest_of(manifest.to_string().as_bytes());
            self.put_manifest(repository, &digest, MANIFEST, &manifest);
            let (os, architecture) = platform.split_once('/').unwrap();
            let size = manifest.to_string().len();
            let platform_object = json!({"os": os, "architecture": architecture});
            listed.push(json!({"mediaType": MANIFEST, "digest": digest, "size": size, "platform": platform_object}));
            digests.insert((*platform).to_owned(), digest);
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX, "manifests": listed});
        Index { digest: self.put_manifest(repository, tag, INDEX, &index), children: digests }
    }

    /// Pushes what docker itself writes: a manifest of version 2, or a list of such.
    pub fn push_docker(&self, repository: &str, tag: &str, salt: &str) -> String {
        let mut manifest = self.push_config_and_layer(repository, "linux/amd64", salt);
        manifest["mediaType"] = DOCKER_MANIFEST.into();
        manifest["config"]["mediaType"] = "application/vnd.docker.container.image.v1+json".into();
        manifest["layers"][0]["mediaType"] = "application/vnd.docker.image.rootfs.diff.tar.gzip".into();
        self.put_manifest(repository, tag, DOCKER_MANIFEST, &manifest)
    }

    /// Pushes an index or a list of one child that the repository has.
    pub fn push_parent(&self, repository: &str, tag: &str, types: [&str; 2], child: &str) -> String {
        let [media_type, of_child] = types;
        let accept = [("Accept", of_child)];
        let path = format!("/v2/{repository}/manifests/{child}");
        let size = self.request("GET", &path, &accept, b"").expect_status(200).body.len();
        let platform = json!({"os": "linux", "architecture": "amd64"});
        let child = json!({"mediaType": of_child, "digest": child, "size": size, "platform": platform});
        let parent = json!({"schemaVersion": 2, "mediaType": media_type, "manifests": [child]});
        self.put_manifest(repository, tag, media_type, &parent)
    }

    /// Points a tag at a digest that the repository already has.
    pub fn move_tag(&self, repository: &str, tag: &str, digest: &str) {
        let accept = format!("{MANIFEST}, {INDEX}");
        let path = format!("/v2/{repository}/manifests/{digest}");
        let found = self.request("GET", &path, &[("Accept", &accept)], b"").expect_status(200);
        let media_type = found.headers["content-type"].clone();
        let path = format!("/v2/{repository}/manifests/{tag}");
        self.request("PUT", &path, &[("Content-Type", &media_type)], &found.body).expect_status(201);
    }

    /// Takes the tag away, as its owner would; Distribution 2 has no request for that, and looks at the disk each time.
    pub fn delete_tag(&self, repository: &str, tag: &str) {
        let tags = format!("data/docker/registry/v2/repositories/{repository}/_manifests/tags/{tag}");
        std::fs::remove_dir_all(self.dir.path().join(tags)).unwrap();
    }

    /// The requests since the last call, as `METHOD /path`.
    pub fn requests(&self) -> Vec<String> {
        // Our own request is the mark: what was answered before it has been logged before it.
        self.request("GET", "/v2/", &[("User-Agent", "mark")], b"").expect_status(200);
        let serving = self.serving.as_ref().unwrap();
        let mut seen = Vec::new();
        loop {
            let line = serving.requests.recv_timeout(DEADLINE).expect("the registry's access log has ended");
            if line.contains("\"mark\"") {
                return seen;
            }
            seen.push(request_of(&line));
        }
    }

    /// Waits until the repository has been asked `count` more times for a manifest; all requests until then.
    pub fn await_asked(&self, repository: &str, count: usize) -> Vec<String> {
        self.requests();
        let requests = &self.serving.as_ref().unwrap().requests;
        let wanted = format!("HEAD /v2/{repository}/manifests/");
        let deadline = Instant::now() + DEADLINE;
        let mut seen: Vec<String> = Vec::new();
        while seen.iter().filter(|request| request.starts_with(&wanted)).count() < count {
            let line = requests.recv_timeout(deadline.saturating_duration_since(Instant::now()));
            seen.push(request_of(&line.unwrap_or_else(|_| panic!("no {count} × {wanted:?} but {seen:?}"))));
        }
        seen
    }

    fn push_config_and_layer(&self, repository: &str, platform: &str, salt: &str) -> Value {
        let (os, architecture) = platform.split_once('/').unwrap();
        let layer = [0u8; 1024];
        let rootfs = json!({"type": "layers", "diff_ids": [digest_of(&layer)]});
        let config =
            json!({"os": os, "architecture": architecture, "config": {"Labels": {"salt": salt}}, "rootfs": rootfs});
        let config = config.to_string();
        let config_digest = self.push_blob(repository, config.as_bytes());
        let layer_digest = self.push_blob(repository, &layer);
        json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": config_digest, "size": config.len()},
            "layers": [{"mediaType": "application/vnd.oci.image.layer.v1.tar", "digest": layer_digest, "size": layer.len()}],
        })
    }

    fn push_blob(&self, repository: &str, blob: &[u8]) -> String {
        let digest = digest_of(blob);
        let path = format!("/v2/{repository}/blobs/uploads/");
        let started = self.request("POST", &path, &[], b"").expect_status(202);
        let location = &started.headers["location"];
        let path = location.split_once(&self.host()).map_or(location.as_str(), |(_, path)| path);
        let path = format!("{path}&digest={digest}");
        self.request("PUT", &path, &[("Content-Type", "application/octet-stream")], blob).expect_status(201);
        digest
    }

    fn put_manifest(&self, repository: &str, reference: &str, media_type: &str, manifest: &Value) -> String {
        let body = manifest.to_string();
        let path = format!("/v2/{repository}/manifests/{reference}");
        self.request("PUT", &path, &[("Content-Type", media_type)], body.as_bytes()).expect_status(201);
        digest_of(body.as_bytes())
    }

    /// One request on a connection of its own. HTTP/1.0, so that the end of the body is the end of the connection.
    pub fn request(&self, method: &str, path: &str, headers: &[(&str, &str)], body: &[u8]) -> Answer {
        let mut stream = TcpStream::connect(self.host()).expect("the registry accepts connections");
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        let host = self.host();
        let mut head = format!("{method} {path} HTTP/1.0\r\nHost: {host}\r\nContent-Length: {}\r\n", body.len());
        for (name, value) in headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str("\r\n");
        stream.write_all(&[head.as_bytes(), body].concat()).unwrap();

        let mut reader = BufReader::new(stream);
        let mut line = String::new();
        reader.read_line(&mut line).unwrap();
        let status = line.split_whitespace().nth(1).unwrap().parse().unwrap();
        let mut headers = BTreeMap::new();
        loop {
            line.clear();
            reader.read_line(&mut line).unwrap();
            let Some((name, value)) = line.trim_end().split_once(": ") else { break };
            headers.insert(name.to_lowercase(), value.to_owned());
        }
        let mut body = Vec::new();
        reader.read_to_end(&mut body).unwrap();
        Answer { status, headers, body }
    }
}

impl Answer {
    fn expect_status(self, status: u16) -> Self {
        assert_eq!(self.status, status, "the registry said {}", String::from_utf8_lossy(&self.body));
        self
    }
}

impl Front {
    /// `127.0.0.1:PORT`, as references name it.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Serving {
    /// Starts on the port, 0 being one that the system chooses, and returns once it listens. The config says `more`.
    fn start(dir: &Path, port: u16, more: &str) -> (Self, u16) {
        let config = dir.join(if more.is_empty() { "config.yml" } else { "front.yml" });
        let data = dir.join("data");
        let text = format!(
            "version: 0.1\nlog: {{level: info}}\n\
             storage: {{filesystem: {{rootdirectory: {data:?}}}, delete: {{enabled: true}}}}\n\
             http:\n  addr: \"127.0.0.1:{port}\"\n{more}"
        );
        std::fs::write(&config, text).unwrap();
        let mut child = Command::new("docker-registry")
            .arg("serve")
            .arg(config)
            .env_clear()
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| {
                panic!("cannot run \"docker-registry\" ({error}); run scripts/test, which installs it")
            });
        let (requests, log) = (lines(child.stdout.take().unwrap()), lines(child.stderr.take().unwrap()));
        let serving = Self { child, requests };
        let deadline = Instant::now() + DEADLINE;
        let mut said = String::new();
        loop {
            match log.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
                Ok(line) => {
                    if let Some((_, rest)) = line.split_once("listening on 127.0.0.1:") {
                        let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
                        return (serving, rest[..digits].parse().unwrap());
                    }
                    said.push_str(&line);
                    said.push('\n');
                }
                Err(_) => panic!("docker-registry does not come up:\n{said}"),
            }
        }
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        self.child.kill().ok();
        self.child.wait().ok();
    }
}

pub fn digest_of(bytes: &[u8]) -> String {
    let hex: String = Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// `METHOD /path` of a line of the access log.
fn request_of(line: &str) -> String {
    let request = line.split('"').nth(1).unwrap_or(line);
    request.split(" HTTP/").next().unwrap_or(request).to_owned()
}

/// The lines of a stream, read to its end whether anybody listens or not.
pub(super) fn lines(stream: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            sender.send(line).ok();
        }
    });
    receiver
}
