//! Kinds of events, and whether anybody wants them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// What an event is about. Who watches says which kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u32)]
pub enum Kind {
    /// Flows that open and close.
    Flows = 1,
    /// Mappings and blocks of ports of translators that come and go.
    Mappings = 1 << 1,
    /// Limits of translators that are reached.
    Limits = 1 << 2,
    /// Rules that are loaded.
    Rules = 1 << 3,
    /// Links and their addresses.
    Links = 1 << 4,
    /// Routes.
    Routes = 1 << 5,
    /// Neighbours.
    Neighbours = 1 << 6,
    /// The daemon itself.
    Daemon = 1 << 7,
}

impl Kind {
    /// All kinds.
    pub const ALL: [Self; 8] = [
        Self::Flows,
        Self::Mappings,
        Self::Limits,
        Self::Rules,
        Self::Links,
        Self::Routes,
        Self::Neighbours,
        Self::Daemon,
    ];

    /// Its name in requests and on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Flows => "flows",
            Self::Mappings => "mappings",
            Self::Limits => "limits",
            Self::Rules => "rules",
            Self::Links => "links",
            Self::Routes => "routes",
            Self::Neighbours => "neighbours",
            Self::Daemon => "daemon",
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is no kind of events.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there are no events of the kind {0:?}; expected {names}", names = names())]
pub struct NoKind(String);

fn names() -> String {
    let [first @ .., last] = Kind::ALL.map(Kind::name);
    format!("{} or {last}", first.join(", "))
}

impl FromStr for Kind {
    type Err = NoKind;

    fn from_str(text: &str) -> Result<Self, NoKind> {
        let found = Self::ALL.into_iter().find(|kind| kind.name() == text);
        found.ok_or_else(|| NoKind(text.chars().take(40).collect()))
    }
}

/// Some kinds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kinds(u32);

impl Kinds {
    /// None.
    pub const NONE: Self = Self(0);
    /// All that there are.
    pub const ALL: Self = Self((1 << Kind::ALL.len()) - 1);

    /// Whether this kind is among them.
    pub const fn has(self, kind: Kind) -> bool {
        self.0 & kind as u32 != 0
    }

    /// Whether one of these is among them.
    pub const fn has_any(self, kinds: Self) -> bool {
        self.0 & kinds.0 != 0
    }

    /// Both.
    pub const fn and(self, kinds: Self) -> Self {
        Self(self.0 | kinds.0)
    }

    /// Those that are among them.
    pub fn iter(self) -> impl Iterator<Item = Kind> {
        Kind::ALL.into_iter().filter(move |&kind| self.has(kind))
    }
}

impl FromIterator<Kind> for Kinds {
    fn from_iter<I: IntoIterator<Item = Kind>>(kinds: I) -> Self {
        Self(kinds.into_iter().fold(0, |all, kind| all | kind as u32))
    }
}

/// Which kinds somebody watches now. Cheap to clone; to look costs one atomic load, so the packet path may.
#[derive(Clone, Debug, Default)]
pub struct Wanted(Arc<AtomicU32>);

impl Wanted {
    /// Whether somebody watches events of this kind.
    #[inline]
    pub fn has(&self, kind: Kind) -> bool {
        self.all().has(kind)
    }

    /// All kinds that somebody watches.
    #[inline]
    pub fn all(&self) -> Kinds {
        Kinds(self.0.load(Ordering::Relaxed))
    }

    pub(super) fn set(&self, kinds: Kinds) {
        self.0.store(kinds.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_have_names_and_bits_of_their_own() {
        for kind in Kind::ALL {
            assert_eq!(kind.name().parse(), Ok(kind));
            assert_eq!(Kinds::from_iter([kind]).iter().collect::<Vec<_>>(), [kind]);
            assert!(Kinds::ALL.has(kind) && !Kinds::NONE.has(kind));
        }
        assert_eq!(Kinds::from_iter(Kind::ALL), Kinds::ALL);
        let message = "flow".parse::<Kind>().unwrap_err().to_string();
        assert!(
            message.contains("expected flows, mappings,") && message.ends_with(" or daemon"),
            "{message}"
        );
    }
}
