//! Few hash tables by tuples of prefix lengths, chosen for the rules that are there: the default.
//!
//! Tuple space search hashes on the bits that rules fix (Srinivasan, Suri and Varghese, SIGCOMM 1999). It is
//! slow if there are as many tables as combinations of prefix lengths. Here as few are chosen as take the
//! rules at the least cost, as TupleMerge does (Daly et al., 2019), by a measurement on a sample of
//! the rules. And:
//!
//! - A rule whose prefix is a bit shorter than a table's is put there twice, instead of needing one more table.
//! - A bucket's word says whose keys it is for and how good its best rule is, so that most buckets that
//!   don't hold the answer are passed without a cache miss.
//! - Tables stand in the order of their best rule. What is found ends the search, when nothing behind
//!   can be better.
//! - Keys are looked up in bursts, stage by stage, without branches that depend on them: their cache misses
//!   overlap, and few branches are mispredicted. A key is compared with all dimensions of a rule at
//!   once (AVX-512, AVX2, or what the compiler makes of a loop).
//! - What no table tells apart is in a list that is searched sixteen rules at a time, in their order.
//!
//! **Change.** [`Tuple`] is the [`Writer`]; any number of [`Reader`](TupleReader)s look up while it inserts and removes.
//! Buckets are words that are replaced at once; the entries behind them are not changed, but replaced too. A
//! section sees the set exactly as it was when it was entered: an entry says when it was inserted and when
//! removed. What was replaced is used again when no section can see it any more (see
//! [`reclaim`](crate::reclaim)): at most 4,224 such objects wait, and one whole generation; then the writer
//! waits for the oldest section to end.
//!
//! When the set has outgrown its tables, the writer makes a new generation with tables for the rules that
//! are there now, and publishes it at once. So do whole-set replacements.
mod arena;
mod ask;
mod bucket;
mod build;
mod compare;
mod entry;
mod pending;
mod plan;
mod random;
mod reader;
mod residual;
mod scratch;
mod search;
mod shape;
mod single;
mod space;
mod state;
mod store;
#[cfg(test)]
mod tests;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use self::bucket::{Bucket, MAX_ENTRIES, MAX_RUN};
use self::build::{Built, Places, build};
use self::entry::Entry;
use self::pending::{MAX_PENDING, Pending, Queue};
use self::plan::MAX_COPIES;
use self::reader::Shared;
use self::residual::Resident;
use self::space::Space;
use self::state::{State, Version};
use self::store::{RESIDUAL, Store, Stored};
use crate::classify::{Classifier, InsertError, Lookup, check_ranges};
use crate::key::Key;
use crate::live::Writer;
use crate::rule::{Match, Rule, RuleId};
use crate::schema::{Ipv4FiveTuple, Ipv6FiveTuple, Schema, check_widths};

pub use self::compare::Instructions;
pub use self::reader::{TupleReader, TupleSection};

/// The most rules: each may be in two buckets, and half as many places are kept for change.
const MAX_RULES: usize = MAX_ENTRIES / 5 * 2;

/// Rules of the residual list that are always allowed before a new generation is made.
const MIN_RESIDUAL: usize = 32;

/// A set may grow by so many rules, or by a quarter, before a new generation is made.
const MIN_GROWTH: usize = 64;

/// Sets that were smaller are not built again when they shrink.
const MIN_SHRINK: usize = 64;

/// Hash tables by tuples of prefix lengths, and the one that changes them. See the [module](self).
///
/// *N* rules, *t* tables (few: usually 3 to 12), *r* rules of the residual list (usually some dozens):
/// a lookup is O(*t* + *r*), an insertion or removal O(*t*) amortized, memory O(*N*).
pub struct Tuple<S: Schema<D>, A, const D: usize> {
    shared: Arc<Shared<S::Word, A, D>>,
    store: Store<S::Word, A, D>,
    space: Space,
    /// The tables, in the order in which they are offered a rule.
    offers: Vec<u8>,
    pending: Queue<S::Word, A, D>,
    next_sequence: u64,
    instructions: Instructions,
    /// With more rules in the residual list, a new generation is made.
    residual_limit: usize,
    /// With more rules, a new generation is made, that suits them better.
    grow_above: usize,
    /// With fewer rules, a new generation is made, of less memory.
    shrink_below: usize,
    schema: PhantomData<S>,
}

/// Hash tables for IPv4 five-tuples.
pub type Ipv4Tuple<A> = Tuple<Ipv4FiveTuple, A, 5>;

/// Hash tables for IPv6 five-tuples.
pub type Ipv6Tuple<A> = Tuple<Ipv6FiveTuple, A, 5>;

