//! The trees of all dimensions, and how they change.
//!
//! Parts that are equal are kept once and counted, wherever they occur: two intervals with the same rules
//! have the same [`Set`]. So neighbours are merged when their sets are equal, and one change to a part is
//! made once for all places that use it.

use std::collections::HashMap;

use super::chunk::{Chunk, Entry, cut, position};
use super::rules::Rules;
use super::set::{Kind, List, MOST, Set};
use super::store::{Mark as StoreMark, Store};
use crate::schema::Schema;
use crate::word::Word;

/// Up to this many rules are compared one by one, rather than cut into the intervals of the next
/// dimension. Measured: with 4, up to 2.7 times the memory and 1.5 times the lookup time; with 16, longer
/// batches.
pub(super) const FEW: usize = 8;

/// Whether this many rules are kept as a list where that dimension would come next. The first dimension
/// is always cut.
fn is_list(dimension: usize, dimensions: usize, rules: usize) -> bool {
    dimension == dimensions || (dimension > 0 && rules <= FEW)
}

/// All chunks and lists.
#[derive(Debug, Clone)]
pub(super) struct Diagram<W: Word> {
    pub(super) chunks: Store<Chunk<W>>,
    pub(super) lists: Store<List>,
}

/// How much was allocated at one time.
#[derive(Debug, Clone, Copy)]
pub(super) struct Mark {
    chunks: StoreMark,
    lists: StoreMark,
}

/// A rule to be added or taken out.
pub(super) struct Change<'a, S: Schema<D>, A, const D: usize> {
    rules: &'a Rules<S, A, D>,
    rule: u32,
    /// `None` to take the rule out; to add it, the memory that the diagram may use, in bytes.
    limit: Option<usize>,
    stopped: Option<Stopped>,
    /// What became of trees that are used from several places, by dimension. Holds a use of each, so that
    /// no index is given again meanwhile.
    done: HashMap<(usize, Set), Set>,
}

/// Why a rule could not be added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stopped {
    /// The diagram would need at least this much memory, in bytes.
    Memory(usize),
    /// There are too many chunks or lists.
    Full,
}

impl<'a, S: Schema<D>, A, const D: usize> Change<'a, S, A, D> {
    fn new(rules: &'a Rules<S, A, D>, rule: u32, limit: Option<usize>) -> Self {
        Self {
            rules,
            rule,
            limit,
            stopped: None,
            done: HashMap::new(),
        }
    }
}

impl<W: Word> Diagram<W> {
    pub(super) const fn new() -> Self {
        Self {
            chunks: Store::new(),
            lists: Store::new(),
        }
    }

    /// Allocated memory in bytes.
    pub(super) fn memory(&self) -> usize {
        self.chunks.memory() + self.lists.memory()
    }

    /// Adds a rule of `rules` to the set at the root; returns the new root.
    ///
    /// # Errors
    ///
    /// If more than `limit` bytes would be needed at any time. Nothing has changed then.
    pub(super) fn add<S: Schema<D, Word = W>, A, const D: usize>(
        &mut self,
        rules: &Rules<S, A, D>,
        root: Set,
        rule: u32,
        limit: usize,
    ) -> Result<Set, Stopped> {
        let mark = Mark {
            chunks: self.chunks.mark(),
            lists: self.lists.mark(),
        };
        // With a use of its own, the old root and all below it stay as they are.
        self.retain(root);
        let mut change = Change::new(rules, rule, Some(limit));
        let added = self.change(&mut change, 0, root);
        self.check(&mut change);
        let stopped = change.stopped;
        self.forget(change);
        if let Some(stopped) = stopped {
            self.release(added);
            self.chunks.restore(mark.chunks);
            self.lists.restore(mark.lists);
            return Err(stopped);
        }
        self.release(root);
        Ok(added)
    }

