//! How things look: tables, colours on a terminal only, ages, short digests.

use std::io::{IsTerminal, Write};

use comfy_table::{ContentArrangement, Table, presets};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};

use crate::domain::Digest;

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

/// The width of the terminal; `None` where nobody looks, and nothing is to be fitted.
pub(super) fn width() -> Option<usize> {
    if !is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    Some(if size == 0 { 80 } else { size })
}

/// How a table gives way where the terminal is too narrow for it.
#[derive(Default)]
pub(super) struct Fit<'a> {
    /// Columns that are left out, the first one first.
    pub(super) spare: &'a [&'a str],
    /// Columns whose cells are cut, the first one first.
    pub(super) cut: &'a [&'a str],
}

/// The fewest characters that are left of a cell.
const SHORTEST: usize = 8;

/// A table that fits the terminal.
pub(super) fn fitted(head: &[&str], rows: Vec<Vec<String>>, fit: &Fit<'_>) -> String {
    fitted_to(width(), head, rows, fit)
}

fn fitted_to(width: Option<usize>, head: &[&str], mut rows: Vec<Vec<String>>, fit: &Fit<'_>) -> String {
    let Some(width) = width else { return table(head, rows) };
    let mut head = head.to_vec();
    for name in fit.spare {
        if surplus(&head, &rows, width) > 0
            && let Some(column) = head.iter().position(|head| head == name)
        {
            head.remove(column);
            rows.iter_mut().for_each(|row| drop(row.remove(column)));
        }
    }
    for name in fit.cut {
        let Some(column) = head.iter().position(|head| head == name) else { continue };
        let room = widest(&head, &rows, column).saturating_sub(surplus(&head, &rows, width)).max(SHORTEST);
        rows.iter_mut().for_each(|row| row[column] = cut(&row[column], room));
    }
    table(&head, rows)
}

fn surplus(head: &[&str], rows: &[Vec<String>], width: usize) -> usize {
    let total: usize = (0..head.len()).map(|column| widest(head, rows, column) + 2).sum();
    total.saturating_sub(2).saturating_sub(width)
}

fn widest(head: &[&str], rows: &[Vec<String>], column: usize) -> usize {
    rows.iter().map(|row| seen(&row[column])).chain([head[column].len()]).max().unwrap_or(0)
}

/// How many characters are seen of a text: escape sequences are not.
fn seen(text: &str) -> usize {
    text.split('\x1b')
        .enumerate()
        .map(|(part, text)| if part == 0 { text } else { after_escape(text) })
        .map(|text| text.chars().count())
        .sum()
}

fn after_escape(text: &str) -> &str {
    text.split_once('m').map_or(text, |(_, rest)| rest)
}

/// The text, or as much of it as there is room for. What has colours is short, and stays whole.
fn cut(text: &str, room: usize) -> String {
    if text.contains('\x1b') || text.chars().count() <= room {
        return text.to_owned();
    }
    text.chars().take(room - 1).chain(['…']).collect()
}

/// A text of one line, broken between words where the terminal ends; further lines are indented by `indent`.
pub(super) fn wrapped(text: &str, indent: usize) -> String {
    wrapped_to(width(), text, indent)
}

fn wrapped_to(width: Option<usize>, text: &str, indent: usize) -> String {
    let Some(width) = width else { return text.to_owned() + "\n" };
    let (mut all, mut column) = (String::new(), 0);
    for (number, word) in text.split(' ').enumerate() {
        let length = seen(word);
        if column > indent && column + 1 + length > width {
            all.truncate(all.trim_end_matches(' ').len());
            all += "\n";
            all += &" ".repeat(indent);
            column = indent;
        } else if number > 0 {
            all.push(' ');
            column += 1;
        }
        all += word;
        column += length;
    }
    all + "\n"
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

/// Somebody else's text without control characters, so that it cannot forge lines or colours.
pub(super) fn printable(text: &str) -> String {
    text.chars().filter(|c| !c.is_control() || *c == '\t').collect()
}

/// An optional digest, short; for eyes without the algorithm, where that is the usual one.
pub(super) fn digest(digest: Option<&Digest>) -> String {
    let short = digest.map_or("-", Digest::short);
    if is_terminal() { short.trim_start_matches("sha256:") } else { short }.to_owned()
}

/// The end of a delivery's id, as `log` and `retry` take it; the start of all of one minute is the same. A script is
/// given all of it.
pub(super) fn id(id: &str) -> &str {
    if is_terminal() { id.get(id.len().saturating_sub(12)..).unwrap_or(id) } else { id }
}

/// A word for a state or an outcome, coloured by how it bodes.
pub(super) fn outcome(word: &str) -> String {
    let code = match word {
        "failed" | "failing" => "31",
        "moved" | "restored" | "removed" | "absent" | "pending" | "held" | "settling" => "33",
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
    let distance = at.duration_since(now);
    match distance.as_secs() {
        0 => "now".into(),
        1.. => format!("in {}", length(distance)),
        _ => format!("{} ago", length(distance)),
    }
}

/// How long something lasted, in one unit.
pub(super) fn length(length: SignedDuration) -> String {
    let length = length.unsigned_abs();
    match length.as_secs() {
        0 => format!("{} ms", length.as_millis()),
        seconds @ 1..60 => format!("{seconds} s"),
        seconds @ 60..3600 => format!("{} min", seconds / 60),
        seconds @ 3600..172_800 => format!("{} h", seconds / 3600),
        seconds => format!("{} d", seconds / 86_400),
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
    fn a_table_gives_way_to_a_narrow_terminal() {
        let rows = || vec![vec!["a-very-long-name".into(), "\x1b[32mok\x1b[0m".into(), "3 min ago".into()]];
        let head = ["WATCH", "STATE", "LAST OK"];
        let fit = Fit { spare: &["LAST OK"], cut: &["WATCH"] };
        let told = |width| fitted_to(width, &head, rows(), &fit);
        for width in [None, Some(34)] {
            assert!(told(width).contains("a-very-long-name") && told(width).contains("3 min ago"), "{width:?}");
        }
        assert_eq!(told(Some(23)), "WATCH             STATE\na-very-long-name  \x1b[32mok\x1b[0m\n");
        assert_eq!(told(Some(17)), "WATCH       STATE\na-very-lo…  \x1b[32mok\x1b[0m\n");
    }

    #[test]
    fn a_line_is_broken_between_words() {
        assert_eq!(wrapped_to(None, "one two three", 2), "one two three\n");
        assert_eq!(wrapped_to(Some(7), "one two three four", 2), "one two\n  three\n  four\n");
        assert_eq!(wrapped_to(Some(9), "  one two three", 4), "  one two\n    three\n");
        assert_eq!(wrapped_to(Some(6), "a=1  b=2", 1), "a=1\n b=2\n");
        assert_eq!(wrapped_to(Some(3), "\x1b[31mone\x1b[0m two", 0), "\x1b[31mone\x1b[0m\ntwo\n");
    }

    #[test]
    fn tables_line_up_and_have_no_trailing_space() {
        let rows = vec![vec!["web".into(), "ok".into()], vec!["a-long-name".into(), "x".into()]];
        assert_eq!(table(&["WATCH", "STATE"], rows), "WATCH        STATE\nweb          ok\na-long-name  x\n");
    }
}