#[allow(unsafe_code)]
impl<S: Schema<D>, A: Copy, const D: usize> Tuple<S, A, D> {
    /// No rules.
    pub fn new() -> Self {
        Self::with_instructions(Instructions::best())
    }

    /// No rules, and the instructions to search with, to compare them. What the processor doesn't have, or
    /// what is not for this schema's words, is replaced by [`Instructions::Portable`].
    pub fn with_instructions(instructions: Instructions) -> Self {
        const { check_widths::<S, D>() }
        let mut store = Store::new();
        let Built { state, space, offers } = build::<S, A, D>(&mut store, 0, instructions);
        Self {
            shared: Arc::new(Shared::new(state)),
            store,
            space,
            offers,
            pending: Queue::new(),
            next_sequence: 0,
            instructions,
            residual_limit: MIN_RESIDUAL,
            grow_above: MIN_GROWTH,
            shrink_below: 0,
            schema: PhantomData,
        }
    }

    /// Makes the tables anew for the rules that are there now. That happens by itself when the set has grown
    /// by a quarter or become much smaller, or when new rules fit no table; after other changes it may speed up
    /// lookups. Readers go on meanwhile. O(*N*).
    pub fn tune(&mut self) {
        let built = build::<S, A, D>(&mut self.store, self.next_sequence, self.instructions);
        // A part of the set too: a generation costs as much as the set is large.
        self.residual_limit = (built.state.residual().len() * 2)
            .max(self.store.len() / 256)
            .max(MIN_RESIDUAL);
        self.grow_above = self.store.len() + (self.store.len() / 4).max(MIN_GROWTH);
        self.shrink_below = match self.store.len() {
            rules if rules >= MIN_SHRINK => rules / 4,
            _ => 0,
        };
        self.space = built.space;
        self.offers = built.offers;
        let before = self.shared.replace(built.state);

        // What was taken out of the old generation goes with it.
        let old = self.pending.take();
        for object in old {
            if matches!(object, Pending::Residual(_) | Pending::State(_)) {
                self.pending.push(object);
            }
        }
        self.pending.close(&self.shared.domain);
        // One old generation at a time.
        while self.pending.len() > 0 {
            self.pending.wait(&self.shared.domain);
            while self.pending.pop(&self.shared.domain).is_some() {}
        }
        self.pending.push(Pending::State(before));
        self.pending.close(&self.shared.domain);
        while self.pending.pop(&self.shared.domain).is_some() {}
        if self.pending.len() == 0 {
            self.pending = Queue::new();
        }
        self.note_memory();
    }

    /// How many tables there are, and how many rules that no table tells apart.
    pub fn tables(&self) -> (usize, usize) {
        let state = self.state();
        (state.tables.len(), state.residual().len())
    }

    fn state(&self) -> &State<S::Word, A, D> {
        // SAFETY: only the writer replaces the state, by a method that takes it mutably.
        unsafe { self.shared.state() }
    }

    /// Puts a stored rule into a table or the residual list, and makes it visible. False if there was no
    /// room, and nothing has changed.
    fn place(&mut self, slot: u32) -> bool {
        let stored = *self.store.at(slot);
        for offer in 0..self.offers.len() {
            let number = self.offers[offer];
            let Some(places) = Places::of(&self.state().tables[number as usize], &stored.rule.ranges) else {
                continue;
            };
            let table = &self.state().tables[number as usize];
            if places
                .iter()
                .any(|(place, _)| table.bucket(place).count() >= MAX_RUN)
            {
                continue;
            }
            return self.place_in_table(slot, &stored, number, &places);
        }
        if self.state().residual().len() >= self.residual_limit {
            return false;
        }
        let resident = Resident {
            ranges: stored.rule.ranges,
            found: stored.found(slot),
            removed: 0,
        };
        let state = self.state();
        let before = state.replace_residual(state.residual().with(resident));
        state.version().count_insertion();
        self.pending.push(Pending::Residual(before));
        true
    }