    /// Takes a rule out of the set at the root, which holds it; returns the new root.
    pub(super) fn take<S: Schema<D, Word = W>, A, const D: usize>(
        &mut self,
        rules: &Rules<S, A, D>,
        root: Set,
        rule: u32,
    ) -> Set {
        let mut change = Change::new(rules, rule, None);
        let taken = self.change(&mut change, 0, root);
        self.forget(change);
        taken
    }

    fn forget<S: Schema<D, Word = W>, A, const D: usize>(&mut self, change: Change<'_, S, A, D>) {
        for ((_, before), after) in change.done {
            self.release(before);
            self.release(after);
        }
    }

    /// Stops a change that needs more than it may.
    fn check<S: Schema<D, Word = W>, A, const D: usize>(&self, change: &mut Change<'_, S, A, D>) {
        let Some(limit) = change.limit else { return };
        let memory = self.memory();
        if memory > limit && change.stopped.is_none() {
            change.stopped = Some(Stopped::Memory(memory));
        }
        // Half, so that a change that is stopped can still complete its chunks.
        if self.chunks.len().max(self.lists.len()) > MOST / 2 {
            change.stopped = Some(Stopped::Full);
        }
    }

    /// Makes the change to a set; uses up one use of it, and returns what it became. A change that was
    /// stopped leaves it as it is.
    fn change<S: Schema<D, Word = W>, A, const D: usize>(
        &mut self,
        change: &mut Change<'_, S, A, D>,
        dimension: usize,
        set: Set,
    ) -> Set {
        self.check(change);
        if change.stopped.is_some() {
            return set;
        }
        let root = match set.kind() {
            Kind::Tree(root) => root,
            _ => return self.change_list(change, dimension, set),
        };
        let adding = change.limit.is_some();
        // Everything that is added to is used once more, by the old root.
        let shared = self.chunks.uses(root) > 1 + u32::from(adding);
        if shared && let Some(&after) = change.done.get(&(dimension, set)) {
            self.retain(after);
            self.release(set);
            return after;
        }
        let before = self.chunks[root].rules;
        let rules = if adding { before + 1 } else { before - 1 };
        if !adding && is_list(dimension, D, rules as usize) {
            return self.shorten(change, set);
        }
        if shared {
            self.retain(set);
        }
        let after = self.change_tree(change, dimension, root, rules);
        if shared {
            self.retain(after);
            change.done.insert((dimension, set), after);
        }
        after
    }

    /// Makes the change to a set that is no tree.
    fn change_list<S: Schema<D, Word = W>, A, const D: usize>(
        &mut self,
        change: &Change<'_, S, A, D>,
        dimension: usize,
        set: Set,
    ) -> Set {
        let mut members = Vec::new();
        self.collect(set, &mut members);
        let rank = change.rules.rank(change.rule);
        let place = members.partition_point(|&other| change.rules.rank(other) < rank);
        if change.limit.is_some() {
            members.insert(place, change.rule);
        } else {
            members.remove(place);
        }
        let after = self.build(change.rules, dimension, &members);
        self.release(set);
        after
    }

    /// Takes the rule out of a tree that becomes a list by that.
    fn shorten<S: Schema<D, Word = W>, A, const D: usize>(
        &mut self,
        change: &Change<'_, S, A, D>,
        set: Set,
    ) -> Set {
        let mut members = Vec::new();
        self.collect(set, &mut members);
        members.sort_unstable_by_key(|&rule| change.rules.rank(rule));
        members.dedup();
        members.retain(|&rule| rule != change.rule);
        let after = self.list(members);
        self.release(set);
        after
    }

    /// Makes the change to a tree, which will have that many rules.
    fn change_tree<S: Schema<D, Word = W>, A, const D: usize>(
        &mut self,
        change: &mut Change<'_, S, A, D>,
        dimension: usize,
        root: u32,
        rules: u32,
    ) -> Set {
        let Some(range) = change.rules.range(change.rule, dimension) else {
            return Set::tree(root);
        };
        let ends = Ends {
            before: if range.low() > W::ZERO {
                range.low() - W::ONE
            } else {
                W::ZERO
            },
            low: range.low(),
            after: (range.high() < W::MAX).then(|| range.high() + W::ONE),
        };
        let level = self.chunks[root].level;
        let top = [Entry {
            start: W::ZERO,
            set: Set::tree(root),
        }];
        let entries = self.change_chunks(change, dimension, level, &top, &ends);
        self.tree(level, entries, rules)
    }

