//! Which packets rules take.

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;

use serde_json::Value;

use super::schema::{Match, Set, single};
use super::selector::{Number, Selector, selector, shown, unknown};
use crate::rules::chains::{
    AnySet, Body, Dimension, Family, ImportOptions, Region, Spans, addresses, later_fragments,
    not_later_fragments,
};
use crate::rules::{MAX_SET_NAME, Name, NamedSet, PortRange};
use crate::text::quoted;

/// The most combinations of values that one rule may be for.
pub(super) const MAX_ALTERNATIVES: usize = 65_536;

/// The sets and maps of all tables, by family, table and name.
pub(super) type Sets = HashMap<(String, String, String), Set>;

/// The sets of the rules that are made, by the field and set that they are of.
pub(super) type Named = HashMap<(Kind, String, String, String), Option<AnySet>>;

/// Whether a set is one of addresses, and of which family, or one of ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    Ipv4,
    Ipv6,
    Ports,
}

/// What rules of a table are read with.
pub(super) struct Context<'c> {
    pub(super) family: &'c str,
    pub(super) table: &'c str,
    pub(super) sets: &'c Sets,
    pub(super) options: &'c ImportOptions,
}

impl Context<'_> {
    /// The elements of a named set or map.
    pub(super) fn elements(&self, reference: &str) -> Result<&[Value], String> {
        let name = reference.strip_prefix('@').unwrap_or(reference);
        let key = (self.family.to_owned(), self.table.to_owned(), name.to_owned());
        let set = self
            .sets
            .get(&key)
            .ok_or_else(|| format!("there is no set {} in this table", quoted(reference)))?;
        let changing = |flag: &String| ["dynamic", "timeout"].contains(&flag.as_str());
        if set.timeout.is_some() || set.flags.iter().any(changing) {
            return Err(format!(
                "what is in the set {} comes and goes; rules stay as they are",
                quoted(reference)
            ));
        }
        Ok(&set.elements)
    }

    /// The values of the right side of a match: those of a set, or the one.
    fn values<'v>(&'v self, right: &'v Value) -> Result<Vec<&'v Value>, String> {
        let elements = match (right, single(right)) {
            (Value::String(text), _) if text.starts_with('@') => self.elements(text)?,
            (_, Some(("set", Value::Array(elements)))) => elements,
            (_, Some(("set", one))) => std::slice::from_ref(one),
            _ => std::slice::from_ref(right),
        };
        elements.iter().map(plain).collect()
    }
}

/// An element without what else is told of it.
pub(super) fn plain(element: &Value) -> Result<&Value, String> {
    match single(element) {
        Some(("elem", element)) => match element.get("val") {
            Some(_) if element.get("expires").is_some() => Err(format!(
                "the element {} comes and goes; rules stay as they are",
                shown(element)
            )),
            Some(value) => Ok(value),
            None => Err(unknown(element)),
        },
        _ => Ok(element),
    }
}

/// What the matches of a rule come to, one after the other.
pub(super) struct Matches<'c> {
    pub(super) context: &'c Context<'c>,
    pub(super) regions: Vec<Region>,
    pub(super) body: Body,
    /// Whether only packets of flows that are open already can match.
    pub(super) only_answers: bool,
    /// The interface that packets leave by.
    pub(super) leaves_by: Option<Name>,
    pub(super) notes: Vec<String>,
    pub(super) named: &'c mut Named,
}

