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
//! [`reclaim`](crate::reclaim)): at most 4,224 such objects wait, and two whole generations; then the writer
//! waits for the oldest section to end.
//!
//! **Tuning.** When the set has outgrown its tables, a new generation is made, with tables for the rules that are
//! there now: in a thread of its own, while the writer changes the one that is there. What it changes
//! meanwhile is repeated in the new one, which is then published at one instant. The writer waits for it only if the
//! arena and the residual list have no room any more, or if there are more changes to repeat than rules (and
//! more than 262,144). The thread ends with the generation, or with the [`Tuple`]. Small sets are built by the
//! writer itself, and so are whole-set replacements.
mod account;
mod arena;
mod ask;
mod bucket;
mod build;
mod builder;
mod compare;
mod entry;
mod home;
mod listing;
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
mod tuning;

use std::fmt;
use std::marker::PhantomData;
use std::sync::Arc;

use self::account::Account;
use self::bucket::MAX_ENTRIES;
use self::build::{Built, Places, build};
use self::builder::{Build, Builder, Change};
use self::pending::{BATCH, MAX_PENDING, Pending, Queue};
use self::reader::Shared;
use self::state::{State, Version};
use self::store::Store;
use self::tuning::{BACKGROUND_FROM, Limits};
use crate::classify::{Classifier, InsertError, Lookup, check_ranges};
use crate::key::Key;
use crate::live::Writer;
use crate::rule::{Match, Rule, RuleId};
use crate::schema::{Ipv4FiveTuple, Ipv6FiveTuple, Schema, check_widths};

pub use self::compare::Instructions;
pub use self::reader::{TupleReader, TupleSection};

/// The most rules: each may be in two buckets, and half as many places are kept for change.
const MAX_RULES: usize = MAX_ENTRIES / 5 * 2;

/// Hash tables by tuples of prefix lengths, and the one that changes them. See the [module](self).
///
/// *N* rules, *t* tables (few: usually 3 to 12), *r* rules of the residual list (usually some dozens):
/// a lookup is O(*t* + *r*), an insertion or removal O(*t*) amortized, memory O(*N*).
pub struct Tuple<S: Schema<D>, A, const D: usize> {
    shared: Arc<Shared<S::Word, A, D>>,
    store: Store<S::Word, A, D>,
    account: Account,
    pending: Queue<S::Word, A, D>,
    next_sequence: u64,
    instructions: Instructions,
    limits: Limits,
    builder: Option<Builder<S::Word, A, D>>,
    build: Build<S::Word, A, D>,
    /// Sets of fewer rules are built by the writer.
    background_from: usize,
    schema: PhantomData<S>,
}

/// Hash tables for IPv4 five-tuples.
pub type Ipv4Tuple<A> = Tuple<Ipv4FiveTuple, A, 5>;

/// Hash tables for IPv6 five-tuples.
pub type Ipv6Tuple<A> = Tuple<Ipv6FiveTuple, A, 5>;

impl<S: Schema<D>, A: Copy + Send + Sync + 'static, const D: usize> Tuple<S, A, D> {
    /// No rules.
    pub fn new() -> Self {
        Self::with_instructions(Instructions::best())
    }

    /// No rules, and the instructions to search with, to compare them. What the processor doesn't have, or
    /// what is not for this schema's words, is replaced by [`Instructions::Portable`].
    pub fn with_instructions(instructions: Instructions) -> Self {
        const { check_widths::<S, D>() }
        let build: Build<S::Word, A, D> = build::<S, A, D>;
        let Built { state, account } = Built::empty(instructions);
        Self {
            shared: Arc::new(Shared::new(state)),
            store: Store::new(),
            account,
            pending: Queue::new(),
            next_sequence: 0,
            instructions,
            limits: Limits::new(0, 0, 0),
            builder: None,
            build,
            background_from: BACKGROUND_FROM,
            schema: PhantomData,
        }
    }
}

#[allow(unsafe_code)]
impl<S: Schema<D>, A: Copy, const D: usize> Tuple<S, A, D> {
    /// How many tables there are, and how many rules that no table tells apart.
    pub fn tables(&self) -> (usize, usize) {
        let state = self.state();
        (state.tables.len(), state.residual().len())
    }

    fn state(&self) -> &State<S::Word, A, D> {
        // SAFETY: a state that is replaced is kept until a method that takes the writer mutably drops it.
        unsafe { self.shared.state() }
    }
}

