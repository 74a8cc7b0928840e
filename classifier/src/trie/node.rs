//! The nodes of the tries of all dimensions. A node looks at six bits of its dimension at once.

use super::slot::{Blocks, DIRECT, Slot, Target};
use crate::range::Prefix;
use crate::slab::Slab;
use crate::word::{Sealed, Word};

/// How many bits a node looks at.
pub(super) const STRIDE: u32 = 6;

/// A prefix within a node, numbered as in a heap: 1 is the node's own prefix, 2 and 3 have one bit more,
/// and so on; from 64 to 127 are those of all six bits, its children.
pub(super) type Place = u32;

/// The first child.
pub(super) const CHILDREN: Place = 1 << STRIDE;

/// For the six bits that a key has at a node: the places above that child, as a set.
const ABOVE: [u64; 64] = {
    let mut sets = [0; 64];
    let mut bits = 0;
    while bits < 64 {
        let mut place = (64 | bits) >> 1;
        while place > 0 {
            sets[bits] |= 1 << place;
            place >>= 1;
        }
        bits += 1;
    }
    sets
};

/// A prefix of one dimension with what is below it.
#[derive(Debug, Clone, Copy)]
#[repr(C, align(64))]
pub(super) struct Node<W: Sealed> {
    /// Which places below 64 are used.
    above: u64,
    /// Which children are used.
    children: u64,
    /// The prefix, its free bits zero.
    bits: W,
    /// How many low bits are free.
    free: u8,
    dimension: u8,
    /// Where the slots are: 0 here, 1 and on in an array of the class before. The first slot then says where it
    /// is, and the best priority above the children.
    class: u8,
    /// The slots of the used places in their order, if they fit.
    slots: W::Slots,
}

/// The members of a set of numbers below 64, in their order.
pub(super) fn members(mut set: u64) -> impl Iterator<Item = u32> {
    std::iter::from_fn(move || {
        let first = (set != 0).then(|| set.trailing_zeros());
        set &= set.wrapping_sub(1);
        first
    })
}

/// The class of a node whose array has a slot for every place.
const ALL_PLACES: usize = DIRECT + 1;

/// Where a place is in an array for all of them. The first cache line holds the seven shortest prefixes. Then
/// come two lines for each prefix of three bits: what is below it of up to five bits, and its eight children. So
/// a search touches three lines, and often only that of its child.
const IN_ARRAY: [u8; 2 * CHILDREN as usize] = {
    let mut positions = [0; 2 * CHILDREN as usize];
    let mut place = 0;
    while place < positions.len() {
        positions[place] = if place < 8 {
            place as u8
        } else {
            let deeper = place.ilog2() - 3;
            let subtree = (place >> deeper) - 8;
            let within = (1 << deeper) | (place & ((1 << deeper) - 1));
            (8 + 16 * subtree + within) as u8
        };
        place += 1;
    }
    positions
};

impl<W: Word> Node<W> {
    fn new(dimension: usize, prefix: Prefix<W>) -> Self {
        // At most the 128 bits of the widest word; structures have far fewer than 256 dimensions.
        Self {
            above: 0,
            children: 0,
            bits: prefix.bits,
            free: prefix.free as u8,
            dimension: dimension as u8,
            class: 0,
            slots: W::Slots::default(),
        }
    }

    #[inline]
    pub(super) fn prefix(&self) -> Prefix<W> {
        Prefix {
            bits: self.bits,
            free: self.free.into(),
        }
    }

    #[inline]
    pub(super) fn dimension(&self) -> usize {
        self.dimension.into()
    }

    /// How many places are used.
    pub(super) fn used(&self) -> usize {
        (self.above.count_ones() + self.children.count_ones()) as usize
    }

    /// Whether the value starts with the node's prefix.
    #[inline]
    pub(super) fn covers(&self, value: W) -> bool {
        (value ^ self.bits).without_low(self.free.into()) == W::ZERO
    }

