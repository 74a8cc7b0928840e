//! From a text to words, quoted texts and signs.

use std::borrow::Cow;
use std::ops::Range;

/// A piece of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

impl Token {
    pub(super) fn span(&self) -> Range<usize> {
        self.start..self.end
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// Anything without blanks, quotes and signs.
    Word,
    /// In double quotes, which are part of the token; the closing one may be missing.
    Quoted,
    /// `{`
    Open,
    /// `}`
    Close,
    /// `,`
    Comma,
    /// `=`
    Equals,
    /// The end of a line.
    Newline,
    /// The end of the text.
    End,
}

/// What a byte begins or goes on with.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Class {
    Word,
    Blank,
    Sign(Kind),
    Quote,
    Comment,
}

const CLASSES: [Class; 256] = {
    let mut classes = [Class::Word; 256];
    classes[b' ' as usize] = Class::Blank;
    classes[b'\t' as usize] = Class::Blank;
    classes[b'\r' as usize] = Class::Blank;
    classes[b'\n' as usize] = Class::Sign(Kind::Newline);
    classes[b'{' as usize] = Class::Sign(Kind::Open);
    classes[b'}' as usize] = Class::Sign(Kind::Close);
    classes[b',' as usize] = Class::Sign(Kind::Comma);
    classes[b'=' as usize] = Class::Sign(Kind::Equals);
    classes[b'"' as usize] = Class::Quote;
    classes[b'#' as usize] = Class::Comment;
    classes
};

fn class(byte: u8) -> Class {
    CLASSES[usize::from(byte)]
}

/// Takes a text apart.
pub(super) struct Lexer<'t> {
    text: &'t str,
    at: usize,
    /// The line that the next token begins in, from 1.
    pub(super) line: u32,
    /// Where that line begins.
    pub(super) line_start: usize,
}

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t str) -> Self {
        let at = if text.starts_with('\u{feff}') { 3 } else { 0 };
        Self {
            text,
            at,
            line: 1,
            line_start: 0,
        }
    }

    pub(super) fn next(&mut self) -> Token {
        let bytes = self.text.as_bytes();
        let mut start = self.at;
        while let Some(Class::Blank) = bytes.get(start).map(|byte| class(*byte)) {
            start += 1;
        }
        let rest = &bytes[start..];
        let Some(first) = rest.first().map(|byte| class(*byte)) else {
            self.at = start;
            return self.token(Kind::End, start, start);
        };
        match first {
            Class::Sign(kind) => {
                self.at = start + 1;
                if kind == Kind::Newline {
                    self.line = self.line.saturating_add(1);
                    self.line_start = self.at;
                }
                self.token(kind, start, start + 1)
            }
            Class::Comment => {
                let end = rest.iter().position(|byte| *byte == b'\n');
                self.at = start + end.unwrap_or(rest.len());
                self.next()
            }
            Class::Quote => {
                let mut end = 1;
                loop {
                    match rest.get(end) {
                        None | Some(b'\n') => break,
                        Some(b'"') => {
                            end += 1;
                            break;
                        }
                        // Whatever it stands before, but not the end of the line.
                        Some(b'\\') if !matches!(rest.get(end + 1), None | Some(b'\n')) => end += 2,
                        Some(_) => end += 1,
                    }
                }
                self.at = start + end;
                self.token(Kind::Quoted, start, self.at)
            }
            Class::Word | Class::Blank => {
                let end = rest.iter().position(|byte| class(*byte) != Class::Word);
                self.at = start + end.unwrap_or(rest.len());
                self.token(Kind::Word, start, self.at)
            }
        }
    }

    fn token(&self, kind: Kind, start: usize, end: usize) -> Token {
        Token { kind, start, end }
    }
}

/// What a quoted text says; else the place in it that is wrong, and why.
pub(super) fn unquoted(token: &str) -> Result<Cow<'_, str>, (Range<usize>, &'static str)> {
    let inner = token.strip_prefix('"').unwrap_or(token);
    if let Some(plain) = inner.strip_suffix('"').filter(|plain| !plain.contains('\\')) {
        return Ok(plain.into());
    }
    let mut said = String::with_capacity(inner.len());
    let mut rest = inner.char_indices();
    while let Some((at, c)) = rest.next() {
        match c {
            '"' => return Ok(said.into()),
            '\\' => {
                let escaped = match rest.next() {
                    Some((_, c @ ('"' | '\\'))) => Some(c),
                    Some((_, 'n')) => Some('\n'),
                    Some((_, 't')) => Some('\t'),
                    Some((_, 'r')) => Some('\r'),
                    Some((_, 'u')) => {
                        let code = inner[at + 2..]
                            .strip_prefix('{')
                            .and_then(|code| code.split_once('}'))
                            .map(|(code, _)| code);
                        let found = code
                            .filter(|code| {
                                code.len() <= 6 && code.bytes().all(|byte| byte.is_ascii_hexdigit())
                            })
                            .and_then(|code| u32::from_str_radix(code, 16).ok())
                            .and_then(char::from_u32);
                        if found.is_some() {
                            while !matches!(rest.next(), None | Some((_, '}'))) {}
                        }
                        found
                    }
                    _ => None,
                };
                let expected = "unknown escape; expected \\\", \\\\, \\n, \\t, \\r or \\u{HEXADECIMAL}";
                said.push(escaped.ok_or((at + 1..at + 3, expected))?);
            }
            c => said.push(c),
        }
    }
    Err((
        0..token.len(),
        "the text has no end; expected a closing \" in the same line",
    ))
}

/// Whether a name needs no quotes.
pub(super) fn is_word(text: &str) -> bool {
    !text.is_empty()
        && !matches!(text, "any")
        && !text.starts_with('@')
        && text
            .bytes()
            .all(|byte| byte.is_ascii_graphic() && class(byte) == Class::Word)
}

/// Writes a text in quotes.
pub(super) fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() => out.extend(c.escape_unicode()),
            c => out.push(c),
        }
    }
    out.push('"');
}
