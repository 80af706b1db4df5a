//! The client of one registry: which requests a check makes, and what the answers mean.
//!
//! *Invariant:* an unchanged tag costs exactly one request, and no request follows a 429.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use reqwest::header::{HeaderName, HeaderValue};
use reqwest::{Method, StatusCode};
use tracing::debug;

use super::error::Error;
use super::manifest::{self, Index, MediaType};
use super::manners::{Manner, Manners};
use super::options::Options;
use super::session::{Session, Talk};
use super::transport::Response;
use crate::domain::platform::Distance;
use crate::domain::{Answer, Digest, Platform, Question, Repository, Select, Sighting};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// How deep an index may be nested, and how many indexes one check may read.
const MAX_INDEX_DEPTH: u8 = 3;
const MAX_INDEXES: u8 = 8;

/// The client of one registry: its connections, its tokens, and what it has shown about how it behaves.
pub struct Client {
    session: Session,
    manners: Manners,
    second_opinions: Mutex<Budget>,
}

/// The budget for confirming a "not found" of `HEAD` by `GET`. Without it, a registry that refuses everything would get
/// every request twice, for ever.
struct Budget {
    left: u32,
    since: Instant,
}

/// See [`Budget`].
const SECOND_OPINIONS: u32 = 10;
const SECOND_OPINIONS_PER: Duration = Duration::from_secs(3600);

impl Budget {
    fn full() -> Self {
        Self { left: SECOND_OPINIONS, since: Instant::now() }
    }
}

/// What is recorded of a question's tag, as far as it matters to how the registry is asked.
#[derive(Debug, Clone, Copy, Default)]
pub struct Recorded<'a> {
    /// The sighting that was accepted last.
    pub sighting: Option<&'a Sighting>,
    /// Whether the tag is believed to be there, so that "not found" would be news.
    pub is_there: bool,
}

/// A result, and how many requests it took, which the gate's token bucket is charged for.
#[derive(Debug)]
pub struct Counted<T> {
    pub result: Result<T, Error>,
    /// Includes requests for tokens, redirects and retries.
    pub requests: u32,
}

struct Manifest {
    digest: Digest,
    media_type: MediaType,
    /// The bytes, if the answer was to a `GET`.
    body: Option<Vec<u8>>,
}

/// The outcome of a `HEAD` request.
enum Head {
    Found(Manifest),
    /// Not found, or not allowed to see it.
    No(Result<Option<Manifest>, Error>),
    /// `HEAD` is not supported, or the answer names no digest.
    Silent,
}

/// A child of an index that fits a platform.
struct Fitting {
    distance: Distance,
    platform: Platform,
    digest: Digest,
    media_type: MediaType,
}

impl Client {
    /// Creates a client for a registry, given its canonical name. Sends nothing yet.
    pub fn new(registry: &str, options: &Options) -> Result<Self, Error> {
        Ok(Self {
            session: Session::new(registry, options)?,
            manners: Manners::default(),
            second_opinions: Mutex::new(Budget::full()),
        })
    }

    /// The last `RateLimit-Remaining` that the registry sent.
    pub fn remaining(&self) -> Option<u64> {
        self.session.remaining()
    }

    /// Ages tokens, files of certificates and what was learnt of `HEAD` by an hour.
    #[cfg(test)]
    pub(super) fn age(&self) {
        self.session.age();
        self.manners.age();
    }

    /// Asks what the tag points at.
    ///
    /// While the tag's digest is the recorded one, so is the platform's child, and no second request is needed.
    pub async fn check(&self, question: &Question, recorded: Recorded<'_>) -> Counted<Answer> {
        let mut talk = self.session.talk(question.repository.path());
        let result = self.answer(question, recorded, &mut talk).await;
        Counted { result, requests: talk.tally.0 }
    }

