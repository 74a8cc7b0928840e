//! Adding rules to the tries and taking them out.

use super::Trie;
use super::group::{Entry, Left};
use super::node::{CHILDREN, Node, Place, STRIDE};
use super::slot::{Kind, Slot, Target};
use crate::range::{Prefix, Range};
use crate::schema::Schema;
use crate::word::Word;

/// Where a slot is: what is behind it is within this prefix of this dimension. `dimension` is `D` behind the
/// last one.
#[derive(Debug, Clone, Copy)]
struct Region<W> {
    dimension: usize,
    prefix: Prefix<W>,
}

/// The part of a range that is within a prefix; they overlap.
#[inline]
fn clip<W: Word>(range: Range<W>, prefix: Prefix<W>) -> (W, W) {
    (range.low().max(prefix.bits), range.high().min(prefix.last()))
}

/// Whether the range holds all of the prefix.
#[inline]
fn fills<W: Word>(range: Range<W>, prefix: Prefix<W>) -> bool {
    range.low() <= prefix.bits && prefix.last() <= range.high()
}

impl<S: Schema<D>, A, const D: usize> Trie<S, A, D> {
    /// Adds a rule to all tries.
    pub(super) fn add(&mut self, ranges: &[Range<S::Word>; D], entry: Entry) {
        let priority = entry.rank.priority;
        let mut region = Self::dimension(0);
        let mut slot = self.root;
        let mut parent = None;
        // Down to where something has to be added, or the rule's range has parts in several places.
        while let Kind::Node(index) = slot.target.kind() {
            let node = self.nodes.get(index);
            let asked = Self::first_asked(region, node.dimension(), ranges);
            if asked.dimension < node.dimension() {
                break;
            }
            let (low, high) = clip(ranges[asked.dimension], asked.prefix);
            if !(node.covers(low) && node.covers(high)) {
                break;
            }
            let (place, child, last) = part(node, asked.dimension, low, high);
            if last < high {
                break;
            }
            let below = self.nodes.slot(node, place);
            if priority < slot.priority {
                self.store(parent, slot.with(priority));
            }
            region = child.unwrap_or_else(|| Self::dimension(asked.dimension + 1));
            parent = Some((index, place));
            slot = below;
        }
        let new = self.added(slot, region, ranges, entry);
        if new != slot {
            self.store(parent, new);
        }
    }

    /// Stores a slot at a place of a node, or as the root.
    #[inline]
    fn store(&mut self, parent: Option<(u32, Place)>, slot: Slot) {
        match parent {
            Some((index, place)) => self.nodes.set(index, place, slot),
            None => self.root = slot,
        }
    }

    /// Takes a rule out of all tries.
    pub(super) fn take(&mut self, ranges: &[Range<S::Word>; D], entry: Entry) {
        self.root = self.taken(self.root, Self::dimension(0), ranges, entry);
    }

    /// All of a dimension.
    #[inline]
    fn dimension(dimension: usize) -> Region<S::Word> {
        let free = S::WIDTHS.get(dimension).copied().unwrap_or(0);
        Region {
            dimension,
            prefix: Prefix {
                bits: S::Word::ZERO,
                free,
            },
        }
    }

    /// The region where a rule first asks for less than all of it, before dimension `end`; from `region` on.
    #[inline]
    fn first_asked(mut region: Region<S::Word>, end: usize, ranges: &[Range<S::Word>; D]) -> Region<S::Word> {
        while region.dimension < end && fills(ranges[region.dimension], region.prefix) {
            region = Self::dimension(region.dimension + 1);
        }
        region
    }

    /// The shortest prefix that a node may have for these values.
    fn common(region: Region<S::Word>, low: S::Word, high: S::Word) -> Prefix<S::Word> {
        let width = S::WIDTHS[region.dimension];
        let common = width - (low ^ high).significant_bits().min(width);
        Prefix::new(low, width - common / STRIDE * STRIDE)
    }

