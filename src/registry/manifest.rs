//! Manifests: their media types and digests, and which child of an index serves a platform.
//!
//! *Invariant:* a digest is believed only with a manifest's media type, or when it was computed from the bytes.

use std::sync::Arc;

use serde::Deserialize;
use sha2::Digest as _;

use super::error::Error;
use crate::domain::answer::{self, MEDIA_TYPES};
use crate::domain::platform::Distance;
use crate::domain::{Digest, Platform};

/// All four types in one header, always. Without one, some registries return another manifest.
pub(super) const ACCEPT: &str = "application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.list.v2+json, \
     application/vnd.oci.image.manifest.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json";

/// The size limit of a manifest in bytes. Registries refuse larger ones on push.
pub(super) const MAX_MANIFEST: usize = 4 << 20;

/// The four types of manifest, in the order of [`MEDIA_TYPES`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum MediaType {
    OciIndex,
    DockerList,
    OciManifest,
    DockerManifest,
}

impl MediaType {
    const ALL: [Self; 4] = [Self::OciIndex, Self::DockerList, Self::OciManifest, Self::DockerManifest];

    pub(super) fn as_str(self) -> &'static str {
        MEDIA_TYPES[self as usize]
    }

    /// The name as a shared allocation, for records.
    pub(super) fn shared(self) -> Arc<str> {
        answer::media_type(self.as_str())
    }

    pub(super) fn is_index(self) -> bool {
        matches!(self, Self::OciIndex | Self::DockerList)
    }

    /// Reads a media type in lower case without parameters.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.as_str() == text)
    }
}

/// Whether a body of this type may be a manifest, so that the body must be inspected. Static file servers and some proxies
/// do not know the media types of manifests.
pub(super) fn is_generic(media_type: &str) -> bool {
    matches!(media_type, "" | "application/json" | "application/octet-stream" | "binary/octet-stream" | "text/plain")
}

/// The fields of a manifest or an index that we read.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Document {
    schema_version: Option<u64>,
    media_type: Option<String>,
    #[serde(default)]
    manifests: Vec<Child>,
    layers: Option<serde::de::IgnoredAny>,
    config: Option<serde::de::IgnoredAny>,
}

/// A child of an index.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Child {
    pub(super) digest: String,
    #[serde(default)]
    pub(super) media_type: String,
    platform: Option<ChildPlatform>,
}

#[derive(Deserialize)]
struct ChildPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    variant: Option<String>,
    #[serde(rename = "os.version")]
    version: Option<String>,
    #[serde(rename = "os.features", default)]
    features: Option<Vec<String>>,
}

/// Infers the type from a body. `None` if it is no manifest of a known type.
pub(super) fn sniff(body: &[u8]) -> Option<MediaType> {
    let document: Document = serde_json::from_slice(body).ok()?;
    if document.schema_version != Some(2) {
        return None;
    }
    if let Some(media_type) = &document.media_type {
        return MediaType::parse(media_type);
    }
    match (document.manifests.is_empty(), document.config.is_some() && document.layers.is_some()) {
        (false, _) => Some(MediaType::OciIndex),
        (true, true) => Some(MediaType::OciManifest),
        (true, false) => None,
    }
}

/// Whether a body is a complete JSON document with the schema of manifests and indexes.
pub(super) fn is_whole(body: &[u8]) -> bool {
    serde_json::from_slice::<Document>(body).is_ok_and(|document| document.schema_version == Some(2))
}

/// The digest of a body, by the algorithm of `expected`. `None` if the algorithm is unknown.
pub(super) fn digest_like(expected: &Digest, body: &[u8]) -> Option<Digest> {
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    match expected.as_str().split(':').next()? {
        "sha256" => Some(Digest::sha256(body)),
        "sha384" => Digest::parse(&format!("sha384:{}", hex(&sha2::Sha384::digest(body)))).ok(),
        "sha512" => Digest::parse(&format!("sha512:{}", hex(&sha2::Sha512::digest(body)))).ok(),
        _ => None,
    }
}

pub(super) struct Index(Vec<Child>);

/// The children of an index that may serve a platform.
#[derive(Default)]
pub(super) struct Chosen<'a> {
    /// Those that fit, each with its distance and its own platform, in the order of the index.
    pub(super) fitting: Vec<(Distance, Platform, &'a Child)>,
    /// Nested indexes, which may have a closer one.
    pub(super) nested: Vec<&'a Child>,
}

impl Index {
    pub(super) fn read(body: &[u8], host: &str) -> Result<Self, Error> {
        let document: Document = serde_json::from_slice(body).map_err(|error| Error::Protocol {
            host: host.to_owned(),
            reason: format!("its index is no valid JSON (line {}, column {})", error.line(), error.column()),
        })?;
        Ok(Self(document.manifests))
    }

    /// The children that fit. Attestations have the platform `unknown/unknown` and never do.
    pub(super) fn choose(&self, platform: &Platform) -> Chosen<'_> {
        let mut chosen = Chosen::default();
        for child in &self.0 {
            let own = child.platform.as_ref().map(ChildPlatform::platform);
            let distance = own.as_ref().and_then(|own| platform.distance(own));
            if MediaType::parse(&child.media_type).is_some_and(MediaType::is_index) {
                if distance.is_some() || child.platform.as_ref().is_none_or(|own| own.os.is_empty()) {
                    chosen.nested.push(child);
                }
            } else if let Some((distance, own)) = distance.zip(own) {
                chosen.fitting.push((distance, own, child));
            }
        }
        chosen
    }

    /// The names of its platforms, sorted, for a message.
    pub(super) fn offered(&self) -> Vec<String> {
        let platforms = self.0.iter().filter_map(|child| child.platform.as_ref());
        let mut names: Vec<String> =
            platforms.filter(|p| p.os != "unknown").map(|p| p.platform().to_string()).collect();
        names.sort();
        names.dedup();
        names
    }
}

impl Child {
    /// The media type; that of an OCI manifest if the index gives none.
    pub(super) fn kind(&self) -> MediaType {
        MediaType::parse(&self.media_type).unwrap_or(MediaType::OciManifest)
    }
}

impl ChildPlatform {
    fn platform(&self) -> Platform {
        let features = self.features.iter().flatten().map(String::as_str);
        Platform::new(&self.os, &self.architecture, self.variant.as_deref(), self.version.as_deref(), features)
    }
}
