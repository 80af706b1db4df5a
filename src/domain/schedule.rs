//! Schedules: an interval with a stable phase, or a cron expression in a time zone.
//!
//! *Invariant:* due times depend only on the schedule, the jitter and the watch's name, so they need not be stored, and
//! a restart neither skips nor repeats one. The next due time is always in the future.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crontab::Crontab;

mod crontab;
mod fields;
mod invalid;

pub use invalid::InvalidSchedule;

pub struct Schedule {
    text: String,
    kind: ScheduleKind,
}

enum ScheduleKind {
    Every(Duration),
    Cron(Crontab),
}

/// The allowed intervals. A shorter one would hammer the registry, a longer one is surely a mistake.
const INTERVALS: std::ops::RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_secs(366 * 86_400);

/// Schedules are equal if text and time zone are.
impl PartialEq for Schedule {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text && self.zone() == other.zone()
    }
}

impl Schedule {
    /// Parses an interval (`15m`, `1h 30m`, `3d`) or a five-field cron expression, which applies in `zone`.
    pub fn parse(text: &str, zone: &TimeZone) -> Result<Self, InvalidSchedule> {
        let indent = text.len() - text.trim_start().len();
        let text = text.trim();
        let is_cron = text.starts_with('@') || text.contains('*') || text.split_whitespace().count() >= 5;
        let kind = if let Some(wrong) = names_its_zone(text) {
            Err(wrong)
        } else if is_cron {
            Crontab::parse(text, zone).map(ScheduleKind::Cron)
        } else {
            parse_interval(text).map(ScheduleKind::Every)
        };
        match kind {
            Ok(kind) => Ok(Self { text: text.to_owned(), kind }),
            Err(wrong) => Err(InvalidSchedule { at: indent + wrong.at.start..indent + wrong.at.end, ..wrong }),
        }
    }

    /// The first due time after `after` for the watch `name`. Due times of a cron expression are delayed by up to
    /// `jitter`.
    pub fn next(&self, name: &str, jitter: Duration, after: Timestamp) -> Timestamp {
        match &self.kind {
            ScheduleKind::Every(interval) => next_interval(*interval, name, after),
            ScheduleKind::Cron(crontab) => next_cron(crontab, name, jitter, after),
        }
    }

    /// The time zone of a cron expression.
    pub fn zone(&self) -> Option<&TimeZone> {
        match &self.kind {
            ScheduleKind::Every(_) => None,
            ScheduleKind::Cron(crontab) => Some(crontab.zone()),
        }
    }

    pub fn interval(&self) -> Option<Duration> {
        match self.kind {
            ScheduleKind::Every(interval) => Some(interval),
            ScheduleKind::Cron(_) => None,
        }
    }

    /// Due times per hour. For a cron expression, they are counted in the hour that starts with the first due time.
    pub fn per_hour(&self) -> f64 {
        match &self.kind {
            ScheduleKind::Every(interval) => 3600.0 / interval.as_secs_f64(),
            ScheduleKind::Cron(crontab) => {
                let first = crontab.next(Timestamp::UNIX_EPOCH);
                let (mut count, mut next) = (0, first);
                while let (Some(this), Some(first)) = (next, first)
                    && this.duration_since(first) < SignedDuration::from_hours(1)
                {
                    count += 1;
                    next = crontab.next(this);
                }
                f64::from(count)
            }
        }
    }
}

/// Parses a duration such as `90s`, `15m`, `1h 30m`, `3d` or `2w`. A day is 24 hours.
pub fn parse_duration(text: &str) -> Result<Duration, InvalidSchedule> {
    let wrong = |reason: &str| InvalidSchedule::whole(text, format!("{text:?} {reason}"));
    let not_a_duration = || wrong("is not a duration; write for example \"30s\", \"15m\", \"1h 30m\" or \"3d\"");
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return Err(wrong(&format!("has no unit; write for example \"{text}s\" or \"{text}m\"")));
    }
    let span = jiff::Span::from_str(text).map_err(|_| not_a_duration())?;
    if span.get_months() != 0 || span.get_years() != 0 {
        return Err(wrong("has no fixed length; write it in days, as in \"30d\""));
    }
    let length = span.to_duration(jiff::SpanRelativeTo::days_are_24_hours()).map_err(|_| not_a_duration())?;
    Duration::try_from(length).map_err(|_| wrong("is a negative duration; leave the minus out"))
}

/// Some crons read a time zone at the head of an expression, as in `CRON_TZ=Europe/Berlin 0 3 * * *`.
fn names_its_zone(text: &str) -> Option<InvalidSchedule> {
    let (head, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    let zone = head.strip_prefix("CRON_TZ=").or_else(|| head.strip_prefix("TZ="))?;
    let rest = rest.trim();
    let reason = format!("{text:?} names its time zone; write schedule = {rest:?} and timezone = {zone:?}");
    Some(InvalidSchedule { reason, at: 0..head.len() })
}

fn parse_interval(text: &str) -> Result<Duration, InvalidSchedule> {
    let interval = parse_duration(text).map_err(|wrong| {
        let is_bare = text.bytes().all(|byte| byte.is_ascii_digit()) && !text.is_empty();
        let reason = format!("{text:?} is neither a duration nor a cron expression; try \"15m\" or \"*/15 * * * *\"");
        if is_bare { wrong } else { InvalidSchedule::whole(text, reason) }
    })?;
    if !INTERVALS.contains(&interval) {
        let reason = format!("an interval of {text:?} is out of range; it is at least 1 s and at most a year");
        return Err(InvalidSchedule::whole(text, reason));
    }
    Ok(interval)
}

fn next_interval(interval: Duration, name: &str, after: Timestamp) -> Timestamp {
    let length = i64::try_from(interval.as_millis()).unwrap_or(i64::MAX).max(1);
    let phase = (hash(name.as_bytes()) % length.unsigned_abs()) as i64;
    let next = after.as_millisecond() - (after.as_millisecond() - phase).rem_euclid(length) + length;
    Timestamp::from_millisecond(next).unwrap_or(Timestamp::MAX)
}

fn next_cron(crontab: &Crontab, name: &str, jitter: Duration, after: Timestamp) -> Timestamp {
    let jitter = SignedDuration::try_from(jitter).unwrap_or(SignedDuration::ZERO);
    let mut from = after.checked_sub(jitter).unwrap_or(after);
    let mut found = crontab.next(from);
    while let Some(this) = found {
        // The delay ends before the next occurrence, so that due times keep their order.
        let next = if jitter.is_zero() { None } else { crontab.next(this) };
        let room = next.map_or(jitter, |next| jitter.min(next.duration_since(this)));
        let due = this.checked_add(stable_delay(name, room, this)).unwrap_or(Timestamp::MAX);
        if due > after {
            return due;
        }
        from = this;
        found = next.or_else(|| crontab.next(from));
    }
    // Only reached at the end of representable time: parsing rejects a schedule that never matches.
    Timestamp::MAX
}

/// A delay below `jitter`, always the same for this watch and occurrence.
fn stable_delay(name: &str, jitter: SignedDuration, occurrence: Timestamp) -> SignedDuration {
    let length = u64::try_from(jitter.as_millis()).unwrap_or(0);
    if length == 0 {
        return SignedDuration::ZERO;
    }
    let seed = hash(name.as_bytes()) ^ hash(&occurrence.as_second().to_le_bytes());
    SignedDuration::from_millis((seed % length) as i64)
}

/// FNV-1a with a final mix. Unlike the hasher of the standard library, it is stable across releases and machines.
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
mod tests;
