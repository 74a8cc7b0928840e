use proptest::prelude::*;

use super::*;
use crate::range::RangeError;

#[derive(Debug, Clone, Copy)]
struct Two;

impl Schema<2> for Two {
    type Word = u32;
    const WIDTHS: [u32; 2] = [32, 4];
}

#[derive(Debug, Clone, Copy)]
struct NoDimensions;

impl Schema<0> for NoDimensions {
    type Word = u32;
    const WIDTHS: [u32; 0] = [];
}

type Small = Trie<Two, u32, 2>;

impl<S: Schema<D>, A, const D: usize> Trie<S, A, D> {
    /// Checks every node's place, need and best rule, and that nothing is held that can't be reached.
    fn check(&self) {
        let mut reached = (0, 0);
        if self.root != NIL {
            self.check_below(self.root, D, &mut reached);
        }
        assert_eq!(reached, (self.nodes.len(), self.leaves.len()));
        assert_eq!(self.root == NIL, self.is_empty());
    }

    fn check_below(&self, index: u32, dimensions: usize, reached: &mut (usize, usize)) -> Rank {
        if dimensions == 0 {
            reached.1 += 1;
            let entries: Vec<_> = self.leaves.get(index).iter().collect();
            assert!(entries.is_sorted());
            assert!(
                entries
                    .iter()
                    .all(|&entry| self.found(entry).map(Match::rank) == Some(entry.rank))
            );
            return entries[0].rank;
        }
        reached.0 += 1;
        let node = self.nodes[index];
        assert_eq!(Prefix::new(node.bits, node.free.into()).bits, node.bits);
        assert!(
            node.next != NIL || !node.children.contains(&NIL),
            "a node that nothing needs"
        );
        let mut best = Rank::LAST;
        if node.next != NIL {
            best = self.check_below(node.next, dimensions - 1, reached);
        }
        for (side, child) in node
            .children
            .into_iter()
            .enumerate()
            .filter(|&(_, child)| child != NIL)
        {
            let below = self.nodes[child];
            assert!(below.free < node.free && node.covers(below.bits));
            assert_eq!(node.side(below.bits), Some(side));
            best = best.min(self.check_below(child, dimensions, reached));
        }
        assert_eq!(node.best, best);
        best
    }
}

fn rule(low: u32, high: u32, second: u32, priority: u32) -> Rule<u32, 2, u32> {
    let range = Range::new(low.min(high), low.max(high)).unwrap_or(Range::any(32));
    Rule::new([range, Range::exact(second % 16)], priority, 0)
}

proptest! {
    #[test]
    fn stays_sound_and_returns_all_memory(
        rules in prop::collection::vec((0..64u32, 0..64u32, 0..3u32, 0..3u32), 1..40),
        order in any::<u64>(),
    ) {
        let mut trie = Small::new();
        let empty = trie.memory();
        let mut ids = Vec::new();
        for &(low, high, second, priority) in &rules {
            ids.push(trie.insert(rule(low, high, second, priority))?);
            trie.check();
        }
        while !ids.is_empty() {
            let id = ids.swap_remove(order as usize % ids.len());
            prop_assert!(trie.remove(id).is_some());
            trie.check();
        }
        prop_assert_eq!((trie.nodes(), trie.leaves.len(), trie.memory()), (0, 0, empty));
    }
}

#[test]
fn a_refused_rule_changes_nothing() -> Result<(), RangeError> {
    let mut trie = Ipv6Trie::new();
    let worst = Range::new(1, u128::MAX - 1)?;
    let ports = Range::new(1, 65_534)?;
    let mut rule = Rule::any::<Ipv6FiveTuple>(0, ());
    rule.ranges = [worst, worst, ports, ports, Range::any(8)];
    let error = InsertError::TooManyPrefixes {
        prefixes: 254 * 254 * 30 * 30,
        limit: MAX_PREFIXES,
    };
    assert_eq!(trie.insert(rule), Err(error));
    rule.ranges[3] = Range::new(0, 65_536)?;
    assert_eq!(
        trie.insert(rule),
        Err(InsertError::TooWide {
            dimension: 3,
            width: 16,
            high: 65_536
        })
    );
    assert_eq!(
        (trie.len(), trie.nodes(), trie.memory()),
        (0, 0, Ipv6Trie::<()>::new().memory())
    );

    rule.ranges[2..4].fill(Range::any(16));
    let id = trie.insert(rule);
    assert_eq!(
        id.map(RuleId::sequence),
        Ok(0),
        "refused rules take no sequence number"
    );
    assert!(
        trie.lookup(&Key::new([1, u128::MAX - 1, 0, 65_535, 255]))
            .is_some()
    );
    assert!(
        trie.lookup(&Key::new([0, u128::MAX - 1, 0, 65_535, 255]))
            .is_none()
    );
    trie.check();
    Ok(())
}

#[test]
fn the_same_box_many_times() -> Result<(), InsertError> {
    let mut trie = Small::new();
    let ids = (0..2_000)
        .map(|index| trie.insert(rule(5, 5, 1, index % 7)))
        .collect::<Result<Vec<_>, _>>()?;
    trie.check();
    assert_eq!(trie.nodes(), 2);
    let key = Key::new([5, 1]);
    assert_eq!(trie.all_matches(&key).len(), ids.len());
    for (index, &id) in ids.iter().enumerate().filter(|(index, _)| index % 7 == 0) {
        assert_eq!(trie.lookup(&key).map(|found| found.id), Some(id), "rule {index}");
        trie.remove(id);
    }
    assert_eq!(trie.lookup(&key).map(|found| found.id), Some(ids[1]));
    trie.check();
    Ok(())
}

#[test]
fn an_id_is_not_given_again() -> Result<(), InsertError> {
    let mut trie = Small::new();
    let old = trie.insert(rule(0, 9, 1, 0))?;
    assert!(trie.remove(old).is_some());
    let new = trie.insert(rule(0, 9, 1, 0))?;
    assert!(old < new);
    assert_eq!(trie.remove(old), None);
    assert_eq!(trie.len(), 1);
    Ok(())
}

#[test]
fn no_dimensions_at_all() -> Result<(), InsertError> {
    let mut trie = Trie::<NoDimensions, char, 0>::new();
    assert!(trie.lookup(&Key::new([])).is_none());
    let worse = trie.insert(Rule::new([], 2, 'w'))?;
    let better = trie.insert(Rule::new([], 1, 'b'))?;
    assert_eq!(trie.lookup(&Key::new([])).map(|found| found.action), Some('b'));
    trie.remove(better);
    trie.remove(worse);
    trie.check();
    Ok(())
}

#[test]
fn tries_can_be_sent_and_shared() {
    fn check<T: Send + Sync + Clone>() {}
    check::<Ipv4Trie<u16>>();
    check::<Ipv6Trie<u16>>();
}