impl Matches<'_> {
    /// Takes only packets that are in one of these besides.
    pub(super) fn add(&mut self, alternatives: &[Region]) -> Result<(), String> {
        if self.regions.len().saturating_mul(alternatives.len()) > MAX_ALTERNATIVES {
            return Err(format!(
                "the rule is for more than {MAX_ALTERNATIVES} combinations of values; expected fewer"
            ));
        }
        self.regions = Region::all_and(&self.regions, alternatives);
        Ok(())
    }

    pub(super) fn one(&mut self, found: &Match) -> Result<(), String> {
        if let Some(("concat", Value::Array(parts))) = single(&found.left) {
            let regions = self.concatenation(parts, &found.right)?;
            return match found.operator.as_str() {
                "==" => self.add(&regions),
                operator => Err(format!(
                    "rules do not ask for concatenations that are {operator}; expected =="
                )),
            };
        }
        let operator = found.operator.as_str();
        match selector(&found.left)? {
            Selector::Number(number) => self.number(&number, operator, &found.right),
            Selector::Arrives => {
                let names = self.interfaces(&found.right)?;
                match operator {
                    "==" | "in" => self.add(&[Region::with_interfaces(names)]),
                    "!=" => {
                        self.body.unless_interfaces.extend(names);
                        Ok(())
                    }
                    _ => Err(no_operator(operator)),
                }
            }
            Selector::Leaves => self.leaves(operator, &found.right),
            Selector::State => self.state(operator, &found.right),
            Selector::Status => match found.right.as_str() {
                Some("dnat" | "snat") if ["in", "=="].contains(&operator) => {
                    self.only_answers = true;
                    Ok(())
                }
                _ => Err("rules do not ask for ct status".to_owned()),
            },
            Selector::Version => {
                let versions = self.context.values(&found.right)?.into_iter().map(version);
                let versions = versions.collect::<Result<Vec<Family>, String>>()?;
                let families = [Family::Ipv4, Family::Ipv6].into_iter();
                let families = families.filter(|family| versions.contains(family) == (operator != "!="));
                self.add(&families.map(Region::of).collect::<Vec<_>>())
            }
            Selector::DestinationKind => match (operator, found.right.as_str()) {
                ("==", Some("local")) => {
                    let mut region = Region::default();
                    region.to_box = true;
                    self.add(&[region])
                }
                _ => {
                    Err("rules do not ask what kind of address the destination is, but for local".to_owned())
                }
            },
            Selector::FragmentOffset => {
                let is_zero = found.right.as_u64() == Some(0);
                let later = match operator {
                    "==" if is_zero => not_later_fragments(),
                    "!=" | ">" if is_zero => later_fragments(),
                    _ => {
                        return Err(
                            "rules do not ask for the offset of fragments, but whether there is one"
                                .to_owned(),
                        );
                    }
                };
                match later.and(&Region::of(Family::Ipv4)) {
                    Some(region) => self.add(&[region]),
                    None => self.add(&[]),
                }
            }
        }
    }

    fn number(&mut self, number: &Number, operator: &str, right: &Value) -> Result<(), String> {
        let is_flags = number.dimension == Dimension::TcpFlags;
        // A list is several flags, not a set of them.
        let is_in = operator == "in" || operator == "!";
        if is_flags && (is_in || number.mask.is_some()) {
            return self.flags(number, operator, right);
        }
        let values = self.context.values(right)?;
        if values.is_empty() {
            self.notes
                .push(format!("takes no packet: {} is empty now", shown(right)));
        }
        let mut spans = number.all(values)?;
        if let Some(mask) = number.mask {
            // The mask of an address is a prefix.
            let free = number.highest & !mask;
            spans = Spans::new(
                spans
                    .iter()
                    .map(|(first, last)| (first & mask, last & mask | free)),
            );
        }
        let single = spans
            .iter()
            .next()
            .filter(|(first, last)| first == last && spans.len() == 1);
        let spans = match (operator, single) {
            ("==" | "in", _) => {
                let regions: Vec<Region> = number.region(spans.clone()).into_iter().collect();
                let set = self.named(number, right, &spans);
                let named = regions
                    .into_iter()
                    .map(|region| region.named(number.dimension, set.clone()));
                return self.add(&named.collect::<Vec<_>>());
            }
            ("!=", _) if number.dimension == Dimension::Protocol => {
                self.body.unless_protocols =
                    Spans::new(self.body.unless_protocols.iter().chain(spans.iter()));
                return self.add(std::slice::from_ref(&number.base));
            }
            ("!=", _) => spans.complement(number.highest),
            ("<", Some((end, _))) => below(end),
            (">", Some((end, _))) => below(end).complement(number.highest).without(&Spans::one(end)),
            ("<=", Some((end, _))) => Spans::up_to(end),
            (">=", Some((end, _))) => below(end).complement(number.highest),
            _ => return Err(no_operator(operator)),
        };
        self.add(&number.region(spans).into_iter().collect::<Vec<_>>())
    }

    /// `flags & MASK == SET`, `!=`; any of some flags (`in`), or none of them (`!`).
    fn flags(&mut self, number: &Number, operator: &str, right: &Value) -> Result<(), String> {
        let sets: Vec<u128> = match single(right) {
            Some(("set", Value::Array(values))) => values
                .iter()
                .map(|value| number.number(value))
                .collect::<Result<_, _>>()?,
            _ => vec![number.number(right)?],
        };
        let mask = number.mask.unwrap_or(0xff);
        let takes = |flags: u128| match operator {
            "==" => sets.contains(&(flags & mask)),
            "!=" => !sets.contains(&(flags & mask)),
            "in" => sets.iter().any(|set| flags & mask & set != 0),
            _ => sets.iter().all(|set| flags & mask & set == 0),
        };
        if !["==", "!=", "in", "!"].contains(&operator) {
            return Err(no_operator(operator));
        }
        let taken = Spans::new(
            (0..=255)
                .filter(|flags| takes(*flags))
                .map(|flags| (flags, flags)),
        );
        self.add(&number.region(taken).into_iter().collect::<Vec<_>>())
    }

    /// The set of the rules that are made for a named set of addresses or ports.
    fn named(&mut self, number: &Number, right: &Value, spans: &Spans) -> Option<AnySet> {
        let name = right.as_str()?.strip_prefix('@')?;
        let plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
        if name.is_empty()
            || name.len() > MAX_SET_NAME
            || !name.bytes().all(plain)
            || spans.is_empty()
            || number.mask.is_some()
        {
            return None;
        }
        let kind = match (number.dimension, number.base.family) {
            (Dimension::From | Dimension::To, Some(Family::Ipv4)) => Kind::Ipv4,
            (Dimension::From | Dimension::To, Some(Family::Ipv6)) => Kind::Ipv6,
            (Dimension::SourcePorts | Dimension::DestinationPorts, _) => Kind::Ports,
            _ => return None,
        };
        let key = (
            kind,
            self.context.family.to_owned(),
            self.context.table.to_owned(),
            name.to_owned(),
        );
        if let Some(known) = self.named.get(&key) {
            return known.clone();
        }
        // Names are of one set each; another table's set of this name is written out.
        let is_taken = self
            .named
            .iter()
            .any(|((.., other), set)| other == name && set.is_some());
        let set = (!is_taken).then(|| match kind {
            Kind::Ports => AnySet::Ports(Arc::new(NamedSet {
                name: name.into(),
                values: spans
                    .iter()
                    .map(|(first, last)| PortRange {
                        first: first as u16,
                        last: last as u16,
                    })
                    .collect(),
            })),
            Kind::Ipv4 | Kind::Ipv6 => {
                let family = if kind == Kind::Ipv4 {
                    Family::Ipv4
                } else {
                    Family::Ipv6
                };
                AnySet::Addresses(Arc::new(NamedSet {
                    name: name.into(),
                    values: spans
                        .iter()
                        .map(|(first, last)| addresses(family, first, last))
                        .collect(),
                }))
            }
        });
        self.named.insert(key, set.clone());
        set
    }

    fn interfaces(&self, right: &Value) -> Result<BTreeSet<Name>, String> {
        let values = self.context.values(right)?;
        values.into_iter().map(interface).collect()
    }

    fn leaves(&mut self, operator: &str, right: &Value) -> Result<(), String> {
        let names = self.interfaces(right)?;
        match operator {
            "==" | "in" => {
                let mut regions = Vec::new();
                for name in &names {
                    regions.extend(self.context.options.leaving_by(name)?);
                }
                self.leaves_by = names.into_iter().next();
                self.add(&regions)
            }
            "!=" => {
                for name in names {
                    let regions = self.context.options.not_leaving_by(&name)?;
                    self.add(&regions)?;
                }
                Ok(())
            }
            _ => Err(no_operator(operator)),
        }
    }

    /// A rule is asked about the packet that opens a flow.
    fn state(&mut self, operator: &str, right: &Value) -> Result<(), String> {
        let values = match right {
            Value::Array(states) => states.iter().collect(),
            right => self.context.values(right)?,
        };
        let states = values
            .iter()
            .map(|value| value.as_str().ok_or_else(|| unknown(value)));
        let states = states.collect::<Result<Vec<&str>, String>>()?;
        let names_new = states.contains(&"new");
        match operator {
            "==" | "in" if names_new => Ok(()),
            "==" | "in"
                if states
                    .iter()
                    .all(|state| ["established", "related"].contains(state)) =>
            {
                self.only_answers = true;
                Ok(())
            }
            "!=" | "!" if !names_new => Ok(()),
            _ => Err(format!(
                "rules are asked about packets that open flows; expected new among the states, found {operator} {}",
                states.join(",")
            )),
        }
    }

    /// What several selectors at once take of one value, or of a set.
    fn concatenation(&mut self, parts: &[Value], right: &Value) -> Result<Vec<Region>, String> {
        let selectors = parts.iter().map(selector).collect::<Result<Vec<_>, String>>()?;
        let values = self.context.values(right)?;
        if values.is_empty() {
            self.notes
                .push(format!("takes no packet: {} is empty now", shown(right)));
        }
        let mut regions = Vec::new();
        for value in values {
            regions.extend(concatenated(&selectors, value)?);
        }
        Ok(regions)
    }

    /// The packets that a key, one selector or several, has a value for; `None` where there are none.
    pub(super) fn keyed(key: &Value, value: &Value) -> Result<Option<Region>, String> {
        match single(key) {
            Some(("concat", Value::Array(parts))) => {
                let selectors = parts.iter().map(selector).collect::<Result<Vec<_>, String>>()?;
                concatenated(&selectors, plain(value)?)
            }
            _ => part(&selector(key)?, plain(value)?),
        }
    }
}

