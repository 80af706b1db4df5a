//! One request: connections, time limits and redirects.
//!
//! *Invariant:* an `Authorization` header reaches only the origin that the request was made for, and a request that began
//! with HTTPS never continues over plain HTTP.

use std::borrow::Cow;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use reqwest::header::{
    ACCEPT, ACCEPT_ENCODING, AUTHORIZATION, CONTENT_ENCODING, CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue,
    LOCATION, WWW_AUTHENTICATE,
};
use reqwest::{Method, StatusCode, Url};
use tracing::debug;

use super::endpoint::host_of;
use super::error::{Error, Remedies, classify, is_broken_connection};
use super::http::HttpClient;
use super::options::Options;
use super::retry_after;

const MAX_REDIRECTS: usize = 5;
/// Signed URLs of object stores have a few thousand characters.
const LONGEST_LOCATION: usize = 8 << 10;
/// Bounds for reading the body of a 429, which may say how long to wait.
const EXPLANATION_TIMEOUT: Duration = Duration::from_secs(2);
const MAX_EXPLANATION: usize = 16 << 10;

const RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("ratelimit-remaining");
const X_RATELIMIT_REMAINING: HeaderName = HeaderName::from_static("x-ratelimit-remaining");

/// How much of a header the debug log shows, in characters.
const MAX_SHOWN: usize = 200;

/// The connection pool of one registry and of the hosts that it redirects to.
pub(super) struct Transport {
    remedies: Remedies,
    timeout: Duration,
    http: HttpClient,
    /// The last `RateLimit-Remaining`; [`UNSAID`] before the first.
    remaining: AtomicU64,
}

/// No answer has said yet how many requests remain.
const UNSAID: u64 = u64::MAX;

/// Counts the requests of one check.
#[derive(Debug, Default)]
pub(super) struct Tally(pub(super) u32);

#[derive(Clone)]
pub(super) struct OutgoingRequest {
    pub(super) method: Method,
    pub(super) url: Url,
    pub(super) accept: HeaderValue,
    pub(super) authorization: Option<HeaderValue>,
    /// The body of a `POST`. It may hold a secret, so it is never sent to the target of a redirect.
    pub(super) form: Option<String>,
}

/// A response whose body has not been read yet.
pub(super) struct Response {
    inner: reqwest::Response,
    /// Whether it comes from another origin than the request was for, after a redirect.
    pub(super) foreign: bool,
    limit: Duration,
}

impl Transport {
    /// `registry` names the config table that the options come from; `host` is where requests go. Reads no file yet.
    pub(super) fn new(registry: &str, host: &str, options: &Options) -> Self {
        let remedies =
            Remedies { table: registry.to_owned(), host: host.to_owned(), endpoint: options.endpoint.is_some() };
        let (timeout, http) = (options.timeout, HttpClient::new(host, options));
        Self { remedies, timeout, http, remaining: AtomicU64::new(UNSAID) }
    }

    /// Makes the next request examine the certificate files.
    pub(super) fn recheck_files(&self) {
        self.http.recheck_files();
    }

    /// How many requests remain, if an answer has said so.
    pub(super) fn remaining(&self) -> Option<u64> {
        Some(self.remaining.load(Relaxed)).filter(|left| *left != UNSAID)
    }

    /// Sends a request, and follows its redirects.
    pub(super) async fn send(&self, request: &OutgoingRequest, tally: &mut Tally) -> Result<Response, Error> {
        let response = self.send_once(request, tally).await?;
        if is_redirect(response.status()) {
            return Box::pin(self.follow(request.clone(), response, tally)).await;
        }
        Ok(Response { inner: response, foreign: false, limit: self.timeout })
    }

    async fn follow(
        &self,
        mut request: OutgoingRequest,
        mut response: reqwest::Response,
        tally: &mut Tally,
    ) -> Result<Response, Error> {
        if request.form.is_some() {
            let reason = "its token endpoint sends a secret elsewhere".into();
            return Err(Error::Redirect { host: host_of(&request.url), reason });
        }
        let origin = request.url.origin();
        for _ in 0..MAX_REDIRECTS {
            request.url = redirected(&request.url, &response)?;
            let is_home = request.url.origin() == origin;
            debug!(to = bare(&request.url), same_origin = is_home, "redirected");
            if !is_home {
                request.authorization = None;
            }
            response = self.send_once(&request, tally).await?;
            if !is_redirect(response.status()) {
                let foreign = request.url.origin() != origin;
                return Ok(Response { inner: response, foreign, limit: self.timeout });
            }
        }
        Err(Error::Redirect { host: host_of(&request.url), reason: format!("more than {MAX_REDIRECTS} in a row") })
    }

