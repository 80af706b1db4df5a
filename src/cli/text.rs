//! How things look: tables, colours on a terminal only, ages, short digests.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use jiff::Timestamp;
use jiff::tz::TimeZone;

/// Prints to standard output; colours vanish where they are not wanted.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(text.as_bytes())?;
    out.flush()
}

/// One JSON object a line.
pub(super) fn json_lines(rows: &[impl serde::Serialize]) -> String {
    rows.iter().map(|row| serde_json::to_string(row).unwrap_or_default() + "\n").collect()
}

/// Whether a person is looking.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// A table without lines: columns that line up, for eyes and for `awk`.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// The algorithm and the first twelve digits.
pub(super) fn short_digest(digest: &str) -> &str {
    let colon = digest.find(':').unwrap_or(0);
    digest.get(..colon + 13).unwrap_or(digest)
}

/// Somebody else's text without control characters, so that it cannot forge lines or colours.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// An optional digest, short.
pub(super) fn digest(digest: Option<&str>) -> String {
    digest.map_or("-", short_digest).to_owned()
}

/// A word for a state or an outcome, coloured by how it bodes.
pub(super) fn outcome(word: &str) -> String {
    let code = match word {
        "failed" | "failing" => "31",
        "moved" | "restored" | "removed" | "absent" | "pending" | "settling" => "33",
        "ok" | "succeeded" => "32",
        "running" | "first" => "36",
        _ => return word.to_owned(),
    };
    format!("\x1b[{code}m{word}\x1b[0m")
}

/// The local time, to the second.
pub(super) fn local(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A number and its noun.
pub(super) fn count(number: usize, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// How far away a time is, as people say it.
pub(super) fn distance(at: Option<Timestamp>, now: Timestamp) -> String {
    let Some(at) = at else { return "-".into() };
    let seconds = at.duration_since(now).as_secs();
    let (length, ahead) = (seconds.unsigned_abs(), seconds > 0);
    let (count, unit) = match length {
        0..60 => (length, "s"),
        60..3600 => (length / 60, "min"),
        3600..172_800 => (length / 3600, "h"),
        _ => (length / 86_400, "d"),
    };
    match (length, ahead) {
        (0, _) => "now".into(),
        (_, true) => format!("in {count} {unit}"),
        (_, false) => format!("{count} {unit} ago"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_told_in_one_unit() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        let at = |seconds: i64| distance(Some(Timestamp::from_second(1_800_000_000 + seconds).unwrap()), now);
        assert_eq!(at(0), "now");
        assert_eq!(at(-59), "59 s ago");
        assert_eq!(at(-185), "3 min ago");
        assert_eq!(at(7200), "in 2 h");
        assert_eq!(at(-40 * 86_400), "40 d ago");
        assert_eq!(distance(None, now), "-");
    }

    #[test]
    fn tables_line_up_and_have_no_trailing_space() {
        let rows = vec![vec!["web".into(), "ok".into()], vec!["a-long-name".into(), "x".into()]];
        assert_eq!(table(&["WATCH", "STATE"], rows), "WATCH        STATE\nweb          ok\na-long-name  x\n");
    }
}
