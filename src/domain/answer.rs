//! The result of one check: the tag is present, the tag is absent, or the check failed.
//!
//! *Invariant:* a failure carries no digest, so it can neither change the recorded digest nor look like "unchanged".

use std::fmt;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

use super::digest::Digest;
use super::reference::Tag;
use super::selection::Choice;
use super::words::words;

/// The manifest that a check found.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sighting {
    pub tag: Tag,
    /// The digest that is compared: the tag's own, or with a platform that of the matching child manifest.
    pub digest: Digest,
    /// With a platform: the digest of the index that lists the child.
    pub index_digest: Option<Digest>,
    /// Media type of the manifest that `digest` names.
    pub media_type: Arc<str>,
}

impl Sighting {
    pub fn choice(&self) -> Choice {
        Choice { tag: self.tag.clone(), digest: self.digest.clone() }
    }

    /// The digest that a `HEAD` request for the tag returns.
    pub fn tag_digest(&self) -> &Digest {
        self.index_digest.as_ref().unwrap_or(&self.digest)
    }
}

/// The media types of manifests and indexes, of OCI and of Docker.
pub const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// Returns one shared allocation for each known media type, because every record keeps a copy.
pub fn media_type(name: &str) -> Arc<str> {
    static SHARED: LazyLock<[Arc<str>; 4]> = LazyLock::new(|| MEDIA_TYPES.map(Arc::from));
    SHARED.iter().find(|shared| ***shared == *name).map_or_else(|| name.into(), Arc::clone)
}

/// A valid answer of a registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    Present(Sighting),
    /// The tag does not exist, or we are not allowed to see it. Most registries do not distinguish the two.
    Absent,
}

/// Why a check failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// Stable, for programs.
    pub kind: FailureKind,
    /// For people: the whole chain of causes, and the remedy if there is one. Contains no secret.
    pub message: String,
}

words! {
    pub enum FailureKind {
        /// The host name does not resolve.
        Dns = "dns",
        /// The connection was refused or reset, or the host is unreachable.
        Connect = "connect",
        /// The certificate is not trusted, or the handshake failed.
        Tls = "tls",
        Timeout = "timeout",
        /// Credentials are missing or were refused.
        Unauthorized = "unauthorized",
        /// See [`Answer::Absent`].
        NotFound = "not_found",
        RateLimited = "rate_limited",
        /// The registry answered with a 5xx status.
        Server = "server",
        /// Something else answered, for example a captive portal with an HTML page.
        NotARegistry = "not_a_registry",
        /// The answer has no digest, and none could be computed.
        NoDigest = "no_digest",
        /// The digest is malformed or does not match the content.
        BadDigest = "bad_digest",
        /// The tag points at a digest that the registry does not serve.
        Unresolvable = "unresolvable",
        /// The index has no manifest for the platform.
        PlatformMissing = "platform_missing",
        /// The index has several manifests for the platform, which differ in what they demand of a host.
        PlatformAmbiguous = "platform_ambiguous",
        /// A redirect could not be followed.
        Redirect = "redirect",
        /// The configured credentials could not be read.
        Credentials = "credentials",
        /// The answer violates the protocol in another way.
        Protocol = "protocol",
        /// The result could not be recorded. The database is at fault, not the registry.
        Store = "store",
    }
}

impl Failure {
    /// The failure that a 404 counts as until it has repeated for long enough.
    pub fn absent() -> Self {
        Self { kind: FailureKind::NotFound, message: "not found, or not allowed to see it".into() }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}