    async fn send_once(&self, request: &OutgoingRequest, tally: &mut Tally) -> Result<reqwest::Response, Error> {
        let began = Instant::now();
        let http = self.http.get(began).await?;
        tally.0 += 1;
        request.tell(self.http.proxies.of(&request.url));
        let response = match http.execute(request.to_reqwest()).await {
            // The server may have closed the idle connection while the request was on its way. Repeating it is harmless.
            Err(error) if is_broken_connection(&error) => {
                debug!(host = host_of(&request.url), "connection broke; asking once more");
                tally.0 += 1;
                http.execute(request.to_reqwest()).await
            }
            result => result,
        };
        let response = response.map_err(|error| {
            let error = classify(error, &host_of(&request.url), self.timeout, Some(&self.remedies));
            debug!(elapsed = ?began.elapsed(), kind = error.kind().as_str(), "no answer: {error}");
            self.recheck_files();
            error
        })?;
        request.tell_answer(&response, began);
        if let Some(left) = remaining(response.headers()) {
            self.remaining.store(left, Relaxed);
        }
        Ok(response)
    }
}

/// Docker Hub says `ratelimit-remaining: 76;w=21600`, others `x-ratelimit-remaining: 76`.
fn remaining(headers: &HeaderMap) -> Option<u64> {
    let value = headers.get(RATELIMIT_REMAINING).or_else(|| headers.get(X_RATELIMIT_REMAINING))?;
    let number = value.to_str().ok()?.split([';', ',']).next()?.trim();
    number.parse().ok().filter(|left| *left != UNSAID)
}

impl OutgoingRequest {
    fn tell(&self, proxy: Option<&Url>) {
        debug!(
            method = self.method.as_str(),
            url = bare(&self.url),
            proxy = proxy.map(bare),
            accept = self.accept.to_str().ok(),
            authorization = self.shown().map_or("none".into(), |(scheme, _)| format!("{scheme} ***")),
            form = self.form.as_ref().map(|_| "***"),
            "request"
        );
    }

    /// Logs the headers that identify registries and the proxies in front of them.
    fn tell_answer(&self, answer: &reqwest::Response, began: Instant) {
        if !tracing::enabled!(tracing::Level::DEBUG) {
            return;
        }
        let header = |name: &str| self.masked(answer.headers().get(name)?);
        let schemes = answer.headers().get_all(WWW_AUTHENTICATE).iter();
        let schemes = schemes
            .filter_map(|value| self.masked(value)?.split_whitespace().next().map(str::to_owned))
            .collect::<Vec<_>>();
        debug!(
            elapsed = ?began.elapsed(),
            status = answer.status().as_u16(),
            http = ?answer.version(),
            content_type = header("content-type"),
            content_length = header("content-length"),
            docker_content_digest = header("docker-content-digest"),
            docker_distribution_api_version = header("docker-distribution-api-version"),
            www_authenticate = (!schemes.is_empty()).then(|| schemes.join(", ")),
            retry_after = header("retry-after"),
            ratelimit_limit = header("ratelimit-limit"),
            ratelimit_remaining = header("ratelimit-remaining"),
            x_ratelimit_remaining = header("x-ratelimit-remaining"),
            date = header("date"),
            age = header("age"),
            server = header("server"),
            via = header("via"),
            x_cache = header("x-cache"),
            x_request_id = header("x-request-id"),
            "answer"
        );
    }

    /// A header of the answer with our own secret masked, because a server may echo it.
    fn masked(&self, value: &HeaderValue) -> Option<String> {
        let value = value.to_str().ok()?;
        let masked = match self.shown() {
            // The secret is somewhere in the body and cannot be masked reliably, so show nothing.
            _ if self.form.is_some() => return None,
            Some((_, secret)) if !secret.is_empty() => value.replace(secret, "***"),
            _ => value.to_owned(),
        };
        Some(masked.chars().take(MAX_SHOWN).collect())
    }

    /// The scheme and the secret of our `Authorization` header.
    fn shown(&self) -> Option<(&str, &str)> {
        std::str::from_utf8(self.authorization.as_ref()?.as_bytes()).ok()?.split_once(' ')
    }

    fn to_reqwest(&self) -> reqwest::Request {
        let mut request = reqwest::Request::new(self.method.clone(), self.url.clone());
        let headers = request.headers_mut();
        headers.insert(ACCEPT, self.accept.clone());
        if self.method != Method::HEAD {
            headers.insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        }
        if let Some(authorization) = &self.authorization {
            headers.insert(AUTHORIZATION, authorization.clone());
        }
        if let Some(form) = &self.form {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/x-www-form-urlencoded"));
            *request.body_mut() = Some(form.clone().into());
        }
        request
    }
}

