//! What is wrong with a text before it is a TOML table: it is larger or deeper than a config can be, or it is not TOML.
//!
//! *Invariant:* time grows with the length of the text and with nothing else, and so does memory, by a small factor. The
//! words are fixed texts without anything from the file.

use std::borrow::Cow;
use std::ops::Range;

use toml_parser::decoder::Encoding;
use toml_parser::lexer::TokenKind;
use toml_parser::parser::{Event, EventKind, EventReceiver, RecursionGuard, ValidateWhitespace, parse_document};
use toml_parser::{ErrorSink, Expected, ParseError, Source, Span};

/// Brackets within brackets, and parts of a key. A config needs three of each.
const DEEPEST: usize = 16;

/// Words, signs and spaces of a file: 100,000 watches fit in. The parser takes some hundred bytes for each.
const MOST_TOKENS: usize = 4 << 20;

/// Nobody reads on after so many.
const MOST_ERRORS: usize = 1000;

/// Something that is not as TOML wants it.
#[derive(Debug)]
pub(super) struct SyntaxError {
    pub(super) message: String,
    pub(super) span: Range<usize>,
    /// The start of the list or table that it is in: what stands there is not what it seems.
    pub(super) torn: usize,
}

/// Where and how a text goes beyond what a config can be, so that it must not be parsed.
pub(super) fn excess(text: &str) -> Option<SyntaxError> {
    let (mut depth, mut parts, mut is_header, mut is_start) = (0_usize, 1, false, true);
    for (count, token) in Source::new(text).lex().enumerate() {
        let kind = token.kind();
        match kind {
            TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket => {
                is_header |= is_start && depth == 0;
                depth += 1;
            }
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => depth = depth.saturating_sub(1),
            // A header ends with its line, also where its bracket is missing.
            TokenKind::Newline if is_header => (depth, is_header) = (0, false),
            _ => {}
        }
        match kind {
            TokenKind::Dot => parts += 1,
            TokenKind::Newline | TokenKind::Equals | TokenKind::Comma => parts = 1,
            _ => {}
        }
        is_start = kind == TokenKind::Newline || is_start && kind == TokenKind::Whitespace;
        let message = match () {
            () if depth > DEEPEST => format!("brackets are nested more than {DEEPEST} deep"),
            () if parts > DEEPEST => format!("a key has more than {DEEPEST} parts"),
            () if count > MOST_TOKENS => format!("the file has more than {MOST_TOKENS} words and signs"),
            () => continue,
        };
        let at = token.span().start();
        return Some(SyntaxError { message, span: at..token.span().end(), torn: at });
    }
    None
}

/// Every syntax error, the first of each line, as the next ones tend to follow from it; after many the rest is left out.
pub(super) fn errors(text: &str) -> Vec<SyntaxError> {
    let source = Source::new(text);
    let tokens = source.lex().into_vec();
    let mut decoder = Decoder { source };
    let mut checked = ValidateWhitespace::new(&mut decoder, source);
    let mut guarded = RecursionGuard::new(&mut checked, DEEPEST as u32);
    let mut found = FirstOfLines { text, errors: Vec::new(), line: 0..0 };
    parse_document(&tokens, &mut guarded, &mut found);
    found.errors.sort_by_key(|error| error.span.start);
    found.errors
}

/// Decodes keys and values, to find what is wrong within them.
struct Decoder<'t> {
    source: Source<'t>,
}

impl EventReceiver for Decoder<'_> {
    fn simple_key(&mut self, span: Span, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        if let Some(key) = self.source.get(Event::new_unchecked(EventKind::SimpleKey, encoding, span)) {
            key.decode_key(&mut Cow::Borrowed(""), error);
        }
    }

    fn scalar(&mut self, span: Span, encoding: Option<Encoding>, error: &mut dyn ErrorSink) {
        if let Some(value) = self.source.get(Event::new_unchecked(EventKind::Scalar, encoding, span)) {
            let _ = value.decode_scalar(&mut Cow::Borrowed(""), error);
        }
    }
}

struct FirstOfLines<'t> {
    text: &'t str,
    errors: Vec<SyntaxError>,
    /// The line of the last one.
    line: Range<usize>,
}

