//! `Retry-After` in every form that registries use: the header, and the text that GHCR puts into the body.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{Timestamp, civil};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// How long the header asks to wait. Zero for a time in the past; `None` if the header is malformed.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
    }
    // Relative to the server's own `Date`, if there is one, so that clock skew does not matter.
    let now = headers.get(DATE).and_then(|date| parse_date(date.to_str().ok()?)).unwrap_or_else(Timestamp::now);
    let until = parse_date(text)?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// How long a body asks to wait, as GHCR writes it without a header: `retry-after: 247.9µs, allowed: 44000/minute`.
pub(super) fn in_body(body: &[u8]) -> Option<Duration> {
    const WORD: &str = "retry-after";
    let text = String::from_utf8_lossy(body).to_ascii_lowercase();
    let at = text.find(WORD)?;
    let rest = text[at + WORD.len()..].trim_start_matches([' ', ':', '=', '"', '\\']);
    let end = rest.find(|c: char| !c.is_ascii_digit() && !".hmsnuµμ".contains(c)).unwrap_or(rest.len());
    go_duration(&rest[..end])
}

/// `1m2.5s`, as Go writes durations. A number without a unit is seconds.
fn go_duration(text: &str) -> Option<Duration> {
    if let Ok(seconds) = text.parse::<f64>() {
        return Duration::try_from_secs_f64(seconds).ok();
    }
    let (mut rest, mut total) = (text, 0.0);
    while !rest.is_empty() {
        let unit_at = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(unit_at);
        let unit_end = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit_end);
        let seconds = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * seconds;
        rest = after;
    }
    Duration::try_from_secs_f64(total).ok().filter(|_| !text.is_empty())
}

/// The three date formats of RFC 9110, section 5.6.7. A wrong weekday is tolerated.
fn parse_date(text: &str) -> Option<Timestamp> {
    static IMF: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);
    if let Ok(timestamp) = IMF.parse_timestamp(text) {
        return Some(timestamp);
    }
    let (_, rfc850) = text.split_once(", ").unwrap_or(("", text));
    let read = |format, text| civil::DateTime::strptime(format, text).ok()?.in_tz("UTC").ok();
    let zoned = read("%d-%b-%y %H:%M:%S GMT", rfc850).or_else(|| read("%a %b %e %H:%M:%S %Y", text))?;
    Some(zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wait(text: &str, date: &str) -> Option<u64> {
        let mut headers = HeaderMap::new();
        headers.insert(RETRY_AFTER, text.parse().unwrap());
        headers.insert(DATE, date.parse().unwrap());
        read(&headers).map(|wait| wait.as_secs())
    }

    #[test]
    fn every_form_is_read() {
        let now = "Mon, 23 Nov 2026 12:00:00 GMT";
        for (text, seconds) in [
            ("30", Some(30)),
            (" 30 ", Some(30)),
            ("1.5", Some(1)),
            ("0", Some(0)),
            ("-5", Some(0)),
            ("1e300", Some(u64::MAX)),
            ("Mon, 23 Nov 2026 12:01:00 GMT", Some(60)),
            ("Tue, 23 Nov 2026 12:01:00 GMT", Some(60)),
            ("Mon, 23 Nov 2026 11:00:00 GMT", Some(0)),
            ("Monday, 23-Nov-26 12:01:00 GMT", Some(60)),
            ("Mon Nov 23 12:01:00 2026", Some(60)),
            ("soon", None),
            ("", None),
            ("NaN", Some(0)),
        ] {
            assert_eq!(wait(text, now), seconds, "{text}");
        }
    }

    #[test]
    fn a_wait_is_found_in_a_body() {
        let ghcr = |wait: &str| {
            format!(
                r#"{{"errors":[{{"code":"TOOMANYREQUESTS","message":"retry-after: {wait}, allowed: 44000/minute"}}]}}"#
            )
        };
        for (body, millis) in [
            (ghcr("1.5s"), Some(1500)),
            (ghcr("247.9µs"), Some(0)),
            (ghcr("250ms"), Some(250)),
            (ghcr("1m2.5s"), Some(62_500)),
            (ghcr("30"), Some(30_000)),
            ("{\"Retry-After\": \"7\"}".to_owned(), Some(7_000)),
            (ghcr("soon"), None),
            (ghcr("1.2.3s"), None),
            (ghcr("5x"), Some(5_000)),
            ("retry-after".to_owned(), None),
            ("too many requests".to_owned(), None),
            (String::new(), None),
        ] {
            assert_eq!(in_body(body.as_bytes()).map(|wait| wait.as_millis()), millis, "{body}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_are_too_much(before: Vec<u8>, after: Vec<u8>) {
            let _ = in_body(&[&before, &b"retry-after:"[..], &after].concat());
            if let Ok(value) = reqwest::header::HeaderValue::from_bytes(&after) {
                let _ = read(&HeaderMap::from_iter([(RETRY_AFTER, value)]));
            }
        }
    }

    #[test]
    fn a_skew_between_the_clocks_does_not_matter() {
        assert_eq!(wait("Fri, 23 Nov 2001 12:01:00 GMT", "Fri, 23 Nov 2001 12:00:00 GMT"), Some(60));
    }
}