    fn place_in_table(
        &mut self,
        slot: u32,
        stored: &Stored<S::Word, A, D>,
        number: u8,
        places: &Places,
    ) -> bool {
        let runs = match self.take_runs(number, places) {
            Some(runs) => runs,
            None => {
                self.pending.close(&self.shared.domain);
                self.reclaim();
                let Some(runs) = self.take_runs(number, places) else {
                    return false;
                };
                runs
            }
        };
        // SAFETY: as for `state`; the borrow leaves the queue free.
        let state = unsafe { self.shared.state() };
        let table = &state.tables[number as usize];
        for group in &state.groups {
            group.lower_best(stored.rule.priority);
            if group.end > usize::from(number) {
                break;
            }
        }
        for ((place, tags), (index, length)) in places.iter().zip(runs) {
            let before = table.bucket(place);
            let entry = Entry::new(&stored.rule.ranges, stored.found(slot));
            let rank = entry.rank();
            let mut entry = Some(entry);
            let mut at = index as usize;
            let mut best = stored.rule.priority;
            // SAFETY: the writer alone changes the state, and gives up the entries below. The run was just
            // taken, so nobody reads it.
            unsafe {
                for old in state.entries(before) {
                    if old.rank() > rank
                        && let Some(new) = entry.take()
                    {
                        state.arena.write(at, new);
                        at += 1;
                    }
                    best = best.min(old.found.priority);
                    state.arena.write(at, old.copy());
                    at += 1;
                }
                if let Some(new) = entry.take() {
                    state.arena.write(at, new);
                }
            }
            table.set_bucket(place, Bucket::new(index, length, before.tags() | tags, best));
            if before.count() > 0 {
                self.pending.push(Pending::Run {
                    index: before.index() as u32,
                    length: before.count(),
                });
            }
        }
        self.store.set_table(slot, number);
        state.version().count_insertion();
        true
    }

    /// For each of a rule's buckets, a run of the arena with room for one entry more, and its length.
    fn take_runs(&mut self, number: u8, places: &Places) -> Option<[(u32, usize); MAX_COPIES as usize]> {
        let mut runs = [(0, 0); MAX_COPIES as usize];
        for (taken, (place, _)) in places.iter().enumerate() {
            let length = self.state().tables[number as usize].bucket(place).count() + 1;
            let Some(index) = self.space.take(length) else {
                for &(index, length) in &runs[..taken] {
                    self.space.give(index, length);
                }
                return None;
            };
            runs[taken] = (index, length);
        }
        Some(runs)
    }

    /// Uses again what readers have let go of.
    fn reclaim(&mut self) {
        while let Some(object) = self.pending.pop(&self.shared.domain) {
            match object {
                Pending::Run { index, length } => self.space.give(index, length),
                Pending::Removed { ranges, found, table } => self.take_out(&ranges, &found, table),
                Pending::Residual(_) | Pending::State(_) => {}
            }
        }
    }

    /// Takes a rule that no reader sees any more out of its table or the residual list.
    fn take_out(&mut self, ranges: &[crate::Range<S::Word>; D], found: &Match<A>, number: u8) {
        // SAFETY: as for `state`; the borrow leaves the queue free.
        let state = unsafe { self.shared.state() };
        if number == RESIDUAL {
            let before = state.replace_residual(state.residual().without(found));
            self.pending.push(Pending::Residual(before));
            return;
        }
        let table = &state.tables[number as usize];
        let Some(places) = Places::of(table, ranges) else {
            return;
        };
        for (place, _) in places.iter() {
            let before = table.bucket(place);
            let length = before.count();
            if length <= 1 {
                table.set_bucket(place, Bucket::EMPTY);
            } else {
                let Some(index) = self.space.take(length - 1) else {
                    // The entry stays, invisible, until the next generation is built.
                    continue;
                };
                let (mut at, mut tags, mut best) = (index as usize, 0, u32::MAX);
                // SAFETY: the writer alone changes the state, and gives up the entries below. The run was
                // just taken, so nobody reads it.
                unsafe {
                    for old in state.entries(before).filter(|old| old.found.id != found.id) {
                        tags |=
                            Places::of(table, &old.ranges()).map_or(u16::MAX, |other| other.tags_at(place));
                        best = best.min(old.found.priority);
                        state.arena.write(at, old.copy());
                        at += 1;
                    }
                }
                table.set_bucket(place, Bucket::new(index, length - 1, tags, best));
            }
            self.pending.push(Pending::Run {
                index: before.index() as u32,
                length,
            });
        }
    }

    /// Completes a batch if it is time, and uses again what readers have let go of. Waits for them if too
    /// much is held back.
    fn settle(&mut self) {
        if !self.pending.is_batch_full() {
            return;
        }
        self.pending.close(&self.shared.domain);
        if self.pending.is_full() {
            self.pending.wait(&self.shared.domain);
        }
        self.reclaim();
        self.note_memory();
    }

    fn note_memory(&self) {
        let memory = self.memory();
        self.state().writer_memory.store(memory, Ordering::Relaxed);
    }

    /// The next state is due, whatever room there is.
    fn has_outlived_version(&self) -> bool {
        self.state().version().snapshot().removed >= Version::MAX_REMOVED - 1
    }
}

impl<S: Schema<D>, A: Copy, const D: usize> Default for Tuple<S, A, D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Schema<D>, A, const D: usize> fmt::Debug for Tuple<S, A, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tuple")
            .field("tables", &self.offers.len())
            .field("inserted", &self.next_sequence)
            .finish_non_exhaustive()
    }
}

