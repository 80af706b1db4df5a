//! Parses image references as people write them into one canonical form.
//!
//! `nginx`, `docker.io/nginx` and `index.docker.io/library/nginx:latest` are the same reference.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::digest::Digest;

/// A repository on its registry, `host/path`. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Repository {
    name: Arc<str>,
    host_end: u16,
}

impl Repository {
    /// The host of the registry, with the port if one was written. Docker Hub is `docker.io`.
    pub fn registry(&self) -> &str {
        &self.name[..usize::from(self.host_end)]
    }

    /// The path within the registry: `library/nginx` for Docker Hub's `nginx`.
    pub fn path(&self) -> &str {
        &self.name[usize::from(self.host_end) + 1..]
    }

    /// `host/path@digest`, which makes any tool use exactly this content.
    pub fn pinned(&self, digest: &Digest) -> String {
        format!("{self}@{digest}")
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Repository({self})")
    }
}

/// A tag: at most 128 letters, digits, `_`, `.` and `-` (OCI distribution-spec, "Pulling manifests"). Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Tag(Arc<str>);

impl Tag {
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        check_tag(text, 0).map(|()| Self(text.into()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl fmt::Debug for Tag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Tag({self})")
    }
}

impl TryFrom<String> for Tag {
    type Error = InvalidReference;
    fn try_from(text: String) -> Result<Self, InvalidReference> {
        Self::parse(&text)
    }
}

impl From<Tag> for String {
    fn from(tag: Tag) -> Self {
        tag.as_str().to_owned()
    }
}

/// A repository and a tag. Two references are equal exactly if their canonical texts are.
///
/// Grammar: `distribution/reference`, with the tag and repository rules of the OCI distribution-spec.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Reference {
    pub repository: Repository,
    pub tag: Tag,
}

/// Why a text is not a valid reference, and where the fault is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{reason}")]
pub struct InvalidReference {
    /// What is wrong, and the remedy.
    pub reason: String,
    /// Byte offset of the offending character in the parsed text.
    pub at: usize,
}

/// Host names of Docker Hub. All become `docker.io`.
const DOCKER_HUB: [&str; 3] = ["docker.io", "index.docker.io", "registry-1.docker.io"];

/// Longest repository name in bytes, including the host, that most clients accept (OCI distribution-spec, "Pulling
/// manifests").
const MAX_NAME_LENGTH: usize = 255;

impl Reference {
    /// The host defaults to `docker.io`, the tag to `latest`.
    pub fn parse(text: &str) -> Result<Self, InvalidReference> {
        let fault = |at: usize, reason: String| Err(InvalidReference { reason, at });
        if text.is_empty() {
            return fault(0, "an image reference is empty; write for example `nginx:1.27`".into());
        }
        if let Some(at) = text.find("://") {
            let rest = &text[at + 3..];
            return fault(0, format!("an image reference has no scheme; write `{rest}`"));
        }
        if let Some(at) = text.find('@') {
            let tagged = &text[..at];
            return fault(
                at,
                format!("a reference with a digest is pinned and can never move; watch the tag: `{tagged}`"),
            );
        }
        let (host, rest, rest_at) = split_host(text);
        let host = canonical_host(host)?;
        let (repository, tag) = match rest.rfind(':') {
            Some(colon) if !rest[colon..].contains('/') => (&rest[..colon], Some((colon, &rest[colon + 1..]))),
            _ => (rest, None),
        };
        check_repository(repository, rest_at)?;
        if let Some((colon, tag)) = tag {
            check_tag(tag, rest_at + colon + 1)?;
        }
        let tag = tag.map_or("latest", |(_, tag)| tag);
        let library = if host == "docker.io" && !repository.contains('/') { "library/" } else { "" };
        let name_length = host.len() + 1 + library.len() + repository.len();
        if name_length > MAX_NAME_LENGTH {
            return fault(
                rest_at,
                format!("the name is {name_length} characters long; at most {MAX_NAME_LENGTH} are allowed"),
            );
        }
        let name = format!("{host}/{library}{repository}").into();
        // The cast cannot truncate: the whole name is at most 255 bytes long.
        let repository = Repository { name, host_end: host.len() as u16 };
        Ok(Self { repository, tag: Tag::parse(tag)? })
    }
}

