//! From JSON to rules.

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::value::{OneOrMore, Text};
use crate::config::Problem;
use crate::dispatch::dimensions::{FIELDS, Notation};
use crate::rules::reader::{MAX_RULES, MAX_SET_VALUES, Reader, Set, overlap};
use crate::rules::{NamedSet, Part, Place, Rule, Values, check, notation};
use crate::text::{nearest, one_of, quoted};

/// Keys of a rule besides those of the fields, with the parts that they are.
const OWN_KEYS: [(&str, Part); 9] = [
    ("priority", Part::Priority),
    ("protocol", Part::Protocol),
    ("from", Part::From),
    ("source_ports", Part::SourcePorts),
    ("to", Part::To),
    ("destination_ports", Part::DestinationPorts),
    ("channel", Part::Channel),
    ("filtering", Part::Filtering),
    ("comment", Part::Comment),
];

/// The key of a part; empty for the whole.
fn key_of(part: Part) -> &'static str {
    let of_notation = |wanted: fn(&Notation) -> bool| {
        let field = FIELDS.iter().find(|field| wanted(&field.notation));
        field.map_or("", |field| field.key)
    };
    match part {
        Part::Field(index) => FIELDS[index].key,
        Part::Interface => of_notation(|notation| matches!(notation, Notation::Interfaces)),
        Part::TcpFlags => of_notation(|notation| matches!(notation, Notation::TcpFlags)),
        part => {
            let own = OWN_KEYS.iter().find(|(_, other)| *other == part);
            own.map_or("", |(key, _)| key)
        }
    }
}

fn rule_keys() -> impl Iterator<Item = &'static str> + Clone {
    let own = OWN_KEYS.iter().map(|(key, _)| *key);
    own.chain(FIELDS.iter().map(|field| field.key))
}

/// Reads a text; what is wrong is noted in `reader`.
pub(super) fn read(text: &str, file: &Path, reader: &mut Reader) {
    let before = reader.mark();
    let outcome = pass(text, file, reader, Taken::All);
    let Ok(true) = outcome else { return };
    // Keys have no order: rules came before the sets that they may name.
    reader.go_back(before);
    if pass(text, file, reader, Taken::Sets).is_ok() {
        let _ = pass(text, file, reader, Taken::Rules);
    }
}

/// What is taken in a pass over the text.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Taken {
    /// All, if sets stand before rules.
    All,
    Sets,
    Rules,
}

/// Goes over the text once; tells whether sets were found behind rules.
fn pass(text: &str, file: &Path, reader: &mut Reader, taken: Taken) -> Result<bool, ()> {
    let mut reading = Reading {
        reader,
        file,
        shared: file.into(),
        item: None,
        is_wrong: false,
        sets_behind_rules: false,
        scratch: String::new(),
    };
    let mut json = serde_json::Deserializer::from_str(text);
    let outcome = Document(&mut reading, taken).deserialize(&mut json);
    let Err(error) = outcome.and_then(|()| json.end()) else {
        return Ok(reading.sets_behind_rules);
    };
    let message = error.to_string();
    let place = format!(" at line {} column {}", error.line(), error.column());
    let message = message.strip_suffix(&place).unwrap_or(&message);
    let line = text.split('\n').nth(error.line().saturating_sub(1)).unwrap_or("");
    let at = error.column().saturating_sub(1);
    let number = u32::try_from(error.line()).unwrap_or(u32::MAX);
    let message = match &reading.item {
        Some((what, number)) if error.is_data() => format!("{what} {number}: {message}"),
        _ => message.to_owned(),
    };
    let problem = Problem::in_line(file, number, line, &(at..at + 1), &message);
    reading.reader.problem(problem);
    Err(())
}

/// A file that is being read.
pub(super) struct Reading<'r> {
    reader: &'r mut Reader,
    file: &'r Path,
    /// The same for the places of rules.
    shared: Arc<Path>,
    /// What is being read: a set or a rule, and which one, from 1.
    item: Option<(&'static str, usize)>,
    /// Whether something was found wrong with it.
    is_wrong: bool,
    sets_behind_rules: bool,
    /// A number as text.
    pub(super) scratch: String,
}

