//! A cron expression in a time zone, as crontab(5) has it.
//!
//! Where clocks change by up to three hours, what runs at fixed times runs once for each: right after the gap that has
//! swallowed it, and not again in an hour that comes twice. What has `*` in its minutes or hours follows the wall clock.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan, civil};

use super::Invalid;

/// A cron expression of five fields, or one of the nicknames.
pub(super) struct Crontab {
    cron: Box<Cron>,
    zone: TimeZone,
    /// Whether neither its minutes nor its hours begin with `*`.
    is_fixed: bool,
}

/// The fields of crontab(5) and their ranges.
const FIELDS: [(&str, u32, u32); 5] =
    [("minute", 0, 59), ("hour", 0, 23), ("day of month", 1, 31), ("month", 1, 12), ("day of week", 0, 7)];

const NICKNAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// A greater change corrects the calendar, as Samoa's did, and what it skips has never been.
const LARGEST_CHANGE: SignedDuration = SignedDuration::from_hours(3);

impl Crontab {
    /// The time zone that it is meant in.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(super) fn parse(text: &str, zone: &TimeZone) -> Result<Self, Invalid> {
        let is_fixed = if text.starts_with('@') {
            if !NICKNAMES.contains(&text) {
                let known = NICKNAMES.join(", ");
                return Err(Invalid(format!("{text:?} is not a schedule; known names are {known}")));
            }
            text != "@hourly"
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
            fields.iter().take(2).all(|field| !field.starts_with('*'))
        };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        let cron =
            parser.parse(text).map_err(|error| Invalid(format!("{text:?} is not a cron expression: {error}")))?;
        let crontab = Self { cron: Box::new(cron), zone: zone.clone(), is_fixed };
        match crontab.next(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(crontab),
            None => Err(Invalid(format!("{text:?} never comes: no date matches it"))),
        }
    }

    /// The first time that matches, strictly after `after`.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        if self.is_fixed { self.next_fixed(after) } else { self.next_on_the_wall_clock(after) }
    }

    fn next_fixed(&self, after: Timestamp) -> Option<Timestamp> {
        let mut civil = self.zone.to_datetime(after);
        loop {
            civil = self.cron.find_next_occurrence(&civil, false).ok()?;
            if let Some(found) = self.once(civil)
                && found > after
            {
                return Some(found);
            }
        }
    }

    /// When a time of the wall clock is: the first time of two, and the end of the gap that has swallowed it.
    fn once(&self, civil: civil::DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { before, after } => {
                let width = SignedDuration::from_secs((after.seconds() - before.seconds()).into());
                let behind = before.to_timestamp(civil).ok()?;
                // One nanosecond later, because the change itself may be asked for.
                let next = behind.checked_add(SignedDuration::from_nanos(1)).ok()?;
                let change = self.zone.preceding(next).next()?.timestamp();
                (width <= LARGEST_CHANGE).then_some(change)
            }
            _ => ambiguous.compatible().ok(),
        }
    }

    fn next_on_the_wall_clock(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = after.to_zoned(self.zone.clone());
        // A calendar day that a zone has skipped (Samoa, 2011-12-30) is an error of the search: go on behind it.
        for _ in 0..4 {
            match self.cron.find_next_occurrence(&from, false) {
                Ok(found) if found.timestamp() > after => return Some(found.timestamp()),
                Ok(_) => from = from.checked_add(1.minute()).ok()?,
                Err(_) => from = from.checked_add(1.day()).ok()?.start_of_day().ok()?,
            }
        }
        None
    }
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
