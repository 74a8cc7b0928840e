//! Looking up.

use super::chunk::Entry;
use super::diagram::Diagram;
use super::rules::Rules;
use super::set::{Kind, Set};
use crate::key::Key;
use crate::range::Range;
use crate::rule::Match;
use crate::schema::Schema;
use crate::word::Word;

/// How many keys are searched side by side: while one waits for memory, the others go on.
pub(super) const LANES: usize = 16;

impl<W: Word> Diagram<W> {
    /// The rules that accept the values of the first dimensions, and how many dimensions that are. What
    /// the others accept is to be compared.
    #[inline]
    pub(super) fn find(&self, root: Set, values: &[W]) -> (Set, usize) {
        let mut set = root;
        let mut dimension = 0;
        while let Some(chunk) = set.as_tree() {
            (set, dimension) = self.step(chunk, values, dimension);
        }
        (set, dimension)
    }

    /// One chunk further down.
    #[inline]
    fn step(&self, chunk: u32, values: &[W], dimension: usize) -> (Set, usize) {
        let chunk = &self.chunks[chunk];
        (
            chunk.find(values[dimension]),
            dimension + usize::from(chunk.level == 0),
        )
    }

    /// The best rule of a list for a key, from a dimension on.
    #[inline]
    pub(super) fn best<'rules, S: Schema<D, Word = W>, A, const D: usize>(
        &self,
        rules: &'rules Rules<S, A, D>,
        set: Set,
        key: &Key<W, D>,
        dimension: usize,
    ) -> Option<&'rules Match<A>> {
        match set.kind() {
            Kind::One(rule) => rules.answer(rule, key, dimension),
            Kind::List(list) => {
                let mut members = self.lists[list].0.iter();
                members.find_map(|&rule| rules.answer(rule, key, dimension))
            }
            Kind::Empty | Kind::Tree(_) => None,
        }
    }

    /// All rules of a list for a key, from a dimension on.
    pub(super) fn all<'rules, S: Schema<D, Word = W>, A, const D: usize>(
        &self,
        rules: &'rules Rules<S, A, D>,
        set: Set,
        key: &Key<W, D>,
        dimension: usize,
    ) -> Vec<&'rules Match<A>> {
        let mut members = Vec::new();
        self.collect(set, &mut members);
        let matching = members.iter();
        matching
            .filter_map(|&rule| rules.answer(rule, key, dimension))
            .collect()
    }

    /// The best rule for each of at most [`LANES`] keys.
    pub(super) fn best_of_lanes<'rules, S: Schema<D, Word = W>, A, const D: usize>(
        &self,
        rules: &'rules Rules<S, A, D>,
        root: Set,
        keys: &[Key<W, D>],
        results: &mut [Option<&'rules Match<A>>],
    ) {
        let mut found = [(root, 0); LANES];
        // The lanes that are still in a tree.
        let mut searching: [usize; LANES] = std::array::from_fn(|lane| lane);
        let mut count = if root.as_tree().is_some() {
            keys.len().min(LANES)
        } else {
            0
        };
        while count > 0 {
            let mut left = 0;
            for place in 0..count {
                let lane = searching[place];
                let (set, dimension) = found[lane];
                let Some(chunk) = set.as_tree() else { continue };
                found[lane] = self.step(chunk, keys[lane].values(), dimension);
                searching[left] = lane;
                left += usize::from(found[lane].0.as_tree().is_some());
            }
            count = left;
        }
        for ((result, key), (set, dimension)) in results.iter_mut().zip(keys).zip(found) {
            *result = self.best(rules, set, key, dimension);
        }
    }

    /// The intervals of a tree that have rules, from low to high.
    pub(super) fn intervals(&self, root: Set) -> Vec<Range<W>> {
        let mut entries = Vec::new();
        if let Some(chunk) = root.as_tree() {
            self.append_intervals(chunk, &mut entries);
        }
        let ends = entries.iter().skip(1).map(|entry| { entry.start } - W::ONE);
        let bounded = entries.iter().zip(ends.chain([W::MAX]));
        bounded
            .filter(|(entry, _)| { entry.set } != Set::EMPTY)
            .filter_map(|(entry, end)| Range::new(entry.start, end).ok())
            .collect()
    }

    fn append_intervals(&self, chunk: u32, entries: &mut Vec<Entry<W>>) {
        let chunk = &self.chunks[chunk];
        if chunk.level == 0 {
            entries.extend(&chunk.entries);
            return;
        }
        for below in chunk.entries.iter().filter_map(|entry| { entry.set }.as_tree()) {
            self.append_intervals(below, entries);
        }
    }
}
