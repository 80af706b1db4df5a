//! The challenges in `WWW-Authenticate` (RFC 9110, section 11).

use std::sync::Arc;

use http_auth::{ChallengeParser, ChallengeRef};
use reqwest::Url;
use reqwest::header::{HeaderMap, WWW_AUTHENTICATE};

/// The challenges of a response, the first of each scheme.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Challenges {
    pub(super) bearer: Option<Arc<Bearer>>,
    pub(super) basic: bool,
}

/// A Bearer challenge: where to get a token, and for what.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bearer {
    /// The URL of the token endpoint. A relative one has been resolved.
    pub(super) realm: Url,
    /// Passed on to the token endpoint.
    pub(super) service: Option<String>,
    /// The repository that the scope names, if it names exactly one.
    pub(super) repository: Option<String>,
}

/// The length limit of a parameter, because it is sent on, and the host of the realm appears in messages.
const MAX_PARAMETER: usize = 2048;

impl Challenges {
    /// Reads all `WWW-Authenticate` headers and skips malformed challenges. `asked` is the URL that answered.
    pub(super) fn read(headers: &HeaderMap, asked: &Url) -> Self {
        let mut found = Self::default();
        for value in headers.get_all(WWW_AUTHENTICATE) {
            let Ok(text) = value.to_str() else { continue };
            for challenge in ChallengeParser::new(text).map_while(Result::ok) {
                if challenge.scheme.eq_ignore_ascii_case("bearer") {
                    found.bearer = found.bearer.or_else(|| Bearer::read(&challenge, asked).map(Arc::new));
                } else if challenge.scheme.eq_ignore_ascii_case("basic") {
                    found.basic = true;
                }
            }
        }
        found
    }

    /// Whether there is no challenge that we can answer.
    pub(super) fn is_empty(&self) -> bool {
        self.bearer.is_none() && !self.basic
    }
}

impl Bearer {
    fn read(challenge: &ChallengeRef<'_>, asked: &Url) -> Option<Self> {
        let parameter = |name: &str| {
            let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found
                .map(|(_, value)| value.to_unescaped())
                .filter(|value| !value.is_empty() && value.len() <= MAX_PARAMETER)
        };
        let realm = asked.join(&parameter("realm")?).ok()?;
        if !matches!(realm.scheme(), "http" | "https") {
            return None;
        }
        let repository = parameter("scope").and_then(|scope| repository_of(&scope).map(str::to_owned));
        Some(Self { realm, service: parameter("service"), repository })
    }

    /// The scope to request. Always a single one, because some servers misread several; `name` is for challenges without.
    pub(super) fn scope(&self, name: &str) -> String {
        format!("repository:{}:pull", self.repository.as_deref().unwrap_or(name))
    }
}

/// The name in `repository:NAME:ACTIONS`; `None` for anything else, and for several scopes.
fn repository_of(scope: &str) -> Option<&str> {
    let (name, _actions) = scope.strip_prefix("repository:")?.rsplit_once(':')?;
    (!name.is_empty() && !scope.contains(char::is_whitespace)).then_some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(headers: &[&str]) -> Challenges {
        let mut map = HeaderMap::new();
        for value in headers {
            map.append(WWW_AUTHENTICATE, value.parse().unwrap());
        }
        Challenges::read(&map, &Url::parse("https://r.example/v2/a/manifests/b").unwrap())
    }

    fn scope(header: &str) -> String {
        read(&[header]).bearer.unwrap().scope("acme/web")
    }

    #[test]
    fn all_headers_are_read_and_what_is_garbled_is_skipped() {
        let found = read(&["Negotiate", "=garbled", "Bearer realm=\"https://t.example/token\"", "basic realm=\"x\""]);
        assert!(found.basic);
        assert_eq!(found.bearer.unwrap().realm.as_str(), "https://t.example/token");
        assert!(read(&["", "Bearer", "Bearer realm=\"ftp://x/\""]).is_empty());
        let joined = read(&["Basic realm=\"r\", Bearer realm=\"/token\",service=\"s\""]);
        assert_eq!(joined.bearer.unwrap().realm.as_str(), "https://r.example/token");
    }

    #[test]
    fn exactly_one_scope_is_asked_for() {
        for (challenge, wanted) in [
            ("", "repository:acme/web:pull"),
            (",scope=\"*\"", "repository:acme/web:pull"),
            (",scope=\"aws\"", "repository:acme/web:pull"),
            (",scope=\"repository:acme/web:pull\"", "repository:acme/web:pull"),
            (",scope=\"repository:other/name:pull,push\"", "repository:other/name:pull"),
            (",scope=\"repository:a:pull repository:b:pull\"", "repository:acme/web:pull"),
        ] {
            assert_eq!(scope(&format!("Bearer realm=\"https://t/\"{challenge}")), wanted, "{challenge}");
        }
    }
}