    /// Makes the change to consecutive chunks of a level, uses up one use of each, and returns their
    /// entries. The ends of the change lie within these chunks.
    fn change_chunks<S: Schema<D, Word = W>, A, const D: usize>(
        &mut self,
        change: &mut Change<'_, S, A, D>,
        dimension: usize,
        level: u8,
        chunks: &[Entry<W>],
        ends: &Ends<W>,
    ) -> Vec<Entry<W>> {
        let mut entries = Vec::new();
        for chunk in chunks {
            self.open(chunk.set, &mut entries);
        }
        let Some(below) = level.checked_sub(1) else {
            self.change_intervals(change, dimension, &mut entries, ends);
            return entries;
        };
        let first = position(&entries, ends.before);
        let last = ends
            .after
            .map_or(entries.len() - 1, |after| position(&entries, after));
        let inner = self.change_chunks(change, dimension, below, &entries[first..=last], ends);
        let inner = self.pack(below, inner);
        entries.splice(first..=last, inner);
        entries
    }

    /// Cuts intervals at the ends of the change, makes it to those between, and merges what became equal.
    fn change_intervals<S: Schema<D, Word = W>, A, const D: usize>(
        &mut self,
        change: &mut Change<'_, S, A, D>,
        dimension: usize,
        entries: &mut Vec<Entry<W>>,
        ends: &Ends<W>,
    ) {
        let first = self.split(entries, ends.low);
        let end = match ends.after {
            Some(after) => self.split(entries, after),
            None => entries.len(),
        };
        for entry in &mut entries[first..end] {
            entry.set = self.change(change, dimension + 1, entry.set);
        }
        self.merge(entries, end);
        self.merge(entries, first);
    }

    /// Makes an interval start at the value; returns its place.
    fn split(&mut self, entries: &mut Vec<Entry<W>>, start: W) -> usize {
        let place = position(entries, start);
        let Entry { start: found, set } = entries[place];
        if found == start {
            return place;
        }
        self.retain(set);
        entries.insert(place + 1, Entry { start, set });
        place + 1
    }

    /// Joins the interval at the place with the one before, if they are equal.
    fn merge(&mut self, entries: &mut Vec<Entry<W>>, place: usize) {
        if place == 0 || place >= entries.len() {
            return;
        }
        let set = entries[place].set;
        if set == { entries[place - 1].set } {
            entries.remove(place);
            self.release(set);
        }
    }

    /// The set of these rules, which are sorted by rank.
    fn build<S: Schema<D, Word = W>, A, const D: usize>(
        &mut self,
        rules: &Rules<S, A, D>,
        dimension: usize,
        members: &[u32],
    ) -> Set {
        if members.is_empty() || is_list(dimension, D, members.len()) {
            return self.list(members.to_vec());
        }
        let ranges: Vec<_> = members
            .iter()
            .filter_map(|&rule| Some((rule, rules.range(rule, dimension)?)))
            .collect();
        let mut starts = vec![W::ZERO];
        for (_, range) in &ranges {
            starts.push(range.low());
            if range.high() < W::MAX {
                starts.push(range.high() + W::ONE);
            }
        }
        starts.sort_unstable();
        starts.dedup();
        let mut entries = Vec::with_capacity(starts.len());
        for start in starts {
            let covering = ranges.iter().filter(|(_, range)| range.contains(start));
            let covering: Vec<u32> = covering.map(|&(rule, _)| rule).collect();
            let set = self.build(rules, dimension + 1, &covering);
            entries.push(Entry { start, set });
        }
        self.tree(0, entries, members.len() as u32)
    }

