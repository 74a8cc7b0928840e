//! The structures by name.

use std::fmt;
use std::str::FromStr;

use classifier::Classifier;
use classifier::interval::Ipv4Interval;
use classifier::linear::Ipv4Linear;
use classifier::live::{Mirrored, Writer};
use classifier::trie::Ipv4Trie;
use classifier::tuple::Ipv4Tuple;
use serde::{Serialize, Serializer};

/// A structure of the classifier.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Structure {
    /// Search from the front.
    Linear,
    /// Trees of non-crossing intervals, within [their usual memory](classifier::interval::DEFAULT_MEMORY_LIMIT).
    Interval,
    /// Multi-dimensional PATRICIA tries.
    Trie,
    /// Hash tables by tuples of prefix lengths.
    #[default]
    Tuple,
}

impl Structure {
    /// All structures.
    pub const ALL: [Self; 4] = [Self::Linear, Self::Interval, Self::Trie, Self::Tuple];

    /// The name on the command line and in JSON.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Linear => "linear",
            Self::Interval => "interval",
            Self::Trie => "trie",
            Self::Tuple => "tuple",
        }
    }

    /// Hands the structure's type to `user`.
    pub(super) fn give<U: User>(self, user: U) -> U::Result {
        match self {
            Self::Linear => user.take::<Ipv4Linear<u32>, _>(Mirrored::new),
            Self::Interval => user.take::<Ipv4Interval<u32>, _>(Mirrored::new),
            Self::Trie => user.take::<Ipv4Trie<u32>, _>(Mirrored::new),
            Self::Tuple => user.take::<Ipv4Tuple<u32>, _>(|tuple| tuple),
        }
    }
}

/// Something that is done with a structure, whichever it is.
pub(super) trait User {
    type Result;

    /// `live` makes the structure changeable under readers. Rules keep their ids.
    fn take<C, L>(self, live: fn(C) -> L) -> Self::Result
    where
        C: Classifier<u32, 5, Action = u32> + Default,
        L: Writer<u32, 5, Action = u32> + Send;
}

impl fmt::Display for Structure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Structure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

/// A name that no structure has.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("found `{found}`, expected {}", expected())]
pub struct UnknownStructure {
    /// The name.
    pub found: String,
}

fn expected() -> String {
    let names = Structure::ALL.map(Structure::name);
    match names.split_last() {
        Some((last, others)) => format!("{} or {last}", others.join(", ")),
        None => String::new(),
    }
}

impl FromStr for Structure {
    type Err = UnknownStructure;

    fn from_str(name: &str) -> Result<Self, UnknownStructure> {
        let named = Self::ALL.into_iter().find(|structure| structure.name() == name);
        named.ok_or_else(|| UnknownStructure {
            found: name.to_owned(),
        })
    }
}
