//! What stands in a rule: clauses, and the action.

use std::sync::Arc;

use super::lexer::{Kind, Token};
use super::parser::{Parser, Wrong, meant};
use crate::dispatch::dimensions::{FIELDS, Field, Notation};
use crate::rules::Part;
use crate::rules::reader::Reader;
use crate::rules::{ADDRESSES_EXPECTED, PORTS_EXPECTED, notation};
use crate::rules::{NamedSet, Rule, Values};
use crate::text::quoted;

/// Words that begin clauses, besides those of fields and the names of protocols.
const CLAUSES: [&str; 5] = ["priority", "protocol", "any", "from", "to"];
/// Words that begin actions.
const ACTIONS: [&str; 3] = ["use", "drop", "pass"];

const PROTOCOL_EXPECTED: &str = "a protocol by name or number, such as tcp or 47";

/// The word by which rules ask for a field: its key without the protocol that it begins with, if it has one; and `on` for interfaces.
pub(super) fn word_of(field: &Field) -> &'static str {
    match (field.notation, field.key.split_once('_')) {
        (Notation::Interfaces, _) => "on",
        (_, Some((_, word))) if !field.protocols.is_empty() => word,
        _ => field.key,
    }
}

impl Parser<'_, '_> {
    /// A whole rule, but for the end of its line.
    pub(super) fn rule_text(&mut self) -> Result<Rule, Wrong> {
        let mut rule = Rule::any(self.reader.drop.clone());
        self.clauses(&mut rule, true)?;
        self.action(&mut rule)?;
        Ok(rule)
    }

    /// All clauses up to the action, or to the end.
    pub(super) fn clauses(&mut self, rule: &mut Rule, may_have_priority: bool) -> Result<(), Wrong> {
        // A bit for each clause that was there.
        let mut seen: u32 = 0;
        let mut once = |parser: &mut Self, number: usize, word: Token| {
            if seen & 1 << number != 0 {
                let message = format!("{} is here twice; expected it once", quoted(parser.word(word)));
                parser.wrong(word.span(), &message);
            }
            seen |= 1 << number;
        };
        loop {
            let token = self.peek();
            let word = match token.kind {
                Kind::Word => self.word(token),
                Kind::Open => "",
                _ => return Ok(()),
            };
            match word {
                "use" | "drop" | "pass" => return Ok(()),
                "from" => {
                    once(self, 0, token);
                    self.next();
                    self.end_point(rule, true)?;
                }
                "to" => {
                    once(self, 1, token);
                    self.next();
                    self.end_point(rule, false)?;
                }
                "priority" if may_have_priority => {
                    once(self, 2, token);
                    self.next();
                    self.priority(rule)?;
                }
                "any" => {
                    once(self, 3, token);
                    self.next();
                }
                "protocol" => {
                    once(self, 3, token);
                    self.next();
                    self.protocols(rule)?;
                }
                "port" => {
                    let message = "found \"port\"; expected it behind the addresses, as in `from any port 53` or \
                                   `to any port 443`";
                    return Err(Wrong {
                        at: token.span(),
                        message: message.to_owned(),
                    });
                }
                "" => {
                    once(self, 3, token);
                    self.protocols(rule)?;
                }
                word => {
                    let field = FIELDS
                        .iter()
                        .position(|field| word == word_of(field) || word == field.key);
                    if let Some(index) = field {
                        once(self, 4 + index, token);
                        self.next();
                        self.field(rule, index)?;
                    } else if notation::named_protocol(word).is_some() {
                        once(self, 3, token);
                        self.protocols(rule)?;
                    } else {
                        return Err(self.no_clause(token, may_have_priority));
                    }
                }
            }
        }
    }

    fn no_clause(&self, token: Token, is_rule: bool) -> Wrong {
        let words = || {
            let own = CLAUSES.into_iter().filter(|word| is_rule || *word != "priority");
            own.chain(FIELDS.iter().map(word_of))
        };
        let listed = words().collect::<Vec<_>>().join(", ");
        let protocols = notation::protocol_names();
        let actions = ACTIONS.into_iter().filter(|_| is_rule);
        let near = meant(self.word(token), words().chain(protocols).chain(actions));
        let expected = if is_rule {
            format!("a protocol's name, {listed}, or the action: use CHANNEL, drop or pass{near}")
        } else {
            format!("a protocol's name, {listed}, or the end{near}")
        };
        self.unexpected(token, &expected)
    }