    /// The slot with one more rule behind it. The rule has values within the region.
    fn added(
        &mut self,
        slot: Slot,
        region: Region<S::Word>,
        ranges: &[Range<S::Word>; D],
        entry: Entry,
    ) -> Slot {
        let priority = entry.rank.priority;
        let node = match slot.target.kind() {
            Kind::Nothing | Kind::Above(_) => {
                return Slot {
                    target: Target::rule(entry.rule),
                    priority,
                };
            }
            Kind::Rule(rule) if rule == entry.rule => return slot,
            Kind::Rule(rule) => return self.parted(slot, rule, region, ranges, entry),
            Kind::Group(group) => {
                let asked = Self::first_asked(region, D, ranges);
                if asked.dimension == D {
                    self.groups.add(group, entry);
                    return slot.with(priority);
                }
                self.wrapped(slot, asked.dimension, asked.prefix, asked.prefix)
            }
            Kind::Node(index) => {
                let node = *self.nodes.get(index);
                let asked = Self::first_asked(region, node.dimension(), ranges);
                if asked.dimension < node.dimension() {
                    self.wrapped(slot, asked.dimension, asked.prefix, asked.prefix)
                } else {
                    let prefix = node.prefix();
                    let (low, high) = clip(ranges[asked.dimension], asked.prefix);
                    if node.covers(low) && node.covers(high) {
                        index
                    } else {
                        let above = Self::common(asked, low.min(prefix.bits), high.max(prefix.last()));
                        self.wrapped(slot, asked.dimension, above, prefix)
                    }
                }
            }
        };
        self.add_below(node, ranges, entry);
        Slot {
            target: Target::node(node),
            priority: slot.priority.min(priority),
        }
    }

    /// Adds a rule, all of whose values in the slot's region are in this node's prefix, to a node.
    fn add_below(&mut self, index: u32, ranges: &[Range<S::Word>; D], entry: Entry) {
        let prefix = self.nodes.get(index).prefix();
        let dimension = self.nodes.get(index).dimension();
        let (low, high) = clip(ranges[dimension], prefix);
        let mut rest = Some(low);
        while let Some(low) = rest {
            let node = self.nodes.get(index);
            let (place, region, last) = part(node, dimension, low, high);
            let slot = self.nodes.slot(node, place);
            let region = region.unwrap_or_else(|| Self::dimension(dimension + 1));
            let new = self.added(slot, region, ranges, entry);
            if new != slot {
                self.nodes.set(index, place, new);
            }
            rest = (last < high).then(|| last + S::Word::ONE);
        }
    }

    /// A node of that prefix, with the slot below it at `below`.
    fn wrapped(
        &mut self,
        slot: Slot,
        dimension: usize,
        prefix: Prefix<S::Word>,
        below: Prefix<S::Word>,
    ) -> u32 {
        let index = self.nodes.add(dimension, prefix);
        let place = if below == prefix {
            1
        } else {
            self.nodes.get(index).child_of(below.bits)
        };
        self.nodes.set(index, place, slot);
        index
    }

    /// The slot of two rules instead of one.
    fn parted(
        &mut self,
        slot: Slot,
        rule: u32,
        mut region: Region<S::Word>,
        ranges: &[Range<S::Word>; D],
        entry: Entry,
    ) -> Slot {
        let Some((other_ranges, other)) = self.entry(rule) else {
            return slot;
        };
        let fills_both = |region: Region<S::Word>| {
            [ranges, &other_ranges]
                .iter()
                .all(|ranges| fills(ranges[region.dimension], region.prefix))
        };
        while region.dimension < D && fills_both(region) {
            region = Self::dimension(region.dimension + 1);
        }
        let target = if region.dimension == D {
            Target::group(self.groups.make(other, entry))
        } else {
            let (low, high) = clip(ranges[region.dimension], region.prefix);
            let (other_low, other_high) = clip(other_ranges[region.dimension], region.prefix);
            let prefix = Self::common(region, low.min(other_low), high.max(other_high));
            let node = self.nodes.add(region.dimension, prefix);
            self.add_below(node, &other_ranges, other);
            self.add_below(node, ranges, entry);
            Target::node(node)
        };
        Slot {
            target,
            priority: slot.priority.min(entry.rank.priority),
        }
    }

