//! Validates the fields of a cron expression by the grammar of crontab(5), so that an error names the field and the
//! reason. The crate `croner` then parses the expression; its own errors say less and its grammar allows more.
//!
//! *Invariant:* a step longer than its field is an error, because cron would silently run at the first value only.

use std::ops::Range;

/// A field of crontab(5), with its range of values and their names.
struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    /// The names of the values, from `low` on.
    names: &'static [&'static str],
    /// The unit of the interval that an error suggests in place of a long step.
    unit: &'static str,
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, names: &[], unit: "m" },
    Field { name: "hour", low: 0, high: 23, names: &[], unit: "h" },
    Field { name: "day of month", low: 1, high: 31, names: &[], unit: "d" },
    Field {
        name: "month",
        low: 1,
        high: 12,
        names: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        unit: "d",
    },
    Field {
        name: "day of week",
        low: 0,
        high: 7,
        names: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        unit: "d",
    },
];

/// What is wrong, and the bytes of the expression that it concerns.
pub(super) struct Wrong {
    pub(super) reason: String,
    pub(super) at: Range<usize>,
}

/// Checks the number of fields and their values.
pub(super) fn check(text: &str) -> Result<(), Wrong> {
    let fields = fields(text);
    if fields.len() != FIELDS.len() {
        let hint = if fields.len() == 6 { "; if the first one is for seconds, drop it" } else { "" };
        let reason = format!(
            "a cron expression has five fields (minute, hour, day of month, month, day of week), not {}{hint}",
            fields.len()
        );
        return Err(Wrong { reason, at: 0..text.len() });
    }
    for ((start, written), field) in fields.into_iter().zip(&FIELDS) {
        let mut at = start;
        for part in written.split(',') {
            field
                .check(part)
                .map_err(|reason| Wrong { reason: format!("{}: {reason}", field.name), at: at..at + part.len() })?;
            at += part.len() + 1;
        }
    }
    Ok(())
}

/// The error for an expression with valid fields that matches no date.
pub(super) fn never_matches(text: &str) -> Wrong {
    match fields(text)[..] {
        [_, _, (start, day), (end, month), _] => Wrong {
            reason: format!("it never comes: no month of \"{month}\" has a day of \"{day}\""),
            at: start..end + month.len(),
        },
        _ => Wrong { reason: "it never comes: no date matches it".into(), at: 0..text.len() },
    }
}

/// The fields, each with the byte offset of its start.
fn fields(text: &str) -> Vec<(usize, &str)> {
    let mut end = 0;
    let found = text.split_whitespace().map(|field| {
        // There is only white space between the previous field and this one.
        let start = end + text[end..].find(field).unwrap_or(0);
        end = start + field.len();
        (start, field)
    });
    found.collect()
}

impl Field {
    /// Checks one element of the field's list: `*`, `5`, `1-5` or `MON-FRI`, with or without a step.
    fn check(&self, part: &str) -> Result<(), String> {
        let (range, step) = match part.split_once('/') {
            Some((range, step)) => (range, Some(step)),
            None => (part, None),
        };
        if range != "*" && !is_extension(range) {
            match range.split_once('-') {
                Some((from, to)) => {
                    let values = (self.value(from)?, self.value(to)?);
                    self.check_range(from, values, to)?;
                }
                None => drop(self.value(range)?),
            }
        }
        step.map_or(Ok(()), |step| self.check_step(part, step))
    }

    fn check_range(&self, from: &str, (first, last): (u32, u32), to: &str) -> Result<(), String> {
        if first <= last {
            return Ok(());
        }
        let (low, high) = (self.low, self.high);
        // Sunday is both the first and the last value (0 and 7).
        let remedy = if self.is_day_of_week() && last == low {
            format!("{from}-{high}")
        } else {
            format!("{first}-{high},{low}-{last}")
        };
        Err(format!("the range {from}-{to} runs backwards; write {remedy}"))
    }

    fn is_day_of_week(&self) -> bool {
        self.names.contains(&"SUN")
    }

    fn check_step(&self, part: &str, step: &str) -> Result<(), String> {
        let size = self.high - self.low + 1;
        let Ok(number) = step.parse::<u32>() else {
            return Err(format!("the step \"{step}\" is not a number; write for example */5"));
        };
        if number == 0 {
            return Err(format!("\"{part}\" has a step of 0; a step is at least 1"));
        }
        if number >= size {
            let unit = self.unit;
            return Err(format!(
                "the step of \"{part}\" does not fit into {size} values; for an interval write \"{number}{unit}\" as the schedule"
            ));
        }
        Ok(())
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let Self { name, low, high, names, .. } = self;
        if let Some(position) = names.iter().position(|known| known.eq_ignore_ascii_case(text)) {
            return Ok(low + position as u32);
        }
        let or_name = match names {
            [first, .., last] => format!(" or a name, {first} to {last}"),
            _ => String::new(),
        };
        if text.is_empty() {
            return Err(format!("a value is missing; it is a number from {low} to {high}{or_name}"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("\"{text}\" is not a {name}; it is a number from {low} to {high}{or_name}"));
        }
        match text.parse() {
            Ok(value) if (*low..=*high).contains(&value) => Ok(value),
            _ if *name == "hour" && text == "24" => Err("there is no hour 24; midnight is 0".into()),
            _ => Err(format!("there is no {name} {text}; it goes from {low} to {high}")),
        }
    }
}

/// Whether this is one of croner's extensions: `L` (the last), `15W` (the nearest weekday), `MON#2` (the second).
fn is_extension(range: &str) -> bool {
    let rest = range.trim_start_matches(|c: char| c.is_ascii_digit());
    range.contains(['#', '?']) || matches!(rest, "L" | "W" | "LW")
}
