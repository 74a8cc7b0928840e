//! What writer and readers share.
#![allow(unsafe_code)]

use std::collections::VecDeque;
use std::fmt;
use std::sync::atomic::{AtomicPtr, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::entry::Snapshot;
use super::pending::Pending;
use super::search;
use super::single::search_one;
use super::state::State;
use crate::classify::Lookup;
use crate::key::Key;
use crate::live;
use crate::reclaim::{self, Domain};
use crate::rule::{Match, Rule, RuleId};
use crate::schema::Schema;

/// The current generation, and what writers that are gone left behind.
pub(super) struct Shared<W, A, const D: usize> {
    pub(super) domain: Domain,
    state: AtomicPtr<State<W, A, D>>,
    kept: Mutex<VecDeque<Pending<W, A, D>>>,
}

// SAFETY: a state may go to another thread if its words and actions may: it owns all that it points to.
unsafe impl<W: Send + Sync, A: Send + Sync, const D: usize> Send for Shared<W, A, D> {}
// SAFETY: as above; readers share references to words and actions, and whatever changes is atomic.
unsafe impl<W: Send + Sync, A: Send + Sync, const D: usize> Sync for Shared<W, A, D> {}

impl<W, A, const D: usize> Shared<W, A, D> {
    pub(super) fn new(state: Box<State<W, A, D>>) -> Self {
        Self {
            domain: Domain::new(),
            state: AtomicPtr::new(Box::into_raw(state)),
            kept: Mutex::new(VecDeque::new()),
        }
    }

    /// The current generation.
    ///
    /// # Safety
    ///
    /// The caller is in a section of the domain for as long as it uses the state, or it is the writer, and
    /// doesn't [replace](Self::replace) and drop the state meanwhile.
    #[inline]
    pub(super) unsafe fn state<'state>(&self) -> &'state State<W, A, D> {
        // Acquire: the state was made before it was published.
        // SAFETY: never null; the caller's promise keeps it alive.
        unsafe { &*self.state.load(Ordering::Acquire) }
    }

    /// Publishes another generation, and returns the one before: readers may be using it still.
    pub(super) fn replace(&self, state: Box<State<W, A, D>>) -> Box<State<W, A, D>> {
        let before = self.state.swap(Box::into_raw(state), Ordering::AcqRel);
        // SAFETY: the pointer came from a box, and is ours alone to free now.
        unsafe { Box::from_raw(before) }
    }

    /// Keeps what readers may be using until the last of them is gone.
    pub(super) fn keep(&self, pending: VecDeque<Pending<W, A, D>>) {
        self.kept
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(pending);
    }
}

impl<W, A, const D: usize> Drop for Shared<W, A, D> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box, and neither writer nor reader is left.
        drop(unsafe { Box::from_raw(*self.state.get_mut()) });
    }
}

/// One reader of a [`Tuple`](super::Tuple), for one thread.
pub struct TupleReader<S: Schema<D>, A, const D: usize> {
    reader: reclaim::Reader,
    shared: Arc<Shared<S::Word, A, D>>,
}

impl<S: Schema<D>, A, const D: usize> TupleReader<S, A, D> {
    pub(super) fn new(shared: Arc<Shared<S::Word, A, D>>) -> Self {
        Self {
            reader: shared.domain.reader(),
            shared,
        }
    }
}

impl<S: Schema<D>, A, const D: usize> fmt::Debug for TupleReader<S, A, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TupleReader")
            .field("reader", &self.reader)
            .finish_non_exhaustive()
    }
}

impl<S: Schema<D>, A: Copy, const D: usize> live::Reader<S::Word, D> for TupleReader<S, A, D> {
    type Action = A;
    type Section<'a>
        = TupleSection<'a, S, A, D>
    where
        Self: 'a;

    #[inline]
    fn enter(&mut self) -> TupleSection<'_, S, A, D> {
        let section = self.reader.enter();
        // SAFETY: the section is open for as long as the state is used.
        let state = unsafe { self.shared.state() };
        TupleSection {
            at: state.version().snapshot(),
            state,
            section,
        }
    }
}

/// A set of rules as it was when the section was entered.
///
/// [`get`](Lookup::get) goes through all rules here: O(*N*).
pub struct TupleSection<'reader, S: Schema<D>, A, const D: usize> {
    state: &'reader State<S::Word, A, D>,
    at: Snapshot,
    section: reclaim::Section<'reader>,
}

impl<S: Schema<D>, A, const D: usize> fmt::Debug for TupleSection<'_, S, A, D> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TupleSection")
            .field("at", &self.at)
            .field("section", &self.section)
            .finish_non_exhaustive()
    }
}

impl<S: Schema<D>, A: Copy, const D: usize> Lookup<S::Word, D> for TupleSection<'_, S, A, D> {
    type Action = A;

    #[inline]
    fn lookup(&self, key: &Key<S::Word, D>) -> Option<&Match<A>> {
        // SAFETY: the state was loaded in the section, which is open while its answers are borrowed.
        unsafe { search_one(self.state, self.at, key) }
    }

    #[inline]
    fn lookup_batch<'rules>(
        &'rules self,
        keys: &[Key<S::Word, D>],
        results: &mut [Option<&'rules Match<A>>],
    ) {
        // SAFETY: the state was loaded in the section, which is open while its answers are borrowed.
        unsafe { search::search(self.state, self.at, keys, results) }
    }

    fn all_matches(&self, key: &Key<S::Word, D>) -> Vec<&Match<A>> {
        // SAFETY: the state was loaded in the section, which is open while its answers are borrowed.
        unsafe { search::all(self.state, self.at, key) }
    }

    fn get(&self, id: RuleId) -> Option<Rule<S::Word, D, &A>> {
        // SAFETY: the state was loaded in the section, which is open while its answers are borrowed.
        let (ranges, found) = unsafe { self.state.visible(self.at) }.find(|(_, found)| found.id == id)?;
        Some(Rule::new(ranges, found.priority, &found.action))
    }

    fn len(&self) -> usize {
        self.state.version().len(self.at)
    }

    fn memory(&self) -> usize {
        self.state.writer_memory.load(Ordering::Relaxed)
    }
}
