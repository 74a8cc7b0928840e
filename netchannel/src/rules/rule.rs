//! What a rule says: the one form that every notation is read into and written from.

use std::fmt;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use super::values::{AddressRange, FieldRange, FlagMatch, PortRange};
use crate::channel::nat::Filtering;
use crate::config::Position;
use crate::dispatch::dimensions::FIELDS;

/// A name or a comment, shared by all rules that have it.
pub type Name = Arc<str>;

/// The priority of a rule that gives none.
pub const DEFAULT_PRIORITY: u32 = 100;

/// Which packets go to which channel. A packet matches if each of its fields is among the rule's values for it.
///
/// Rules are equal if they say the same, wherever they stand.
#[derive(Clone, Debug)]
pub struct Rule {
    /// The lowest number is tried first; equal numbers in the order of the list.
    pub priority: u32,
    /// Source addresses; of the same family as `to`.
    pub from: Values<AddressRange>,
    /// Destination addresses; of the same family as `from`.
    pub to: Values<AddressRange>,
    /// IANA protocol numbers; none for any.
    pub protocols: Vec<u8>,
    /// Source ports; only with protocols that have ports.
    pub source_ports: Values<PortRange>,
    /// Destination ports; only with protocols that have ports.
    pub destination_ports: Values<PortRange>,
    /// Interfaces of the configuration that the packet came in by; none for any.
    pub interfaces: Vec<Name>,
    /// TCP flags: one of these; none for any. Only with the protocol TCP.
    pub tcp_flags: Vec<FlagMatch>,
    /// The further fields.
    pub fields: Fields,
    /// The channel: one of the configuration's, or `drop` or `pass`.
    pub channel: Name,
    /// Which outside hosts may answer through mappings that inside hosts open by this rule, in place of what its channel, a translator,
    /// says.
    pub filtering: Option<Filtering>,
    /// What whoever wrote it says about it.
    pub comment: Option<Name>,
    /// Where it stands.
    pub place: Place,
}

impl Rule {
    /// The rule that sends every packet to a channel.
    pub fn any(channel: impl Into<Name>) -> Self {
        Self {
            priority: DEFAULT_PRIORITY,
            from: Values::any(),
            to: Values::any(),
            protocols: Vec::new(),
            source_ports: Values::any(),
            destination_ports: Values::any(),
            interfaces: Vec::new(),
            tcp_flags: Vec::new(),
            fields: Fields::default(),
            channel: channel.into(),
            filtering: None,
            comment: None,
            place: Place::default(),
        }
    }
}

impl PartialEq for Rule {
    fn eq(&self, other: &Self) -> bool {
        let Self {
            priority,
            from,
            to,
            protocols,
            source_ports,
            destination_ports,
            interfaces,
            tcp_flags,
            fields,
            channel,
            filtering,
            comment,
            place: _,
        } = self;
        *priority == other.priority
            && *from == other.from
            && *to == other.to
            && *protocols == other.protocols
            && *source_ports == other.source_ports
            && *destination_ports == other.destination_ports
            && *interfaces == other.interfaces
            && *tcp_flags == other.tcp_flags
            && *fields == other.fields
            && *channel == other.channel
            && *filtering == other.filtering
            && *comment == other.comment
    }
}

impl Eq for Rule {}

/// Of all that makes rules equal, what tells most of them apart.
impl Hash for Rule {
    fn hash<H: Hasher>(&self, state: &mut H) {
        (self.priority, &self.from, &self.to, &self.protocols).hash(state);
        (&self.source_ports, &self.destination_ports).hash(state);
        (&self.interfaces, &self.tcp_flags, &self.fields, &self.channel).hash(state);
    }
}

/// Values of one field of a rule, written out or in named sets; none at all for any value.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Values<T> {
    /// Those that are written out, in the order in which they are written.
    pub listed: Vec<T>,
    /// The sets that are named besides.
    pub sets: Vec<Arc<NamedSet<T>>>,
}

impl<T> Values<T> {
    /// Any value.
    pub fn any() -> Self {
        Self {
            listed: Vec::new(),
            sets: Vec::new(),
        }
    }

    /// Whether every value is among them.
    pub fn is_any(&self) -> bool {
        self.listed.is_empty() && self.sets.is_empty()
    }

    /// How many values there are; 0 for any.
    pub fn len(&self) -> usize {
        self.listed.len() + self.sets.iter().map(|set| set.values.len()).sum::<usize>()
    }

    /// As [`is_any`](Self::is_any).
    pub fn is_empty(&self) -> bool {
        self.is_any()
    }

    /// All values, first those written out.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.listed
            .iter()
            .chain(self.sets.iter().flat_map(|set| &set.values))
    }
}

impl<T> From<Vec<T>> for Values<T> {
    fn from(listed: Vec<T>) -> Self {
        Self {
            listed,
            sets: Vec::new(),
        }
    }
}

/// A named set of addresses or ports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NamedSet<T> {
    /// Its name: 1 to 32 letters, digits, `-`, `_` and `.`.
    pub name: Name,
    /// Its values, at least one, none of them in another one.
    pub values: Vec<T>,
}

/// By name: sets of one list have different ones.
impl<T> Hash for NamedSet<T> {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

/// The further fields that a rule names, each with its values; see [`FIELDS`].
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Fields(Vec<(usize, Vec<FieldRange>)>);

impl Fields {
    /// The values of the field with this index in [`FIELDS`]; none for any.
    pub fn get(&self, field: usize) -> &[FieldRange] {
        self.0
            .iter()
            .find(|(index, _)| *index == field)
            .map_or(&[], |(_, values)| values)
    }

    /// Has the field take these values alone; any, if there are none.
    pub fn set(&mut self, field: usize, values: Vec<FieldRange>) {
        debug_assert!(field < FIELDS.len());
        self.0.retain(|(index, _)| *index != field);
        if !values.is_empty() {
            let place = self.0.partition_point(|(index, _)| *index < field);
            self.0.insert(place, (field, values));
        }
    }

    /// The fields that are named, by their index in [`FIELDS`], with their values.
    pub fn iter(&self) -> impl Iterator<Item = (usize, &[FieldRange])> {
        self.0.iter().map(|(index, values)| (*index, values.as_slice()))
    }

    /// Whether none is named.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

/// Where a rule stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The file, as it was named; `None` for a rule that came without one.
    pub file: Option<Arc<Path>>,
    /// Line and column; `None` where there are none, as in JSON.
    pub position: Option<Position>,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let file = self.file.as_ref().map(|file| file.display());
        match (file, self.position) {
            (Some(file), Some(position)) => write!(f, "{file}:{position}"),
            (Some(file), None) => write!(f, "{file}"),
            (None, Some(position)) => write!(f, "{position}"),
            (None, None) => f.write_str("a rule of no file"),
        }
    }
}
