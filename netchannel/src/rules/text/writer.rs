//! From rules to their text.

use std::io::{self, Write};

use super::clause::word_of;
use super::lexer::{is_word, quote};
use crate::config::RESERVED_CHANNELS;
use crate::dispatch::dimensions::{FIELDS, Notation};
use crate::rules::notation;
use crate::rules::{NamedSet, Rule, RuleList, Values};

/// How many bytes are collected before they are written.
const PART: usize = 1 << 16;

/// The values of a set are in lines of about so many characters.
const LINE: usize = 100;

/// Writes sets and rules, in their order. Reading it again gives the same.
///
/// # Errors
/// Those of `out`.
pub fn write(list: &RuleList, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let mut text = String::with_capacity(2 * PART);
    for set in &list.address_sets {
        write_set(set, &mut text, notation::write_addresses);
    }
    for set in &list.port_sets {
        write_set(set, &mut text, notation::write_ports);
    }
    if !text.is_empty() && !list.rules.is_empty() {
        text.push('\n');
    }
    for rule in &list.rules {
        write_rule(rule, &mut text);
        text.push('\n');
        if text.len() >= PART {
            out.write_all(text.as_bytes())?;
            text.clear();
        }
    }
    out.write_all(text.as_bytes())
}

/// A rule in one line, always written in the same way, without an end of the line.
pub fn rule_text(rule: &Rule) -> String {
    let mut text = String::new();
    write_rule(rule, &mut text);
    text
}

/// What a rule matches, in one line: `any` if it is every packet.
pub fn match_text(rule: &Rule) -> String {
    let mut text = String::new();
    write_match(rule, &mut text);
    match text.pop() {
        Some(_) => text,
        None => "any".to_owned(),
    }
}

fn write_set<T>(set: &NamedSet<T>, text: &mut String, value: impl Fn(&T, &mut String)) {
    text.push_str("set ");
    text.push_str(&set.name);
    text.push_str(" = {");
    let mut line = text.len();
    for (place, range) in set.values.iter().enumerate() {
        text.push_str(if place == 0 { " " } else { ", " });
        if text.len() - line > LINE {
            text.pop();
            text.push_str("\n    ");
            line = text.len();
        }
        value(range, text);
    }
    text.push_str(" }\n");
}

fn write_rule(rule: &Rule, text: &mut String) {
    text.push_str("priority ");
    notation::write_number(rule.priority, text);
    text.push(' ');
    write_match(rule, text);
    if RESERVED_CHANNELS.contains(&&*rule.channel) {
        text.push_str(&rule.channel);
    } else {
        text.push_str("use ");
        write_name(&rule.channel, text);
    }
    if let Some(filtering) = rule.filtering {
        text.push_str(" with filtering ");
        text.push_str(notation::filtering_name(filtering));
    }
    if let Some(comment) = &rule.comment {
        text.push_str(" comment ");
        quote(comment, text);
    }
}

/// All clauses, each with a blank behind it.
fn write_match(rule: &Rule, text: &mut String) {
    match rule.protocols[..] {
        [] => {}
        [only] if !notation::has_name(only) => {
            text.push_str("protocol ");
            notation::write_number(only.into(), text);
            text.push(' ');
        }
        _ => write_list(rule.protocols.len(), text, |place, text| {
            notation::write_protocol(rule.protocols[place], text);
        }),
    }
    for (index, field) in FIELDS.iter().enumerate() {
        if !field.protocols.is_empty() {
            write_field(rule, index, text);
        }
    }
    write_end_point("from ", &rule.from, &rule.source_ports, text);
    write_end_point("to ", &rule.to, &rule.destination_ports, text);
    for (index, field) in FIELDS.iter().enumerate() {
        if field.protocols.is_empty() {
            write_field(rule, index, text);
        }
    }
}

fn write_end_point(
    word: &str,
    addresses: &Values<crate::rules::AddressRange>,
    ports: &Values<crate::rules::PortRange>,
    text: &mut String,
) {
    if addresses.is_any() && ports.is_any() {
        return;
    }
    text.push_str(word);
    write_values(addresses, text, notation::write_addresses);
    if !ports.is_any() {
        text.push_str("port ");
        write_values(ports, text, notation::write_ports);
    }
}

fn write_values<T>(values: &Values<T>, text: &mut String, value: impl Fn(&T, &mut String)) {
    if values.is_any() {
        text.push_str("any ");
        return;
    }
    let listed = values.listed.len();
    write_list(listed + values.sets.len(), text, |place, text| {
        match values.listed.get(place) {
            Some(listed) => value(listed, text),
            None => {
                text.push('@');
                text.push_str(&values.sets[place - listed].name);
            }
        }
    });
}

fn write_field(rule: &Rule, index: usize, text: &mut String) {
    let field = &FIELDS[index];
    let start = text.len();
    text.push_str(word_of(field));
    text.push(' ');
    let values = match field.notation {
        Notation::Interfaces => {
            write_list(rule.interfaces.len(), text, |place, text| {
                write_name(&rule.interfaces[place], text);
            });
            rule.interfaces.len()
        }
        Notation::TcpFlags => {
            for (place, flags) in rule.tcp_flags.iter().enumerate() {
                text.push_str(if place == 0 { "" } else { "or " });
                text.push_str(&flags.to_string());
                text.push(' ');
            }
            rule.tcp_flags.len()
        }
        Notation::Numbers { .. } | Notation::Names(_) => {
            let ranges = rule.fields.get(index);
            write_list(ranges.len(), text, |place, text| {
                notation::write_field_range(&ranges[place], field, text);
            });
            ranges.len()
        }
    };
    if values == 0 {
        text.truncate(start);
    }
}

/// One value as it is, several in braces, and a blank.
fn write_list(length: usize, text: &mut String, value: impl Fn(usize, &mut String)) {
    if length != 1 {
        text.push('{');
    }
    for place in 0..length {
        if place > 0 {
            text.push_str(", ");
        }
        value(place, text);
    }
    text.push_str(if length == 1 { " " } else { "} " });
}

fn write_name(name: &str, text: &mut String) {
    if is_word(name) {
        text.push_str(name);
    } else {
        quote(name, text);
    }
}