    /// The tree of these entries of a level, whose uses it takes over.
    fn tree(&mut self, mut level: u8, mut entries: Vec<Entry<W>>, rules: u32) -> Set {
        loop {
            let mut parts = cut(level, entries);
            if parts.len() > 1 {
                entries = parts.into_iter().map(|part| self.part(level, part)).collect();
                level += 1;
                continue;
            }
            let only = parts.pop().unwrap_or_default();
            match only[..] {
                [Entry { set, .. }] if level > 0 => {
                    // One chunk below is enough.
                    entries = Vec::new();
                    self.open(set, &mut entries);
                    level -= 1;
                }
                [Entry { set: Set::EMPTY, .. }] => return Set::EMPTY,
                _ => return Set::tree(self.chunk(level, only, rules)),
            }
        }
    }

    /// The chunks of these entries of a level, whose uses it takes over.
    fn pack(&mut self, level: u8, entries: Vec<Entry<W>>) -> Vec<Entry<W>> {
        let parts = cut(level, entries);
        parts.into_iter().map(|part| self.part(level, part)).collect()
    }

    fn part(&mut self, level: u8, entries: Vec<Entry<W>>) -> Entry<W> {
        Entry {
            start: entries[0].start,
            set: Set::tree(self.chunk(level, entries, 0)),
        }
    }

    fn chunk(&mut self, level: u8, entries: Vec<Entry<W>>, rules: u32) -> u32 {
        let (index, duplicate) = self.chunks.insert(Chunk {
            entries: entries.into_boxed_slice(),
            level,
            rules,
        });
        for entry in duplicate.iter().flat_map(|chunk| &chunk.entries) {
            self.release(entry.set);
        }
        index
    }

    fn list(&mut self, members: Vec<u32>) -> Set {
        match members[..] {
            [] => Set::EMPTY,
            [rule] => Set::one(rule),
            _ => Set::list(self.lists.insert(List(members.into_boxed_slice())).0),
        }
    }

    /// Appends the entries of a chunk, each with a use of its own, for one use of the chunk.
    fn open(&mut self, chunk: Set, entries: &mut Vec<Entry<W>>) {
        let Some(index) = chunk.as_tree() else { return };
        if let Some(last) = self.chunks.release(index) {
            entries.extend(&last.entries);
            return;
        }
        let from = entries.len();
        entries.extend(&self.chunks[index].entries);
        for entry in &entries[from..] {
            self.retain(entry.set);
        }
    }

    fn retain(&mut self, set: Set) {
        match set.kind() {
            Kind::Tree(chunk) => self.chunks.retain(chunk),
            Kind::List(list) => self.lists.retain(list),
            Kind::Empty | Kind::One(_) => {}
        }
    }

    fn release(&mut self, set: Set) {
        match set.kind() {
            Kind::Tree(chunk) => {
                let last = self.chunks.release(chunk);
                for entry in last.iter().flat_map(|chunk| &chunk.entries) {
                    self.release(entry.set);
                }
            }
            Kind::List(list) => {
                self.lists.release(list);
            }
            Kind::Empty | Kind::One(_) => {}
        }
    }

    /// Appends the rules of a set: in order and once if it is no tree.
    pub(super) fn collect(&self, set: Set, members: &mut Vec<u32>) {
        match set.kind() {
            Kind::Empty => {}
            Kind::One(rule) => members.push(rule),
            Kind::List(list) => members.extend(&self.lists[list].0),
            Kind::Tree(chunk) => {
                for entry in &self.chunks[chunk].entries {
                    self.collect(entry.set, members);
                }
            }
        }
    }
}

/// Where a change starts and ends in one dimension.
struct Ends<W> {
    /// The value before the first one (0 if there is none): its interval may merge with the change's.
    before: W,
    /// The first value.
    low: W,
    /// The value after the last one, if there is one.
    after: Option<W>,
}
