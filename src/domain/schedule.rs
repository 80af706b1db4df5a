//! When a watch is due: an interval with a stable phase, or a cron expression in a time zone.
//!
//! *Invariant:* due times follow from the schedule and the watch's name alone, so nothing about them is stored and a
//! restart neither forgets nor repeats one. The next due time is always in the future.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp, ToSpan};

/// An interval or a cron expression.
pub struct Schedule {
    text: String,
    kind: Kind,
}

enum Kind {
    Every(Duration),
    Cron { cron: Box<Cron>, zone: TimeZone },
}

/// Why a text is not a schedule, with the remedy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

/// Intervals shorter than this are an attack, longer ones a mistake.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(366 * 86_400);

/// The fields of crontab(5) and their ranges.
const FIELDS: [(&str, u32, u32); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7)];

const NICKNAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// The same text in the same zone.
impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        let zone = |schedule: &Self| match &schedule.kind {
            Kind::Every(_) => None,
            Kind::Cron { zone, .. } => Some(zone.clone()),
        };
        self.text == other.text && zone(self) == zone(other)
    }
}

impl Schedule {
    /// Reads an interval (`15m`, `1h 30m`, `3d`) or a five-field cron expression; `zone` is for cron.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, Invalid> {
        let text = text.trim();
        let kind = if text.starts_with('@') || text.split_whitespace().count() >= 5 {
            Kind::Cron { cron: Box::new(parse_cron(text, zone)?), zone: zone.clone() }
        } else {
            Kind::Every(parse_interval(text)?)
        };
        Ok(Self { text: text.to_owned(), kind })
    }

    /// The first due time after `after` for the watch of this name; `jitter` spreads cron's.
    pub fn next(&self, name: &str, jitter: Duration, after: Timestamp) -> Timestamp {
        match &self.kind {
            Kind::Every(interval) => next_interval(*interval, name, after),
            Kind::Cron { cron, zone } => next_cron(cron, zone, name, jitter, after),
        }
    }

    /// The interval, where it is one.
    pub fn interval(&self) -> Option<Duration> {
        match self.kind {
            Kind::Every(interval) => Some(interval),
            Kind::Cron { .. } => None,
        }
    }
}

/// Reads a duration as people write it: `90s`, `15m`, `1h 30m`, `3d`, `2w`. A day is 24 hours.
pub fn parse_duration(text: &str) -> Result<Duration, Invalid> {
    let wrong =
        || Invalid(format!("{text:?} is not a duration; write for example \"30s\", \"15m\", \"1h 30m\" or \"3d\""));
    let span = jiff::Span::from_str(text).map_err(|_| wrong())?;
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| wrong())?;
    Duration::try_from(length).map_err(|_| Invalid(format!("{text:?} is a negative duration")))
}

fn parse_interval(text: &str) -> Result<Duration, Invalid> {
    let interval = parse_duration(text).map_err(|_| {
        Invalid(format!("{text:?} is neither a duration nor a cron expression; try \"15m\" or \"*/15 * * * *\""))
    })?;
    if !INTERVALS.contains(&interval) {
        return Err(Invalid(format!("an interval of {text:?} is out of range; it is at least 1 s and at most a year")));
    }
    Ok(interval)
}

fn parse_cron(text: &str, zone: &TimeZone) -> Result<Cron, Invalid> {
    if text.starts_with('@') {
        if !NICKNAMES.contains(&text) {
            return Err(Invalid(format!("{text:?} is not a schedule; known names are {}", NICKNAMES.join(", "))));
        }
    } else {
        let fields: Vec<&str> = text.split_whitespace().collect();
        if fields.len() != FIELDS.len() {
            let found = fields.len();
            return Err(Invalid(format!(
                "a cron expression has five fields (minute, hour, day of month, month, day of week), not {found}"
            )));
        }
        for (field, (name, low, high)) in fields.iter().zip(FIELDS) {
            check_steps(field, name, high - low + 1)?;
        }
    }
    let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
    let cron = parser.parse(text).map_err(|error| Invalid(format!("{text:?} is not a cron expression: {error}")))?;
    if occurrence(&cron, zone, Timestamp::UNIX_EPOCH).is_none() {
        return Err(Invalid(format!("{text:?} never comes: no date matches it")));
    }
    Ok(cron)
}

/// Refuses a step that is larger than its field: it would silently mean "only the first value".
fn check_steps(field: &str, name: &str, size: u32) -> Result<(), Invalid> {
    for part in field.split(',') {
        if let Some((_, step)) = part.split_once('/')
            && step.parse::<u32>().is_ok_and(|step| step == 0 || step >= size.max(2))
        {
            return Err(Invalid(format!(
                "the step of {part:?} does not fit into the field \"{name}\" of {size} values"
            )));
        }
    }
    Ok(())
}

fn next_interval(interval: Duration, name: &str, after: Timestamp) -> Timestamp {
    let length = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let phase = (hash(name.as_bytes()) % length.unsigned_abs()) as i64;
    let next = after.as_millisecond() - (after.as_millisecond() - phase).rem_euclid(length) + length;
    Timestamp::from_millisecond(next).unwrap_or(Timestamp::MAX)
}

fn next_cron(cron: &Cron, zone: &TimeZone, name: &str, jitter: Duration, after: Timestamp) -> Timestamp {
    let jitter = SignedDuration::try_from(jitter).unwrap_or(SignedDuration::ZERO);
    let mut from = after.checked_sub(jitter).unwrap_or(after);
    let mut found = occurrence(cron, zone, from);
    while let Some(this) = found {
        // Spread no further than up to the next occurrence, so that due times keep their order.
        let next = if jitter.is_zero() { None } else { occurrence(cron, zone, this) };
        let room = next.map_or(jitter, |next| jitter.min(next.duration_since(this)));
        let due = this.checked_add(spread(name, room, this)).unwrap_or(Timestamp::MAX);
        if due > after {
            return due;
        }
        from = this;
        found = next.or_else(|| occurrence(cron, zone, from));
    }
    // Only at the end of representable time: a schedule that never comes is refused when it is read.
    Timestamp::MAX
}