    /// Checks that the registry serves a digest. Fails with [`Error::Unresolvable`] if it does not.
    pub async fn resolve(&self, repository: &Repository, digest: &Digest) -> Counted<()> {
        let mut talk = self.session.talk(repository.path());
        let found = self.look(digest.as_str(), false, &mut talk).await;
        let result = found.and_then(|found| {
            let found = found.ok_or_else(|| self.unresolvable(digest))?;
            debug!(digest = digest.as_str(), "the new digest resolves by itself");
            self.expect(digest, found.digest).map(|_| ())
        });
        Counted { result, requests: talk.tally.0 }
    }

    async fn answer(&self, question: &Question, recorded: Recorded<'_>, talk: &mut Talk<'_>) -> Result<Answer, Error> {
        let Select::Tag(tag) = &question.select;
        let Some(found) = self.look(tag.as_str(), recorded.is_there, talk).await? else {
            return Ok(Answer::Absent);
        };
        let platform = question.platform.as_ref().filter(|_| found.media_type.is_index());
        if let Some(known) = recorded.sighting
            && known.tag == *tag
            && *known.tag_digest() == found.digest
            && known.index_digest.is_some() == platform.is_some()
        {
            debug!(digest = found.digest.as_str(), "the tag has what is recorded");
            return Ok(Answer::Present(known.clone()));
        }
        let index_digest = platform.map(|_| found.digest.clone());
        let (digest, media_type) = match platform {
            Some(platform) => Box::pin(self.child(found, platform, talk)).await?,
            None => (found.digest, found.media_type),
        };
        let media_type = media_type.shared();
        Ok(Answer::Present(Sighting { tag: tag.clone(), digest, index_digest, media_type }))
    }

    /// Looks up a tag or a digest by `HEAD`, and by `GET` if `HEAD` is inconclusive or contradicts what is recorded:
    /// `is_there` says that it should be found.
    async fn look(&self, which: &str, is_there: bool, talk: &mut Talk<'_>) -> Result<Option<Manifest>, Error> {
        let manner = self.manners.of(talk.repository());
        let head = match manner {
            Manner::NeedsGet => Head::Silent,
            Manner::Unknown | Manner::Honest | Manner::NeededGet => self.head(which, talk).await?,
        };
        let no = match head {
            Head::Found(found) => return Ok(Some(found)),
            Head::No(no) if manner == Manner::Honest && !is_there => return no,
            Head::No(no) if manner != Manner::NeededGet && !self.may_ask_for_a_second_opinion() => {
                return if is_there && no.is_ok() { Err(self.unconfirmed()) } else { no };
            }
            Head::No(no) => {
                debug!("HEAD says no; GET is asked whether that is so");
                Some(no)
            }
            Head::Silent => {
                debug!("HEAD tells no digest here; GET does");
                None
            }
        };
        let found = Box::pin(self.read(which, talk)).await;
        let has_taught =
            matches!((manner, &found), (Manner::Unknown | Manner::Honest, Ok(Some(_))) | (Manner::NeededGet, Ok(_)));
        if has_taught {
            self.manners.note_miss(talk.repository());
        }
        match (found, no) {
            (Err(Error::Unauthorized { .. }), Some(Err(first))) => Err(first),
            (found, _) => found,
        }
    }

    async fn head(&self, which: &str, talk: &mut Talk<'_>) -> Result<Head, Error> {
        let head = match talk.ask(Method::HEAD, which).await {
            Err(error @ Error::Unauthorized { status: 403, .. }) => return Ok(Head::No(Err(error))),
            head => head?,
        };
        match head.status() {
            StatusCode::OK => Ok(from_headers(&head)?.map_or(Head::Silent, |found| {
                self.manners.note_hit(talk.repository());
                debug!(
                    digest = found.digest.as_str(),
                    media_type = found.media_type.as_str(),
                    "digest from the header"
                );
                Head::Found(found)
            })),
            StatusCode::NOT_FOUND => must_be_a_registry(&head).map(|()| Head::No(Ok(None))),
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => Ok(Head::Silent),
            _ => Err(Box::pin(head.error()).await),
        }
    }

