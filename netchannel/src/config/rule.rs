//! `[[rule]]`: which packets go to which channel.

use std::ops::Range;
use std::sync::Arc;

use toml::Spanned;

use super::channel::KnownChannels;
use super::error::Source;
use super::field;
use super::interface::KnownInterfaces;
use super::nat::FILTERINGS;
use super::ports::port_list;
use super::schema;
use super::section::Section;
use super::value;
use crate::dispatch::dimensions::{FIELDS, Notation};
use crate::rules::{
    self, ADDRESSES_EXPECTED, DEFAULT_PRIORITY, FlagMatch, MAX_TOTAL_BOXES, Names, Part, Place, Rule,
    RuleList, Values,
};

pub(super) fn read(
    file: &Section<'_, '_>,
    channels: &mut KnownChannels,
    interfaces: &KnownInterfaces,
    source: &mut Source<'_>,
) -> RuleList {
    let names = names(channels, interfaces);
    let mut rules = Vec::new();
    let mut boxes: u64 = 0;
    for table in &file.tables("rule", &schema::RULE, source) {
        let Some(mut rule) = one(table, &names, source) else {
            continue;
        };
        if let Some(channel) = channels.get_mut(&*rule.channel) {
            channel.used = true;
        }
        rule.place = Place {
            file: Some(source.file_at(table.span.start)),
            position: Some(source.position(table.span.start)),
        };
        let before = boxes;
        boxes = boxes.saturating_add(rule.boxes());
        if before <= MAX_TOTAL_BOXES && boxes > MAX_TOTAL_BOXES {
            let message = format!(
                "the lists of all rules up to this one make more than {MAX_TOTAL_BOXES} single rules; expected fewer or \
                 shorter lists"
            );
            source.error(&table.span, "", message);
        }
        rules.push(rule);
    }
    RuleList::from(rules).in_order()
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

fn one(table: &Section<'_, '_>, names: &Names, source: &mut Source<'_>) -> Option<Rule> {
    if table.value("channel").is_none() {
        table.missing("channel", "the name of a channel, \"drop\" or \"pass\"", source);
    }
    let channel = table.string("channel", "the name of a channel", source);
    let mut spans = Spans::default();
    let mut rule = Rule::any(channel.as_ref().map_or("drop", |channel| *channel.get_ref()));
    rule.priority = table.number("priority", DEFAULT_PRIORITY, 0..=u32::MAX, source);
    let from = table.list("from", ADDRESSES_EXPECTED, source, value::addresses);
    rule.from = Values::from(spans.keep(Part::From, from));
    let to = table.list("to", ADDRESSES_EXPECTED, source, value::addresses);
    rule.to = Values::from(spans.keep(Part::To, to));
    let protocols = table.list("protocol", "a protocol", source, value::protocol);
    rule.protocols = spans.keep(Part::Protocol, protocols);
    let ports = port_list(table, "source_ports", source);
    rule.source_ports = Values::from(spans.keep(Part::SourcePorts, ports));
    let ports = port_list(table, "destination_ports", source);
    rule.destination_ports = Values::from(spans.keep(Part::DestinationPorts, ports));
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
