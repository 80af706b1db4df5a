//! What of a text that others wrote may be shown, on a terminal or in a log.
//!
//! *Invariant:* what is shown can forge no other line, colour nothing, hide nothing and turn no order around: a character
//! that acts instead of being seen is written as its number.

use std::borrow::Cow;
use std::fmt::{self, Display, Formatter, Write};

/// Characters of Unicode's category "format" (Cf) and others that are "default ignorable": they are invisible, or act on
/// their neighbours. Not so the sixteen variation selectors that emoji need.
const UNSEEN: [(char, char); 26] = [
    ('\u{ad}', '\u{ad}'),
    ('\u{34f}', '\u{34f}'),
    ('\u{600}', '\u{605}'),
    ('\u{61c}', '\u{61c}'),
    ('\u{6dd}', '\u{6dd}'),
    ('\u{70f}', '\u{70f}'),
    ('\u{890}', '\u{891}'),
    ('\u{8e2}', '\u{8e2}'),
    ('\u{115f}', '\u{1160}'),
    ('\u{17b4}', '\u{17b5}'),
    ('\u{180b}', '\u{180f}'),
    ('\u{200b}', '\u{200f}'),
    // The two separators (Zl, Zp), then the bidirectional embeddings and overrides.
    ('\u{2028}', '\u{202e}'),
    // Among them the bidirectional isolates.
    ('\u{2060}', '\u{206f}'),
    ('\u{3164}', '\u{3164}'),
    ('\u{feff}', '\u{feff}'),
    ('\u{ffa0}', '\u{ffa0}'),
    ('\u{fff0}', '\u{fffb}'),
    ('\u{110bd}', '\u{110bd}'),
    ('\u{110cd}', '\u{110cd}'),
    ('\u{13430}', '\u{1343f}'),
    ('\u{1bca0}', '\u{1bca3}'),
    ('\u{1d173}', '\u{1d17a}'),
    // Tags, and the variation selectors beyond the first sixteen.
    ('\u{e0000}', '\u{e0fff}'),
    // The two noncharacters that programs use as marks.
    ('\u{fffe}', '\u{ffff}'),
    ('\u{10fffe}', '\u{10ffff}'),
];

/// Whether a character acts on the text around it instead of being seen. Tabs and line breaks are among them.
pub fn is_unseen(c: char) -> bool {
    c.is_control() || (c > '\u{a0}' && UNSEEN.iter().any(|(first, last)| (*first..=*last).contains(&c)))
}

/// Displays as one line that may be shown anywhere.
pub struct Shown<T>(pub T);

impl<T: Display> Display for Shown<T> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        write!(Escaping { out: formatter, keep: |c| c == '\t' }, "{}", self.0)
    }
}

/// The text as one line that may be shown anywhere.
pub fn shown(text: &str) -> Cow<'_, str> {
    if text.contains(|c| is_unseen(c) && c != '\t') { Shown(text).to_string().into() } else { text.into() }
}

/// The text with its line breaks and with the colours that we gave it, for a terminal.
pub fn shown_in_colour(text: &str) -> Cow<'_, str> {
    let keep = |c| matches!(c, '\t' | '\n');
    if !text.contains(|c| is_unseen(c) && !keep(c)) {
        return text.into();
    }
    let mut all = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('\x1b') {
        let colour = colour(&rest[at..]);
        let _ = write!(Escaping { out: &mut all, keep }, "{}", &rest[..at]);
        all.push_str(colour);
        let escape = if colour.is_empty() { &rest[at..=at] } else { "" };
        let _ = write!(Escaping { out: &mut all, keep }, "{escape}");
        rest = &rest[at + colour.len().max(1)..];
    }
    let _ = write!(Escaping { out: &mut all, keep }, "{rest}");
    all.into()
}

/// The sequence at the beginning of a text that chooses a colour (ECMA-48, SGR), if there is one.
fn colour(text: &str) -> &str {
    let Some(parameters) = text.strip_prefix("\x1b[") else { return "" };
    let length = parameters.find(|c: char| !c.is_ascii_digit() && c != ';').unwrap_or(parameters.len());
    if parameters[length..].starts_with('m') { &text[..length + 3] } else { "" }
}