    fn priority(&mut self, rule: &mut Rule) -> Result<(), Wrong> {
        let token = self.peek();
        let number = (token.kind == Kind::Word).then(|| notation::number(self.word(token)));
        rule.priority = number
            .flatten()
            .ok_or_else(|| self.unexpected(token, "a priority, 0 to 4294967295, the lowest first"))?;
        self.next();
        self.spans.push((Part::Priority, None, token.span()));
        Ok(())
    }

    /// Notes where the last clause stands that began at a place.
    fn clause_span(&mut self, part: Part, start: usize, values: usize) {
        let end = self.spans[values..].last().map_or(start, |(_, _, span)| span.end);
        self.spans.push((part, None, start..end));
    }

    fn protocols(&mut self, rule: &mut Rule) -> Result<(), Wrong> {
        if self.take_word("any").is_some() {
            return Ok(());
        }
        let (start, values) = (self.peek().start, self.spans.len());
        self.list(PROTOCOL_EXPECTED, |parser, token| {
            if token.kind != Kind::Word {
                return Err(parser.unexpected(token, PROTOCOL_EXPECTED));
            }
            match notation::protocol(parser.word(token)) {
                Ok(protocol) => {
                    let index = Some(rule.protocols.len());
                    parser.spans.push((Part::Protocol, index, token.span()));
                    rule.protocols.push(protocol);
                }
                Err(message) => parser.wrong(token.span(), &message),
            }
            Ok(())
        })?;
        self.clause_span(Part::Protocol, start, values);
        Ok(())
    }

    /// Addresses, ports or both, behind `from` or `to`.
    fn end_point(&mut self, rule: &mut Rule, is_source: bool) -> Result<(), Wrong> {
        let Rule {
            from,
            to,
            source_ports,
            destination_ports,
            ..
        } = rule;
        let (addresses, ports, parts) = if is_source {
            (from, source_ports, (Part::From, Part::SourcePorts))
        } else {
            (to, destination_ports, (Part::To, Part::DestinationPorts))
        };
        let next = self.peek();
        if next.kind != Kind::Word || self.word(next) != "port" {
            let find = Reader::addresses;
            *addresses = self.values(parts.0, ADDRESSES_EXPECTED, notation::addresses, find)?;
        }
        if self.take_word("port").is_some() {
            *ports = self.values(parts.1, PORTS_EXPECTED, notation::ports, Reader::ports)?;
        }
        Ok(())
    }

    /// `any`, a value, a set, or a list of values and sets.
    fn values<T>(
        &mut self,
        part: Part,
        expected: &str,
        read: impl Fn(&str) -> Result<T, String>,
        find: impl Fn(&mut Reader, &str) -> Result<Arc<NamedSet<T>>, String>,
    ) -> Result<Values<T>, Wrong> {
        let mut values = Values::any();
        if self.take_word("any").is_some() {
            return Ok(values);
        }
        let (start, first_span) = (self.peek().start, self.spans.len());
        let mut set_spans = Vec::new();
        self.list(expected, |parser, token| {
            if token.kind != Kind::Word {
                return Err(parser.unexpected(token, expected));
            }
            let text = parser.word(token);
            if matches!(text, "from" | "to" | "port" | "on" | "use" | "drop" | "pass") {
                return Err(parser.unexpected(token, expected));
            }
            let outcome = match text.strip_prefix('@') {
                Some(name) => find(parser.reader, name).map(|set| {
                    set_spans.push(token.span());
                    values.sets.push(set);
                }),
                None => read(text).map(|value| {
                    let index = Some(values.listed.len());
                    parser.spans.push((part, index, token.span()));
                    values.listed.push(value);
                }),
            };
            if let Err(message) = outcome {
                parser.wrong(token.span(), &message);
            }
            Ok(())
        })?;
        for (number, span) in set_spans.into_iter().enumerate() {
            self.spans.push((part, Some(values.listed.len() + number), span));
        }
        self.clause_span(part, start, first_span);
        Ok(values)
    }