/// Normalises a registry host: lower case, and `docker.io` for every name of Docker Hub.
///
/// An error's offset is relative to the start of `host`.
pub fn canonical_host(host: &str) -> Result<String, InvalidReference> {
    let lower = host.to_ascii_lowercase();
    let (name, port) = match lower.strip_prefix('[') {
        Some(inside) => {
            let Some(end) = inside.find(']') else {
                return Err(InvalidReference { reason: "the IPv6 address has no closing `]`".into(), at: 0 });
            };
            if inside[..end].parse::<std::net::Ipv6Addr>().is_err() {
                return Err(InvalidReference { reason: format!("`{}` is not an IPv6 address", &inside[..end]), at: 1 });
            }
            lower.split_at(end + 2)
        }
        None => lower.split_at(lower.find(':').unwrap_or(lower.len())),
    };
    if !name.starts_with('[') {
        check_domain(name)?;
    }
    if !port.is_empty() {
        let number = port.strip_prefix(':').unwrap_or("");
        if number.is_empty()
            || !number.bytes().all(|b| b.is_ascii_digit())
            || !number.parse::<u16>().is_ok_and(|n| n > 0)
        {
            return Err(InvalidReference {
                reason: format!("`{}` is not a port number", port.trim_start_matches(':')),
                at: name.len(),
            });
        }
    }
    Ok(if DOCKER_HUB.contains(&lower.as_str()) { "docker.io".into() } else { lower })
}

/// The host as written (default: Docker Hub), the rest, and the byte offset of the rest. A first component is a host if
/// it contains `.` or `:` or is `localhost`, as in Docker.
fn split_host(text: &str) -> (&str, &str, usize) {
    if let Some((first, rest)) = text.split_once('/') {
        let is_host = first.contains(['.', ':']) || first.eq_ignore_ascii_case("localhost") || first.starts_with('[');
        if is_host {
            return (first, rest, first.len() + 1);
        }
    }
    ("docker.io", text, 0)
}

fn check_domain(name: &str) -> Result<(), InvalidReference> {
    if name.is_empty() {
        return Err(InvalidReference { reason: "the registry host is empty".into(), at: 0 });
    }
    let mut at = 0;
    for label in name.split('.') {
        if let Some(bad) = label.find(|c: char| !c.is_ascii_alphanumeric() && c != '-') {
            return Err(unexpected(label, bad, at, "a registry host"));
        }
        if label.is_empty() || label.starts_with('-') || label.ends_with('-') {
            return Err(InvalidReference { reason: format!("`{name}` is not a host name"), at });
        }
        at += label.len() + 1;
    }
    Ok(())
}

fn check_repository(repository: &str, offset: usize) -> Result<(), InvalidReference> {
    let mut at = offset;
    for component in repository.split('/') {
        if component.is_empty() {
            return Err(InvalidReference { reason: "a part of the repository name is empty".into(), at });
        }
        if let Some(bad) = component.find(|c: char| !matches!(c, 'a'..='z' | '0'..='9' | '.' | '_' | '-')) {
            if component[bad..].starts_with(|c: char| c.is_ascii_uppercase()) {
                let reason = format!("a repository name is lower case; write `{}`", component.to_ascii_lowercase());
                return Err(InvalidReference { reason, at: at + bad });
            }
            return Err(unexpected(component, bad, at, "a repository name"));
        }
        check_separators(component, at)?;
        at += component.len() + 1;
    }
    Ok(())
}

/// Letters and digits may be separated by `.`, `_`, `__` or any number of `-`.
fn check_separators(component: &str, offset: usize) -> Result<(), InvalidReference> {
    let is_separator = |c: char| matches!(c, '.' | '_' | '-');
    let edge = |at: usize| InvalidReference {
        reason: format!(
            "`{component}` starts or ends with a separator; a repository name starts and ends with a letter or digit"
        ),
        at: offset + at,
    };
    if component.starts_with(is_separator) {
        return Err(edge(0));
    }
    if component.ends_with(is_separator) {
        return Err(edge(component.len() - 1));
    }
    let mut at = 0;
    for run in component.split(|c: char| !is_separator(c)) {
        let allowed = matches!(run, "" | "." | "_" | "__") || run.bytes().all(|b| b == b'-');
        if !allowed {
            let reason = format!("`{run}` cannot stand in a repository name; use one of `.`, `_`, `__`, `-`");
            return Err(InvalidReference { reason, at: offset + at });
        }
        at += run.len() + 1;
    }
    Ok(())
}

fn check_tag(tag: &str, offset: usize) -> Result<(), InvalidReference> {
    if tag.is_empty() {
        return Err(InvalidReference {
            reason: "the tag after `:` is empty; leave the `:` out for `latest`".into(),
            at: offset,
        });
    }
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if let Some(bad) = tag.find(|c: char| !allowed(c)) {
        return Err(unexpected(tag, bad, offset, "a tag"));
    }
    if tag.starts_with(['.', '-']) {
        return Err(InvalidReference { reason: "a tag starts with a letter, a digit or `_`".into(), at: offset });
    }
    if tag.len() > 128 {
        return Err(InvalidReference {
            reason: format!("the tag is {} characters long; at most 128 are allowed", tag.len()),
            at: offset,
        });
    }
    Ok(())
}