impl Reading<'_> {
    fn wrong(&mut self, key: &str, message: &str) {
        self.is_wrong = true;
        if self.reader.is_full() {
            self.reader.count_problem();
            return;
        }
        let item = self.item.map(|(what, number)| format!("{what} {number}"));
        let key = match (item, key) {
            (Some(item), "") => item,
            (Some(item), key) => format!("{item}: {key}"),
            (None, key) => key.to_owned(),
        };
        self.reader.problem(Problem::of_key(self.file, &key, message));
    }

    fn unknown_key<'k>(&mut self, found: &str, known: impl Iterator<Item = &'k str> + Clone) {
        let shown = quoted(found);
        let message = match nearest(found, known.clone()) {
            Some(near) => format!("unknown key {shown}, did you mean \"{near}\"?"),
            None => format!("unknown key {shown}; expected {}", one_of(known)),
        };
        self.wrong("", &message);
    }
}

/// The whole text.
struct Document<'a, 'r>(&'a mut Reading<'r>, Taken);

impl<'de> DeserializeSeed<'de> for Document<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Document<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with \"rules\" and \"sets\"")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Self(reading, taken) = self;
        let (mut has_sets, mut has_rules) = (false, false);
        while let Some(key) = map.next_key::<std::borrow::Cow<'de, str>>()? {
            reading.item = None;
            match &*key {
                "sets" if has_sets => reading.wrong(&key, "is here twice; expected one list"),
                "rules" if has_rules => reading.wrong(&key, "is here twice; expected one list"),
                "sets" | "rules" => {}
                other => reading.unknown_key(other, ["sets", "rules"].into_iter()),
            }
            match (&*key, taken) {
                ("sets", Taken::All) if has_rules => {
                    reading.sets_behind_rules = true;
                    map.next_value::<IgnoredAny>()?;
                }
                ("sets", Taken::All | Taken::Sets) => map.next_value_seed(Items(reading, Kind::Set))?,
                ("rules", Taken::All | Taken::Rules) => map.next_value_seed(Items(reading, Kind::Rule))?,
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
            has_sets |= key == "sets";
            has_rules |= key == "rules";
        }
        if !has_rules && !has_sets {
            reading.item = None;
            reading.wrong(
                "",
                "the object has neither rules nor sets; expected {\"rules\": [...]}",
            );
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
enum Kind {
    Set,
    Rule,
}

impl Kind {
    fn name(self) -> &'static str {
        match self {
            Kind::Set => "set",
            Kind::Rule => "rule",
        }
    }
}

/// The list of sets, or that of rules.
struct Items<'a, 'r>(&'a mut Reading<'r>, Kind);

impl<'de> DeserializeSeed<'de> for Items<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a list of {}s", self.1.name())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<(), A::Error> {
        let Self(reading, kind) = self;
        for number in 1.. {
            reading.item = Some((kind.name(), number));
            reading.is_wrong = false;
            if list.next_element_seed(Item(reading, kind))?.is_none() {
                break;
            }
        }
        reading.item = None;
        Ok(())
    }
}

/// A set or a rule.
struct Item<'a, 'r>(&'a mut Reading<'r>, Kind);

impl<'de> DeserializeSeed<'de> for Item<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, json: D) -> Result<(), D::Error> {
        json.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Item<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a {}, which is an object", self.1.name())
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<(), A::Error> {
        match self.1 {
            Kind::Set => self.0.set(map),
            Kind::Rule => self.0.rule(map),
        }
    }
}

/// The keys of a set.
const SET_KEYS: [&str; 3] = ["name", "addresses", "ports"];