/// The packets with a value in each of several fields; `None` where there are none.
fn concatenated(selectors: &[Selector], value: &Value) -> Result<Option<Region>, String> {
    let values = match single(value) {
        Some(("concat", Value::Array(values))) if values.len() == selectors.len() => values,
        _ => return Err(unknown(value)),
    };
    let mut region = Some(Region::default());
    for (selector, value) in selectors.iter().zip(values) {
        let Some(part) = part(selector, value)? else {
            return Ok(None);
        };
        region = region.and_then(|region| region.and(&part));
    }
    Ok(region)
}

/// The packets with a value in one field; `None` where there are none.
fn part(selector: &Selector, value: &Value) -> Result<Option<Region>, String> {
    match selector {
        Selector::Number(number) if number.mask.is_none() => Ok(number.region(number.spans(value)?)),
        Selector::Arrives => Ok(Some(Region::with_interfaces([interface(value)?]))),
        Selector::Version => Ok(Some(Region::of(version(value)?))),
        _ => Err("rules do not ask for this as one of several fields, or in a map".to_owned()),
    }
}

fn interface(value: &Value) -> Result<Name, String> {
    match value.as_str() {
        Some(name) if name.ends_with('*') => Err(format!(
            "{} stands for all interfaces whose names begin so; rules name them one by one",
            quoted(name)
        )),
        Some(name) if !name.is_empty() && name.len() <= 15 => Ok(name.into()),
        _ => Err(unknown(value)),
    }
}

fn version(value: &Value) -> Result<Family, String> {
    match value.as_str() {
        Some("ip" | "ipv4") => Ok(Family::Ipv4),
        Some("ip6" | "ipv6") => Ok(Family::Ipv6),
        _ => Err(unknown(value)),
    }
}

fn below(end: u128) -> Spans {
    match end.checked_sub(1) {
        Some(last) => Spans::up_to(last),
        None => Spans::default(),
    }
}

fn no_operator(operator: &str) -> String {
    format!(
        "rules do not compare this by {}; expected == or !=",
        quoted(operator)
    )
}
