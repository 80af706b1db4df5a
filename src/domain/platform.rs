//! A platform, and which manifests of an index can run on it.
//!
//! Sources: image-spec `image-index.md` ("platform"), and the variant table of containerd's `platforms` package.

use std::fmt;
use std::sync::Arc;

/// Operating system, architecture and variant in normalised form: `linux/arm64` is `linux/arm64/v8`, `linux/arm` is
/// `linux/arm/v7`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform(Arc<PlatformParts>);

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct PlatformParts {
    os: String,
    architecture: String,
    variant: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a platform; write os/architecture or os/architecture/variant, for example linux/arm64 or linux/arm/v7"
)]
pub struct InvalidPlatform(String);

impl Platform {
    /// Parses `os/architecture[/variant]`. Common aliases such as `x86_64`, `aarch64` and `armhf` are accepted.
    pub fn parse(text: &str) -> Result<Self, InvalidPlatform> {
        let parts: Vec<&str> = text.split('/').collect();
        let is_word = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !parts.iter().all(is_word) {
            return Err(InvalidPlatform(text.to_owned()));
        }
        match parts[..] {
            [os, architecture] => Ok(Self(Arc::new(PlatformParts::normalized(os, architecture, None)))),
            [os, architecture, variant] => {
                Ok(Self(Arc::new(PlatformParts::normalized(os, architecture, Some(variant)))))
            }
            _ => Err(InvalidPlatform(text.to_owned())),
        }
    }

    /// How far an index's manifest is from this platform: 0 is an exact match, a higher number an older variant, and
    /// `None` a manifest that cannot run on it.
    ///
    /// An arm host of v7 also runs v6 and v5; an amd64 host of level v3 also runs v2 and v1.
    pub fn distance(&self, os: &str, architecture: &str, variant: Option<&str>) -> Option<u8> {
        let child = PlatformParts::normalized(os, architecture, variant.filter(|v| !v.is_empty()));
        let own = &*self.0;
        if (&child.os, &child.architecture) != (&own.os, &own.architecture) {
            return None;
        }
        if child.variant == own.variant {
            return Some(0);
        }
        let level =
            |variant: &Option<String>| variant.as_deref().map_or(Some(1), |v| v.strip_prefix('v')?.parse::<u8>().ok());
        match own.architecture.as_str() {
            "arm" | "arm64" | "amd64" => level(&own.variant)?.checked_sub(level(&child.variant)?),
            _ => None,
        }
    }
}

impl PlatformParts {
    fn normalized(os: &str, architecture: &str, variant: Option<&str>) -> Self {
        let (os, architecture) = (os.to_ascii_lowercase(), architecture.to_ascii_lowercase());
        let variant = variant.map(str::to_ascii_lowercase);
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", v) => ("amd64", v),
            ("aarch64" | "arm64", None | Some("8")) => ("arm64", Some("v8")),
            ("aarch64" | "arm64", v) => ("arm64", v),
            ("armhf", _) | ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("armel", _) | ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("i386" | "i686" | "386", v) => ("386", v),
            (other, v) => (other, v),
        };
        Self { os, architecture: architecture.to_owned(), variant: variant.map(str::to_owned) }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlatformParts { os, architecture, variant } = &*self.0;
        write!(f, "{os}/{architecture}")?;
        match variant.as_deref() {
            None => Ok(()),
            Some("v8") if architecture == "arm64" => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn distance(wanted: &str, child: &str) -> Option<u8> {
        let parts: Vec<&str> = child.split('/').collect();
        Platform::parse(wanted).unwrap().distance(parts[0], parts[1], parts.get(2).copied())
    }

    #[test]
    fn other_names_mean_the_same_platform() {
        for (a, b) in [
            ("linux/arm64", "linux/arm64/v8"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/x86_64", "linux/amd64"),
            ("linux/aarch64", "linux/arm64"),
            ("Linux/AMD64", "linux/amd64/v1"),
        ] {
            assert_eq!(Platform::parse(a), Platform::parse(b), "{a} {b}");
        }
        assert_eq!(Platform::parse("linux/arm64/v8").unwrap().to_string(), "linux/arm64");
        assert_eq!(Platform::parse("linux/arm").unwrap().to_string(), "linux/arm/v7");
    }

    #[test]
    fn an_older_variant_serves_and_a_newer_one_does_not() {
        assert_eq!(distance("linux/arm/v7", "linux/arm/v7"), Some(0));
        assert_eq!(distance("linux/arm/v7", "linux/arm/v6"), Some(1));
        assert_eq!(distance("linux/arm/v7", "linux/arm/v5"), Some(2));
        assert_eq!(distance("linux/arm/v6", "linux/arm/v7"), None);
        assert_eq!(distance("linux/amd64/v3", "linux/amd64"), Some(2));
        assert_eq!(distance("linux/amd64", "linux/amd64/v2"), None);
    }

    #[test]
    fn attestations_and_other_systems_serve_nobody() {
        assert_eq!(distance("linux/amd64", "unknown/unknown"), None);
        assert_eq!(distance("linux/amd64", "windows/amd64"), None);
        assert_eq!(distance("linux/amd64", "linux/arm64"), None);
    }

    #[test]
    fn what_is_not_a_platform_is_refused() {
        for text in ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/am d64"] {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
    }
}