fn unexpected(part: &str, bad: usize, offset: usize, what: &str) -> InvalidReference {
    let c = part[bad..].chars().next().unwrap_or(' ');
    InvalidReference { reason: format!("{what} cannot have {c:?}"), at: offset + bad }
}

/// The canonical text, `host/path:tag`.
impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.repository, self.tag)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_have_one_canonical_text() {
        for (written, canonical) in [
            ("nginx", "docker.io/library/nginx:latest"),
            ("nginx:1.27", "docker.io/library/nginx:1.27"),
            ("docker.io/nginx", "docker.io/library/nginx:latest"),
            ("index.docker.io/library/nginx", "docker.io/library/nginx:latest"),
            ("grafana/grafana:11", "docker.io/grafana/grafana:11"),
            ("ghcr.io/acme/web:stable", "ghcr.io/acme/web:stable"),
            ("GHCR.io/acme/web", "ghcr.io/acme/web:latest"),
            ("localhost/x", "localhost/x:latest"),
            ("localhost:5000/x:y", "localhost:5000/x:y"),
            ("[::1]:5000/a/b__c:1", "[::1]:5000/a/b__c:1"),
            ("127.0.0.1:80/a--b/c.d:_x", "127.0.0.1:80/a--b/c.d:_x"),
            // Without a slash there is no host: docker's own rule.
            ("localhost:5000", "docker.io/library/localhost:5000"),
        ] {
            assert_eq!(Reference::parse(written).map(|r| r.to_string()), Ok(canonical.to_owned()), "{written}");
        }
    }

    #[test]
    fn the_parts_are_found_again() {
        let reference = Reference::parse("localhost:5000/team/app:v1").unwrap();
        assert_eq!(
            (reference.repository.registry(), reference.repository.path(), reference.tag.as_str()),
            ("localhost:5000", "team/app", "v1")
        );
        let digest = Digest::sha256(b"x");
        assert_eq!(reference.repository.pinned(&digest), format!("localhost:5000/team/app@{digest}"));
    }

    #[test]
    fn faults_point_at_the_character() {
        for (written, at, part) in [
            ("", 0, "empty"),
            ("https://ghcr.io/a/b", 0, "no scheme"),
            ("nginx@sha256:aa", 5, "pinned"),
            ("ghcr.io/Acme/web", 8, "lower case"),
            ("ghcr.io/acme/we b", 15, "cannot have ' '"),
            ("ghcr.io/acme//web", 13, "empty"),
            ("ghcr.io/acme/web:", 17, "tag after"),
            ("ghcr.io/acme/web:a/b", 16, "cannot have ':'"),
            ("ghcr.io/acme/web:-a", 17, "starts with"),
            ("ghcr.io/acme/web:a!b", 18, "cannot have '!'"),
            ("ghcr.io:99999/a", 7, "port"),
            ("a..b/c", 2, "not a host name"),
            ("ghcr.io/a._b/c", 9, "cannot stand"),
            ("ghcr.io/_a/c", 8, "separator"),
            ("[::1/a", 0, "closing"),
            ("nginx:é", 6, "cannot have 'é'"),
        ] {
            let fault = Reference::parse(written).unwrap_err();
            assert_eq!(fault.at, at, "{written}: {fault}");
            assert!(fault.reason.contains(part), "{written}: {fault}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_text_is_read_or_refused_without_panic(text in "\\PC{0,300}") {
            if let Err(fault) = Reference::parse(&text) {
                proptest::prop_assert!(fault.at <= text.len());
                proptest::prop_assert!(text.is_char_boundary(fault.at));
            }
        }

        #[test]
        fn the_canonical_text_stands_for_itself(
            host in "([a-z0-9]{1,8}\\.[a-z]{2,5}|localhost)(:[1-9][0-9]{1,3})?",
            repository in "[a-z0-9]{1,6}([._-][a-z0-9]{1,4}){0,2}(/[a-z0-9]{1,5}){0,3}",
            tag in "[A-Za-z0-9_][A-Za-z0-9._-]{0,20}",
        ) {
            let reference = Reference::parse(&format!("{host}/{repository}:{tag}")).unwrap();
            proptest::prop_assert_eq!(&Reference::parse(&reference.to_string()).unwrap(), &reference);
            proptest::prop_assert_eq!(reference.tag.as_str(), tag);
        }
    }
}
