//! A platform, and which manifests of an index can run on it.
//!
//! Sources: image-spec `image-index.md` ("platform"), and the variant table of containerd's `platforms` package.

use std::fmt;
use std::sync::Arc;

/// Operating system, architecture and variant in normalised form: `linux/arm64` is `linux/arm64/v8`, `linux/arm` is
/// `linux/arm/v7`. For Windows also the version and the features that an image demands of its host. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Platform(Arc<PlatformParts>);

#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
struct PlatformParts {
    os: String,
    architecture: String,
    variant: Option<String>,
    /// `os.version`: `10.0.20348` stands for every `10.0.20348.…`.
    version: Option<String>,
    /// `os.features`, sorted.
    features: Vec<String>,
}

/// How far a manifest of an index is from a platform: by its variant, 0 for an exact match and more for an older one, then
/// by the number of features that it demands and the platform does not name.
pub type Distance = (u8, usize);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is not a platform; write os/architecture or os/architecture/variant, for example linux/arm64, linux/arm/v7 or \
     windows/amd64:10.0.20348"
)]
pub struct InvalidPlatform(String);

impl Platform {
    /// Parses `os/architecture[/variant][:version][+feature…]`. Common aliases such as `x86_64`, `aarch64` and `armhf` are
    /// accepted.
    pub fn parse(text: &str) -> Result<Self, InvalidPlatform> {
        let invalid = || InvalidPlatform(text.to_owned());
        let mut demands = text.split('+');
        let named = demands.next().unwrap_or_default();
        let features: Vec<&str> = demands.collect();
        let (named, version) = match named.split_once(':') {
            Some((named, version)) => (named, Some(version)),
            None => (named, None),
        };
        let parts: Vec<&str> = named.split('/').collect();
        let is_word = |p: &&str| !p.is_empty() && p.bytes().all(|b| b.is_ascii_alphanumeric() || b"._-".contains(&b));
        if !parts.iter().chain(&version).chain(&features).all(is_word) {
            return Err(invalid());
        }
        let (os, architecture, variant) = match parts[..] {
            [os, architecture] => (os, architecture, None),
            [os, architecture, variant] => (os, architecture, Some(variant)),
            _ => return Err(invalid()),
        };
        Ok(Self::new(os, architecture, variant, version, features))
    }

    /// The platform that an index names for a manifest. An empty variant or version is none.
    pub fn new<'a>(
        os: &str,
        architecture: &str,
        variant: Option<&str>,
        version: Option<&str>,
        features: impl IntoIterator<Item = &'a str>,
    ) -> Self {
        let mut parts = PlatformParts::normalized(os, architecture, variant.filter(|variant| !variant.is_empty()));
        parts.version = version.filter(|version| !version.is_empty()).map(str::to_owned);
        parts.features = features.into_iter().map(str::to_owned).collect();
        parts.features.sort();
        parts.features.dedup();
        Self(Arc::new(parts))
    }

    pub fn architecture(&self) -> &str {
        &self.0.architecture
    }

    /// How far a manifest for another platform is from this one; `None` if it cannot run on it.
    ///
    /// An arm host of v7 also runs v6 and v5; an amd64 host of level v3 also runs v2 and v1.
    pub fn distance(&self, child: &Self) -> Option<Distance> {
        let (own, child) = (&*self.0, &*child.0);
        if (&child.os, &child.architecture) != (&own.os, &own.architecture) || !own.allows_version(child) {
            return None;
        }
        if own.features.iter().any(|feature| !child.features.contains(feature)) {
            return None;
        }
        let unnamed = child.features.len() - own.features.len();
        if child.variant == own.variant {
            return Some((0, unnamed));
        }
        let level =
            |variant: &Option<String>| variant.as_deref().map_or(Some(1), |v| v.strip_prefix('v')?.parse::<u8>().ok());
        match own.architecture.as_str() {
            "arm" | "arm64" | "amd64" => Some((level(&own.variant)?.checked_sub(level(&child.variant)?)?, unnamed)),
            _ => None,
        }
    }

    /// Whether nothing that a config could say tells the two apart.
    pub fn is_like(&self, other: &Self) -> bool {
        (&self.0.version, &self.0.features) == (&other.0.version, &other.0.features)
    }
}

impl PlatformParts {
    fn allows_version(&self, child: &Self) -> bool {
        let Some(version) = &self.version else { return true };
        let rest = child.version.as_deref().and_then(|found| found.strip_prefix(version.as_str()));
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
    }

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
        let (architecture, variant) = (architecture.to_owned(), variant.map(str::to_owned));
        Self { os, architecture, variant, version: None, features: Vec::new() }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let PlatformParts { os, architecture, variant, version, features } = &*self.0;
        write!(f, "{os}/{architecture}")?;
        if let Some(variant) = variant.as_deref().filter(|variant| architecture != "arm64" || *variant != "v8") {
            write!(f, "/{variant}")?;
        }
        version.iter().try_for_each(|version| write!(f, ":{version}"))?;
        features.iter().try_for_each(|feature| write!(f, "+{feature}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rank(wanted: &str, child: &str) -> Option<Distance> {
        Platform::parse(wanted).unwrap().distance(&Platform::parse(child).unwrap())
    }

    fn distance(wanted: &str, child: &str) -> Option<u8> {
        rank(wanted, child).map(|(older, _)| older)
    }

    #[test]
    fn a_version_stands_for_those_that_begin_with_it_and_features_are_demanded() {
        let child = "windows/amd64:10.0.20348.2700+win32k";
        for (wanted, expected) in [
            ("windows/amd64", Some((0, 1))),
            ("windows/amd64:10.0.20348", Some((0, 1))),
            ("windows/amd64:10.0.20348.2700+win32k", Some((0, 0))),
            ("windows/amd64:10.0.2034", None),
            ("windows/amd64:10.0.17763", None),
            ("windows/amd64+other", None),
        ] {
            assert_eq!(rank(wanted, child), expected, "{wanted}");
        }
        assert_eq!(Platform::parse(child).unwrap().to_string(), child);
        assert_eq!(rank("windows/amd64:10.0.20348", "windows/amd64"), None);
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
        for text in
            ["", "linux", "linux/", "/amd64", "linux/arm/v7/x", "linux/am d64", "a/b:", "a/b+", "a/b:1:2", "a:1/b"]
        {
            assert!(Platform::parse(text).is_err(), "{text}");
        }
    }
}
