//! A container registry on the loopback interface whose every answer can be bent.
//!
//! It holds repositories, tags and manifests in memory, answers as the distribution-spec says, and keeps a log of what
//! it was asked. A [`rule`](Registry::rule) sees each request with the answer that is due and may change it, so that a
//! quirk of a real registry is a few lines:
//!
//! ```ignore
//! registry.rule(|_, reply| reply.without("docker-content-digest"));
//! registry.rule(|seen, reply| if seen.method == "HEAD" { Reply::status(405) } else { reply });
//! ```
//!
//! It speaks HTTP/1.1 by hand, because the interesting servers break off, stall or talk nonsense. It stands alone (tokio,
//! serde_json, sha2), so that examples and benchmarks can use it as well.

// Not every test, example and benchmark that includes this file uses all of it; a poisoned lock ends a test anyway.
#![allow(dead_code, unreachable_pub, missing_docs, clippy::unwrap_used)]

use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";

/// A running registry; it stops when it is dropped.
pub struct Registry {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    /// Names in lower case, in the order of arrival.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    /// Which connection it came over, counted from 0.
    pub connection: usize,
    /// When it had arrived.
    pub at: Instant,
}

/// What is answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
    pub manner: Manner,
}

/// How it is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Manner {
    /// As HTTP says; the connection is kept.
    Proper,
    /// Properly, and the connection is closed afterwards.
    Close,
    /// Not at all, and the connection stays open.
    Hang,
    /// The connection is closed without an answer.
    Drop,
    /// These bytes, whatever they are; then the connection is closed.
    Raw(Vec<u8>),
    /// These bytes, and the connection stays open.
    RawOpen(Vec<u8>),
    /// The first bytes once, then the second ones again and again, as long as somebody listens.
    Endless(Vec<u8>, Vec<u8>),
    /// The first bytes at once, then the second ones again and again, each after this pause.
    Drip(Vec<u8>, Vec<u8>, Duration),
}

/// What a token endpoint of this registry grants, and to whom.
#[derive(Debug, Clone)]
pub struct Bearer {
    /// `user:password` of the only login; `None`: anybody gets a token.
    pub login: Option<String>,
    /// The identity token that is exchanged by POST; `None`: POST is not known here.
    pub identity: Option<String>,
    /// Whether a request without a login gets one all the same.
    pub anonymous: bool,
    pub expires_in: Option<u64>,
    /// The scope in the challenge; `{name}` stands for the repository.
    pub scope: Option<String>,
    /// The realm in the challenge; `None`: `/token` of this very registry.
    pub realm: Option<String>,
}

type Rule = Box<dyn FnMut(&Seen, Reply) -> Reply + Send>;

#[derive(Default)]
struct State {
    manifests: HashMap<(String, String), (Vec<u8>, String)>,
    tags: BTreeMap<(String, String), String>,
    rules: Vec<Rule>,
    log: Vec<Seen>,
    logged: Arc<Condvar>,
    connections: usize,
    bearer: Option<Bearer>,
    basic: Option<String>,
    /// Tokens that are good, and the scope of each.
    tokens: HashMap<String, String>,
    minted: usize,
}

impl Registry {
    /// Starts a registry on a free port, on a thread and a runtime of its own.
    pub fn start() -> Self {
        Self::start_with(|stream, connection, state| async move { serve(stream, connection, state).await })
    }

