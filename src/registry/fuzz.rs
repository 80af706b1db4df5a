//! What reads bytes from outside, as functions of bytes: for fuzzers, and for properties over arbitrary bytes.
//!
//! *Invariant:* whatever a server sends, nothing here panics, and what is believed has the form that is promised.

use reqwest::Url;
use reqwest::header::{HeaderMap, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};

use super::challenge::Challenges;
use super::manifest::Index;
use super::{retry_after, token};
use crate::domain::{Platform, Reference};

/// A reference as somebody typed it; what is accepted is its own canonical form.
pub fn reference(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match Reference::parse(text) {
        Ok(reference) => assert_eq!(Reference::parse(&reference.to_string()).as_ref(), Ok(&reference)),
        Err(invalid) => assert!(text.is_char_boundary(invalid.at.min(text.len()))),
    }
}

/// The lines are `WWW-Authenticate` headers.
pub fn challenges(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        if let Ok(value) = HeaderValue::from_bytes(line) {
            headers.append(WWW_AUTHENTICATE, value);
        }
    }
    let Ok(asked) = Url::parse("https://registry.example/v2/acme/web/manifests/stable") else { return };
    if let Some(bearer) = Challenges::read(&headers, &asked).bearer {
        assert!(matches!(bearer.realm.scheme(), "http" | "https"));
        let scope = bearer.scope("acme/web");
        assert!(scope.starts_with("repository:") && scope.ends_with(":pull"), "{scope}");
        assert!(!scope.contains(char::is_whitespace), "one scope: {scope}");
    }
}

/// The body of a token endpoint's answer.
pub fn token_answer(bytes: &[u8]) {
    if let Some((header, _)) = token::read(bytes) {
        assert!(header.is_sensitive());
    }
}

/// A `Retry-After` header, and the same bytes as a body.
pub fn wait(bytes: &[u8]) {
    let _ = retry_after::in_body(bytes);
    let _ = retry_after::in_body(&[b"retry-after: ", bytes].concat());
    if let Ok(value) = HeaderValue::from_bytes(bytes) {
        let _ = retry_after::read(&HeaderMap::from_iter([(RETRY_AFTER, value)]));
    }
}

/// The bytes of an index.
pub fn index(bytes: &[u8]) {
    let Ok(platform) = Platform::parse("linux/arm/v7") else { return };
    if let Ok(index) = Index::read(bytes, "registry.example") {
        let _ = index.choose(&platform);
        let _ = index.offered();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    /// Bytes that are mostly made of what the grammars are made of.
    fn likely() -> impl Strategy<Value = Vec<u8>> {
        let words = [
            "Bearer ",
            "Basic ",
            "realm=",
            "\"",
            "\\",
            ",",
            "=",
            "https://t.example/",
            "/token",
            "scope=",
            "service=",
            "repository:",
            ":pull",
            " ",
            "\n",
            "{",
            "}",
            "[",
            "]",
            ":",
            "\"token\":",
            "\"expires_in\":",
            "1e999",
            "-1",
            "\"manifests\":",
            "\"digest\":",
            "\"platform\":",
            "\"os\":",
            "\"variant\":",
            "\"v7\"",
            "sha256:",
            "@",
            "/",
            "localhost",
            "[::1]",
            ":5000",
            "ä",
            "Mon, 23 Nov 2026 12:00:00 GMT",
            "retry-after",
            "9",
            ".",
            "ms",
            "\0",
        ];
        let word = prop_oneof![
            9 => proptest::sample::select(words.to_vec()).prop_map(|word| word.as_bytes().to_vec()),
            1 => proptest::collection::vec(any::<u8>(), 0..4),
        ];
        proptest::collection::vec(word, 0..24).prop_map(|words| words.concat())
    }

    proptest! {
        #[test]
        fn whatever_is_sent_is_read_or_refused(bytes in prop_oneof![likely(), any::<Vec<u8>>()]) {
            super::reference(&bytes);
            super::challenges(&bytes);
            super::token_answer(&bytes);
            super::wait(&bytes);
            super::index(&bytes);
        }
    }
}
