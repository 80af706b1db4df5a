//! What a registry said of a tag: present, absent, or nothing that can be believed.
//!
//! *Invariant:* a failure carries no digest, so it can neither change what is recorded nor read as "up to date".

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::reference::Tag;
use super::selection::Choice;
use super::words::words;

/// What was found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    pub tag: Tag,
    /// What counts: the tag's digest, or with a platform the chosen child's.
    pub digest: Digest,
    /// With a platform: the digest of the index that the child was chosen from.
    pub index_digest: Option<Digest>,
    /// Media type of the manifest that `digest` names.
    pub media_type: Arc<str>,
}

impl Sighting {
    pub fn choice(&self) -> Choice {
        Choice { tag: self.tag.clone(), digest: self.digest.clone() }
    }

    /// The digest that the tag itself answers with; a `HEAD` of an unchanged tag repeats it.
    pub fn tag_digest(&self) -> &Digest {
        self.index_digest.as_ref().unwrap_or(&self.digest)
    }
}

/// The media types of manifests.
pub const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// The name of a media type, shared by all who keep one.
pub fn media_type(name: &str) -> Arc<str> {
    static SHARED: LazyLock<[Arc<str>; 4]> = LazyLock::new(|| MEDIA_TYPES.map(Arc::from));
    SHARED.iter().find(|shared| ***shared == *name).map_or_else(|| name.into(), Arc::clone)
}

/// A registry's believable answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// The tag points at this.
    Present(Sighting),
    /// The registry knows no such tag, or hides it from us: most do not tell the two apart.
    Absent,
}

/// A check that learnt nothing: a stable kind and a message for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The stable word for what went wrong.
    pub kind: FailureKind,
    /// The whole cause chain and, where there is one, the remedy. Never a secret.
    pub message: String,
}

words! {
    /// Why a check learnt nothing.
    pub enum FailureKind {
        /// The registry's name does not resolve.
        Dns = "dns",
        /// No connection: refused, unreachable, or reset.
        Connect = "connect",
        /// No trust: certificate or handshake.
        Tls = "tls",
        /// No answer in time.
        Timeout = "timeout",
        /// Credentials are missing or were refused.
        Unauthorized = "unauthorized",
        /// The registry knows no such tag, or hides it.
        NotFound = "not_found",
        /// The registry asked for fewer requests.
        RateLimited = "rate_limited",
        /// The registry is broken (5xx).
        Server = "server",
        /// Something answered that is not a registry (HTML, a captive portal).
        NotARegistry = "not_a_registry",
        /// An answer without a digest where none could be computed.
        NoDigest = "no_digest",
        /// A digest that is malformed or does not match the content.
        BadDigest = "bad_digest",
        /// The tag's new digest does not resolve by itself.
        Unresolvable = "unresolvable",
        /// The index has no child for the platform.
        PlatformMissing = "platform_missing",
        /// Redirects that cannot be followed.
        Redirect = "redirect",
        /// Configured credentials cannot be read.
        Credentials = "credentials",
        /// An answer that breaks the protocol in another way.
        Protocol = "protocol",
        /// The check could not be recorded: the disk, not the registry.
        Store = "store",
    }
}

impl Failure {
    /// What a 404 is until it has repeated: most registries do not tell a tag that is gone from one that is hidden.
    pub fn absent() -> Self {
        Self { kind: FailureKind::NotFound, message: "not found, or not allowed to see it".into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
