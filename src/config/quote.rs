//! How text of a file gets into a message.
//!
//! *Invariant:* whatever a message quotes of a file goes through here, or was bounded by [`ValueKind::longest`] before it
//! was read: a quote that is missing makes a value, or a key, of all that follows it, secrets and all.
//!
//! [`ValueKind::longest`]: super::key::ValueKind::longest

use std::borrow::Cow;

/// As long as a name can be. In characters.
const LONGEST_QUOTE: usize = 128;

/// The text in quotes: one line, and no more of it than a name can have.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

/// The same without quotes, for what is written without them in a config.
pub(super) fn shortened(text: &str) -> Cow<'_, str> {
    let end = text.find(|c: char| c.is_control()).unwrap_or(text.len());
    let end = text.char_indices().nth(LONGEST_QUOTE).map_or(end, |(at, _)| at.min(end));
    if end == text.len() { Cow::Borrowed(text) } else { Cow::Owned(format!("{}…", &text[..end])) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_quoted_is_one_line_and_as_long_as_a_name_at_most() {
        assert_eq!(quoted("web"), "\"web\"");
        assert_eq!(quoted("5/s\"\npassword = 'hunter2'"), "\"5/s\\\"…\"");
        assert_eq!(quoted(&"é".repeat(129)), format!("\"{}…\"", "é".repeat(128)));
        assert_eq!(shortened(&"x".repeat(128)), "x".repeat(128));
    }
}
