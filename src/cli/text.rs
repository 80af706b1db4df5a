//! How output looks: tables, wrapped lines, ages, short digests.

use std::io::{IsTerminal, Write};

use comfy_table::{ColumnConstraint, ContentArrangement, Table, Width, presets};
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use serde::Serialize;

use crate::domain::Digest;
use crate::domain::shown::{shown_in_colour, shown_in_json};

/// Prints to standard output, without colours if it is no terminal. Whatever others wrote in it is safe to show.
pub(super) fn print(text: &str) -> std::io::Result<()> {
    let mut out = anstream::stdout().lock();
    out.write_all(shown_in_colour(text).as_bytes())?;
    out.flush()
}

/// One JSON object a line.
pub(super) fn json_lines(rows: &[impl Serialize]) -> String {
    rows.iter().map(json_line).collect()
}

/// One JSON object on a line of its own.
pub(super) fn json_line(row: &impl Serialize) -> String {
    shown_in_json(&serde_json::to_string(row).unwrap_or_default()).into_owned() + "\n"
}

/// Whether standard output is a terminal, so that a person reads it.
pub(super) fn is_terminal() -> bool {
    std::io::stdout().is_terminal()
}

/// The width of the terminal; `None` if standard output is none, so that nothing is cut or wrapped.
fn width() -> Option<usize> {
    if !is_terminal() {
        return None;
    }
    let size = rustix::termios::tcgetwinsize(std::io::stdout()).map_or(0, |size| usize::from(size.ws_col));
    Some(if size == 0 { 80 } else { size })
}

/// How a table gives way where the terminal is too narrow for it.
#[derive(Default)]
pub(super) struct Fit<'a> {
    /// Columns to leave out, the first one first.
    pub(super) spare: &'a [&'a str],
    /// Columns whose cells may be cut, the first one first.
    pub(super) cut: &'a [&'a str],
}

/// A cell that is cut keeps at least this many characters, so that names can be told apart.
const MIN_CUT: u16 = 9;

/// The spaces between two columns.
const GAP: u16 = 2;

/// A table that fits the terminal.
pub(super) fn fitted(head: &[&str], rows: Vec<Vec<String>>, fit: &Fit<'_>) -> String {
    fitted_to(width(), head, rows, fit)
}

fn fitted_to(terminal: Option<usize>, head: &[&str], rows: Vec<Vec<String>>, fit: &Fit<'_>) -> String {
    let mut table = laid_out(head, rows);
    let Some(terminal) = terminal else { return lines(&table) };
    let mut widths = table.column_max_content_widths();
    let position = |name: &&str| head.iter().position(|head| head == name);
    let surplus = |widths: &[u16]| {
        let total: usize = widths.iter().filter(|width| **width > 0).map(|width| usize::from(width + GAP)).sum();
        u16::try_from(total.saturating_sub(usize::from(GAP) + terminal)).unwrap_or(u16::MAX)
    };
    for column in fit.spare.iter().filter_map(position) {
        if surplus(&widths) > 0 {
            widths[column] = 0;
            constrain(&mut table, column, ColumnConstraint::Hidden);
        }
    }
    for column in fit.cut.iter().filter_map(position) {
        let room = widths[column].saturating_sub(surplus(&widths)).max(MIN_CUT);
        if widths[column] > room {
            widths[column] = room;
            constrain(&mut table, column, ColumnConstraint::UpperBoundary(Width::Fixed(room + GAP)));
        }
    }
    // comfy-table cuts a cell after its first line. No cell has this delimiter, so that line fills the column.
    table.set_delimiter('\0');
    for row in table.row_iter_mut() {
        row.max_height(1);
    }
    lines(&table)
}

fn constrain(table: &mut Table, column: usize, constraint: ColumnConstraint) {
    if let Some(column) = table.column_mut(column) {
        column.set_constraint(constraint);
    }
}

/// A text of one line, broken between words where the terminal ends; further lines are indented by `indent`.
pub(super) fn wrapped(text: &str, indent: usize) -> String {
    wrapped_to(width(), text, indent)
}

fn wrapped_to(width: Option<usize>, text: &str, indent: usize) -> String {
    let Some(width) = width else { return text.to_owned() + "\n" };
    let (mut all, mut column) = (String::new(), 0);
    for (number, word) in text.split(' ').enumerate() {
        // Escape sequences take no room.
        let length = anstream::adapter::strip_str(word).flat_map(str::chars).count();
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

/// A table without lines, whose columns line up for people and for `awk`.
pub(super) fn table(head: &[&str], rows: Vec<Vec<String>>) -> String {
    lines(&laid_out(head, rows))
}

fn laid_out(head: &[&str], rows: Vec<Vec<String>>) -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled).set_header(head);
    table.add_rows(rows);
    for column in table.column_iter_mut() {
        column.set_padding((0, GAP));
    }
    table
}

fn lines(table: &Table) -> String {
    table.lines().map(|line| line.trim_end().to_owned() + "\n").collect()
}

/// An optional digest, short; on a terminal without the algorithm, if that is SHA-256.
pub(super) fn digest(digest: Option<&Digest>) -> String {
    let short = digest.map_or("-", Digest::short);
    if is_terminal() { short.trim_start_matches("sha256:") } else { short }.to_owned()
}

/// On a terminal the end of a delivery's id, which `log` and `retry` accept: ids of the same minute begin alike. In a pipe
/// the whole id.
pub(super) fn id(id: &str) -> &str {
    if is_terminal() { id.get(id.len().saturating_sub(12)..).unwrap_or(id) } else { id }
}

/// The local time, to the second.
pub(super) fn local(at: Timestamp) -> String {
    at.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string()
}

/// A number and its noun.
pub(super) fn count(number: impl TryInto<u64>, one: &str, many: &str) -> String {
    let number = number.try_into().unwrap_or(u64::MAX);
    format!("{number} {}", if number == 1 { one } else { many })
}

/// How far away a time is, for example "3 min ago".
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
    fn a_cell_is_cut_within_a_word() {
        let rows = vec![vec!["one two three".into()], vec!["short".into()]];
        let fit = Fit { spare: &[], cut: &["REMARK"] };
        assert_eq!(fitted_to(Some(10), &["REMARK"], rows, &fit), "REMARK\none two t…\nshort\n");
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
