//! The fields of a cron expression, checked by the grammar of crontab(5), so that a refusal names the field and the
//! reason. What has passed is read by croner, which would say less and let more through.
//!
//! *Invariant:* a step that is longer than its field is refused: it would silently mean "only the first value".

use std::ops::Range;

/// A field of crontab(5): its name, its values, and the words that stand for them.
struct Field {
    name: &'static str,
    low: u32,
    high: u32,
    words: &'static [&'static str],
    /// The unit of the interval that a long step probably means.
    unit: &'static str,
}

const FIELDS: [Field; 5] = [
    Field { name: "minute", low: 0, high: 59, words: &[], unit: "m" },
    Field { name: "hour", low: 0, high: 23, words: &[], unit: "h" },
    Field { name: "day of month", low: 1, high: 31, words: &[], unit: "d" },
    Field {
        name: "month",
        low: 1,
        high: 12,
        words: &["JAN", "FEB", "MAR", "APR", "MAY", "JUN", "JUL", "AUG", "SEP", "OCT", "NOV", "DEC"],
        unit: "d",
    },
    Field {
        name: "day of week",
        low: 0,
        high: 7,
        words: &["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"],
        unit: "d",
    },
];

/// What is wrong, and the bytes of the expression that are meant.
pub(super) struct Wrong {
    pub(super) reason: String,
    pub(super) at: Range<usize>,
}

/// Checks number and values of the fields.
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

/// Why an expression whose fields are right has no date, or is not understood all the same.
pub(super) fn never(text: &str) -> Wrong {
    match fields(text)[..] {
        [_, _, (start, day), (end, month), _] => Wrong {
            reason: format!("it never comes: no month of \"{month}\" has a day of \"{day}\""),
            at: start..end + month.len(),
        },
        _ => Wrong { reason: "it never comes: no date matches it".into(), at: 0..text.len() },
    }
}

/// The fields, and where each starts.
fn fields(text: &str) -> Vec<(usize, &str)> {
    let mut end = 0;
    let found = text.split_whitespace().map(|field| {
        // Only white space stands between the last field and this one.
        let start = end + text[end..].find(field).unwrap_or(0);
        end = start + field.len();
        (start, field)
    });
    found.collect()
}

impl Field {
    /// Checks one part of the field's list: `*`, `5`, `1-5`, `MON-FRI`, each perhaps with a step.
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
        // Sunday is both ends of the week.
        let remedy = if self.is_week() && last == low {
            format!("{from}-{high}")
        } else {
            format!("{first}-{high},{low}-{last}")
        };
        Err(format!("the range {from}-{to} runs backwards; write {remedy}"))
    }

    fn is_week(&self) -> bool {
        self.words.contains(&"SUN")
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
        let Self { name, low, high, words, .. } = self;
        if let Some(position) = words.iter().position(|word| word.eq_ignore_ascii_case(text)) {
            return Ok(low + position as u32);
        }
        let or_words = match words {
            [first, .., last] => format!(" or a name, {first} to {last}"),
            _ => String::new(),
        };
        if text.is_empty() {
            return Err(format!("a value is missing; it is a number from {low} to {high}{or_words}"));
        }
        if !text.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(format!("\"{text}\" is not a {name}; it is a number from {low} to {high}{or_words}"));
        }
        match text.parse() {
            Ok(value) if (*low..=*high).contains(&value) => Ok(value),
            _ if *name == "hour" && text == "24" => Err("there is no hour 24; midnight is 0".into()),
            _ => Err(format!("there is no {name} {text}; it goes from {low} to {high}")),
        }
    }
}

/// What croner knows beyond crontab(5), such as `L` (the last), `15W` (the nearest weekday), `MON#2` (the second).
fn is_extension(range: &str) -> bool {
    let rest = range.trim_start_matches(|c: char| c.is_ascii_digit());
    range.contains(['#', '?']) || matches!(rest, "L" | "W" | "LW")
}