    /// The place of the child that holds the value. If fewer than six bits are free, as if zeros followed.
    #[inline]
    pub(super) fn child_of(&self, value: W) -> Place {
        let free = u32::from(self.free);
        let bits = if free >= STRIDE {
            value.without_low(free - STRIDE).low_u32()
        } else {
            value.low_u32() << (STRIDE - free)
        };
        CHILDREN | (bits & (CHILDREN - 1))
    }

    /// The used places whose prefixes hold the child's, that child not included, as a set.
    #[inline]
    pub(super) fn above(&self, child: Place) -> u64 {
        self.above & ABOVE[(child & (CHILDREN - 1)) as usize]
    }

    #[inline]
    fn has(&self, place: Place) -> bool {
        let set = if place < CHILDREN {
            self.above
        } else {
            self.children
        };
        set >> (place % CHILDREN) & 1 == 1
    }

    /// How many places before this one are used.
    #[inline]
    fn before(&self, place: Place) -> usize {
        let below = (1u64 << (place % CHILDREN)) - 1;
        let count = if place < CHILDREN {
            (self.above & below).count_ones()
        } else {
            self.above.count_ones() + (self.children & below).count_ones()
        };
        count as usize
    }

    fn mark(&mut self, place: Place) {
        let set = if place < CHILDREN {
            &mut self.above
        } else {
            &mut self.children
        };
        *set ^= 1 << (place % CHILDREN);
    }

    /// Whether the slots are elsewhere.
    #[inline]
    pub(super) fn has_array(&self) -> bool {
        self.class > 0
    }

    /// Where the array is.
    #[inline]
    fn array(&self) -> u32 {
        self.slots.as_ref()[0].target.start()
    }

    /// Of a node with an array: the best priority above its children.
    #[inline]
    pub(super) fn best_above(&self) -> u32 {
        self.slots.as_ref()[0].priority
    }
}

impl<W: Word> Default for Node<W> {
    fn default() -> Self {
        Self::new(0, Prefix::new(W::ZERO, 0))
    }
}

/// All nodes, and their slots.
#[derive(Debug, Clone)]
pub(super) struct Nodes<W: Word> {
    nodes: Slab<Node<W>>,
    blocks: Blocks,
}