/// The first match strictly after `after`.
fn occurrence(cron: &Cron, zone: &TimeZone, after: Timestamp) -> Option<Timestamp> {
    let mut from = after.to_zoned(zone.clone());
    // A calendar day that a zone has skipped (Samoa, 2011-12-30) is an error of the search: go on behind it.
    for _ in 0..4 {
        match cron.find_next_occurrence(&from, false) {
            Ok(found) if found.timestamp() > after => return Some(found.timestamp()),
            Ok(_) => from = from.checked_add(1.minute()).ok()?,
            Err(_) => from = from.checked_add(1.day()).ok()?.start_of_day().ok()?,
        }
    }
    None
}

/// A part of `jitter` that is stable for a watch and an occurrence.
fn spread(name: &str, jitter: SignedDuration, occurrence: Timestamp) -> SignedDuration {
    let length = u64::try_from(jitter.as_millis()).unwrap_or(0);
    if length == 0 {
        return SignedDuration::ZERO;
    }
    let seed = hash(name.as_bytes()) ^ hash(&occurrence.as_second().to_le_bytes());
    SignedDuration::from_millis((seed % length) as i64)
}

/// FNV-1a with a final mix: stable over releases and machines, which the standard library's hasher is not.
fn hash(bytes: &[u8]) -> u64 {
    let fnv = bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3));
    let mixed = (fnv ^ (fnv >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    mixed ^ (mixed >> 33)
}

impl fmt::Display for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Schedule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Schedule({})", self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    fn next(schedule: &str, zone: &str, after: &str) -> String {
        let zone = TimeZone::get(zone).unwrap();
        Schedule::parse(schedule, &zone).unwrap().next("web", Duration::ZERO, at(after)).to_string()
    }

    #[test]
    fn durations_are_read_as_people_write_them() {
        for (text, seconds) in
            [("30s", 30), ("15m", 900), ("1h30m", 5400), ("1h 30m", 5400), ("3d", 259_200), ("2w", 1_209_600)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        for text in ["", "5", "every 5x", "-5m", "1month", "m"] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn cron_follows_crontab() {
        assert_eq!(next("*/5 * * * *", "UTC", "2026-11-23T12:01:00Z"), "2026-11-23T12:05:00Z");
        assert_eq!(next("@daily", "Europe/Berlin", "2026-11-23T12:01:00Z"), "2026-11-23T23:00:00Z");
        // Sunday is 0 and 7; day of month and day of week are joined by "or".
        assert_eq!(next("0 0 * * 0", "UTC", "2026-11-23T12:00:00Z"), "2026-11-29T00:00:00Z");
        assert_eq!(next("0 0 * * 7", "UTC", "2026-11-23T12:00:00Z"), "2026-11-29T00:00:00Z");
        assert_eq!(next("0 0 1 * 2", "UTC", "2026-11-23T12:00:00Z"), "2026-11-24T00:00:00Z");
    }

    #[test]
    fn a_day_that_a_zone_skipped_is_passed_over() {
        let due = next("0 12 * * *", "Pacific/Apia", "2011-12-30T00:00:00Z");
        assert!(at(&due) > at("2011-12-30T00:00:00Z"), "{due}");
    }

    #[test]
    fn what_cannot_be_meant_is_refused() {
        for (text, part) in [
            ("every 5x", "neither a duration nor a cron expression"),
            ("0 0 31 2 *", "never comes"),
            ("*/100 * * * *", "does not fit"),
            ("*/0 * * * *", "does not fit"),
            ("61 * * * *", "not a cron expression"),
            ("0 * * * * *", "five fields"),
            ("@reboot", "known names"),
            ("0s", "out of range"),
            ("10ms", "out of range"),
        ] {
            let error = Schedule::parse(text, &TimeZone::UTC).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    #[test]
    fn watches_with_one_interval_are_spread_over_it() {
        let schedule = Schedule::parse("15m", &TimeZone::UTC).unwrap();
        let now = at("2026-11-23T12:00:00Z");
        let mut per_minute = [0; 15];
        for n in 0..1500 {
            let due = schedule.next(&format!("watch-{n}"), Duration::ZERO, now);
            per_minute[((due.as_second() - now.as_second()) / 60).min(14) as usize] += 1;
        }
        assert!(per_minute.iter().all(|n| (60..=140).contains(n)), "{per_minute:?}");
    }

    proptest::proptest! {
        #[test]
        fn the_next_due_time_is_in_the_future_and_none_is_skipped(
            schedule in proptest::sample::select(vec!["1s", "15m", "7h", "*/5 * * * *", "30 2 * * *", "@weekly"]),
            zone in proptest::sample::select(vec!["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe"]),
            jitter in 0u64..600,
            after in 1_500_000_000_000i64..2_000_000_000_000,
        ) {
            let zone = TimeZone::get(zone).unwrap();
            let schedule = Schedule::parse(schedule, &zone).unwrap();
            let jitter = Duration::from_secs(jitter);
            let after = Timestamp::from_millisecond(after).unwrap();
            let due = schedule.next("web", jitter, after);
            proptest::prop_assert!(due > after);
            // Asked again from anywhere in between, the answer is the same: a restart repeats and forgets nothing.
            let middle = after + due.duration_since(after) / 2;
            proptest::prop_assert_eq!(schedule.next("web", jitter, middle), due);
        }
    }
}
