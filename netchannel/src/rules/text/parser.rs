//! From words to rules: lines, sets and includes. What stands in a rule is in [`clause`](super::clause).

use std::borrow::Cow;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use super::lexer::{Kind, Lexer, Token, unquoted};
use crate::config::{Position, Problem};
use crate::rules::reader::{MAX_RULES, MAX_SET_VALUES, Reader, Set, overlap};
use crate::rules::{NamedSet, Place, Rule, notation};
use crate::rules::{Part, check};
use crate::text::{nearest, quoted};

/// What is wrong at a place of the text.
pub(super) struct Wrong {
    pub(super) at: Range<usize>,
    pub(super) message: String,
}

/// Bytes of a line behind the place of a problem that may be shown.
const MAX_SHOWN: usize = 1_024;

/// Words that a line begins with, for finding the way back after an error in a list that goes over several lines.
const LINE_BEGINS_WITH: [&str; 8] = ["set", "include", "priority", "from", "to", "use", "drop", "pass"];

/// Brings included files in.
pub(super) trait Include {
    /// Reads the files of this pattern into `reader`.
    ///
    /// # Errors
    /// What is wrong with the pattern, or with having it here.
    fn include(&mut self, pattern: &str, reader: &mut Reader) -> Result<(), String>;
}

/// Where no files are included.
pub(super) struct NoFiles;

impl Include for NoFiles {
    fn include(&mut self, _pattern: &str, _reader: &mut Reader) -> Result<(), String> {
        Err("only files include others; expected rules and sets".to_owned())
    }
}

/// What a text may hold.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Content {
    /// Rules, sets and includes.
    All,
    /// Rules that name sets of a list.
    Rules,
}

pub(super) struct Parser<'t, 'r> {
    pub(super) text: &'t str,
    /// The name of the text in problems.
    shown: &'r Path,
    /// The file, for the places of rules.
    file: Option<Arc<Path>>,
    pub(super) reader: &'r mut Reader,
    lexer: Lexer<'t>,
    peeked: Option<Token>,
    /// Number and place of the line that the statement begins in.
    line: (u32, usize),
    /// Where the parts of the rule stand.
    pub(super) spans: Vec<(Part, Option<usize>, Range<usize>)>,
    /// Whether something was found wrong in the statement.
    pub(super) is_wrong: bool,
}

impl<'t, 'r> Parser<'t, 'r> {
    pub(super) fn new(
        text: &'t str,
        shown: &'r Path,
        file: Option<Arc<Path>>,
        reader: &'r mut Reader,
    ) -> Self {
        Self {
            text,
            shown,
            file,
            reader,
            lexer: Lexer::new(text),
            peeked: None,
            line: (1, 0),
            spans: Vec::new(),
            is_wrong: false,
        }
    }

    /// Reads the whole text.
    pub(super) fn all(&mut self, content: Content, include: &mut dyn Include) {
        loop {
            while self.peek().kind == Kind::Newline {
                self.next();
            }
            let first = self.peek();
            if first.kind == Kind::End || self.reader.has_enough() {
                return;
            }
            self.begin();
            let outcome = match (first.kind, &self.text[first.span()]) {
                (Kind::Word, "set" | "include") if content == Content::Rules => {
                    let message = "only files define sets and include others; expected a rule".to_owned();
                    Err(Wrong {
                        at: first.span(),
                        message,
                    })
                }
                (Kind::Word, "set") => self.set(),
                (Kind::Word, "include") => self.include(include),
                _ => self.rule(),
            };
            let outcome = outcome.and_then(|()| self.end_of_line());
            if let Err(wrong) = outcome {
                self.wrong(wrong.at, &wrong.message);
                self.skip_statement();
            }
        }
    }

    /// Takes the next token for the first of a statement.
    pub(super) fn begin(&mut self) {
        self.peek();
        self.line = (self.lexer.line, self.lexer.line_start);
        self.spans.clear();
        self.is_wrong = false;
    }

