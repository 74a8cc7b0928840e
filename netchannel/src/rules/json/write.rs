//! From rules to JSON.

use std::io::{self, Write};

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::dispatch::dimensions::{FIELDS, Field, Notation};
use crate::rules::{AddressRange, FieldRange, NamedSet, PortRange, Rule, RuleList, Values, notation};

/// How many bytes are collected before they are written.
const PART: usize = 1 << 16;

/// Writes sets and rules, in their order, each in a line of its own. Reading it again gives the same.
///
/// # Errors
/// Those of `out`.
pub fn write(list: &RuleList, out: &mut (impl Write + ?Sized)) -> io::Result<()> {
    let mut lines = Lines {
        out,
        buffer: b"{".to_vec(),
    };
    if !list.address_sets.is_empty() || !list.port_sets.is_empty() {
        lines.buffer.extend_from_slice(b"\"sets\": [");
        let addresses = list.address_sets.iter().map(|set| SetForm::Addresses(set));
        let ports = list.port_sets.iter().map(|set| SetForm::Ports(set));
        lines.all(addresses.chain(ports))?;
        lines.buffer.extend_from_slice(b",\n ");
    }
    lines.buffer.extend_from_slice(b"\"rules\": [");
    lines.all(list.rules.iter().map(RuleForm))?;
    lines.buffer.extend_from_slice(b"}\n");
    lines.out.write_all(&lines.buffer)
}

struct Lines<'o, W: ?Sized> {
    out: &'o mut W,
    buffer: Vec<u8>,
}

impl<W: Write + ?Sized> Lines<'_, W> {
    /// The items of a list, each in a line, and the end of the list.
    fn all(&mut self, items: impl Iterator<Item = impl Serialize>) -> io::Result<()> {
        for (place, item) in items.enumerate() {
            let separator: &[u8] = if place == 0 { b"\n  " } else { b",\n  " };
            self.buffer.extend_from_slice(separator);
            serde_json::to_writer(&mut self.buffer, &item)?;
            if self.buffer.len() >= PART {
                self.out.write_all(&self.buffer)?;
                self.buffer.clear();
            }
        }
        self.buffer.push(b']');
        Ok(())
    }
}

enum SetForm<'s> {
    Addresses(&'s NamedSet<AddressRange>),
    Ports(&'s NamedSet<PortRange>),
}

impl Serialize for SetForm<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(2))?;
        match self {
            Self::Addresses(set) => {
                map.serialize_entry("name", &*set.name)?;
                map.serialize_entry("addresses", &Each(|| set.values.iter().map(Addresses)))?;
            }
            Self::Ports(set) => {
                map.serialize_entry("name", &*set.name)?;
                map.serialize_entry("ports", &Each(|| set.values.iter().map(Ports)))?;
            }
        }
        map.end()
    }
}

/// A rule as an object with the keys of `[[rule]]`. Keys that would take any value are left out, but for the priority.
#[derive(Clone, Copy, Debug)]
pub struct RuleForm<'r>(pub &'r Rule);

impl Serialize for RuleForm<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let rule = self.0;
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("priority", &rule.priority)?;
        if !rule.protocols.is_empty() {
            map.serialize_entry("protocol", &Each(|| rule.protocols.iter().map(Protocol)))?;
        }
        values(&mut map, "from", &rule.from, Addresses)?;
        values(&mut map, "source_ports", &rule.source_ports, Ports)?;
        values(&mut map, "to", &rule.to, Addresses)?;
        values(&mut map, "destination_ports", &rule.destination_ports, Ports)?;
        for (index, field) in FIELDS.iter().enumerate() {
            match field.notation {
                Notation::Interfaces if !rule.interfaces.is_empty() => {
                    map.serialize_entry(field.key, &Each(|| rule.interfaces.iter().map(|name| &**name)))?;
                }
                Notation::TcpFlags if !rule.tcp_flags.is_empty() => {
                    map.serialize_entry(
                        field.key,
                        &Each(|| rule.tcp_flags.iter().map(ToString::to_string)),
                    )?;
                }
                Notation::Numbers { .. } | Notation::Names(_) if !rule.fields.get(index).is_empty() => {
                    let ranges = rule.fields.get(index);
                    map.serialize_entry(
                        field.key,
                        &Each(|| ranges.iter().map(|range| Range(range, field))),
                    )?;
                }
                _ => {}
            }
        }
        map.serialize_entry("channel", &*rule.channel)?;
        if let Some(filtering) = rule.filtering {
            map.serialize_entry("filtering", notation::filtering_name(filtering))?;
        }
        if let Some(comment) = &rule.comment {
            map.serialize_entry("comment", &**comment)?;
        }
        map.end()
    }
}

fn values<'v, T, V: Serialize, M: SerializeMap>(
    map: &mut M,
    key: &'static str,
    values: &'v Values<T>,
    form: impl Fn(&'v T) -> V,
) -> Result<(), M::Error> {
    if values.is_any() {
        return Ok(());
    }
    map.serialize_entry(
        key,
        &Each(|| {
            let listed = values.listed.iter().map(|value| ValueForm::Listed(form(value)));
            let sets = values
                .sets
                .iter()
                .map(|set| ValueForm::Set(format!("@{}", set.name)));
            listed.chain(sets)
        }),
    )
}

/// A list, whose items are made when they are written.
struct Each<F>(F);

impl<F, I> Serialize for Each<F>
where
    F: Fn() -> I,
    I: IntoIterator<Item: Serialize>,
{
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq((self.0)())
    }
}

#[derive(serde::Serialize)]
#[serde(untagged)]
enum ValueForm<V> {
    Listed(V),
    Set(String),
}

struct Addresses<'v>(&'v AddressRange);

impl Serialize for Addresses<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut text = String::with_capacity(40);
        notation::write_addresses(self.0, &mut text);
        serializer.serialize_str(&text)
    }
}

/// A number for one port, a text for several.
struct Ports<'v>(&'v PortRange);

impl Serialize for Ports<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        if self.0.first == self.0.last {
            serializer.serialize_u16(self.0.first)
        } else {
            serializer.collect_str(self.0)
        }
    }
}

/// A name, or a number if it has none.
struct Protocol<'v>(&'v u8);

impl Serialize for Protocol<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text_or_number(serializer, |text| notation::write_protocol(*self.0, text))
    }
}

/// A name, a number, or a text for several.
struct Range<'v>(&'v FieldRange, &'v Field);

impl Serialize for Range<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        text_or_number(serializer, |text| {
            notation::write_field_range(self.0, self.1, text);
        })
    }
}

fn text_or_number<S: Serializer>(serializer: S, write: impl Fn(&mut String)) -> Result<S::Ok, S::Error> {
    let mut text = String::new();
    write(&mut text);
    match notation::number(&text) {
        Some(number) => serializer.serialize_u32(number),
        None => serializer.serialize_str(&text),
    }
}