    /// Takes one second opinion from the budget, if one is left.
    fn may_ask_for_a_second_opinion(&self) -> bool {
        let mut budget = self.second_opinions.lock().unwrap_or_else(PoisonError::into_inner);
        if budget.since.elapsed() >= SECOND_OPINIONS_PER {
            *budget = Budget::full();
        }
        let may = budget.left > 0;
        budget.left = budget.left.saturating_sub(1);
        may
    }

    /// Fetches the manifest under a tag or a digest by `GET`, and computes its digest from the bytes.
    async fn read(&self, which: &str, talk: &mut Talk<'_>) -> Result<Option<Manifest>, Error> {
        let response = talk.ask(Method::GET, which).await?;
        match response.status() {
            StatusCode::OK => {}
            StatusCode::NOT_FOUND => return must_be_a_registry(&response).map(|()| None),
            _ => return Err(response.error().await),
        }
        let host = response.host();
        let (told_type, told) = (manifest_type(&response)?, digest_header(&response));
        let Some(body) = response.body(manifest::MAX_MANIFEST).await? else {
            return Err(Error::NoDigest { host, reason: "what it answered is larger than 4 MiB".into() });
        };
        let no_manifest = || Error::NotARegistry { host, reason: "what it answered is no manifest".into() };
        let Some(media_type) = told_type.or_else(|| manifest::sniff(&body)) else { return Err(no_manifest()) };
        // Hash with the algorithm of the requested or returned digest, so that the same content keeps the same digest.
        let expected = Digest::parse(which).ok().or(told);
        let computed = expected.as_ref().and_then(|expected| Some((expected, manifest::digest_like(expected, &body)?)));
        let digest = match computed {
            Some((expected, digest)) => self.expect(expected, digest)?,
            // There is no digest to compare with, so at least require a complete document: a response without a length
            // that breaks off looks like a short one.
            None if !manifest::is_whole(&body) => return Err(no_manifest()),
            None => Digest::sha256(&body),
        };
        let told = expected.is_some();
        debug!(
            digest = digest.as_str(),
            media_type = media_type.as_str(),
            told,
            bytes = body.len(),
            "digest of the content"
        );
        Ok(Some(Manifest { digest, media_type, body: Some(body) }))
    }

    /// Finds the child of an index that best matches the platform. Walks nested indexes breadth-first.
    async fn child(
        &self,
        found: Manifest,
        platform: &Platform,
        talk: &mut Talk<'_>,
    ) -> Result<(Digest, MediaType), Error> {
        let (mut fitting, mut offered) = (Vec::<Fitting>::new(), Vec::new());
        let mut queue = VecDeque::from([(1, found.digest.clone(), found.body)]);
        let mut left = MAX_INDEXES;
        while let Some((depth, digest, body)) = queue.pop_front() {
            if left == 0 || fitting.iter().any(|child| child.distance == Distance::default()) {
                break;
            }
            left -= 1;
            let body = match body {
                Some(body) => body,
                None => self.content(&digest, talk).await?,
            };
            let index = Index::read(&body, self.session.host())?;
            let chosen = index.choose(platform);
            for (distance, platform, child) in chosen.fitting {
                fitting.push(Fitting {
                    distance,
                    platform,
                    digest: self.digest(&child.digest)?,
                    media_type: child.kind(),
                });
            }
            if depth < MAX_INDEX_DEPTH {
                for nested in chosen.nested {
                    queue.push_back((depth + 1, self.digest(&nested.digest)?, None));
                }
            }
            offered.extend(index.offered());
        }
        let Some(best) = best(fitting, platform)? else {
            let offered = if offered.is_empty() { "none".into() } else { offered.join(", ") };
            return Err(Error::PlatformMissing { platform: platform.clone(), offered });
        };
        debug!(%platform, digest = best.digest.as_str(), indexes = MAX_INDEXES - left, "the index has it");
        Ok((best.digest, best.media_type))
    }

