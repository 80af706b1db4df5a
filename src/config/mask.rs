//! Which parts of a config file may not be quoted.
//!
//! *Invariant:* a value is quoted only where it is plainly that of a key whose values are no secrets; of a command, only
//! the program. All else is hidden: variables, comments, the values of keys that we do not know, and whatever a syntax
//! error has torn from its key. What it looks like does not matter.

use std::ops::Range;

use toml_parser::Source;
use toml_parser::lexer::{Token, TokenKind};

use super::keys::{self, Kind};
use crate::hook;

/// A key of ours has fewer tokens.
const LONGEST_KEY: usize = 32;

/// The parts of a text that may not be quoted, in order.
pub(super) fn hidden(text: &str) -> Vec<Range<usize>> {
    let mut scan = Scan {
        text,
        tokens: Source::new(text).lex().into_vec(),
        table: Vec::new(),
        open: Vec::new(),
        key: Vec::new(),
        at: At::Key,
        names_program: false,
        hidden: Vec::new(),
    };
    let mut next = 0;
    while next < scan.tokens.len() {
        next = scan.step(next);
    }
    scan.hidden
}

/// User, path and query of the URLs of a text: the address of a webhook is its key.
fn urls(text: &str) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut from = 0;
    while let Some(at) = text[from..].find("://") {
        let start = from + at + 3;
        let is_end = |c: char| c.is_whitespace() || matches!(c, '"' | '\'' | '`');
        let end = text[start..].find(is_end).map_or(text.len(), |length| start + length);
        // A password may have any character in it.
        let host = text[start..end].rfind('@').map_or(start, |length| start + length);
        if host > start {
            found.push(start..host);
        }
        let path = text[host..end].find(['/', '?', '#']).map_or(end, |length| host + length);
        if path + 1 < end {
            found.push(path + 1..end);
        }
        from = end;
    }
    found
}

/// Where in a setting a token stands.
#[derive(Clone, Copy, PartialEq)]
enum At {
    Key,
    Value,
    /// Behind a value, where a comma, a bracket or the end of the line is due.
    Behind,
    /// Behind what makes no sense.
    Lost,
}

/// An open bracket, and the keys that lead to what is in it.
struct Open {
    closes: TokenKind,
    path: Vec<String>,
}

/// What may be quoted of a value.
#[derive(PartialEq)]
enum Shown {
    All,
    Program,
    Nothing,
}

struct Scan<'t> {
    text: &'t str,
    tokens: Vec<Token>,
    /// The keys of the header.
    table: Vec<String>,
    open: Vec<Open>,
    /// The key that is read, below the table or bracket that it stands in.
    key: Vec<String>,
    at: At,
    /// Whether the program of a command is still to come.
    names_program: bool,
    hidden: Vec<Range<usize>>,
}