    /// The slot without a rule, which is behind it.
    fn taken(
        &mut self,
        slot: Slot,
        region: Region<S::Word>,
        ranges: &[Range<S::Word>; D],
        entry: Entry,
    ) -> Slot {
        match slot.target.kind() {
            Kind::Rule(rule) if rule == entry.rule => Slot::EMPTY,
            Kind::Nothing | Kind::Above(_) | Kind::Rule(_) => slot,
            Kind::Group(group) => match self.groups.remove(group, entry) {
                Left::Group(best) => Slot {
                    target: slot.target,
                    priority: best.rank.priority,
                },
                Left::Rule(last) => Slot {
                    target: Target::rule(last.rule),
                    priority: last.rank.priority,
                },
            },
            Kind::Node(index) => {
                let lost = self.take_below(index, ranges, entry);
                let node = self.nodes.get(index);
                if let Some(instead) = self.instead_of(node, region) {
                    self.nodes.remove(index);
                    instead
                } else if lost == slot.priority {
                    let priority = self.nodes.best_priority(node, lost);
                    Slot { priority, ..slot }
                } else {
                    slot
                }
            }
        }
    }

    /// Takes a rule out from behind a node. Returns the best priority that one of the node's slots had and no
    /// longer has.
    fn take_below(&mut self, index: u32, ranges: &[Range<S::Word>; D], entry: Entry) -> u32 {
        let node = self.nodes.get(index);
        let dimension = node.dimension();
        let (low, high) = clip(ranges[dimension], node.prefix());
        let mut rest = Some(low);
        let mut lost = u32::MAX;
        while let Some(low) = rest {
            let node = self.nodes.get(index);
            let (place, region, last) = part(node, dimension, low, high);
            let slot = self.nodes.slot(node, place);
            let region = region.unwrap_or_else(|| Self::dimension(dimension + 1));
            let new = self.taken(slot, region, ranges, entry);
            if new != slot {
                self.nodes.set(index, place, new);
                if new.is_empty() || new.priority > slot.priority {
                    lost = lost.min(slot.priority);
                }
            }
            rest = (last < high).then(|| last + S::Word::ONE);
        }
        lost
    }

    /// What can stand in the place of a node, in a slot of that region, if so little is left of it.
    fn instead_of(&self, node: &Node<S::Word>, region: Region<S::Word>) -> Option<Slot> {
        let mut slots = self.nodes.used_slots(node);
        let Some((place, slot)) = slots.next() else {
            return Some(Slot::EMPTY);
        };
        let dimension = node.dimension();
        let needless = match slot.target.kind() {
            // In a larger region, the rule asks for more than it did here.
            Kind::Rule(rule) => {
                return slots
                    .all(|(_, other)| other.target.is_rule(rule))
                    .then_some(Slot {
                        target: Target::rule(rule),
                        ..slot
                    });
            }
            _ if slots.next().is_some() => false,
            // A child that asks for a longer prefix asks for this one too.
            Kind::Node(below) if place >= CHILDREN => self.nodes.get(below).dimension() == dimension,
            // The slot's region says already what the node asks for.
            _ => {
                let region = if region.dimension == dimension {
                    region
                } else {
                    Self::dimension(dimension)
                };
                place == 1 && node.prefix() == region.prefix
            }
        };
        needless.then_some(slot)
    }

    fn entry(&self, rule: u32) -> Option<([Range<S::Word>; D], Entry)> {
        let stored = self.rules.get(rule)?.as_ref()?;
        let rank = stored.found.rank();
        Some((stored.ranges, Entry { rank, rule }))
    }
}

/// The part of a node that holds the value `low`, for a range that goes on to `high`: its place, its region
/// if that is a child, and the last value of the range that is in it.
#[inline]
fn part<W: Word>(node: &Node<W>, dimension: usize, low: W, high: W) -> (Place, Option<Region<W>>, W) {
    let Prefix { free, .. } = node.prefix();
    let child = node.child_of(low);
    let block = Prefix::first_of(low, high);
    let fixed = free - block.free.min(free);
    if fixed < STRIDE {
        return (child >> (STRIDE - fixed), None, block.last());
    }
    let prefix = Prefix::new(low, free - STRIDE);
    let region = Region { dimension, prefix };
    (child, Some(region), prefix.last().min(high))
}