#[allow(unsafe_code)]
impl<S: Schema<D>, A: Copy, const D: usize> Lookup<S::Word, D> for Tuple<S, A, D> {
    type Action = A;

    fn lookup(&self, key: &Key<S::Word, D>) -> Option<&Match<A>> {
        let state = self.state();
        // SAFETY: the writer doesn't change the state while its answers are borrowed.
        unsafe { single::search_one(state, state.version().snapshot(), key) }
    }

    fn lookup_batch<'rules>(
        &'rules self,
        keys: &[Key<S::Word, D>],
        results: &mut [Option<&'rules Match<A>>],
    ) {
        let state = self.state();
        // SAFETY: the writer doesn't change the state while its answers are borrowed.
        unsafe { search::search(state, state.version().snapshot(), keys, results) }
    }

    fn all_matches(&self, key: &Key<S::Word, D>) -> Vec<&Match<A>> {
        let state = self.state();
        // SAFETY: the writer doesn't change the state while its answers are borrowed.
        unsafe { search::all(state, state.version().snapshot(), key) }
    }

    fn get(&self, id: RuleId) -> Option<Rule<S::Word, D, &A>> {
        let rule = &self.store.get(id)?.rule;
        Some(Rule::new(rule.ranges, rule.priority, &rule.action))
    }

    fn len(&self) -> usize {
        self.store.len()
    }

    fn memory(&self) -> usize {
        size_of::<Self>()
            + self.store.memory()
            + self.space.memory()
            + self.pending.memory()
            + self.state().memory()
    }
}

#[allow(unsafe_code)]
impl<S: Schema<D>, A: Copy, const D: usize> Classifier<S::Word, D> for Tuple<S, A, D> {
    fn insert(&mut self, rule: Rule<S::Word, D, A>) -> Result<RuleId, InsertError> {
        check_ranges::<S, D>(&rule.ranges)?;
        if self.store.len() >= MAX_RULES {
            return Err(InsertError::Full {
                rules: self.store.len(),
            });
        }
        let sequence = self.next_sequence;
        let slot = self.store.insert(rule, sequence);
        self.next_sequence += 1;
        if self.store.len() <= self.grow_above && self.place(slot) {
            self.settle();
        } else {
            self.tune();
        }
        Ok(RuleId::new(sequence, slot))
    }

    fn remove(&mut self, id: RuleId) -> Option<Rule<S::Word, D, A>> {
        let Stored { rule, table, .. } = self.store.remove(id)?;
        if self.has_outlived_version() || self.store.len() < self.shrink_below || self.store.len() == 0 {
            self.tune();
            return Some(rule);
        }
        let found = Match {
            id,
            priority: rule.priority,
            action: rule.action,
        };
        let state = self.state();
        let number = state.version().snapshot().removed + 1;
        if table == RESIDUAL {
            state.residual().mark_removed(&found, number);
        } else {
            let table = &state.tables[table as usize];
            for (place, _) in Places::of(table, &rule.ranges).iter().flat_map(Places::iter) {
                // SAFETY: the writer doesn't give up entries here.
                for entry in unsafe { state.entries(table.bucket(place)) } {
                    if entry.found.id == id {
                        entry.mark_removed(number);
                    }
                }
            }
        }
        state.version().count_removal();
        self.pending.push(Pending::Removed {
            ranges: rule.ranges,
            found,
            table,
        });
        self.settle();
        Some(rule)
    }

    fn clear(&mut self) {
        self.store = Store::new();
        self.tune();
    }
}

impl<S: Schema<D>, A: Copy + Send + Sync + 'static, const D: usize> Writer<S::Word, D> for Tuple<S, A, D> {
    type Reader = TupleReader<S, A, D>;

    fn reader(&self) -> TupleReader<S, A, D> {
        TupleReader::new(Arc::clone(&self.shared))
    }

    fn replace(&mut self, rules: Vec<Rule<S::Word, D, A>>) -> Result<Vec<RuleId>, InsertError> {
        if rules.len() > MAX_RULES {
            return Err(InsertError::Full { rules: rules.len() });
        }
        for rule in &rules {
            check_ranges::<S, D>(&rule.ranges)?;
        }
        let mut store = Store::new();
        store.reserve(rules.len());
        let ids = rules
            .into_iter()
            .map(|rule| {
                let sequence = self.next_sequence;
                self.next_sequence += 1;
                RuleId::new(sequence, store.insert(rule, sequence))
            })
            .collect();
        self.store = store;
        self.tune();
        Ok(ids)
    }
}

impl<S: Schema<D>, A, const D: usize> Drop for Tuple<S, A, D> {
    fn drop(&mut self) {
        // Readers may be in a section still: what they may see goes with the last of them.
        self.shared.keep(self.pending.take());
    }
}

const _: () = assert!(MAX_PENDING == 4_224);
