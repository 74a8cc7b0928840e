//! What a node holds for each of its prefixes, and the arrays of those that don't fit into a node.

use crate::slab::NIL;

/// A reference to the rules behind a prefix.
///
/// In 32 bits: which kind it is in the highest ones, an index in the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Target(u32);

/// A [`Target`], told apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// Nothing.
    Nothing,
    /// One rule alone, whatever it asks for in what is left of the key.
    Rule(u32),
    /// One rule alone that asks for nothing more.
    Whole(u32),
    /// Several rules that ask for nothing more.
    Group(u32),
    /// A node of this or a later dimension.
    Node(u32),
}

impl Target {
    const NODE: u32 = 1 << 31;
    const GROUP: u32 = 1 << 30;
    const WHOLE: u32 = 1 << 29;
    /// Indices are below this.
    pub(super) const LIMIT: u32 = Self::WHOLE;

    pub(super) const NOTHING: Self = Self(NIL);

    pub(super) const fn rule(index: u32) -> Self {
        Self(index)
    }

    pub(super) const fn whole(index: u32) -> Self {
        Self(index | Self::WHOLE)
    }

    pub(super) const fn group(index: u32) -> Self {
        Self(index | Self::GROUP)
    }

    pub(super) const fn node(index: u32) -> Self {
        Self(index | Self::NODE)
    }

    #[inline]
    pub(super) const fn kind(self) -> Kind {
        if self.0 == NIL {
            Kind::Nothing
        } else if self.0 & Self::NODE != 0 {
            Kind::Node(self.0 & !Self::NODE)
        } else if self.0 & Self::GROUP != 0 {
            Kind::Group(self.0 & !Self::GROUP)
        } else if self.0 & Self::WHOLE != 0 {
            Kind::Whole(self.0 & !Self::WHOLE)
        } else {
            Kind::Rule(self.0)
        }
    }

    /// Whether it is this rule alone.
    pub(super) const fn is_rule(self, rule: u32) -> bool {
        self.0 & !Self::WHOLE == rule
    }
}

/// The rules behind a prefix, and the best priority among them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    pub(super) target: Target,
    /// What can't be better than this priority need not be looked at. The order of insertion, which decides
    /// between equal priorities, is not known here: it would make slots half as large again.
    pub(super) priority: u32,
}

impl Slot {
    pub(super) const EMPTY: Self = Self {
        target: Target::NOTHING,
        priority: u32::MAX,
    };

    #[inline]
    pub(super) fn is_empty(self) -> bool {
        self.target == Target::NOTHING
    }

    /// The same, with another rule of that priority behind it.
    #[inline]
    pub(super) fn with(self, priority: u32) -> Self {
        Self {
            priority: self.priority.min(priority),
            ..self
        }
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::EMPTY
    }
}

/// Arrays of slots, of few lengths, in one allocation.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    slots: Vec<Slot>,
    /// The first of the vacant arrays of each length; each names the next in its first slot.
    vacant: [u32; Self::LENGTHS.len()],
    used: usize,
}

impl Blocks {
    pub(super) const LENGTHS: [usize; 4] = [8, 16, 32, 128];

    pub(super) const fn new() -> Self {
        Self {
            slots: Vec::new(),
            vacant: [NIL; Self::LENGTHS.len()],
            used: 0,
        }
    }

    /// How many more slots fit.
    pub(super) fn room(&self) -> usize {
        NIL as usize - self.slots.len()
    }

    /// An array of empty slots; there must be [`room`](Self::room).
    pub(super) fn take(&mut self, class: usize) -> u32 {
        let length = Self::LENGTHS[class];
        self.used += 1;
        let start = self.vacant[class];
        if start == NIL {
            let start = self.slots.len();
            grow(&mut self.slots, length);
            self.slots.resize(start + length, Slot::EMPTY);
            return start as u32;
        }
        let block = self.get_mut(class, start);
        let next = block[0].priority;
        block.fill(Slot::EMPTY);
        self.vacant[class] = next;
        start
    }

    pub(super) fn give_back(&mut self, class: usize, start: u32) {
        self.used -= 1;
        if self.used == 0 {
            *self = Self::new();
            return;
        }
        self.slots[start as usize].priority = self.vacant[class];
        self.vacant[class] = start;
    }

    #[inline]
    pub(super) fn get(&self, class: usize, start: u32) -> &[Slot] {
        &self.slots[start as usize..][..Self::LENGTHS[class]]
    }

    #[inline]
    pub(super) fn get_mut(&mut self, class: usize, start: u32) -> &mut [Slot] {
        &mut self.slots[start as usize..][..Self::LENGTHS[class]]
    }

    /// Allocated memory in bytes.
    pub(super) fn memory(&self) -> usize {
        self.slots.capacity() * size_of::<Slot>()
    }
}

/// Makes room for more values: an eighth of what is there, so that little is allocated in vain.
fn grow<T>(values: &mut Vec<T>, more: usize) {
    if values.capacity() - values.len() < more {
        values.reserve_exact(more.max(values.len() / 8));
    }
}
