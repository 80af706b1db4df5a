//! A cron expression in a time zone, as crontab(5) has it.
//!
//! Where clocks change by up to three hours, what runs at fixed times runs once for each: right after the gap that has
//! swallowed it, and not again in an hour that comes twice. What has `*` in its minutes or hours follows the wall clock.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan, civil};

use super::fields;
use super::invalid::InvalidSchedule;

/// A cron expression of five fields, or one of the nicknames.
pub(super) struct Crontab {
    cron: Box<Cron>,
    zone: TimeZone,
    /// Whether neither its minutes nor its hours begin with `*`.
    is_fixed: bool,
}

const NICKNAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// A greater change corrects the calendar, as Samoa's did, and what it skips has never been.
const LARGEST_CHANGE: SignedDuration = SignedDuration::from_hours(3);

impl Crontab {
    /// The time zone that it is meant in.
    pub(super) fn zone(&self) -> &TimeZone {
        &self.zone
    }

    pub(super) fn parse(text: &str, zone: &TimeZone) -> Result<Self, InvalidSchedule> {
        let wrong =
            |wrong: fields::Wrong| InvalidSchedule { reason: format!("{text:?}: {}", wrong.reason), at: wrong.at };
        let is_fixed = if !text.starts_with('@') {
            fields::check(text).map_err(wrong)?;
            text.split_whitespace().take(2).all(|field| !field.starts_with('*'))
        } else if NICKNAMES.contains(&text) {
            text != "@hourly"
        } else {
            let reason = match text.strip_prefix("@every ") {
                Some(interval) => format!("{text:?} is not a schedule; write \"{}\"", interval.trim()),
                None => format!("{text:?} is not a schedule; known names are {}", NICKNAMES.join(", ")),
            };
            return Err(InvalidSchedule::whole(text, reason));
        };
        let parser = CronParser::builder().seconds(Seconds::Disallowed).year(Year::Disallowed).build();
        // What passes our check and not croner's are its own extensions, in places where it does not take them.
        let cron = parser.parse(text).map_err(|_| {
            let reason = "is not a cron expression; it has L, W, # or ? where they have no meaning";
            InvalidSchedule::whole(text, format!("{text:?} {reason}"))
        })?;
        let crontab = Self { cron: Box::new(cron), zone: zone.clone(), is_fixed };
        match crontab.next(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(crontab),
            None => Err(wrong(fields::never(text))),
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
