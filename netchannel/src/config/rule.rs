//! `[[rule]]`: which packets go to which channel.

use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

use toml::Spanned;
use toml::de::DeValue;

use super::channel::KnownChannels;
use super::error::{Problem, Source};
use super::field;
use super::interface::KnownInterfaces;
use super::nat::FILTERINGS;
use super::ports::one_port_range;
use super::schema;
use super::section::Section;
use super::set;
use super::value;
use crate::dispatch::dimensions::{FIELDS, Notation};
use crate::rules::{
    self, ADDRESSES_EXPECTED, DEFAULT_PRIORITY, FlagMatch, MAX_TOTAL_BOXES, NamedSet, Names, PORTS_EXPECTED,
    Part, Place, Reader, Rule, RuleList, Values,
};

/// Reads sets, rules, and the files that hold further ones.
pub(super) fn read(
    file: &Section<'_, '_>,
    channels: &mut KnownChannels,
    interfaces: &KnownInterfaces,
    source: &mut Source<'_>,
) -> RuleList {
    let names = names(channels, interfaces);
    let mut reader = Reader::new();
    set::read(file, &mut reader, source);
    for table in &file.tables("rule", &schema::RULE, source) {
        let Some(mut rule) = one(table, &names, &mut reader, source) else {
            continue;
        };
        rule.place = Place {
            file: Some(source.file_at(table.span.start)),
            position: Some(source.position(table.span.start)),
        };
        reader.list.rules.push(rule);
    }
    let own = reader.list.rules.len();
    set::read_files(file, &mut reader, source);
    let named = file.key_span("rules").unwrap_or(0..0);
    match reader.finish(Path::new("")) {
        Ok((list, warnings)) => {
            check_files(&list.rules[own..], &names, &named, source);
            check_boxes(&list, source);
            for rule in &list.rules {
                if let Some(channel) = channels.get_mut(&*rule.channel) {
                    channel.used = true;
                }
            }
            for warning in warnings {
                source.warning_elsewhere(warning);
            }
            list.in_order()
        }
        Err(error) => {
            for problem in error.problems {
                source.error_elsewhere(&named, problem);
            }
            RuleList::default()
        }
    }
}

/// Rules of files name channels and interfaces that are there.
fn check_files(rules: &[Rule], names: &Names, named: &Range<usize>, source: &mut Source<'_>) {
    for rule in rules {
        for fault in names.check(rule) {
            let file = rule.place.file.as_deref().unwrap_or(Path::new(""));
            let problem = Problem::at(file, rule.place.position, fault.message);
            source.error_elsewhere(named, problem);
        }
    }
}

/// All rules together make no more single ones than a classifier takes.
fn check_boxes(list: &RuleList, source: &mut Source<'_>) {
    let mut boxes: u64 = 0;
    for rule in &list.rules {
        boxes = boxes.saturating_add(rule.boxes());
        if boxes > MAX_TOTAL_BOXES {
            let message = format!(
                "the lists of all rules up to this one make more than {MAX_TOTAL_BOXES} single rules; expected fewer or \
                 shorter lists"
            );
            let file = rule.place.file.as_deref().unwrap_or(Path::new(""));
            source.error_elsewhere(&(0..0), Problem::at(file, rule.place.position, message));
            return;
        }
    }
}

/// All names that the file gives to channels and interfaces: one that is wrong in its own place is reported there.
fn names(channels: &KnownChannels, interfaces: &KnownInterfaces) -> Names {
    let mut names = Names::default();
    for (name, channel) in channels {
        names.add_channel(name, channel.is_nat, channel.mapping);
    }
    for name in interfaces.keys() {
        names.add_interface(name);
    }
    names
}

/// Where the parts of a rule stand: each key, and the values of its list.
#[derive(Default)]
struct Spans(Vec<(Part, Vec<Range<usize>>)>);

impl Spans {
    /// Keeps the places of a list's values, and gives the values alone.
    fn keep<T>(&mut self, part: Part, list: Option<Vec<Spanned<T>>>) -> Vec<T> {
        let list = list.unwrap_or_default();
        self.0.push((part, list.iter().map(Spanned::span).collect()));
        list.into_iter().map(Spanned::into_inner).collect()
    }

    fn of(&self, part: Part, index: Option<usize>) -> Option<Range<usize>> {
        let (_, spans) = self.0.iter().find(|(known, _)| *known == part)?;
        spans.get(index?).cloned()
    }
}

