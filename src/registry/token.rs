//! One request to a token endpoint.
//!
//! Protocol: CNCF Distribution, "Token Authentication Specification".

use std::sync::Arc;
use std::time::{Duration, Instant};

use reqwest::header::HeaderValue;
use reqwest::{Method, Url};
use serde::Deserialize;
use tracing::debug;

use super::challenge::Bearer;
use super::endpoint::host_of;
use super::error::Error;
use super::login::{Login, authorization};
use super::slots::Grant;
use super::transport::{OutgoingRequest, Response, Tally, Transport};

/// The lifetime of a token if the endpoint gives none, and the minimum, both from the specification.
const MIN_LIFETIME: Duration = Duration::from_secs(60);
const MAX_TOKEN_ANSWER: usize = 1 << 20;

/// Some endpoints send `token`, some `access_token`, some both.
#[derive(Deserialize)]
struct TokenResponse {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<f64>,
}

/// Requests a token for one scope, with a login or anonymously.
pub(super) async fn mint(
    transport: &Transport,
    bearer: &Bearer,
    scope: &str,
    login: Option<&Arc<Login>>,
    tally: &mut Tally,
) -> Result<Grant, Error> {
    let asked = Instant::now();
    debug!(realm = host_of(&bearer.realm), service = bearer.service, scope, "a token is asked for, by {}", whom(login));
    let mut response = None;
    if let Some(secret) = login.and_then(|login| login.identity_token()) {
        response = exchange(transport, bearer, scope, secret, tally).await?;
    }
    let response = match response {
        Some(response) => response,
        None => {
            let url = with_pairs(&bearer.realm, &asking(bearer, scope));
            transport.send(&request(Method::GET, url, login.and_then(|login| login.basic()), None), tally).await?
        }
    };
    let host = host_of(&bearer.realm);
    match response.status().as_u16() {
        200 => {}
        status @ (400 | 401 | 403) => {
            let reason = format!("its token endpoint answered {status} to {}", whom(login));
            return Err(Error::Unauthorized { host, status, reason });
        }
        _ => return Err(response.error().await),
    }
    let body = response.body(MAX_TOKEN_ANSWER).await?.unwrap_or_default();
    let (header, used_for) =
        read(&body).ok_or_else(|| Error::Protocol { host, reason: "its token endpoint gave no token".into() })?;
    debug!(?used_for, "a token is granted");
    // Counted from before the request, so that network delay cannot make it last too long.
    Ok(Grant { header, login: login.cloned(), expires: Some(asked + used_for) })
}

/// Exchanges an identity token for an access token. `None` if the endpoint does not support that: GCR answers 404,
/// Artifactory 401, Azure 400, others 405.
async fn exchange(
    transport: &Transport,
    bearer: &Bearer,
    scope: &str,
    secret: &str,
    tally: &mut Tally,
) -> Result<Option<Response>, Error> {
    let mut pairs = vec![("grant_type", "refresh_token"), ("client_id", "taghook"), ("refresh_token", secret)];
    pairs.extend(asking(bearer, scope));
    let mut form = bearer.realm.clone();
    form.set_query(None);
    let form = with_pairs(&form, &pairs).query().map(str::to_owned);
    let response = transport.send(&request(Method::POST, bearer.realm.clone(), None, form), tally).await?;
    Ok(Some(response).filter(|response| !matches!(response.status().as_u16(), 400 | 401 | 404 | 405)))
}

fn asking<'a>(bearer: &'a Bearer, scope: &'a str) -> Vec<(&'a str, &'a str)> {
    let service = bearer.service.as_deref().map(|service| ("service", service));
    service.into_iter().chain([("scope", scope)]).collect()
}

fn with_pairs(url: &Url, pairs: &[(&str, &str)]) -> Url {
    let mut url = url.clone();
    url.query_pairs_mut().extend_pairs(pairs);
    url
}

fn request(method: Method, url: Url, authorization: Option<HeaderValue>, form: Option<String>) -> OutgoingRequest {
    OutgoingRequest { method, url, accept: HeaderValue::from_static("application/json"), authorization, form }
}

/// The token as an `Authorization` header, and for how long it is used.
pub(super) fn read(body: &[u8]) -> Option<(HeaderValue, Duration)> {
    let answer: TokenResponse = serde_json::from_slice(body).ok()?;
    let text = [answer.token, answer.access_token].into_iter().flatten().find(|text| !text.is_empty())?;
    let header = authorization("Bearer", &text)?;
    let lifetime = answer.expires_in.and_then(|seconds| Duration::try_from_secs_f64(seconds).ok());
    let lifetime = lifetime.unwrap_or(MIN_LIFETIME).clamp(MIN_LIFETIME, Duration::from_secs(86_400));
    // Stop using it early, since it must still be valid when a request arrives.
    Some((header, lifetime - lifetime / 10))
}

fn whom(login: Option<&Arc<Login>>) -> String {
    login.map_or("an anonymous request".into(), |login| format!("the login of {:?}", login.username))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lifetime(body: &str) -> Option<(String, u64)> {
        let (header, used_for) = read(body.as_bytes())?;
        Some((header.to_str().ok()?.to_owned(), used_for.as_secs()))
    }

    #[test]
    fn every_form_of_answer_is_read() {
        for (body, expected) in [
            (r#"{"token":"a","expires_in":300}"#, Some(("Bearer a", 270))),
            (r#"{"access_token":"b","issued_at":"x"}"#, Some(("Bearer b", 54))),
            (r#"{"token":"a","access_token":"b","expires_in":0}"#, Some(("Bearer a", 54))),
            (r#"{"token":"","access_token":"b","expires_in":null}"#, Some(("Bearer b", 54))),
            (r#"{"token":"a","expires_in":-1}"#, Some(("Bearer a", 54))),
            (r#"{"token":"a\nb"}"#, None),
            (r#"{}"#, None),
            ("<html>", None),
        ] {
            let expected = expected.map(|(header, seconds)| (header.to_owned(), seconds));
            assert_eq!(lifetime(body), expected, "{body}");
        }
    }
}
