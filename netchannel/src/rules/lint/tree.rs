//! Which boxes of many overlap one, contain it, or hold a point: a tree of boxes around boxes, each node's the smallest around
//! those below it.

use super::bounds::{Bounds, Point, contains, holds, overlap};

/// The most boxes of a leaf.
const LEAF: usize = 8;

/// A box of a rule, by the rule's place in the order in which rules are tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Item {
    pub(super) bounds: Bounds,
    pub(super) rank: u32,
}

/// Where boxes are found. Building one takes time O(n log n) for n boxes; a search that finds what it looks for early O(log n), one for
/// all that overlap a box as many steps as there are, about.
#[derive(Debug, Default)]
pub(super) struct Tree {
    items: Vec<Item>,
    nodes: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    bounds: Bounds,
    ranks: (u32, u32),
    /// The items below it.
    first: usize,
    count: usize,
    /// The second of its two nodes, of which the first comes right behind it; none for a leaf.
    second: Option<usize>,
}

/// Work that may still be done. One unit for each node and box that is looked at.
#[derive(Debug)]
pub(super) struct Budget(pub(super) u64);

impl Budget {
    /// Spends a unit; `false` if there was none left.
    fn spend(&mut self) -> bool {
        let left = self.0 > 0;
        self.0 = self.0.saturating_sub(1);
        left
    }
}

impl Tree {
    pub(super) fn new(items: Vec<Item>) -> Self {
        let mut tree = Self {
            nodes: Vec::with_capacity(items.len() / LEAF * 4 + 1),
            items,
        };
        let count = tree.items.len();
        if count > 0 {
            tree.build(0, count);
        }
        tree
    }

    /// Builds the node of some items.
    fn build(&mut self, first: usize, count: usize) {
        let items = &mut self.items[first..first + count];
        let mut bounds = items[0].bounds;
        let mut ranks = (items[0].rank, items[0].rank);
        for item in items.iter() {
            for (all, one) in bounds.iter_mut().zip(&item.bounds) {
                *all = (all.0.min(one.0), all.1.max(one.1));
            }
            ranks = (ranks.0.min(item.rank), ranks.1.max(item.rank));
        }
        let node = self.nodes.len();
        self.nodes.push(Node {
            bounds,
            ranks,
            first,
            count,
            second: None,
        });
        if count <= LEAF {
            return;
        }
        let Some(key) = best_key(items, &bounds) else {
            return;
        };
        let half = count / 2;
        items.select_nth_unstable_by(half, |one, two| key.of(one).total_cmp(&key.of(two)));
        self.build(first, half);
        let second = self.nodes.len();
        self.nodes[node].second = Some(second);
        self.build(first + half, count - half);
    }

    /// Visits boxes with ranks in a range, as far as nodes and boxes pass; ends when `visit` says `true`, which it gives, or when the budget
    /// is spent, then `None`.
    fn search(
        &self,
        ranks: std::ops::Range<u32>,
        budget: &mut Budget,
        passes: impl Fn(&Bounds) -> bool,
        mut visit: impl FnMut(&Item) -> bool,
    ) -> Option<bool> {
        let mut next = vec![0];
        while let Some(number) = next.pop() {
            let Some(node) = self.nodes.get(number) else {
                continue;
            };
            if !budget.spend() {
                return None;
            }
            if node.ranks.0 >= ranks.end || node.ranks.1 < ranks.start || !passes(&node.bounds) {
                continue;
            }
            if let Some(second) = node.second {
                next.extend([second, number + 1]);
                continue;
            }
            for item in &self.items[node.first..node.first + node.count] {
                if !budget.spend() {
                    return None;
                }
                if ranks.contains(&item.rank) && passes(&item.bounds) && visit(item) {
                    return Some(true);
                }
            }
        }
        Some(false)
    }

    /// A box that contains another one. `None` if the budget is spent.
    pub(super) fn around(
        &self,
        bounds: &Bounds,
        ranks: std::ops::Range<u32>,
        budget: &mut Budget,
    ) -> Option<Option<Item>> {
        self.first(ranks, budget, |outer| contains(outer, bounds))
    }

    /// A box that holds a point. `None` if the budget is spent.
    pub(super) fn at(
        &self,
        point: &Point,
        ranks: std::ops::Range<u32>,
        budget: &mut Budget,
    ) -> Option<Option<Item>> {
        self.first(ranks, budget, |bounds| holds(bounds, point))
    }

    /// Some box that passes. `None` if the budget is spent.
    fn first(
        &self,
        ranks: std::ops::Range<u32>,
        budget: &mut Budget,
        passes: impl Fn(&Bounds) -> bool,
    ) -> Option<Option<Item>> {
        let mut found = None;
        self.search(ranks, budget, passes, |item| {
            found = Some(*item);
            true
        })?;
        Some(found)
    }

    /// Visits the boxes that overlap another one, until `visit` says `true`. `None` if the budget is spent.
    pub(super) fn overlapping(
        &self,
        bounds: &Bounds,
        ranks: std::ops::Range<u32>,
        budget: &mut Budget,
        visit: impl FnMut(&Item) -> bool,
    ) -> Option<bool> {
        self.search(ranks, budget, |other| overlap(other, bounds), visit)
    }
}

/// What items are parted by: where they are in a dimension, or how large they are in it.
#[derive(Clone, Copy)]
struct Key {
    dimension: usize,
    by_size: bool,
}

impl Key {
    fn of(self, item: &Item) -> f64 {
        let (first, last) = item.bounds[self.dimension];
        match self.by_size {
            true => ((last - first) as f64 + 1.0).log2(),
            false => first as f64 / 2.0 + last as f64 / 2.0,
        }
    }
}

/// What the items differ in most; `None` if they are all the same.
fn best_key(items: &[Item], bounds: &Bounds) -> Option<Key> {
    let mut best = None;
    let mut most = 0.0;
    for (dimension, (first, last)) in bounds.iter().enumerate() {
        let extent = (last - first) as f64 + 1.0;
        for by_size in [false, true] {
            let key = Key { dimension, by_size };
            let unit = if by_size { extent.log2() } else { extent };
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            // A sample tells enough of many.
            for item in items.iter().step_by((items.len() / 256).max(1)) {
                let value = key.of(item);
                (low, high) = (low.min(value), high.max(value));
            }
            let spread = if unit > 0.0 { (high - low) / unit } else { 0.0 };
            if spread > most {
                (best, most) = (Some(key), spread);
            }
        }
    }
    best
}
