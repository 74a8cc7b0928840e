//! The nodes of all dimensions' tries, and adding a prefix to one trie.

use crate::range::Prefix;
use crate::rule::Rank;
use crate::slab::{NIL, Slab};
use crate::word::Word;

/// A prefix that ends a rule's range, or where two longer ones part.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<W> {
    /// The prefix, its free bits zero.
    pub(super) bits: W,
    /// How many low bits are free.
    pub(super) free: u8,
    /// The nodes of longer prefixes, by their first free bit.
    pub(super) children: [u32; 2],
    /// Where a rule's range ends: the root of the next dimension's trie, or the leaf behind the last
    /// dimension.
    pub(super) next: u32,
    /// The best rule in this subtree, the next dimensions included.
    pub(super) best: Rank,
}

impl<W: Word> Default for Node<W> {
    fn default() -> Self {
        Self {
            bits: W::ZERO,
            free: 0,
            children: [NIL; 2],
            next: NIL,
            best: Rank::LAST,
        }
    }
}

impl<W: Word> Node<W> {
    fn new(prefix: Prefix<W>, best: Rank) -> Self {
        // At most the 128 bits of the widest word.
        Self {
            bits: prefix.bits,
            free: prefix.free as u8,
            best,
            ..Self::default()
        }
    }

    /// Whether the value starts with the node's prefix.
    #[inline]
    pub(super) fn covers(&self, value: W) -> bool {
        (value ^ self.bits).without_low(self.free.into()) == W::ZERO
    }

    /// Which child holds the value; `None` if the prefix has no free bit.
    #[inline]
    pub(super) fn side(&self, value: W) -> Option<usize> {
        let bit = u32::from(self.free).checked_sub(1)?;
        Some(usize::from(value.without_low(bit) & W::ONE == W::ONE))
    }

    /// The child that holds the value, or [`NIL`].
    #[inline]
    pub(super) fn child(&self, value: W) -> u32 {
        self.side(value).map_or(NIL, |side| self.children[side])
    }
}

/// Finds the node of a prefix in the trie at `root`, or adds it, for a rule that will end there or
/// further on. Returns the trie's root, which may have changed, and the node.
pub(super) fn find_or_add<W: Word>(
    nodes: &mut Slab<Node<W>>,
    root: u32,
    prefix: Prefix<W>,
    rank: Rank,
) -> (u32, u32) {
    let mut parent = None;
    let mut index = root;
    while index != NIL {
        let node = &mut nodes[index];
        let free = u32::from(node.free);
        let common = Prefix::new(
            prefix.bits,
            (prefix.bits ^ node.bits)
                .significant_bits()
                .max(free)
                .max(prefix.free),
        );
        if common.free > free {
            // The paths part above this node.
            let (below, best) = (node.bits, node.best.min(rank));
            let mut above = Node::new(common, best);
            if let Some(side) = above.side(below) {
                above.children[side] = index;
            }
            if common.free == prefix.free {
                let added = nodes.insert(above);
                return (link(nodes, root, parent, added), added);
            }
            let added = nodes.insert(Node::new(prefix, rank));
            if let Some(side) = above.side(prefix.bits) {
                above.children[side] = added;
            }
            let above = nodes.insert(above);
            return (link(nodes, root, parent, above), added);
        }
        node.best = node.best.min(rank);
        if free == prefix.free {
            return (root, index);
        }
        let Some(side) = node.side(prefix.bits) else { break };
        parent = Some((index, side));
        index = node.children[side];
    }
    let added = nodes.insert(Node::new(prefix, rank));
    (link(nodes, root, parent, added), added)
}

/// Hangs a node below its parent, or makes it the root; returns the root.
fn link<W: Word>(nodes: &mut Slab<Node<W>>, root: u32, parent: Option<(u32, usize)>, child: u32) -> u32 {
    match parent {
        Some((parent, side)) => {
            nodes[parent].children[side] = child;
            root
        }
        None => child,
    }
}

#[cfg(test)]
mod tests {
    use super::Node;

    #[test]
    fn a_node_fills_half_a_cache_line() {
        assert_eq!(size_of::<Node<u32>>(), 32);
        assert_eq!(size_of::<Node<u128>>(), 48);
    }
}