    /// Fetches the bytes under a digest and verifies them.
    async fn content(&self, digest: &Digest, talk: &mut Talk<'_>) -> Result<Vec<u8>, Error> {
        let found = self.read(digest.as_str(), talk).await?.ok_or_else(|| self.unresolvable(digest))?;
        self.expect(digest, found.digest)?;
        found.body.ok_or_else(|| self.unresolvable(digest))
    }

    fn unconfirmed(&self) -> Error {
        Error::Unconfirmed { host: self.session.host().to_owned() }
    }

    fn unresolvable(&self, digest: &Digest) -> Error {
        Error::Unresolvable { host: self.session.host().to_owned(), digest: digest.clone() }
    }

    fn expect(&self, expected: &Digest, found: Digest) -> Result<Digest, Error> {
        match *expected == found {
            true => Ok(found),
            false => Err(Error::BadDigest { host: self.session.host().to_owned(), expected: expected.clone(), found }),
        }
    }

    fn digest(&self, text: &str) -> Result<Digest, Error> {
        Digest::parse(text).map_err(|error| Error::Protocol {
            host: self.session.host().to_owned(),
            reason: format!("its index has a malformed digest: {error}"),
        })
    }
}

/// The closest child. Of equal ones that a host cannot tell apart, the first, as clients take it; those that it can tell
/// apart, by version or features, are for the config to choose from, as a move of either would matter to somebody.
fn best(fitting: Vec<Fitting>, platform: &Platform) -> Result<Option<Fitting>, Error> {
    let Some(closest) = fitting.iter().map(|child| child.distance).min() else { return Ok(None) };
    let mut equal = fitting.into_iter().filter(|child| child.distance == closest);
    let Some(first) = equal.next() else { return Ok(None) };
    let others = equal.filter(|child| !child.platform.is_like(&first.platform) && child.digest != first.digest);
    let mut choices: Vec<String> = others.map(|child| child.platform.to_string()).collect();
    if choices.is_empty() {
        return Ok(Some(first));
    }
    choices.insert(0, first.platform.to_string());
    choices.dedup();
    Err(Error::PlatformAmbiguous { platform: platform.clone(), choices: choices.join(", ") })
}

/// The manifest that the headers of a 200 describe. `None` if they do not, and the body has to be read.
fn from_headers(response: &Response) -> Result<Option<Manifest>, Error> {
    let Some(media_type) = manifest_type(response)? else { return Ok(None) };
    Ok(digest_header(response).map(|digest| Manifest { digest, media_type, body: None }))
}

/// The manifest type in `Content-Type`. `None` if it is generic, and the body has to be inspected.
fn manifest_type(response: &Response) -> Result<Option<MediaType>, Error> {
    let text = response.media_type();
    match MediaType::parse(&text) {
        None if !manifest::is_generic(&text) => Err(not_a_manifest(response)),
        media_type => Ok(media_type),
    }
}

/// The `Docker-Content-Digest` header. `None` if there are several that disagree.
fn digest_header(response: &Response) -> Option<Digest> {
    let mut told = response.headers().get_all(CONTENT_DIGEST).iter();
    let read = |value: &HeaderValue| Digest::parse(value.to_str().ok()?.trim()).ok();
    let digest = read(told.next()?)?;
    told.all(|value| read(value).as_ref() == Some(&digest)).then_some(digest)
}

/// A 404 with an HTML page comes from something in front of the registry, and says nothing about the tag.
fn must_be_a_registry(response: &Response) -> Result<(), Error> {
    if response.media_type() == "text/html" { Err(not_a_manifest(response)) } else { Ok(()) }
}

fn not_a_manifest(response: &Response) -> Error {
    let media_type: String = response.media_type().chars().take(100).collect();
    let status = response.status().as_u16();
    if media_type.starts_with("application/vnd.docker.distribution.manifest.v1+") {
        let reason = "it answered with a manifest of schema 1, which it was not asked for; old proxies do now and then";
        return Error::Protocol { host: response.host(), reason: reason.into() };
    }
    Error::NotARegistry {
        host: response.host(),
        reason: format!("it answered {status} with {media_type:?}; perhaps a portal, a proxy's page or a wrong host"),
    }
}