    /// Starts a registry whose connections are treated by `accept` first, for example with TLS.
    pub fn start_with<A, F>(accept: A) -> Self
    where
        A: Fn(tokio::net::TcpStream, usize, Shared) -> F + Send + 'static,
        F: Future<Output = ()> + Send + 'static,
    {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let state = Arc::new(Mutex::new(State::default()));
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let shared = Shared(Arc::clone(&state), address);
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            runtime.block_on(async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                tokio::select! {
                    () = accept_all(listener, shared, accept) => {}
                    _ = stopped => {}
                }
            });
        });
        Self { address, state, stop: Some(stop), thread: Some(thread) }
    }

    /// `127.0.0.1:PORT`, to be put before a repository's name.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// `127.0.0.1:PORT/REPOSITORY:TAG`
    pub fn image(&self, repository: &str, tag: &str) -> String {
        format!("{}/{repository}:{tag}", self.address)
    }

    /// Stores a manifest and points a tag at it.
    pub fn push(&self, repository: &str, tag: &str, body: &[u8], media_type: &str) -> String {
        let digest = self.store(repository, body, media_type);
        self.move_tag(repository, tag, &digest);
        digest
    }

    /// Stores a manifest without a tag.
    pub fn store(&self, repository: &str, body: &[u8], media_type: &str) -> String {
        let digest = sha256(body);
        let key = (repository.to_owned(), digest.clone());
        self.state().manifests.insert(key, (body.to_vec(), media_type.to_owned()));
        digest
    }

    /// Stores an image manifest, another one for each salt, and points a tag at it.
    pub fn push_image(&self, repository: &str, tag: &str, salt: &str) -> String {
        self.push(repository, tag, image(salt).as_bytes(), OCI_MANIFEST)
    }

    /// Stores an index with a child for each platform (`linux/amd64`, `linux/arm/v7`, …) and points a tag at it.
    ///
    /// Children depend on the salt and the platform, so that a platform given as `linux/amd64=SALT` keeps its child.
    pub fn push_index(&self, repository: &str, tag: &str, salt: &str, platforms: &[&str]) -> Pushed {
        let mut children = BTreeMap::new();
        let mut entries = Vec::new();
        for platform in platforms {
            let (platform, salt) = platform.split_once('=').unwrap_or((platform, salt));
            let digest = self.store(repository, image(&format!("{salt} {platform}")).as_bytes(), OCI_MANIFEST);
            entries.push(child(OCI_MANIFEST, &digest, platform));
            children.insert(platform.to_owned(), digest);
        }
        let digest = self.push(repository, tag, index(&entries, salt).as_bytes(), OCI_INDEX);
        Pushed { digest, children }
    }

    /// Points a tag at a digest, whether that is stored or not.
    pub fn move_tag(&self, repository: &str, tag: &str, digest: &str) {
        self.state().tags.insert((repository.to_owned(), tag.to_owned()), digest.to_owned());
    }

    /// Removes a tag; what it pointed at stays.
    pub fn delete_tag(&self, repository: &str, tag: &str) {
        self.state().tags.remove(&(repository.to_owned(), tag.to_owned()));
    }

    /// Removes a manifest; tags go on pointing at it.
    pub fn delete_manifest(&self, repository: &str, digest: &str) {
        self.state().manifests.remove(&(repository.to_owned(), digest.to_owned()));
    }

    /// Adds a rule; each sees what the ones before it have made of the answer.
    pub fn rule(&self, rule: impl FnMut(&Seen, Reply) -> Reply + Send + 'static) {
        self.state().rules.push(Box::new(rule));
    }

    /// Takes all rules back.
    pub fn no_rules(&self) {
        self.state().rules.clear();
    }

    /// Wants a token from now on.
    pub fn wants_bearer(&self, bearer: Bearer) {
        self.state().bearer = Some(bearer);
    }

    /// Wants this `user:password` from now on.
    pub fn wants_basic(&self, login: &str) {
        self.state().basic = Some(login.to_owned());
    }

    /// Makes every token that was granted worthless.
    pub fn revoke_tokens(&self) {
        self.state().tokens.clear();
    }

    /// All requests so far.
    pub fn log(&self) -> Vec<Seen> {
        self.state().log.clone()
    }

    /// All requests so far as `METHOD PATH`.
    pub fn requests(&self) -> Vec<String> {
        self.state().log.iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
    }

    /// All requests, once they are as wanted; ends the test if that takes longer than anything does.
    #[track_caller]
    pub fn await_log(&self, wanted: impl Fn(&[Seen]) -> bool) -> Vec<Seen> {
        let deadline = Instant::now() + Duration::from_secs(30);
        let mut state = self.state();
        let logged = Arc::clone(&state.logged);
        while !wanted(&state.log) {
            let left = deadline.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "what was waited for has not been asked: {:#?}", state.log);
            state = logged.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        state.log.clone()
    }

    /// Forgets the requests so far.
    pub fn clear_log(&self) {
        self.state().log.clear();
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.stop.take().map(|stop| stop.send(()));
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// What was pushed as an index.
#[derive(Debug, Clone)]
pub struct Pushed {
    pub digest: String,
    /// The children's digests by platform.
    pub children: BTreeMap<String, String>,
}

impl Default for Bearer {
    fn default() -> Self {
        Self {
            login: None,
            identity: None,
            anonymous: true,
            expires_in: Some(300),
            scope: Some("repository:{name}:pull".into()),
            realm: None,
        }
    }
}

impl Seen {
    /// The header's value, if it was sent.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }

    /// Whether it asks for a manifest.
    pub fn is_manifest(&self) -> bool {
        self.path.contains("/manifests/")
    }
}

impl Reply {
    /// An answer of this status without a body.
    pub fn status(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), manner: Manner::Proper }
    }

    /// An error as the distribution-spec writes it.
    pub fn error(status: u16, code: &str) -> Self {
        let body = serde_json::json!({"errors": [{"code": code, "message": "as scripted"}]});
        Self::status(status).with("content-type", "application/json").body(body.to_string())
    }

    /// A web page.
    pub fn html(status: u16) -> Self {
        Self::status(status).with("content-type", "text/html; charset=utf-8").body("<html>Welcome to the hotel</html>")
    }

    /// A redirect.
    pub fn redirect(status: u16, location: &str) -> Self {
        Self::status(status).with("location", location)
    }

    /// With a further header.
    pub fn with(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Without a header.
    pub fn without(mut self, name: &str) -> Self {
        self.headers.retain(|(key, _)| key != name);
        self
    }

    /// With another value of a header.
    pub fn replacing(self, name: &str, value: &str) -> Self {
        self.without(name).with(name, value)
    }

    /// With this body.
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// In this manner.
    pub fn manner(mut self, manner: Manner) -> Self {
        self.manner = manner;
        self
    }
}

