//! What a node holds for each of its prefixes, and the arrays of those that don't fit into a node.

use crate::paged::Paged;
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
    /// Several rules that ask for nothing more.
    Group(u32),
    /// A node of this or a later dimension.
    Node(u32),
    /// What a node holds at prefixes that are shorter than its children's. No slot holds this; searches do.
    Above(u32),
}

impl Target {
    const NODE: u32 = 1 << 31;
    const GROUP: u32 = 1 << 30;
    const ABOVE: u32 = 1 << 29 | Self::NODE;
    /// Indices are below this.
    pub(super) const LIMIT: u32 = 1 << 29;

    pub(super) const NOTHING: Self = Self(NIL);

    pub(super) const fn rule(index: u32) -> Self {
        Self(index)
    }

    pub(super) const fn group(index: u32) -> Self {
        Self(index | Self::GROUP)
    }

    pub(super) const fn node(index: u32) -> Self {
        Self(index | Self::NODE)
    }

    pub(super) const fn above(node: u32) -> Self {
        Self(node | Self::ABOVE)
    }

    /// No rules, but where an array is.
    pub(super) const fn array(start: u32) -> Self {
        Self(start)
    }

    /// See [`array`](Self::array).
    #[inline]
    pub(super) const fn start(self) -> u32 {
        self.0
    }

    #[inline]
    pub(super) const fn kind(self) -> Kind {
        let index = self.0 & (Self::LIMIT - 1);
        match self.0 & !(Self::LIMIT - 1) {
            Self::NODE => Kind::Node(index),
            0 => Kind::Rule(index),
            Self::ABOVE => Kind::Above(index),
            Self::GROUP => Kind::Group(index),
            _ => Kind::Nothing,
        }
    }

    /// Whether it is this rule alone.
    pub(super) const fn is_rule(self, rule: u32) -> bool {
        self.0 == rule
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

/// The slots in one cache line.
const IN_LINE: usize = 8;

/// Slots that fill a cache line.
type Line = [Slot; IN_LINE];

/// Arrays of slots, of few lengths. Each starts at a cache line.
#[derive(Debug, Clone)]
pub(super) struct Blocks {
    lines: Paged<Line>,
    /// The first of the vacant arrays of each length; each names the next in its first slot.
    vacant: [u32; Self::LENGTHS.len()],
    used: usize,
}

impl Blocks {
    pub(super) const LENGTHS: [usize; 4] = [8, 16, 32, 136];

    pub(super) const fn new() -> Self {
        Self {
            lines: Paged::new(),
            vacant: [NIL; Self::LENGTHS.len()],
            used: 0,
        }
    }

    /// Whether so many more of the longest arrays fit.
    pub(super) fn have_room(&self, arrays: usize) -> bool {
        // Behind the arrays of a page may be lines that are not enough for one more.
        let pages = arrays.saturating_mul(Self::lines(DIRECT)) / (Paged::<Line>::PER_PAGE / 2) + 1;
        pages.saturating_mul(Paged::<Line>::PER_PAGE) < NIL as usize - self.lines.len()
    }

    const fn lines(class: usize) -> usize {
        Self::LENGTHS[class] / IN_LINE
    }

    /// An array of empty slots; they must [have room](Self::have_room).
    pub(super) fn take(&mut self, class: usize) -> u32 {
        self.used += 1;
        let start = self.vacant[class];
        if start != NIL {
            let slots = self.get_mut(class, start);
            let next = slots[0].priority;
            slots.fill(Slot::EMPTY);
            self.vacant[class] = next;
            return start;
        }
        let lines = Self::lines(class);
        while Paged::<Line>::PER_PAGE - self.lines.len() % Paged::<Line>::PER_PAGE < lines {
            let start = self.lines.len() as u32;
            self.lines.push([Slot::EMPTY; IN_LINE]);
            self.make_vacant(0, start);
        }
        let start = self.lines.len() as u32;
        for _ in 0..lines {
            self.lines.push([Slot::EMPTY; IN_LINE]);
        }
        start
    }

    pub(super) fn give_back(&mut self, class: usize, start: u32) {
        self.used -= 1;
        if self.used == 0 {
            *self = Self::new();
            return;
        }
        self.make_vacant(class, start);
    }

    fn make_vacant(&mut self, class: usize, start: u32) {
        let next = self.vacant[class];
        self.get_mut(class, start)[0].priority = next;
        self.vacant[class] = start;
    }

    #[inline]
    pub(super) fn get(&self, class: usize, start: u32) -> &[Slot] {
        self.lines.run(start as usize, Self::lines(class)).as_flattened()
    }

    #[inline]
    pub(super) fn get_mut(&mut self, class: usize, start: u32) -> &mut [Slot] {
        self.lines
            .run_mut(start as usize, Self::lines(class))
            .as_flattened_mut()
    }

    /// One slot of an array; empty beyond all arrays.
    #[inline]
    pub(super) fn slot(&self, start: u32, at: usize) -> Slot {
        self.lines
            .get(start as usize + at / IN_LINE)
            .map_or(Slot::EMPTY, |line| line[at % IN_LINE])
    }

    /// Allocated memory in bytes.
    pub(super) fn memory(&self) -> usize {
        self.lines.memory()
    }
}

/// The class of arrays that have a slot for every place, so that a slot is found without counting.
pub(super) const DIRECT: usize = Blocks::LENGTHS.len() - 1;