impl Scan<'_> {
    /// Looks at one token, and says which one is next.
    fn step(&mut self, n: usize) -> usize {
        let kind = self.tokens[n].kind();
        match kind {
            TokenKind::Whitespace | TokenKind::Eof => {}
            TokenKind::Newline => {
                if self.open.is_empty() {
                    self.at = At::Key;
                    self.key.clear();
                }
            }
            TokenKind::Comment => self.hide(n, 1, 0),
            TokenKind::LeftSquareBracket if self.is_header(n) => return self.header(n),
            TokenKind::LeftSquareBracket => self.enter(TokenKind::RightSquareBracket, At::Value),
            TokenKind::LeftCurlyBracket => self.enter(TokenKind::RightCurlyBracket, At::Key),
            TokenKind::RightSquareBracket | TokenKind::RightCurlyBracket => {
                if self.open.last().is_some_and(|open| open.closes == kind) {
                    self.open.pop();
                    self.at = At::Behind;
                } else {
                    self.at = At::Lost;
                }
            }
            TokenKind::Comma => {
                self.key.clear();
                self.at = match self.open.last().map(|open| open.closes) {
                    Some(TokenKind::RightCurlyBracket) => At::Key,
                    Some(_) => At::Value,
                    None => At::Lost,
                };
            }
            TokenKind::Equals => {
                let is_command = self.shown() == Shown::Program;
                self.names_program = is_command && self.at == At::Key;
                self.at = if self.at == At::Key { At::Value } else { At::Lost };
            }
            TokenKind::Dot if self.at == At::Key => {}
            TokenKind::Dot => self.value(n),
            _ if self.is_key(n) => {
                if self.at == At::Behind {
                    self.at = At::Key;
                    self.key.clear();
                }
                self.keep(n);
                self.key.push(self.name(n));
            }
            _ => self.value(n),
        }
        n + 1
    }

    /// A bracket: what is in it belongs to the key before it.
    fn enter(&mut self, closes: TokenKind, inside: At) {
        // What belongs to no key has a path that leads nowhere.
        let path = if self.at == At::Value { self.path() } else { vec![String::new(); 4] };
        self.open.push(Open { closes, path });
        self.key.clear();
        self.at = inside;
    }

    /// A value, or something in the place of one.
    fn value(&mut self, n: usize) {
        let quotes = match self.tokens[n].kind() {
            TokenKind::BasicString | TokenKind::LiteralString => 1,
            TokenKind::MlBasicString | TokenKind::MlLiteralString => 3,
            _ => 0,
        };
        let shown = if self.at == At::Value { self.shown() } else { Shown::Nothing };
        let names_program = std::mem::take(&mut self.names_program);
        match shown {
            Shown::All => self.keep(n),
            Shown::Program if names_program && quotes == 1 => {
                let inside = self.inside(n, 1, 1);
                let program = hook::program(&self.text[inside.clone()]).map_or(0, str::len);
                let blank = self.text[inside.clone()].len() - self.text[inside.clone()].trim_start().len();
                let behind = self.text[inside.start + blank + program..inside.end].trim_start();
                self.add(inside.end - behind.len()..inside.end);
            }
            _ => self.hide(n, quotes, quotes),
        }
        self.at = match self.at {
            // A value without quotes may be of several tokens.
            At::Value if quotes == 0 && shown == Shown::All => At::Value,
            At::Value | At::Behind => At::Behind,
            At::Key | At::Lost => At::Lost,
        };
    }

    /// Whether a word is a key: one that we know, or one that a value is given to.
    fn is_key(&self, n: usize) -> bool {
        let behind = &self.tokens[n + 1..];
        let mut rest = behind.iter().filter(|token| token.kind() != TokenKind::Whitespace).take(LONGEST_KEY);
        let mut next = rest.next().map(Token::kind);
        while next == Some(TokenKind::Dot) && rest.next().is_some_and(|token| is_word(token.kind())) {
            next = rest.next().map(Token::kind);
        }
        let is_known = is_known(&self.name(n));
        match self.at {
            // A line of a broken string may look like a key: "=" ends many an encoded secret.
            At::Key => {
                is_known || next == Some(TokenKind::Equals) && rest.next().is_some_and(|token| self.is_value(token))
            }
            At::Behind => is_known && next == Some(TokenKind::Equals),
            At::Value | At::Lost => false,
        }
    }

    fn is_value(&self, token: &Token) -> bool {
        let is_long = token.span().len() > 1;
        is_word(token.kind()) && (is_long || token.kind() == TokenKind::Atom)
            || matches!(token.kind(), TokenKind::LeftSquareBracket | TokenKind::LeftCurlyBracket)
    }

    /// Whether a bracket begins the header of a table. In an open bracket only one that we know does.
    fn is_header(&self, n: usize) -> bool {
        let starts_line = self.tokens[..n].iter().rev().find(|token| token.kind() != TokenKind::Whitespace);
        if starts_line.is_some_and(|token| token.kind() != TokenKind::Newline) {
            return false;
        }
        let mut rest = self.tokens[n + 1..].iter().enumerate();
        let first =
            rest.find(|(_, token)| !matches!(token.kind(), TokenKind::Whitespace | TokenKind::LeftSquareBracket));
        let Some((first, TokenKind::Atom)) = first.map(|(at, token)| (n + 1 + at, token.kind())) else { return false };
        let is_table = keys::TABLES.iter().any(|(name, _)| *name == self.name(first));
        let next = self.tokens.get(first + 1).map(Token::kind);
        let goes_on = matches!(next, Some(TokenKind::Dot | TokenKind::RightSquareBracket));
        is_table || goes_on && self.open.is_empty()
    }

    /// Reads a header up to its last bracket.
    fn header(&mut self, n: usize) -> usize {
        self.open.clear();
        self.key.clear();
        self.table.clear();
        self.at = At::Lost;
        let mut next = n + 1;
        while let Some(kind) = self.tokens.get(next).map(Token::kind) {
            match kind {
                TokenKind::Newline | TokenKind::Eof | TokenKind::Comment | TokenKind::Equals => break,
                TokenKind::RightSquareBracket => {
                    let is_double = self.tokens.get(next + 1).map(Token::kind) == Some(kind);
                    return next + 1 + usize::from(is_double);
                }
                kind if is_word(kind) => {
                    self.keep(next);
                    self.table.push(self.name(next));
                }
                _ => {}
            }
            next += 1;
        }
        next
    }

    /// The keys that lead to what is read.
    fn path(&self) -> Vec<String> {
        let above = self.open.last().map_or(&self.table, |open| &open.path);
        above.iter().chain(&self.key).cloned().collect()
    }

    fn shown(&self) -> Shown {
        let path = self.path();
        let words: Vec<&str> = path.iter().map(String::as_str).collect();
        let section = |name: &str| keys::TABLES.iter().find(|(table, _)| *table == name).map(|(_, section)| *section);
        let (section, key) = match words[..] {
            [kind @ ("watch" | "hook" | "registry"), _, key] => (section(kind), key),
            [kind @ ("defaults" | "retention"), key] => (section(kind), key),
            [key] => (Some(&keys::TOP), key),
            _ => return Shown::Nothing,
        };
        let found = section.and_then(|section| section.keys().find(|known| known.name == key));
        match found {
            Some(key) if key.name == "command" => Shown::Program,
            Some(key) if key.kind != Kind::Variables => Shown::All,
            _ => Shown::Nothing,
        }
    }

    /// The text of a key.
    fn name(&self, n: usize) -> String {
        self.text[self.span(n)].trim_matches(['"', '\'']).to_owned()
    }

    fn span(&self, n: usize) -> Range<usize> {
        let span = self.tokens[n].span();
        span.start()..span.end()
    }

    /// A token without so many characters at its ends, as far as the last ones are there.
    fn inside(&self, n: usize, before: usize, after: usize) -> Range<usize> {
        let span = self.span(n);
        let written = &self.text.as_bytes()[span.clone()];
        let start = (span.start + before).min(span.end);
        let is_quoted = matches!(written.first(), Some(b'"' | b'\''));
        let is_closed =
            is_quoted && written.len() >= before.max(1) + after && written[..after] == written[written.len() - after..];
        start..if is_closed { span.end - after } else { span.end }
    }

    fn hide(&mut self, n: usize, before: usize, after: usize) {
        self.add(self.inside(n, before, after));
    }

    /// Keeps a word, but for what is secret wherever it stands: parts of URLs, and what is assigned (`TOKEN=…`).
    fn keep(&mut self, n: usize) {
        let (span, inside) = (self.span(n), self.inside(n, 0, 1));
        let assigned = self.text[span.clone()].find('=').map_or(inside.end, |at| span.start + at + 1);
        let plain = span.start..assigned.min(inside.end);
        for url in urls(&self.text[plain.clone()]) {
            self.add(plain.start + url.start..plain.start + url.end);
        }
        self.add(plain.end..inside.end);
    }

    /// Hides a part, together with the one before it where only blanks are between.
    fn add(&mut self, part: Range<usize>) {
        if part.is_empty() {
            return;
        }
        let part = self.hidden.last().map_or(0, |last| last.end).max(part.start)..part.end;
        if let Some(last) = self.hidden.last_mut()
            && self.text[last.end..part.start].chars().all(|c| c == ' ' || c == '\t')
        {
            last.end = part.end;
            return;
        }
        self.hidden.push(part);
    }
}

fn is_word(kind: TokenKind) -> bool {
    matches!(
        kind,
        TokenKind::Atom
            | TokenKind::BasicString
            | TokenKind::LiteralString
            | TokenKind::MlBasicString
            | TokenKind::MlLiteralString
    )
}

fn is_known(name: &str) -> bool {
    let sections = keys::TABLES.iter().map(|(_, section)| *section).chain([&keys::TOP]);
    sections.into_iter().any(|section| section.has(name))
}