impl Response {
    pub(super) fn status(&self) -> StatusCode {
        self.inner.status()
    }

    pub(super) fn headers(&self) -> &HeaderMap {
        self.inner.headers()
    }

    pub(super) fn url(&self) -> &Url {
        self.inner.url()
    }

    /// The host that answered.
    pub(super) fn host(&self) -> String {
        host_of(self.url())
    }

    /// The media type, in lower case and without parameters; empty if there is none.
    pub(super) fn media_type(&self) -> Cow<'_, str> {
        let value = self.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or("");
        let media_type = value.split(';').next().unwrap_or("").trim();
        match media_type.bytes().any(|b| b.is_ascii_uppercase()) {
            true => media_type.to_ascii_lowercase().into(),
            false => media_type.into(),
        }
    }

    /// The error for an unexpected status.
    pub(super) async fn error(self) -> Error {
        let (host, status) = (self.host(), self.status().as_u16());
        let retry_after = retry_after::read(self.headers());
        match status {
            401 | 403 => Error::Unauthorized { host, status, reason: format!("it answered {status}") },
            408 => Error::Timeout { host, limit: self.limit },
            429 => {
                let retry_after = match retry_after {
                    Some(wait) => Some(wait),
                    None => retry_after::in_body(&Box::pin(self.explanation()).await),
                };
                Error::RateLimited { host, retry_after }
            }
            503 => Error::Server { host, status, retry_after },
            500.. => Error::Server { host, status, retry_after: None },
            400 if self.url().scheme() == "http" => {
                Error::Protocol { host, reason: "it answered 400; perhaps it wants https, not plain_http".into() }
            }
            _ => Error::Protocol { host, reason: format!("it answered {status}") },
        }
    }

    /// The body of a refusal, if it is short and arrives soon.
    async fn explanation(self) -> Vec<u8> {
        let body = tokio::time::timeout(EXPLANATION_TIMEOUT, self.body(MAX_EXPLANATION)).await;
        body.ok().and_then(Result::ok).flatten().unwrap_or_default()
    }

    /// The body, exactly as sent. `None` if it is longer than `cap` bytes.
    pub(super) async fn body(mut self, cap: usize) -> Result<Option<Vec<u8>>, Error> {
        let host = self.host();
        let codings = self.headers().get_all(CONTENT_ENCODING);
        if codings.iter().any(|coding| !coding.as_bytes().trim_ascii().eq_ignore_ascii_case(b"identity")) {
            let reason = "it answered in a content coding that was not asked for".into();
            return Err(Error::Protocol { host, reason });
        }
        let mut body = Vec::new();
        loop {
            match self.inner.chunk().await {
                Ok(Some(chunk)) if body.len() + chunk.len() > cap => return Ok(None),
                Ok(Some(chunk)) => body.extend_from_slice(&chunk),
                Ok(None) => return Ok(Some(body)),
                Err(error) => return Err(classify(error, &host, self.limit, None)),
            }
        }
    }
}

/// A URL without userinfo and query, which may be secret.
fn bare(url: &Url) -> String {
    format!("{}://{}{}", url.scheme(), host_of(url), url.path())
}

fn is_redirect(status: StatusCode) -> bool {
    // Neither 300, which has no single target, nor 304, which we never provoke, can be followed.
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn redirected(from: &Url, response: &reqwest::Response) -> Result<Url, Error> {
    let wrong = |reason: &str| Error::Redirect { host: host_of(from), reason: reason.to_owned() };
    if response.status() == StatusCode::SEE_OTHER {
        return Err(wrong("303 answers another question"));
    }
    let location = response.headers().get(LOCATION).ok_or_else(|| wrong("no location is given"))?;
    let location = location.to_str().map_err(|_| wrong("the location is garbled"))?;
    if location.len() > LONGEST_LOCATION {
        return Err(wrong("the location is longer than 8 KiB"));
    }
    let mut url = from.join(location).map_err(|_| wrong("the location is no URL"))?;
    match (from.scheme(), url.scheme()) {
        ("https", "https") | ("http", "http" | "https") => {}
        ("https", "http") => return Err(wrong("from https to plain http")),
        _ => return Err(wrong("the location is neither http nor https")),
    }
    // Userinfo in a location would become a login that nobody configured.
    let _ = url.set_username("");
    let _ = url.set_password(None);
    Ok(url)
}
