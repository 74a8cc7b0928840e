//! A map of prefixes that is cheap to copy, so that a table of a million routes can be published
//! after each small change: it is cut into pieces by the leading bits, and copies share the pieces that
//! neither has changed.

use std::sync::Arc;

use ipnet::{Ipv4Net, Ipv6Net};
use prefix_trie::{Prefix, PrefixMap};

const PIECES: usize = 256;

/// A prefix that can be assigned to a piece.
pub(super) trait Piecewise: Prefix + Clone {
    /// The length from which on all bits that decide about the piece are part of the prefix.
    const DECIDED_FROM: u8;

    /// The piece of a prefix of at least that length.
    fn piece(&self) -> u8;
}

impl Piecewise for Ipv4Net {
    const DECIDED_FROM: u8 = 8;

    fn piece(&self) -> u8 {
        self.addr().octets()[0]
    }
}

impl Piecewise for Ipv6Net {
    const DECIDED_FROM: u8 = 16;

    fn piece(&self) -> u8 {
        // The first byte of global addresses takes few values: the second one spreads them.
        let [first, second, ..] = self.addr().octets();
        first ^ second
    }
}

/// A copy-on-write map from prefixes to values.
#[derive(Clone)]
pub(super) struct PrefixTable<P: Piecewise, T> {
    /// Prefixes too short to belong to one piece.
    short: Arc<PrefixMap<P, T>>,
    pieces: Vec<Arc<PrefixMap<P, T>>>,
    len: usize,
}

impl<P: Piecewise, T> Default for PrefixTable<P, T> {
    fn default() -> Self {
        let empty = Arc::new(PrefixMap::new());
        Self {
            pieces: vec![Arc::clone(&empty); PIECES],
            short: empty,
            len: 0,
        }
    }
}

impl<P: Piecewise, T: Clone> PrefixTable<P, T> {
    fn of(&self, prefix: &P) -> &PrefixMap<P, T> {
        if prefix.prefix_len() < P::DECIDED_FROM {
            return &self.short;
        }
        &self.pieces[usize::from(prefix.piece())]
    }

    fn of_mut(&mut self, prefix: &P) -> &mut PrefixMap<P, T> {
        Arc::make_mut(if prefix.prefix_len() < P::DECIDED_FROM {
            &mut self.short
        } else {
            &mut self.pieces[usize::from(prefix.piece())]
        })
    }

    pub(super) fn longest_match(&self, address: &P) -> Option<&T> {
        let (_, value) = self
            .of(address)
            .get_lpm(address)
            .or_else(|| self.short.get_lpm(address))?;
        Some(value)
    }

    pub(super) fn get(&self, prefix: &P) -> Option<&T> {
        self.of(prefix).get(prefix)
    }

    pub(super) fn insert(&mut self, prefix: P, value: T) {
        if self.of_mut(&prefix).insert(prefix, value).is_none() {
            self.len += 1;
        }
    }

    pub(super) fn remove(&mut self, prefix: &P) {
        // Looking first keeps a piece shared when there is nothing to remove.
        if self.get(prefix).is_some() && self.of_mut(prefix).remove(prefix).is_some() {
            self.len -= 1;
        }
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &T> {
        std::iter::once(&self.short)
            .chain(&self.pieces)
            .flat_map(|piece| piece.values())
    }

    /// Those behind `after`, or all, with their prefixes, in an order that does not change while other prefixes come and go.
    pub(super) fn iter_after(&self, after: Option<P>) -> impl Iterator<Item = (P, &T)> {
        let first = match &after {
            Some(prefix) if prefix.prefix_len() >= P::DECIDED_FROM => 1 + usize::from(prefix.piece()),
            _ => 0,
        };
        // In a piece, prefixes come in the order of their bits, the shorter first.
        let place = |prefix: &P| (prefix.repr(), prefix.prefix_len());
        let after = after.map(|prefix| place(&prefix));
        let pieces = std::iter::once(&self.short).chain(&self.pieces).skip(first);
        pieces.enumerate().flat_map(move |(number, piece)| {
            let all = piece.iter();
            all.filter(move |(prefix, _)| number > 0 || after.is_none_or(|after| place(prefix) > after))
        })
    }

    /// Tells of each prefix whose value is another one in `later`, or is in one of both only. In time proportional to the
    /// pieces that are not shared.
    pub(super) fn differences(&self, later: &Self, mut tell: impl FnMut(Option<&T>, Option<&T>))
    where
        T: PartialEq,
    {
        let pieces = self.pieces.iter().zip(&later.pieces);
        for (old, new) in std::iter::once((&self.short, &later.short)).chain(pieces) {
            if Arc::ptr_eq(old, new) {
                continue;
            }
            for (prefix, value) in old.iter() {
                let other = new.get(&prefix);
                if other != Some(value) {
                    tell(Some(value), other);
                }
            }
            for (_, value) in new.iter().filter(|(prefix, _)| old.get(prefix).is_none()) {
                tell(None, Some(value));
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }
}