impl Reading<'_> {
    fn set<'de, A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let mut name: Option<String> = None;
        let mut addresses = None;
        let mut ports = None;
        let mut seen = 0;
        while let Some(key) = map.next_key_seed(Text(|key: &str| own_key(key, &SET_KEYS)))? {
            let key = self.key(key, &mut seen, SET_KEYS.into_iter());
            match key.map(|index| SET_KEYS[index]) {
                Some("name") => name = Some(map.next_value()?),
                Some(key @ "addresses") => {
                    addresses = Some(self.listed(&mut map, key, notation::addresses)?);
                }
                Some(key @ "ports") => ports = Some(self.listed(&mut map, key, notation::ports)?),
                _ => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        let Some(name) = name else {
            self.wrong("name", "missing; expected the name by which rules name the set");
            return Ok(());
        };
        if let Err(message) = self.reader.check_set_name(&name) {
            self.wrong("name", &message);
        }
        let shared = self.reader.name(&name);
        let set = match (addresses, ports) {
            (Some(values), None) => {
                self.check_values("addresses", &values, notation::address_ends);
                Set::Addresses(Arc::new(NamedSet { name: shared, values }))
            }
            (None, Some(values)) => {
                self.check_values("ports", &values, |range| (range.first, range.last));
                Set::Ports(Arc::new(NamedSet { name: shared, values }))
            }
            _ => {
                self.wrong("", "expected one of `addresses` and `ports`");
                return Ok(());
            }
        };
        if !self.is_wrong {
            let key = format!("set {}", self.item.map_or(0, |(_, number)| number));
            let message = format!("no rule names the set {}", quoted(&name));
            let unused = Problem::of_key(self.file, &key, &message);
            self.reader.add_set(&name, set, unused);
        }
        Ok(())
    }

    /// Values of a set are at least one, not too many, and none in another one.
    fn check_values<T: ToString, E: Ord + Copy>(
        &mut self,
        key: &str,
        values: &[T],
        ends: impl Fn(&T) -> (E, E),
    ) {
        if values.len() > MAX_SET_VALUES {
            let message = format!("the set has more than {MAX_SET_VALUES} values; expected fewer");
            self.wrong(key, &message);
        } else if let Some((first, second)) = overlap(values, ends) {
            let message = format!(
                "\"{}\" overlaps \"{}\"; expected each value once",
                values[second].to_string(),
                values[first].to_string()
            );
            self.wrong(key, &message);
        }
    }

    fn rule<'de, A: MapAccess<'de>>(&mut self, mut map: A) -> Result<(), A::Error> {
        let mut rule = Rule::any(self.reader.drop.clone());
        let mut has_channel = false;
        let mut seen = 0;
        while let Some(key) = map.next_key_seed(Text(part_of))? {
            let known = rule_keys();
            let Some(part) = self.key(key, &mut seen, known).map(part_at) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            let key = key_of(part);
            match part {
                Part::Whole => {}
                Part::Priority => {
                    let mut take = |reading: &mut Self, text: &str| match priority(text) {
                        Ok(priority) => rule.priority = priority,
                        Err(message) => reading.wrong(key, &message),
                    };
                    map.next_value_seed(OneOrMore {
                        reading: self,
                        take: &mut take,
                        may_be_list: false,
                    })?;
                }
                Part::Protocol => rule.protocols = self.listed(&mut map, key, notation::protocol)?,
                Part::From => {
                    rule.from = self.values(&mut map, key, notation::addresses, Reader::addresses)?;
                }
                Part::To => rule.to = self.values(&mut map, key, notation::addresses, Reader::addresses)?,
                Part::SourcePorts => {
                    rule.source_ports = self.values(&mut map, key, notation::ports, Reader::ports)?;
                }
                Part::DestinationPorts => {
                    rule.destination_ports = self.values(&mut map, key, notation::ports, Reader::ports)?;
                }
                Part::Interface => {
                    self.each(&mut map, key, |reading, name| {
                        rule.interfaces.push(reading.reader.name(name));
                        Ok(())
                    })?;
                }
                Part::TcpFlags => rule.tcp_flags = self.listed(&mut map, key, notation::flag_match)?,
                Part::Field(index) => {
                    let field = &FIELDS[index];
                    let ranges = self.listed(&mut map, key, |text| notation::field_range(text, field))?;
                    rule.fields.set(index, ranges);
                }
                Part::Channel => {
                    has_channel = true;
                    rule.channel = map.next_value_seed(Text(|name: &str| self.reader.name(name)))?;
                }
                Part::Filtering => match map.next_value_seed(Text(notation::filtering))? {
                    Ok(filtering) => rule.filtering = Some(filtering),
                    Err(message) => self.wrong(key, &message),
                },
                Part::Comment => rule.comment = Some(map.next_value_seed(Text(|text: &str| text.into()))?),
            }
        }
        if !has_channel {
            self.wrong(
                "channel",
                "missing; expected the name of a channel, \"drop\" or \"pass\"",
            );
        }
        rule.place = Place {
            file: Some(self.shared.clone()),
            position: None,
        };
        if !self.is_wrong {
            for fault in check(&rule) {
                self.wrong(key_of(fault.part), &fault.message);
            }
        }
        if !self.is_wrong && self.reader.list.rules.len() == MAX_RULES {
            let message = format!("there are more than {MAX_RULES} rules; expected fewer");
            self.wrong("", &message);
        }
        if !self.is_wrong {
            self.reader.list.rules.push(rule);
        }
        Ok(())
    }

    /// The index of a known key that is here for the first time.
    fn key<'k>(
        &mut self,
        key: Result<usize, String>,
        seen: &mut u32,
        known: impl Iterator<Item = &'k str> + Clone,
    ) -> Option<usize> {
        match key {
            Ok(index) => {
                if *seen & 1 << index != 0 {
                    let key = known.clone().nth(index).unwrap_or("");
                    self.wrong(key, "is here twice; expected it once");
                }
                *seen |= 1 << index;
                Some(index)
            }
            Err(found) => {
                self.unknown_key(&found, known);
                None
            }
        }
    }

    /// Gives each value under a key to `each`, as text; what that refuses is noted.
    fn each<'de, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        key: &str,
        mut each: impl FnMut(&mut Self, &str) -> Result<(), String>,
    ) -> Result<(), A::Error> {
        let mut count = 0;
        let mut take = |reading: &mut Self, text: &str| {
            count += 1;
            if let Err(message) = each(reading, text) {
                reading.wrong(key, &message);
            }
        };
        map.next_value_seed(OneOrMore {
            reading: self,
            take: &mut take,
            may_be_list: true,
        })?;
        if count == 0 {
            self.wrong(key, "the list is empty; expected a value, or leave the key out");
        }
        Ok(())
    }

    fn listed<'de, T, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
    ) -> Result<Vec<T>, A::Error> {
        let mut listed = Vec::new();
        self.each(map, key, |_, text| read(text).map(|value| listed.push(value)))?;
        Ok(listed)
    }

    fn values<'de, T, A: MapAccess<'de>>(
        &mut self,
        map: &mut A,
        key: &str,
        read: impl Fn(&str) -> Result<T, String>,
        find: impl Fn(&mut Reader, &str) -> Result<Arc<NamedSet<T>>, String>,
    ) -> Result<Values<T>, A::Error> {
        let mut values = Values::any();
        self.each(map, key, |reading, text| match text.strip_prefix('@') {
            Some(name) => find(reading.reader, name).map(|set| values.sets.push(set)),
            None => read(text).map(|value| values.listed.push(value)),
        })?;
        Ok(values)
    }
}

fn own_key(key: &str, known: &[&str]) -> Result<usize, String> {
    let found = known.iter().position(|other| *other == key);
    found.ok_or_else(|| key.to_owned())
}

/// The index among all keys of a rule.
fn part_of(key: &str) -> Result<usize, String> {
    rule_keys()
        .position(|other| other == key)
        .ok_or_else(|| key.to_owned())
}

/// The part of this index among all keys of a rule.
fn part_at(index: usize) -> Part {
    match index.checked_sub(OWN_KEYS.len()) {
        None => OWN_KEYS[index].1,
        Some(field) => match FIELDS[field].notation {
            Notation::Interfaces => Part::Interface,
            Notation::TcpFlags => Part::TcpFlags,
            Notation::Numbers { .. } | Notation::Names(_) => Part::Field(field),
        },
    }
}

fn priority(text: &str) -> Result<u32, String> {
    notation::number(text).ok_or_else(|| {
        format!(
            "found {}; expected a whole number from 0 to {}",
            quoted(text),
            u32::MAX
        )
    })
}