impl<W: Word> Nodes<W> {
    pub(super) const fn new() -> Self {
        Self {
            nodes: Slab::new(),
            blocks: Blocks::new(),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// Allocated memory in bytes.
    pub(super) fn memory(&self) -> usize {
        self.nodes.memory() + self.blocks.memory()
    }

    /// Whether so many nodes can be added, and so many be given new arrays.
    pub(super) fn have_room(&self, nodes: usize, arrays: usize) -> bool {
        let limit = Target::LIMIT as usize;
        self.nodes.len().saturating_add(nodes) < limit && self.blocks.have_room(arrays)
    }

    #[inline]
    pub(super) fn get(&self, index: u32) -> &Node<W> {
        &self.nodes[index]
    }

    #[inline]
    pub(super) fn prefetch(&self, index: u32) {
        self.nodes.prefetch(index);
    }

    /// Adds a node without slots.
    pub(super) fn add(&mut self, dimension: usize, prefix: Prefix<W>) -> u32 {
        self.nodes.insert(Node::new(dimension, prefix))
    }

    /// Takes a node away, with its slots.
    pub(super) fn remove(&mut self, index: u32) {
        let node = self.nodes.remove(index);
        if node.class > 0 {
            self.blocks.give_back(usize::from(node.class) - 1, node.array());
        }
    }

    /// All slots of a node, those that are not used included in some.
    #[inline]
    fn slots<'a>(&'a self, node: &'a Node<W>) -> &'a [Slot] {
        match node.class {
            0 => node.slots.as_ref(),
            class => self.blocks.get(usize::from(class) - 1, node.array()),
        }
    }

    #[inline]
    fn slots_mut(&mut self, index: u32) -> &mut [Slot] {
        let node = &mut self.nodes[index];
        match node.class {
            0 => node.slots.as_mut(),
            class => self.blocks.get_mut(usize::from(class) - 1, node.array()),
        }
    }

    #[inline]
    fn place_in_slots(node: &Node<W>, place: Place) -> usize {
        if usize::from(node.class) == ALL_PLACES {
            IN_ARRAY[place as usize].into()
        } else {
            node.before(place)
        }
    }

    /// The slot at a used place, [`Slot::EMPTY`] elsewhere.
    #[inline(always)]
    pub(super) fn slot(&self, node: &Node<W>, place: Place) -> Slot {
        if usize::from(node.class) == ALL_PLACES {
            // Empty if it is not used.
            return self.blocks.slot(node.array(), IN_ARRAY[place as usize].into());
        }
        if !node.has(place) {
            return Slot::EMPTY;
        }
        let at = node.before(place);
        if node.has_array() {
            self.blocks.slot(node.array(), at)
        } else {
            node.slots.as_ref()[at]
        }
    }

    /// The used places and their slots.
    pub(super) fn used_slots<'a>(&'a self, node: &'a Node<W>) -> impl Iterator<Item = (Place, Slot)> + 'a {
        let slots = self.slots(node);
        let direct = usize::from(node.class) == ALL_PLACES;
        let places = members(node.above).chain(members(node.children).map(|child| child + CHILDREN));
        places.enumerate().map(move |(at, place)| {
            let at = if direct {
                IN_ARRAY[place as usize].into()
            } else {
                at
            };
            (place, slots[at])
        })
    }

    /// The best priority in a node, where none is better than `limit`.
    pub(super) fn best_priority(&self, node: &Node<W>, limit: u32) -> u32 {
        let mut best = u32::MAX;
        // A slot that is not used has the worst priority.
        for slot in self.slots(node) {
            best = best.min(slot.priority);
            if best == limit {
                break;
            }
        }
        best
    }

    /// Puts a slot at a place: an empty one makes it unused.
    pub(super) fn set(&mut self, index: u32, place: Place, slot: Slot) {
        let node = &self.nodes[index];
        let at = Self::place_in_slots(node, place);
        match (node.has(place), slot.is_empty()) {
            (true, false) => {
                let old = std::mem::replace(&mut self.slots_mut(index)[at], slot);
                self.changed_above(index, place, old.priority, slot.priority);
            }
            (false, true) => {}
            (false, false) => {
                self.insert(index, place, slot);
                self.changed_above(index, place, u32::MAX, slot.priority);
            }
            (true, true) => {
                let old = self.slot(node, place);
                self.take_out(index, place);
                self.changed_above(index, place, old.priority, u32::MAX);
            }
        }
    }

    /// Keeps the best priority above the children true after the one at a place changed.
    #[inline]
    fn changed_above(&mut self, index: u32, place: Place, old: u32, new: u32) {
        let node = &self.nodes[index];
        if place >= CHILDREN || !node.has_array() {
            return;
        }
        let best = node.best_above();
        if new < best {
            self.nodes[index].slots.as_mut()[0].priority = new;
        } else if old == best && new > best {
            self.find_best_above(index, best);
        }
    }

    /// Finds the best priority above the children, where none is better than `limit`.
    fn find_best_above(&mut self, index: u32, limit: u32) {
        let node = &self.nodes[index];
        let mut best = u32::MAX;
        for place in members(node.above) {
            best = best.min(self.slot(node, place).priority);
            if best == limit {
                break;
            }
        }
        self.nodes[index].slots.as_mut()[0].priority = best;
    }

    fn insert(&mut self, index: u32, place: Place, slot: Slot) {
        let node = &self.nodes[index];
        let used = node.used();
        if used == self.slots(node).len() {
            self.change_class(index, usize::from(node.class) + 1);
        }
        let node = &self.nodes[index];
        let at = Self::place_in_slots(node, place);
        let direct = usize::from(node.class) == ALL_PLACES;
        self.nodes[index].mark(place);
        let slots = self.slots_mut(index);
        if !direct {
            slots.copy_within(at..used, at + 1);
        }
        slots[at] = slot;
    }

    fn take_out(&mut self, index: u32, place: Place) {
        let node = &mut self.nodes[index];
        node.mark(place);
        let node = *node;
        let used = node.used();
        let at = Self::place_in_slots(&node, place);
        let slots = self.slots_mut(index);
        if usize::from(node.class) == ALL_PLACES {
            slots[at] = Slot::EMPTY;
        } else {
            slots.copy_within(at + 1..=used, at);
            slots[used] = Slot::EMPTY;
        }
        // Some slots less than the smaller array has, so that changes to and fro don't copy each time.
        let smaller = match usize::from(node.class) {
            0 => return,
            1 => self.nodes[index].slots.as_ref().len(),
            class => Blocks::LENGTHS[class - 2],
        };
        if used <= smaller * 3 / 4 {
            self.change_class(index, usize::from(node.class) - 1);
        }
    }

    /// Moves a node's slots to where their number asks for.
    fn change_class(&mut self, index: u32, class: usize) {
        let node = self.nodes[index];
        let mut slots = [Slot::EMPTY; Blocks::LENGTHS[DIRECT]];
        for (at, (place, slot)) in self.used_slots(&node).enumerate() {
            let direct = class == ALL_PLACES;
            slots[if direct {
                IN_ARRAY[place as usize].into()
            } else {
                at
            }] = slot;
        }
        if node.class > 0 {
            self.blocks.give_back(usize::from(node.class) - 1, node.array());
        }
        let new = &mut self.nodes[index];
        new.class = class as u8;
        new.slots = W::Slots::default();
        if class > 0 {
            let start = self.blocks.take(class - 1);
            self.nodes[index].slots.as_mut()[0].target = Target::array(start);
        }
        let new = self.slots_mut(index);
        let length = new.len();
        new.copy_from_slice(&slots[..length]);
        if class > 0 {
            self.find_best_above(index, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_fills_a_cache_line() {
        assert_eq!(size_of::<Node<u32>>(), 64);
        assert_eq!(size_of::<Node<u128>>(), 64);
    }

    #[test]
    fn slots_stay_at_their_places_through_all_sizes() {
        let mut nodes = Nodes::<u32>::new();
        let index = nodes.add(0, Prefix::new(0, 32));
        let slot = |place: Place| Slot {
            target: Target::rule(place),
            priority: 200 - place,
        };
        // Every place once, in an order that jumps about: 37 and 127 have no common divisor.
        let order: Vec<Place> = (1..128).map(|step| step * 37 % 127 + 1).collect();
        let check = |nodes: &Nodes<u32>, used: &[Place]| {
            let node = nodes.get(index);
            assert_eq!(node.used(), used.len());
            for place in 1..128 {
                let expected = if used.contains(&place) {
                    slot(place)
                } else {
                    Slot::EMPTY
                };
                assert_eq!(nodes.slot(node, place), expected);
            }
            let mut sorted = used.to_vec();
            sorted.sort_unstable();
            assert!(nodes.used_slots(node).map(|(place, _)| place).eq(sorted));
            let best = used.iter().map(|&place| slot(place).priority).min();
            assert_eq!(nodes.best_priority(node, 0), best.unwrap_or(u32::MAX));
        };
        for count in 0..order.len() {
            nodes.set(index, order[count], slot(order[count]));
            check(&nodes, &order[..=count]);
        }
        for count in 0..order.len() {
            nodes.set(index, order[count], Slot::EMPTY);
            check(&nodes, &order[count + 1..]);
        }
        nodes.remove(index);
        assert_eq!(nodes.memory(), 0);
    }

    #[test]
    fn a_key_has_one_place_of_each_length_above_a_child() {
        let node = Node {
            above: u64::MAX,
            ..Node::new(0, Prefix::new(0xab00u32, 8))
        };
        let child = node.child_of(0xabb4);
        assert_eq!(child, CHILDREN | 0b10_1101);
        let above = [0b1, 0b11, 0b110, 0b1101, 0b1_1011, 0b11_0110];
        assert!(members(node.above(child)).eq(above));
        // With two bits free, they are followed by zeros.
        let last = Node::new(0, Prefix::new(0xab04u32, 2));
        assert_eq!(last.child_of(0xab06), CHILDREN | 0b10_0000);
    }
}