impl ErrorSink for FirstOfLines<'_> {
    fn report_error(&mut self, error: ParseError) {
        let end = self.text.len();
        let span = error.unexpected().map_or(end..end, |span| span.start().min(end)..span.end().min(end));
        let torn = error.context().map_or(span.start, |context| context.start().min(span.start));
        if let Some(last) = self.errors.last_mut() {
            last.torn = last.torn.min(torn);
            if self.line.contains(&span.start) || self.errors.len() >= MOST_ERRORS {
                return;
            }
        }
        let (before, after) = self.text.as_bytes().split_at(span.start);
        let start = before.iter().rposition(|byte| *byte == b'\n').map_or(0, |newline| newline + 1);
        // The line break is a part of the line, and so is the end of the file.
        self.line = start..after.iter().position(|byte| *byte == b'\n').map_or(end, |length| span.start + length) + 1;
        self.errors.push(SyntaxError { message: words(&error), span, torn });
    }
}

fn words(error: &ParseError) -> String {
    let Some(expected) = error.expected() else { return error.description().to_owned() };
    let expected = expected.iter().map(|expected| match expected {
        Expected::Literal("\n") => "newline".to_owned(),
        Expected::Literal(text) if text.chars().all(|c| c.is_ascii_control()) => format!("`{}`", text.escape_debug()),
        Expected::Literal(text) => format!("`{text}`"),
        Expected::Description(text) => (*text).to_owned(),
        _ => "something else".to_owned(),
    });
    let expected: Vec<String> = expected.collect();
    let expected = if expected.is_empty() { "nothing".to_owned() } else { expected.join(", ") };
    format!("{}, expected {expected}", error.description())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn excess_of(text: &str) -> Option<(String, usize)> {
        excess(text).map(|error| (error.message, error.span.start))
    }

    #[test]
    fn what_is_deeper_than_a_config_can_be_is_refused_where_it_gets_too_deep() {
        let deep = || Some("brackets are nested more than 16 deep".to_owned());
        for (opening, each) in [("[", 1), ("{a=", 3), ("[{a=", 2)] {
            let (message, at) = excess_of(&format!("x={}", opening.repeat(12_000))).unzip();
            assert_eq!(message, deep(), "{opening}");
            assert_eq!(at.unwrap(), 2 + 16 * each, "{opening}");
        }
        let (message, at) = excess_of(&format!("x = 1\n[{}b]", "a.".repeat(17))).unzip();
        assert_eq!((message.as_deref(), at), (Some("a key has more than 16 parts"), Some(6 + 2 * 16)));
        let (message, _) = excess_of(&".".repeat(MOST_TOKENS)).unzip();
        assert!(message.is_some());
        let (message, _) = excess_of(&"=\n".repeat(MOST_TOKENS)).unzip();
        assert_eq!(message.as_deref(), Some("the file has more than 4194304 words and signs"));
    }

    #[test]
    fn brackets_in_texts_and_comments_and_headers_that_are_not_closed_are_no_depth() {
        for text in ["a = '[[[[[[[[[[[[[[[[[[[['", "# {{{{{{{{{{{{{{{{{{{{", "a = \"\"\"\n[[[[[[[[[[[[[[[[[[[[\n\"\"\""]
        {
            assert_eq!(excess_of(text), None, "{text}");
        }
        assert_eq!(excess_of(&"[a\n[[b]\n".repeat(40)), None);
        assert_eq!(excess_of(&"a = [['x', {b = 1}]]\na.b.c = 1.5\n".repeat(40)), None);
    }

    #[test]
    fn of_each_line_the_first_error_is_told_and_of_many_lines_the_first_ones() {
        assert_eq!(errors("a = \"\\q\\q\\q\"\nb = x y\nc = 1\n").len(), 2);
        assert_eq!(errors(&"\0\n".repeat(5000)).len(), MOST_ERRORS);
        assert_eq!(errors(&"\r".repeat(1_000_000)).len(), 1, "and soon");
        assert!(errors("a = ['x', {b = 1}]\n").is_empty());
    }

    #[test]
    fn an_error_reaches_back_to_the_list_or_table_that_it_is_in() {
        let text = "a = 1\nb = [\n 'x',\n c = 2\n";
        let torn = errors(text).iter().map(|error| error.torn).min();
        assert_eq!(torn, text.find('['));
    }
}
