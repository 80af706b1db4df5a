//! `Retry-After` in every form that registries write it.

use std::time::Duration;

use jiff::fmt::rfc2822::DateTimeParser;
use jiff::{Timestamp, civil};
use reqwest::header::{DATE, HeaderMap, RETRY_AFTER};

/// How long the header asks to wait; a time that has passed is no wait, a garbled header says nothing.
pub(super) fn read(headers: &HeaderMap) -> Option<Duration> {
    let text = headers.get(RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse::<f64>() {
        return Some(Duration::try_from_secs_f64(seconds.max(0.0)).unwrap_or(Duration::MAX));
    }
    // Counted from the server's own clock where it tells it, so that a skew between the two does not matter.
    let now = headers.get(DATE).and_then(|date| parse_date(date.to_str().ok()?)).unwrap_or_else(Timestamp::now);
    let until = parse_date(text)?;
    Some(Duration::try_from(until.duration_since(now)).unwrap_or(Duration::ZERO))
}

/// The three forms of RFC 9110, section 5.6.7; a weekday that does not fit is forgiven.
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
    fn a_skew_between_the_clocks_does_not_matter() {
        assert_eq!(wait("Fri, 23 Nov 2001 12:01:00 GMT", "Fri, 23 Nov 2001 12:00:00 GMT"), Some(60));
    }
}