/// JSON of the same meaning that may be shown anywhere.
pub fn shown_in_json(json: &str) -> Cow<'_, str> {
    let acts = |c| c >= '\x7f' && is_unseen(c);
    if !json.contains(acts) {
        return json.into();
    }
    let mut all = String::with_capacity(json.len());
    for c in json.chars() {
        // Outside of strings JSON has only what is below.
        if acts(c) {
            let _ = c.encode_utf16(&mut [0; 2]).iter().try_for_each(|unit| write!(all, "\\u{unit:04x}"));
        } else {
            all.push(c);
        }
    }
    all.into()
}

struct Escaping<W, K> {
    out: W,
    keep: K,
}

impl<W: Write, K: Fn(char) -> bool> Write for Escaping<W, K> {
    fn write_str(&mut self, mut text: &str) -> fmt::Result {
        while let Some((at, c)) = text.char_indices().find(|(_, c)| is_unseen(*c) && !(self.keep)(*c)) {
            self.out.write_str(&text[..at])?;
            write!(self.out, "{}", c.escape_default())?;
            text = &text[at + c.len_utf8()..];
        }
        self.out.write_str(text)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_character_that_acts_instead_of_being_seen_is_written_as_its_number() {
        for c in ["\u{1b}", "\u{7f}", "\u{85}", "\u{9b}", "\u{ad}", "\u{61c}", "\u{200b}", "\u{200f}", "\u{2028}"]
            .into_iter()
            .chain(["\u{2029}", "\u{202a}", "\u{202e}", "\u{2060}", "\u{2066}", "\u{2069}", "\u{feff}", "\u{e0041}"])
        {
            let number = u32::from(c.chars().next().unwrap());
            assert_eq!(shown(&format!("a{c}b")), format!("a\\u{{{number:x}}}b"));
        }
        assert_eq!(shown("\x1b[31mred\rover\n\ta\u{fffd}"), "\\u{1b}[31mred\\rover\\n\ta\u{fffd}");
    }

    #[test]
    fn what_is_seen_is_left_alone() {
        for text in ["plain", "\ttab", "Grüße, 日本語, עברית", "\u{26a0}\u{fe0f} warning", "no\u{a0}break", "e\u{301}"]
        {
            assert!(matches!(shown(text), Cow::Borrowed(same) if same == text), "{text:?}");
        }
    }

    #[test]
    fn of_all_sequences_only_colours_pass_to_a_terminal() {
        for (text, shown) in [
            ("\x1b[31mred\x1b[0m\n\ttwo", "\x1b[31mred\x1b[0m\n\ttwo"),
            ("\x1b[2J\x1b]0;title\x07\x1b", "\\u{1b}[2J\\u{1b}]0;title\\u{7}\\u{1b}"),
            ("\x1b[1;32mé\x1b[", "\x1b[1;32mé\\u{1b}["),
            ("a\r\u{202e}b", "a\\r\\u{202e}b"),
        ] {
            assert_eq!(shown_in_colour(text), shown);
        }
    }

    proptest! {
        #[test]
        fn json_keeps_its_meaning(text: String, unseen in "[\u{200b}\u{202e}\u{2028}\u{e0041}\u{9b}]*") {
            let text = text + &unseen;
            let json = serde_json::to_string(&text).unwrap();
            let shown = shown_in_json(&json);
            prop_assert!(!shown.contains(is_unseen));
            prop_assert_eq!(serde_json::from_str::<String>(&shown).unwrap(), text);
        }

        #[test]
        fn what_may_be_shown_is_shown_as_it_is(text: String) {
            let once = shown(&text).into_owned();
            prop_assert_eq!(&*shown(&once), once.as_str());
            prop_assert!(!once.contains(|c| is_unseen(c) && c != '\t'));
            prop_assert_eq!(&*shown_in_colour(&once), once.as_str());
        }
    }
}
