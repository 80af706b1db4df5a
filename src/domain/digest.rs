//! A content digest as registries write it: `algorithm:hex`.
//!
//! *Invariant:* a `Digest` is valid and never empty, so a missing digest cannot be mistaken for one.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// A validated content digest, for example `sha256:2c26…`. Equality compares the algorithm, too.
///
/// Grammar: OCI image-spec, `descriptor.md`, section "Digests". Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(Arc<str>);

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidDigest {
    #[error("not of the form algorithm:hex")]
    Form,
    #[error("the algorithm is not a lower-case name")]
    Algorithm,
    #[error("the value is not lower-case hexadecimal")]
    Hex,
    #[error("the value has {found} digits where {expected} are due")]
    Length {
        found: usize,
        /// The exact number for a registered algorithm; the minimum for any other.
        expected: usize,
    },
}

/// The number of hexadecimal digits accepted for an algorithm that the image-spec does not register: from 128 bits
/// (MD5) to 1024 bits, twice the longest registered one.
const UNREGISTERED_DIGITS: std::ops::RangeInclusive<usize> = 32..=256;

impl Digest {
    /// Parses a digest strictly: with a malformed digest, a registry has not said which content it has.
    pub fn parse(text: &str) -> Result<Self, InvalidDigest> {
        let (algorithm, hex) = text.split_once(':').ok_or(InvalidDigest::Form)?;
        if !is_algorithm(algorithm) {
            return Err(InvalidDigest::Algorithm);
        }
        // A fold without early exit, which the compiler can vectorise.
        if !hex.bytes().fold(true, |hex, b| hex & matches!(b, b'0'..=b'9' | b'a'..=b'f')) {
            return Err(InvalidDigest::Hex);
        }
        let expected = match algorithm {
            "sha256" => 64,
            "sha384" => 96,
            "sha512" => 128,
            _ if UNREGISTERED_DIGITS.contains(&hex.len()) => hex.len(),
            _ => *UNREGISTERED_DIGITS.start(),
        };
        if hex.len() != expected {
            return Err(InvalidDigest::Length { found: hex.len(), expected });
        }
        Ok(Self(text.into()))
    }

    pub fn sha256(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        use std::fmt::Write as _;
        let mut text = String::with_capacity(71);
        text.push_str("sha256:");
        for byte in sha2::Sha256::digest(bytes) {
            let _ = write!(text, "{byte:02x}");
        }
        Self(text.into())
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The algorithm and the first twelve digits, which is enough for a person to tell two digests apart.
    pub fn short(&self) -> &str {
        let colon = self.0.find(':').unwrap_or(0);
        self.0.get(..colon + 13).unwrap_or(&self.0)
    }
}

/// Grammar in the image-spec: `algorithm-component [algorithm-separator algorithm-component]*`.
fn is_algorithm(text: &str) -> bool {
    text.split(['+', '.', '_', '-'])
        .all(|part| !part.is_empty() && part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()))
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({})", self.short())
    }
}

impl TryFrom<String> for Digest {
    type Error = InvalidDigest;
    fn try_from(text: String) -> Result<Self, InvalidDigest> {
        Self::parse(&text)
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.as_str().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn registered_algorithms_have_their_exact_length() {
        for (algorithm, digits) in [("sha256", 64), ("sha384", 96), ("sha512", 128)] {
            assert!(Digest::parse(&format!("{algorithm}:{}", "a".repeat(digits))).is_ok());
            assert_eq!(
                Digest::parse(&format!("{algorithm}:{}", "a".repeat(digits - 1))),
                Err(InvalidDigest::Length { found: digits - 1, expected: digits })
            );
        }
    }

    #[test]
    fn what_is_not_a_digest_is_refused() {
        for (text, why) in [
            ("", InvalidDigest::Form),
            ("sha256", InvalidDigest::Form),
            (":abc", InvalidDigest::Algorithm),
            ("SHA256:aa", InvalidDigest::Algorithm),
            ("sha256:", InvalidDigest::Length { found: 0, expected: 64 }),
            ("sha256:xyz", InvalidDigest::Hex),
            ("blake3:abcd", InvalidDigest::Length { found: 4, expected: 32 }),
        ] {
            assert_eq!(Digest::parse(text), Err(why), "{text}");
        }
        assert_eq!(Digest::parse(&format!("sha256:{}", "A".repeat(64))), Err(InvalidDigest::Hex));
    }

    #[test]
    fn the_digest_of_nothing_is_the_known_one() {
        assert_eq!(
            Digest::sha256(b"").as_str(),
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
        );
        assert_eq!(Digest::sha256(b"").short(), "sha256:e3b0c44298fc");
    }

    proptest::proptest! {
        #[test]
        fn parsing_never_panics_and_keeps_the_text(text in "\\PC{0,160}") {
            if let Ok(digest) = Digest::parse(&text) {
                proptest::prop_assert_eq!(digest.as_str(), text);
            }
        }
    }
}