/// The key that says a part of a rule.
fn key_of(part: Part) -> &'static str {
    match part {
        Part::Whole => "",
        Part::Priority => "priority",
        Part::From => "from",
        Part::To => "to",
        Part::Protocol => "protocol",
        Part::SourcePorts => "source_ports",
        Part::DestinationPorts => "destination_ports",
        Part::Interface => "interface",
        Part::TcpFlags => "tcp_flags",
        Part::Field(field) => FIELDS[field].key,
        Part::Channel => "channel",
        Part::Filtering => "filtering",
        Part::Comment => "comment",
    }
}

/// Values that are written out or in sets.
fn values<T>(
    (table, key, part): (&Section<'_, '_>, &str, Part),
    expected: &str,
    read: impl Fn(&DeValue<'_>) -> Result<T, String>,
    mut find: impl FnMut(&str) -> Result<Arc<NamedSet<T>>, String>,
    spans: &mut Spans,
    source: &mut Source<'_>,
) -> Values<T> {
    let mut sets = Vec::new();
    let listed = table.list(key, expected, source, |value| {
        match value.as_str().and_then(|text| text.strip_prefix('@')) {
            Some(name) => {
                sets.push(find(name)?);
                Ok(None)
            }
            None => read(value).map(Some),
        }
    });
    let listed = listed.map(|list| {
        let values = list.into_iter().filter_map(|value| {
            let span = value.span();
            value.into_inner().map(|value| Spanned::new(span, value))
        });
        values.collect()
    });
    Values {
        listed: spans.keep(part, listed),
        sets,
    }
}

fn one(table: &Section<'_, '_>, names: &Names, reader: &mut Reader, source: &mut Source<'_>) -> Option<Rule> {
    if table.value("channel").is_none() {
        table.missing("channel", "the name of a channel, \"drop\" or \"pass\"", source);
    }
    let channel = table.string("channel", "the name of a channel", source);
    let mut spans = Spans::default();
    let mut rule = Rule::any(channel.as_ref().map_or("drop", |channel| *channel.get_ref()));
    rule.priority = table.number("priority", DEFAULT_PRIORITY, 0..=u32::MAX, source);
    let mut addresses = |key, part, reader: &mut Reader, spans: &mut Spans| {
        let find = |name: &str| reader.addresses(name);
        let at = (table, key, part);
        values(at, ADDRESSES_EXPECTED, value::addresses, find, spans, source)
    };
    rule.from = addresses("from", Part::From, reader, &mut spans);
    rule.to = addresses("to", Part::To, reader, &mut spans);
    let protocols = table.list("protocol", "a protocol", source, value::protocol);
    rule.protocols = spans.keep(Part::Protocol, protocols);
    let mut ports = |key, part, reader: &mut Reader, spans: &mut Spans| {
        let find = |name: &str| reader.ports(name);
        values(
            (table, key, part),
            PORTS_EXPECTED,
            one_port_range,
            find,
            spans,
            source,
        )
    };
    rule.source_ports = ports("source_ports", Part::SourcePorts, reader, &mut spans);
    rule.destination_ports = ports("destination_ports", Part::DestinationPorts, reader, &mut spans);
    for (index, field) in FIELDS.iter().enumerate() {
        match field.notation {
            Notation::Interfaces => {
                let interfaces = table.list(
                    field.key,
                    "the name of an [[interface]]",
                    source,
                    field::interface,
                );
                rule.interfaces = spans.keep(Part::Interface, interfaces);
            }
            Notation::TcpFlags => {
                let flags = table.list(field.key, field::FLAGS_EXPECTED, source, field::tcp_flags);
                rule.tcp_flags = spans.keep::<FlagMatch>(Part::TcpFlags, flags);
            }
            Notation::Numbers { .. } | Notation::Names(_) => {
                let values = field::ranges(table, field, source);
                rule.fields.set(index, spans.keep(Part::Field(index), values));
            }
        }
    }
    rule.filtering = table.choice("filtering", &FILTERINGS, source);
    let comment = table.string("comment", "text", source);
    rule.comment = comment.map(|text| Arc::from(*text.get_ref()));

    let mut faults = rules::check(&rule);
    if channel.is_some() {
        faults.extend(names.check(&rule));
    }
    for fault in faults {
        let key = key_of(fault.part);
        let of_key = || table.key_span(key).filter(|_| !key.is_empty());
        let of_value = || {
            (fault.part == Part::Channel)
                .then(|| channel.as_ref().map(Spanned::span))
                .flatten()
        };
        let span = spans
            .of(fault.part, fault.index)
            .or_else(of_value)
            .or_else(of_key);
        source.error(&span.unwrap_or(table.span.clone()), key, fault.message);
    }
    channel.is_some().then_some(rule)
}