    pub(super) fn peek(&mut self) -> Token {
        *self.peeked.get_or_insert_with(|| self.lexer.next())
    }

    pub(super) fn next(&mut self) -> Token {
        self.peeked.take().unwrap_or_else(|| self.lexer.next())
    }

    /// The next token, if it is of this kind.
    pub(super) fn take(&mut self, kind: Kind) -> Option<Token> {
        (self.peek().kind == kind).then(|| self.next())
    }

    pub(super) fn word(&self, token: Token) -> &'t str {
        &self.text[token.span()]
    }

    /// The next token if it is this word.
    pub(super) fn take_word(&mut self, word: &str) -> Option<Token> {
        let token = self.peek();
        (token.kind == Kind::Word && self.word(token) == word).then(|| self.next())
    }

    /// What stands at a token in place of what was expected.
    pub(super) fn unexpected(&self, token: Token, expected: &str) -> Wrong {
        let found = match token.kind {
            Kind::Newline => "the end of the line".to_owned(),
            Kind::End => "the end of the text".to_owned(),
            Kind::Quoted => format!("the text {}", quoted(self.word(token).trim_matches('"'))),
            _ => quoted(self.word(token)),
        };
        Wrong {
            at: token.span(),
            message: format!("found {found}; expected {expected}"),
        }
    }

    /// The next token, a word or a text in quotes, and what it says.
    pub(super) fn name(&mut self, expected: &str) -> Result<(Cow<'t, str>, Token), Wrong> {
        let token = self.next();
        Ok((self.said(token, expected)?, token))
    }

    /// What a word or a text in quotes says.
    pub(super) fn said(&self, token: Token, expected: &str) -> Result<Cow<'t, str>, Wrong> {
        match token.kind {
            Kind::Word => Ok(self.word(token).into()),
            Kind::Quoted => unquoted(self.word(token)).map_err(|(at, message)| Wrong {
                at: token.start + at.start..(token.start + at.end).min(token.end),
                message: message.to_owned(),
            }),
            _ => Err(self.unexpected(token, expected)),
        }
    }

    /// Notes what is wrong, and goes on.
    pub(super) fn wrong(&mut self, at: Range<usize>, message: &str) {
        self.is_wrong = true;
        if self.reader.is_full() {
            self.reader.count_problem();
            return;
        }
        let problem = self.problem(&at, message);
        self.reader.problem(problem);
    }

    fn problem(&self, at: &Range<usize>, message: &str) -> Problem {
        let (first, first_start) = self.line;
        let start = at.start.max(first_start);
        let before = &self.text.as_bytes()[first_start..start];
        let lines = before.iter().filter(|byte| **byte == b'\n').count();
        let line_start = before.iter().rposition(|byte| *byte == b'\n');
        let line_start = line_start.map_or(first_start, |place| first_start + place + 1);
        // No more of a long line than is shown.
        let mut end = (at.end.max(start) + MAX_SHOWN).min(self.text.len());
        while !self.text.is_char_boundary(end) {
            end -= 1;
        }
        let line = self.text[line_start..end].split('\n').next().unwrap_or("");
        let number = first.saturating_add(u32::try_from(lines).unwrap_or(u32::MAX));
        let at = start - line_start..at.end.max(start) - line_start;
        Problem::in_line(self.shown, number, line, &at, message)
    }

    /// Where the statement stands that begins at a token.
    pub(super) fn place(&self, token: Token) -> Place {
        let (line, line_start) = self.line;
        let before = self.text[line_start..token.start].chars();
        let before = before.filter(|c| *c != '\u{feff}').count();
        Place {
            file: self.file.clone(),
            position: Some(Position {
                line,
                column: u32::try_from(before + 1).unwrap_or(u32::MAX),
            }),
        }
    }

    fn end_of_line(&mut self) -> Result<(), Wrong> {
        let token = self.peek();
        match token.kind {
            Kind::End => Ok(()),
            Kind::Newline => {
                self.next();
                Ok(())
            }
            _ => Err(self.unexpected(token, "the end of the line")),
        }
    }

    /// Leaves out what is left of a statement: its line, and if a list was open, all up to its end.
    fn skip_statement(&mut self) {
        let next = self.peek().start;
        let read = &self.text[self.line.1..next];
        // Braces in quotes and comments count too, which only makes for a later or an earlier place to go on at.
        let mut depth = read.matches('{').count() as isize - read.matches('}').count() as isize;
        loop {
            let token = self.peek();
            match token.kind {
                Kind::End => return,
                Kind::Open => depth += 1,
                Kind::Close => depth -= 1,
                Kind::Newline => {
                    self.next();
                    let next = self.peek();
                    let begins = next.kind == Kind::Word && LINE_BEGINS_WITH.contains(&self.word(next));
                    if depth <= 0 || begins {
                        return;
                    }
                    continue;
                }
                _ => {}
            }
            self.next();
        }
    }

    /// `include "PATTERN"`
    fn include(&mut self, include: &mut dyn Include) -> Result<(), Wrong> {
        self.next();
        let token = self.peek();
        if token.kind != Kind::Quoted {
            return Err(self.unexpected(
                token,
                "the file to include in quotes, such as \"rules.d/*.rules\"",
            ));
        }
        let (pattern, token) = self.name("a file")?;
        let end = self.peek();
        if !matches!(end.kind, Kind::Newline | Kind::End) {
            return Err(self.unexpected(end, "the end of the line"));
        }
        if let Err(message) = include.include(&pattern, self.reader) {
            self.wrong(token.span(), &message);
        }
        Ok(())
    }

    /// `set NAME = { VALUE, ... }`
    fn set(&mut self) -> Result<(), Wrong> {
        self.next();
        let (name, name_token) = self.name("the name of the set")?;
        if let Err(message) = self.reader.check_set_name(&name) {
            self.wrong(name_token.span(), &message);
        }
        if self.take(Kind::Equals).is_none() {
            let token = self.peek();
            return Err(self.unexpected(token, "`=` and the values of the set"));
        }
        let mut addresses = Vec::new();
        let mut ports = Vec::new();
        let mut is_ports = None;
        const EXPECTED: &str = "an address, a prefix, a port or a range of them";
        self.list(EXPECTED, |parser, token| {
            let text = parser.word(token);
            if token.kind != Kind::Word {
                return Err(parser.unexpected(token, EXPECTED));
            }
            if let Some(inner) = text.strip_prefix('@') {
                let message = format!(
                    "sets hold no other sets, such as {}; name both in the rule",
                    quoted(inner)
                );
                parser.wrong(token.span(), &message);
                return Ok(());
            }
            let is_port = text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-');
            if *is_ports.get_or_insert(is_port) != is_port {
                let message = format!(
                    "{} is among {}; expected addresses or ports alone",
                    quoted(text),
                    if is_port { "addresses" } else { "ports" }
                );
                parser.wrong(token.span(), &message);
                return Ok(());
            }
            if addresses.len() + ports.len() == MAX_SET_VALUES {
                return Err(Wrong {
                    at: token.span(),
                    message: format!("the set has more than {MAX_SET_VALUES} values; expected fewer"),
                });
            }
            let outcome = if is_port {
                notation::ports(text).map(|range| ports.push((range, token.span())))
            } else {
                notation::addresses(text).map(|range| addresses.push((range, token.span())))
            };
            if let Err(message) = outcome {
                parser.wrong(token.span(), &message);
            }
            Ok(())
        })?;
        if let Some((first, second)) = overlap(&addresses, |(range, _)| notation::address_ends(range)) {
            self.overlapping(addresses[first].1.clone(), addresses[second].1.clone());
        }
        if let Some((first, second)) = overlap(&ports, |(range, _)| (range.first, range.last)) {
            self.overlapping(ports[first].1.clone(), ports[second].1.clone());
        }
        if self.is_wrong {
            return Ok(());
        }
        let shared = self.reader.name(&name);
        let set = if is_ports == Some(true) {
            Set::Ports(Arc::new(named(shared, ports)))
        } else {
            Set::Addresses(Arc::new(named(shared, addresses)))
        };
        let warning = format!("no rule names the set {}", quoted(&name));
        let unused = self.problem(&name_token.span(), &warning);
        self.reader.add_set(&name, set, unused);
        Ok(())
    }

    fn overlapping(&mut self, first: Range<usize>, second: Range<usize>) {
        let (first, text) = (&self.text[first], &self.text[second.clone()]);
        let message = format!(
            "{} overlaps {}; expected each value once",
            quoted(text),
            quoted(first)
        );
        self.wrong(second, &message);
    }

    /// One value, or a list of them in braces, each given to `value`.
    pub(super) fn list(
        &mut self,
        expected: &str,
        mut value: impl FnMut(&mut Self, Token) -> Result<(), Wrong>,
    ) -> Result<(), Wrong> {
        if self.take(Kind::Open).is_none() {
            let token = self.next();
            return value(self, token);
        }
        let mut is_empty = true;
        loop {
            while self.take(Kind::Newline).is_some() {}
            let token = self.peek();
            if token.kind == Kind::Close {
                if is_empty {
                    let message = format!("the list is empty; expected {expected}");
                    self.wrong(token.span(), &message);
                }
                self.next();
                return Ok(());
            }
            if self.reader.has_enough() {
                return Err(self.unexpected(token, "fewer problems"));
            }
            is_empty = false;
            self.next();
            value(self, token)?;
            while self.take(Kind::Newline).is_some() {}
            let token = self.peek();
            match token.kind {
                Kind::Comma => {
                    self.next();
                }
                Kind::Close => {}
                _ => return Err(self.unexpected(token, "`,` and another value, or `}`")),
            }
        }
    }

    /// A rule, which is checked and added to the list.
    fn rule(&mut self) -> Result<(), Wrong> {
        let first = self.peek();
        let mut rule = self.rule_text()?;
        let end = self.peek();
        rule.place = self.place(first);
        if self.reader.list.rules.len() == MAX_RULES {
            return Err(Wrong {
                at: first.start..end.start,
                message: format!("there are more than {MAX_RULES} rules; expected fewer"),
            });
        }
        if !self.is_wrong {
            self.check(&rule, first.start..end.start);
        }
        if !self.is_wrong {
            self.reader.list.rules.push(rule);
        }
        Ok(())
    }

    /// Notes what is wrong with a rule as a whole.
    pub(super) fn check(&mut self, rule: &Rule, whole: Range<usize>) {
        for fault in check(rule) {
            if self.reader.is_full() {
                self.is_wrong = true;
                self.reader.count_problem();
                continue;
            }
            let at = self.span(fault.part, fault.index);
            let at = at.unwrap_or(whole.start..whole.start + self.text[whole.clone()].trim_end().len());
            self.wrong(at, &fault.message);
        }
    }

    /// Where a part of the rule stands, or a value of it.
    fn span(&self, part: Part, index: Option<usize>) -> Option<Range<usize>> {
        let of = |index| {
            let mut spans = self.spans.iter();
            spans.find(|(other, place, _)| (*other, *place) == (part, index))
        };
        let found = of(index).or_else(|| of(None));
        found.map(|(_, _, span)| span.clone())
    }
}

/// What may have been meant by a word.
pub(super) fn meant<'c>(word: &str, candidates: impl IntoIterator<Item = &'c str>) -> String {
    nearest(word, candidates).map_or(String::new(), |near| format!(" (did you mean {near}?)"))
}

fn named<T>(name: Arc<str>, values: Vec<(T, Range<usize>)>) -> NamedSet<T> {
    NamedSet {
        name,
        values: values.into_iter().map(|(value, _)| value).collect(),
    }
}