    fn field(&mut self, rule: &mut Rule, index: usize) -> Result<(), Wrong> {
        if self.take_word("any").is_some() {
            return Ok(());
        }
        let field = &FIELDS[index];
        let (start, values) = (self.peek().start, self.spans.len());
        let part = match field.notation {
            Notation::Interfaces => {
                self.interfaces(rule)?;
                Part::Interface
            }
            Notation::TcpFlags => {
                self.tcp_flags(rule)?;
                Part::TcpFlags
            }
            Notation::Numbers { .. } | Notation::Names(_) => {
                let expected = notation::field_expected(field);
                let mut ranges = Vec::new();
                self.list(&expected, |parser, token| {
                    if token.kind != Kind::Word {
                        return Err(parser.unexpected(token, &expected));
                    }
                    match notation::field_range(parser.word(token), field) {
                        Ok(range) => {
                            let place = Some(ranges.len());
                            parser.spans.push((Part::Field(index), place, token.span()));
                            ranges.push(range);
                        }
                        Err(message) => parser.wrong(token.span(), &message),
                    }
                    Ok(())
                })?;
                rule.fields.set(index, ranges);
                Part::Field(index)
            }
        };
        self.clause_span(part, start, values);
        Ok(())
    }

    fn interfaces(&mut self, rule: &mut Rule) -> Result<(), Wrong> {
        const EXPECTED: &str = "the name of an interface";
        self.list(EXPECTED, |parser, token| {
            let name = parser.said(token, EXPECTED)?;
            let index = Some(rule.interfaces.len());
            parser.spans.push((Part::Interface, index, token.span()));
            rule.interfaces.push(parser.reader.name(&name));
            Ok(())
        })
    }

    /// `syn/syn,ack or rst`: the commas are part of what is asked for, so there are no lists in braces.
    fn tcp_flags(&mut self, rule: &mut Rule) -> Result<(), Wrong> {
        loop {
            let first = self.next();
            if first.kind != Kind::Word {
                return Err(self.unexpected(first, notation::FLAGS_EXPECTED));
            }
            let mut end = first.end;
            while self.peek().kind == Kind::Comma && self.peek().start == end {
                end = self.next().end;
                if self.peek().kind == Kind::Word && self.peek().start == end {
                    end = self.next().end;
                }
            }
            let span = first.start..end;
            match notation::flag_match(&self.text[span.clone()]) {
                Ok(flags) => {
                    let index = Some(rule.tcp_flags.len());
                    self.spans.push((Part::TcpFlags, index, span));
                    rule.tcp_flags.push(flags);
                }
                Err(message) => self.wrong(span, &message),
            }
            if self.take_word("or").is_none() {
                return Ok(());
            }
        }
    }

    /// Where the packets go, and what else is said.
    fn action(&mut self, rule: &mut Rule) -> Result<(), Wrong> {
        let token = self.next();
        match (token.kind, self.text.get(token.span())) {
            (Kind::Word, Some("use")) => {
                let (name, token) = self.name("the name of a channel")?;
                rule.channel = self.reader.name(&name);
                self.spans.push((Part::Channel, None, token.span()));
            }
            (Kind::Word, Some(name @ ("drop" | "pass"))) => {
                rule.channel = self.reader.name(name);
                self.spans.push((Part::Channel, None, token.span()));
            }
            _ => return Err(self.unexpected(token, "the action: use CHANNEL, drop or pass")),
        }
        if self.take_word("with").is_some() {
            let parameter = self.next();
            if parameter.kind != Kind::Word || self.word(parameter) != "filtering" {
                return Err(self.unexpected(parameter, "filtering and how to filter"));
            }
            let (name, token) = self.name("how to filter")?;
            match notation::filtering(&name) {
                Ok(filtering) => rule.filtering = Some(filtering),
                Err(message) => self.wrong(token.span(), &message),
            }
            self.spans
                .push((Part::Filtering, None, parameter.start..token.end));
        }
        if self.take_word("comment").is_some() {
            let token = self.peek();
            if token.kind != Kind::Quoted {
                return Err(self.unexpected(token, "a text in quotes"));
            }
            let (comment, token) = self.name("a text in quotes")?;
            rule.comment = Some(comment.into());
            self.spans.push((Part::Comment, None, token.span()));
        }
        let end = self.peek();
        if !matches!(end.kind, Kind::Newline | Kind::End) {
            let expected = match (&rule.filtering, &rule.comment) {
                (_, Some(_)) => "the end of the line",
                (Some(_), None) => "comment \"...\" or the end of the line",
                (None, None) => {
                    "with, comment \"...\" or the end of the line: what a rule matches stands before its action"
                }
            };
            return Err(self.unexpected(end, expected));
        }
        Ok(())
    }
}