/// An image manifest that differs by its salt.
pub fn image(salt: &str) -> String {
    let blob = sha256(salt.as_bytes());
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": blob, "size": 2},
        "layers": [],
    })
    .to_string()
}

/// An index of these children.
pub fn index(children: &[serde_json::Value], salt: &str) -> String {
    serde_json::json!({
        "schemaVersion": 2,
        "mediaType": OCI_INDEX,
        "manifests": children,
        "annotations": {"salt": salt},
    })
    .to_string()
}

/// A child for `os/architecture[/variant]`; without a platform when that is empty.
pub fn child(media_type: &str, digest: &str, platform: &str) -> serde_json::Value {
    let mut child = serde_json::json!({"mediaType": media_type, "digest": digest, "size": 2});
    let parts: Vec<&str> = platform.split('/').collect();
    if let [os, architecture, ..] = parts[..] {
        child["platform"] = serde_json::json!({"os": os, "architecture": architecture});
        if let Some(variant) = parts.get(2) {
            child["platform"]["variant"] = (*variant).into();
        }
    }
    child
}

/// `sha256:…` of these bytes.
pub fn sha256(bytes: &[u8]) -> String {
    use sha2::Digest as _;
    let hex: String = sha2::Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("sha256:{hex}")
}

/// What the connections share.
#[derive(Clone)]
pub struct Shared(Arc<Mutex<State>>, SocketAddr);

impl Shared {
    fn reply(&self, seen: Seen) -> Reply {
        let mut state = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut reply = state.due(&seen, self.1);
        // Taken out while they run, so that the state is theirs to use too.
        let mut rules = std::mem::take(&mut state.rules);
        for rule in &mut rules {
            reply = rule(&seen, reply);
        }
        state.rules = rules;
        state.log.push(seen);
        state.logged.notify_all();
        reply
    }
}