#[allow(unsafe_code)]
impl<S: Schema<D>, A: Copy + Send + Sync + 'static, const D: usize> Tuple<S, A, D> {
    /// Puts a stored rule into a table or the residual list, and makes it visible. False if there was no
    /// room, and nothing has changed.
    fn place(&mut self, slot: u32) -> bool {
        let Some((ranges, found)) = self.store.at(slot) else {
            return true;
        };
        // SAFETY: as for `state`; the borrow leaves the account and the queue free.
        let state = unsafe { self.shared.state() };
        let mut placed = self.account.place(state, ranges, found, &mut self.pending);
        if placed.is_err() {
            let ranges = *ranges;
            self.pending.close(&self.shared.domain);
            self.reclaim();
            placed = self.account.place(state, &ranges, found, &mut self.pending);
        }
        if !placed.unwrap_or(false) {
            if state.residual().len() >= self.most_residual() {
                return false;
            }
            if let Some((ranges, found)) = self.store.at(slot) {
                self.account
                    .place_in_residual(state, ranges, found, &mut self.pending);
            }
        }
        state.version().count_insertion();
        true
    }

    /// Makes a rule invisible that was removed from the store. False if the state can't count more removals.
    fn hide(&mut self, slot: u32) -> bool {
        // SAFETY: as for `state`; the borrow leaves the queue free.
        let state = unsafe { self.shared.state() };
        let number = state.version().snapshot().removed + 1;
        if number >= Version::MAX_REMOVED {
            return false;
        }
        if let Some((ranges, found)) = self.store.at(slot) {
            self.account.mark_removed(state, ranges, &found, number);
        }
        state.version().count_removal();
        self.pending.push(Pending::Removed { slot });
        true
    }

    /// Completes a batch, and uses again what readers have let go of. Waits for them if too much is held back.
    #[inline(never)]
    fn settle(&mut self) {
        self.pending.close(&self.shared.domain);
        if self.pending.is_full() {
            self.pending.wait(&self.shared.domain);
        }
        self.reclaim();
        self.note_memory();
    }

    /// Uses again what readers have let go of.
    fn reclaim(&mut self) {
        // SAFETY: as for `state`; the borrow leaves the account and the queue free.
        let state = unsafe { self.shared.state() };
        loop {
            // First all buckets are asked for, so that they are loaded at the same time.
            let mut located = [Places::default(); BATCH];
            let mut objects = 0;
            for (object, places) in self.pending.ready(&self.shared.domain).zip(&mut located) {
                objects += 1;
                if let Pending::Removed { slot } = object
                    && let Some((ranges, _)) = self.store.at(*slot)
                {
                    *places = self.account.locate(state, *slot, ranges);
                }
            }
            if objects == 0 {
                return;
            }
            for places in &located[..objects] {
                match self.pending.pop() {
                    Some(Pending::Run { index, length }) => self.account.give(index, length),
                    Some(Pending::Removed { slot }) => self.take_out(state, places, slot),
                    Some(Pending::Residual(_) | Pending::State(_)) | None => {}
                }
            }
        }
    }

    /// Takes a rule that no reader sees any more out of its table or the residual list.
    fn take_out(&mut self, state: &State<S::Word, A, D>, places: &Places, slot: u32) {
        let Some((_, found)) = self.store.at(slot) else {
            return;
        };
        match self.account.take_out(state, places, &found, &mut self.pending) {
            Ok(()) => self.store.vacate(slot),
            // When other runs have been given back.
            Err(_) => self.pending.push(Pending::Removed { slot }),
        }
    }
}

impl<S: Schema<D>, A: Copy + Send + Sync + 'static, const D: usize> Default for Tuple<S, A, D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Schema<D>, A, const D: usize> fmt::Debug for Tuple<S, A, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tuple")
            .field("inserted", &self.next_sequence)
            .finish_non_exhaustive()
    }
}

#[allow(unsafe_code)]
impl<S: Schema<D>, A: Copy + Send + Sync + 'static, const D: usize> Lookup<S::Word, D> for Tuple<S, A, D> {
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
        let rule = self.store.get(id)?;
        Some(Rule::new(rule.ranges, rule.priority, &rule.action))
    }

    fn len(&self) -> usize {
        self.store.len()
    }

    fn memory(&self) -> usize {
        self.memory_in_use()
    }
}

impl<S: Schema<D>, A: Copy + Send + Sync + 'static, const D: usize> Classifier<S::Word, D>
    for Tuple<S, A, D>
{
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
        self.change(Change::Insertion, slot, Self::place);
        Ok(RuleId::new(sequence, slot))
    }

    fn remove(&mut self, id: RuleId) -> Option<Rule<S::Word, D, A>> {
        let rule = self.store.remove(id)?;
        if self.store.len() == 0 {
            self.pending.push(Pending::Removed { slot: id.slot() });
            self.tune();
        } else if !self.change(Change::Removal, id.slot(), Self::hide) {
            self.store.vacate(id.slot());
        }
        Some(rule)
    }

    fn clear(&mut self) {
        self.forget();
        self.store = Store::new();
        self.tune();
    }

    fn settle(&mut self) {
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
        self.forget();
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
        let published = self.builder.take().and_then(|builder| builder.end().0);
        for before in published.into_iter().flat_map(|published| published.before) {
            self.pending.push(before);
        }
        // Readers may be in a section still: what they may see goes with the last of them.
        self.shared.keep(self.pending.take());
    }
}

const _: () = assert!(MAX_PENDING == 4_224);
