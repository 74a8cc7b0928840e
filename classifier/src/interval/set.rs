//! What an interval holds: the rules that cover it.

use std::fmt;

use super::store::{Content, mix};

/// How many rules, or lists, or chunks there can be.
pub(super) const MOST: usize = (1 << 30) - 1;

const TAG: u32 = 0b11 << 30;
const TREE: u32 = 0b00 << 30;
const LIST: u32 = 0b10 << 30;
const ONE: u32 = 0b11 << 30;

/// A set of rules, by the index of where it is kept. Equal sets of the same dimension are equal here.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Set(u32);

/// The ways to keep a set of rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// No rule.
    Empty,
    /// This rule alone.
    One(u32),
    /// The rules in this [`List`].
    List(u32),
    /// The tree of the next dimension with this [`Chunk`](super::chunk::Chunk) at the top.
    Tree(u32),
}

impl Set {
    pub(super) const EMPTY: Self = Self(u32::MAX);

    pub(super) const fn one(rule: u32) -> Self {
        Self(ONE | rule)
    }

    pub(super) const fn list(list: u32) -> Self {
        Self(LIST | list)
    }

    pub(super) const fn tree(chunk: u32) -> Self {
        Self(TREE | chunk)
    }

    pub(super) const fn bits(self) -> u32 {
        self.0
    }

    #[inline]
    pub(super) const fn kind(self) -> Kind {
        let index = self.0 & !TAG;
        match self.0 & TAG {
            _ if self.0 == Self::EMPTY.0 => Kind::Empty,
            ONE => Kind::One(index),
            LIST => Kind::List(index),
            _ => Kind::Tree(index),
        }
    }

    /// The chunk, if it is a tree (or a chunk inside one).
    #[inline]
    pub(super) const fn as_tree(self) -> Option<u32> {
        if self.0 & TAG == TREE { Some(self.0) } else { None }
    }
}

impl fmt::Debug for Set {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.kind().fmt(f)
    }
}

/// Rules, best first.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) struct List(pub(super) Box<[u32]>);

impl Content for List {
    fn hash(&self) -> u64 {
        self.0.iter().fold(0, |hash, &rule| mix(hash, rule.into()))
    }

    fn owned(&self) -> usize {
        size_of_val(&*self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Kind, MOST, Set};

    #[test]
    fn kinds_do_not_mix() {
        let last = MOST as u32 - 1;
        for index in [0, 1, last] {
            assert_eq!(Set::one(index).kind(), Kind::One(index));
            assert_eq!(Set::list(index).kind(), Kind::List(index));
            assert_eq!(Set::tree(index).kind(), Kind::Tree(index));
            assert_eq!(Set::tree(index).as_tree(), Some(index));
            assert_eq!(
                (Set::one(index).as_tree(), Set::list(index).as_tree()),
                (None, None)
            );
        }
        assert_eq!((Set::EMPTY.kind(), Set::EMPTY.as_tree()), (Kind::Empty, None));
    }
}
