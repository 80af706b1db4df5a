//! A cron expression in a time zone, with the behaviour of cron(8) when clocks change.
//!
//! When clocks change by up to three hours, a job at a fixed time still runs exactly once: right after the gap if its
//! time is skipped, and not again if its time is repeated. A job with `*` in its minutes or hours follows the wall
//! clock.

use croner::Cron;
use croner::parser::{CronParser, Seconds, Year};
use jiff::tz::{AmbiguousOffset, TimeZone};
use jiff::{SignedDuration, Timestamp, ToSpan, civil};

use super::fields;
use super::invalid::InvalidSchedule;

/// A cron expression of five fields, or a nickname such as `@daily`.
pub(super) struct Crontab {
    cron: Box<Cron>,
    zone: TimeZone,
    /// Whether it runs at fixed times: neither the minutes nor the hours begin with `*`.
    is_fixed: bool,
}

const NICKNAMES: [&str; 7] = ["@yearly", "@annually", "@monthly", "@weekly", "@daily", "@midnight", "@hourly"];

/// The largest change of the clocks after which a skipped time is made up for, as in cron(8). A greater one corrects
/// the calendar, as in Samoa in 2011, and a job of a day that never was does not run.
const MAX_CLOCK_CHANGE: SignedDuration = SignedDuration::from_hours(3);

impl Crontab {
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
        // After our own check, croner only rejects its extensions in fields that do not support them.
        let cron = parser.parse(text).map_err(|_| {
            let reason = "is not a cron expression; it has L, W, # or ? where they have no meaning";
            InvalidSchedule::whole(text, format!("{text:?} {reason}"))
        })?;
        let crontab = Self { cron: Box::new(cron), zone: zone.clone(), is_fixed };
        match crontab.next(Timestamp::UNIX_EPOCH) {
            Some(_) => Ok(crontab),
            None => Err(wrong(fields::never_matches(text))),
        }
    }

    /// The first matching time strictly after `after`.
    pub(super) fn next(&self, after: Timestamp) -> Option<Timestamp> {
        if self.is_fixed { self.next_fixed(after) } else { self.next_by_wall_clock(after) }
    }

    fn next_fixed(&self, after: Timestamp) -> Option<Timestamp> {
        let mut civil = self.zone.to_datetime(after);
        loop {
            civil = self.cron.find_next_occurrence(&civil, false).ok()?;
            if let Some(found) = self.instant_of(civil)
                && found > after
            {
                return Some(found);
            }
        }
    }

    /// The single instant at which a job of this wall-clock time runs: the first of two if the time is repeated, the
    /// end of the gap if it is skipped.
    fn instant_of(&self, civil: civil::DateTime) -> Option<Timestamp> {
        let ambiguous = self.zone.to_ambiguous_timestamp(civil);
        match ambiguous.offset() {
            AmbiguousOffset::Gap { before, after } => {
                let width = SignedDuration::from_secs((after.seconds() - before.seconds()).into());
                let behind = before.to_timestamp(civil).ok()?;
                // `preceding` excludes its argument, and `behind` may be the instant of the change itself.
                let next = behind.checked_add(SignedDuration::from_nanos(1)).ok()?;
                let change = self.zone.preceding(next).next()?.timestamp();
                (width <= MAX_CLOCK_CHANGE).then_some(change)
            }
            _ => ambiguous.compatible().ok(),
        }
    }

    fn next_by_wall_clock(&self, after: Timestamp) -> Option<Timestamp> {
        let mut from = after.to_zoned(self.zone.clone());
        // The search fails on a calendar day that the zone skipped (Samoa, 2011-12-30), and may return a time that is
        // not after `after` in a repeated hour, so move on and try again. The tries are bounded so that the search
        // ends.
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