impl State {
    /// What a registry without quirks answers.
    fn due(&mut self, seen: &Seen, address: SocketAddr) -> Reply {
        if seen.path == "/token" {
            return self.token(seen);
        }
        let Some(rest) = seen.path.strip_prefix("/v2/") else { return Reply::status(404) };
        let (name, which) = rest.split_once("/manifests/").unwrap_or(("", ""));
        if let Some(refusal) = self.refusal(seen, name, address) {
            return refusal;
        }
        if rest.is_empty() {
            return Reply::status(200).with("content-type", "application/json").body("{}");
        }
        let digest = match which.contains(':') {
            true => Some(which.to_owned()),
            false => self.tags.get(&(name.to_owned(), which.to_owned())).cloned(),
        };
        let found = digest.and_then(|digest| {
            let (body, media_type) = self.manifests.get(&(name.to_owned(), digest.clone()))?;
            Some((digest, body.clone(), media_type.clone()))
        });
        let Some((digest, body, media_type)) = found else { return Reply::error(404, "MANIFEST_UNKNOWN") };
        // As CNCF Distribution does: what is not accepted is not found.
        if !seen.header("accept").is_some_and(|accept| accept.contains(&media_type)) {
            return Reply::error(404, "MANIFEST_UNKNOWN");
        }
        Reply::status(200).with("content-type", &media_type).with("docker-content-digest", &digest).body(body)
    }

    fn refusal(&self, seen: &Seen, name: &str, address: SocketAddr) -> Option<Reply> {
        let sent = seen.header("authorization").unwrap_or("");
        if let Some(bearer) = &self.bearer {
            let token = sent.strip_prefix("Bearer ").unwrap_or("");
            let wanted = format!("repository:{name}:pull");
            if self.tokens.get(token).is_some_and(|scope| name.is_empty() || *scope == wanted) {
                return None;
            }
            let realm = bearer.realm.clone().unwrap_or_else(|| format!("http://{address}/token"));
            let mut challenge = format!("Bearer realm=\"{realm}\",service=\"test\"");
            if let Some(scope) = &bearer.scope {
                challenge += &format!(",scope=\"{}\"", scope.replace("{name}", name));
            }
            return Some(Reply::error(401, "UNAUTHORIZED").with("www-authenticate", &challenge));
        }
        let login = self.basic.as_ref()?;
        if sent == format!("Basic {}", base64(login)) {
            return None;
        }
        Some(Reply::error(401, "UNAUTHORIZED").with("www-authenticate", "Basic realm=\"test\""))
    }

    fn token(&mut self, seen: &Seen) -> Reply {
        let Some(bearer) = &self.bearer else { return Reply::status(404) };
        let sent = seen.header("authorization");
        let form = String::from_utf8_lossy(&seen.body).into_owned();
        if seen.method == "POST" && bearer.identity.is_none() {
            return Reply::status(405);
        }
        let allowed = match (&bearer.login, sent) {
            _ if seen.method == "POST" => bearer.identity == Some(parameter(&form, "refresh_token")),
            (_, None) => bearer.anonymous,
            (None, Some(_)) => true,
            (Some(login), Some(sent)) => sent == format!("Basic {}", base64(login)),
        };
        if !allowed {
            return Reply::error(401, "UNAUTHORIZED");
        }
        self.minted += 1;
        let token = format!("token-{}", self.minted);
        let mut answer = serde_json::json!({"token": token});
        if let Some(seconds) = bearer.expires_in {
            answer["expires_in"] = seconds.into();
        }
        let asked = if seen.method == "POST" { &form } else { &seen.query };
        self.tokens.insert(token, parameter(asked, "scope"));
        Reply::status(200).with("content-type", "application/json").body(answer.to_string())
    }
}

async fn accept_all<A, F>(listener: tokio::net::TcpListener, shared: Shared, accept: A)
where
    A: Fn(tokio::net::TcpStream, usize, Shared) -> F,
    F: Future<Output = ()> + Send + 'static,
{
    while let Ok((stream, _)) = listener.accept().await {
        let _ = stream.set_nodelay(true);
        let connection = {
            let mut state = shared.0.lock().unwrap_or_else(PoisonError::into_inner);
            state.connections += 1;
            state.connections - 1
        };
        tokio::spawn(accept(stream, connection, shared.clone()));
    }
}

/// Answers the requests of one connection until it ends.
pub async fn serve<S: AsyncRead + AsyncWrite + Unpin>(mut stream: S, connection: usize, shared: Shared) {
    let mut buffer = Vec::new();
    while let Some(seen) = read_request(&mut stream, &mut buffer, connection).await {
        let is_head = seen.method == "HEAD";
        let reply = shared.reply(seen);
        match &reply.manner {
            Manner::Proper | Manner::Close => {
                if stream.write_all(&reply.bytes(is_head)).await.is_err() || reply.manner == Manner::Close {
                    return;
                }
            }
            Manner::Hang => std::future::pending().await,
            Manner::Drop => return,
            Manner::RawOpen(bytes) => {
                let _ = stream.write_all(bytes).await;
                std::future::pending().await
            }
            Manner::Raw(bytes) => {
                let _ = stream.write_all(bytes).await;
                return;
            }
            Manner::Endless(first, again) => return repeat(stream, first, again, Duration::ZERO).await,
            Manner::Drip(first, again, pause) => return repeat(stream, first, again, *pause).await,
        }
    }
}

async fn repeat<S: AsyncWrite + Unpin>(mut stream: S, first: &[u8], again: &[u8], pause: Duration) {
    let mut next = stream.write_all(first).await;
    while next.is_ok() {
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        next = stream.write_all(again).await;
    }
}

async fn read_request<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut S,
    buffer: &mut Vec<u8>,
    connection: usize,
) -> Option<Seen> {
    let end = loop {
        if let Some(at) = buffer.windows(4).position(|window| window == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
        // A TLS greeting, for example: web servers say so at once.
        if !buffer[0].is_ascii_uppercase() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n").await;
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..end]).into_owned();
    buffer.drain(..end + 4);
    let mut lines = head.split("\r\n");
    let mut first = lines.next()?.split(' ');
    let (method, target) = (first.next()?.to_owned(), first.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let headers: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
    let length: usize = length.unwrap_or(0);
    while buffer.len() < length {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer.drain(..length).collect();
    Some(Seen { method, path: path.to_owned(), query: query.to_owned(), headers, body, connection, at: Instant::now() })
}

impl Reply {
    fn bytes(&self, is_head: bool) -> Vec<u8> {
        let mut text = format!("HTTP/1.1 {} Scripted\r\n", self.status);
        for (name, value) in &self.headers {
            text += &format!("{name}: {value}\r\n");
        }
        if self.manner == Manner::Close {
            text += "connection: close\r\n";
        }
        if !self.headers.iter().any(|(name, _)| name == "content-length") {
            text += &format!("content-length: {}\r\n", self.body.len());
        }
        text += "\r\n";
        let mut bytes = text.into_bytes();
        if !is_head {
            bytes.extend_from_slice(&self.body);
        }
        bytes
    }
}

/// A parameter of a query, percent-decoded.
pub fn parameter(query: &str, name: &str) -> String {
    let value = query.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or("");
    let mut bytes = Vec::new();
    let mut rest = value.bytes();
    while let Some(byte) = rest.next() {
        bytes.push(match byte {
            b'%' => {
                let digits: String = rest.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).unwrap_or(b'?')
            }
            b'+' => b' ',
            other => other,
        });
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Base64 with padding; a dependency less.
pub fn base64(text: &str) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut encoded = String::new();
    for chunk in text.as_bytes().chunks(3) {
        let bits = chunk.iter().fold(0u32, |bits, byte| bits << 8 | u32::from(*byte)) << (8 * (3 - chunk.len()));
        for place in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * place) & 63) as usize];
            encoded.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    encoded
}
