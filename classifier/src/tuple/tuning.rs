//! When there is a new generation of tables, and how the writer gets it.
#![allow(unsafe_code)]

use std::sync::atomic::Ordering;

use super::Tuple;
use super::build::Built;
use super::builder::{Builder, Change, Note, Published, Status, grown};
use super::pending::{Pending, Queue};
use super::state::Version;
use super::store::Store;
use crate::schema::Schema;

/// Rules of the residual list that are always allowed before a new generation is made.
const MIN_RESIDUAL: usize = 32;

/// While a generation is made, the residual list may become so many times as long.
const RESIDUAL_AHEAD: usize = 4;

/// Sets that were smaller are not built again when they shrink.
const MIN_SHRINK: usize = 64;

/// Changes after which a new generation is made in any case are so many times the rules, and so many more: then
/// a builder takes less than a third of the time that the changes take.
const CHANGES_PER_RULE: usize = 4;
const MIN_CHANGES: usize = 1 << 20;

/// Sets of fewer rules are built by the writer itself: that takes it about as long as starting a thread.
pub(super) const BACKGROUND_FROM: usize = 128;

/// A new generation is made when one of these is passed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Rules in the residual list.
    residual: usize,
    /// Entries in crowded buckets.
    crowd: usize,
    /// Rules.
    most: usize,
    least: usize,
    /// Changes from now on.
    changes: usize,
}

impl Limits {
    /// Those of a generation that was made for so many rules, with so many in its residual list and its crowds.
    pub(super) fn new(rules: usize, residual: usize, crowd: usize) -> Self {
        Self {
            // A part of the set too: a generation costs as much as the set is large.
            residual: (residual * 2).max(rules / 1024).max(MIN_RESIDUAL),
            crowd: crowd * 2 + (rules / 16).max(MIN_RESIDUAL),
            most: grown(rules),
            least: if rules >= MIN_SHRINK { rules / 4 } else { 0 },
            changes: (rules * CHANGES_PER_RULE + MIN_CHANGES).min(Version::MAX_REMOVED as usize / 2),
        }
    }
}

impl<S: Schema<D>, A: Copy + Send + Sync + 'static, const D: usize> Tuple<S, A, D> {
    /// Makes the tables anew for the rules that are there now, and waits for that. It happens by itself, in a
    /// thread of its own, when the set has grown by an eighth or become much smaller, when new rules fit no
    /// table or crowd in some, and after very many changes. After fewer changes it may speed up lookups. Readers go on
    /// meanwhile. O(*N*).
    pub fn tune(&mut self) {
        self.forget();
        for generation in self
            .end_builder()
            .into_iter()
            .flat_map(|published| published.before)
        {
            self.pending.push(generation);
        }
        if self.store.len() == 0 {
            self.store = Store::new();
        }
        let rules = self.store.listing();
        let Some(Built { mut state, account }) = (self.build)(&rules, self.instructions, &|| false) else {
            return;
        };
        drop(rules);
        state.begin(self.next_sequence, self.store.len());
        // One old generation at a time.
        self.pending.close(&self.shared.domain);
        while self.pending.holds_generation() {
            self.pending.wait(&self.shared.domain);
            self.reclaim();
        }
        self.limits = Limits::new(self.store.len(), state.residual().len(), account.crowd());
        self.account = account;
        let before = self.shared.replace(state);
        self.retire([Pending::State(before)]);
        if self.pending.is_empty() {
            self.pending = Queue::new();
        }
        self.note_memory();
    }

    /// Makes a change that has a rule in that slot: `apply`, which is false if there is no room for it. If a
    /// builder is at work, it is told. False if all tables had to be made anew instead.
    #[inline]
    pub(super) fn change(&mut self, change: Change, slot: u32, apply: fn(&mut Self, u32) -> bool) -> bool {
        let applied = match self.builder {
            None => self.apply(slot, apply),
            Some(_) => self.change_beside_builder(change, slot, apply),
        };
        if !applied {
            self.tune();
            return false;
        }
        self.limits.changes = self.limits.changes.saturating_sub(1);
        if self.builder.is_none() && self.is_due() {
            self.renew();
        }
        true
    }

    #[cold]
    fn change_beside_builder(
        &mut self,
        change: Change,
        slot: u32,
        apply: fn(&mut Self, u32) -> bool,
    ) -> bool {
        while let Some(link) = self.builder.as_ref().map(Builder::link) {
            let mut progress = link.lock();
            if let Some(published) = progress.published.take() {
                self.take_over(published);
            }
            if progress.status != Status::Working {
                drop(progress);
                self.end_builder();
                break;
            }
            if !progress.is_full() && self.apply(slot, apply) {
                if let Some((ranges, found)) = self.store.at(slot) {
                    let ranges = *ranges;
                    let note = Note {
                        change,
                        ranges,
                        found,
                    };
                    link.note(&mut progress, note, self.next_sequence, self.store.len());
                }
                return true;
            }
            link.wait(progress);
        }
        self.apply(slot, apply)
    }

    /// No builder may publish a generation meanwhile.
    #[inline]
    fn apply(&mut self, slot: u32, apply: fn(&mut Self, u32) -> bool) -> bool {
        let applied = apply(self, slot);
        if applied && self.pending.is_batch_full() {
            self.settle();
        }
        applied
    }

    /// Whether tables for the rules that are there now may be better.
    #[inline]
    fn is_due(&self) -> bool {
        let (rules, limits) = (self.store.len(), &self.limits);
        rules > limits.most
            || rules < limits.least
            || limits.changes == 0
            || self.account.crowd() > limits.crowd
            || self.state().residual().len() > limits.residual
    }

    /// Has a new generation made. Not as long as readers may be using one before this.
    #[cold]
    fn renew(&mut self) {
        if self.pending.holds_generation() {
            self.pending.close(&self.shared.domain);
            self.reclaim();
            if self.pending.holds_generation() {
                return;
            }
        }
        if self.store.len() >= self.background_from {
            self.builder = Builder::start(
                &self.shared,
                self.next_sequence,
                self.store.len(),
                self.instructions,
                self.build,
            );
        }
        if self.builder.is_none() {
            self.tune();
        }
    }

    /// So many rules may be in the residual list.
    pub(super) fn most_residual(&self) -> usize {
        self.limits.residual * RESIDUAL_AHEAD
    }

    /// Ends the builder, if there is one. What it has published and was not taken over is returned.
    pub(super) fn end_builder(&mut self) -> Option<Published<S::Word, A, D>> {
        let (published, status) = self.builder.take()?.end();
        if status == Status::Panicked {
            // Not again: where the writer builds itself, its caller gets to know.
            self.background_from = usize::MAX;
        }
        published
    }

    /// Goes on with a generation that the builder has published.
    fn take_over(&mut self, published: Published<S::Word, A, D>) {
        let Published {
            account,
            rules,
            residual,
            before,
        } = published;
        self.forget();
        self.limits = Limits::new(rules, residual, account.crowd());
        self.account = account;
        self.retire(before);
    }

    /// What was taken out of a generation goes with it.
    pub(super) fn forget(&mut self) {
        // What no reader holds any more need not wait again.
        while self.pending.ready(&self.shared.domain).next().is_some() {
            if let Some(Pending::Removed { slot }) = self.pending.pop() {
                self.store.vacate(slot);
            }
        }
        for object in self.pending.take() {
            match object {
                Pending::Run { .. } => {}
                Pending::Removed { slot } => self.store.vacate(slot),
                Pending::Residual(_) | Pending::State(_) => self.pending.push(object),
            }
        }
    }

    /// Keeps generations until no reader can be using them.
    fn retire(&mut self, before: impl IntoIterator<Item = Pending<S::Word, A, D>>) {
        for generation in before {
            self.pending.push(generation);
        }
        self.pending.close(&self.shared.domain);
        self.reclaim();
    }

    pub(super) fn note_memory(&self) {
        let memory = self.memory_in_use();
        self.state().writer_memory.store(memory, Ordering::Relaxed);
    }

    pub(super) fn memory_in_use(&self) -> usize {
        size_of::<Self>()
            + self.store.memory()
            + self.account.memory()
            + self.pending.memory()
            + self.state().memory()
            + self.builder.as_ref().map_or(0, Builder::memory)
    }
}

#[cfg(test)]
impl<S: Schema<D>, A: Copy + Send + Sync + 'static, const D: usize> Tuple<S, A, D> {
    /// Starts to build in a thread, whatever the limits say, if none is at work.
    pub(super) fn start_builder(&mut self) {
        if self.builder.is_none() {
            self.background_from = 0;
            self.renew();
        }
    }

    /// Waits until the builder has published something or has ended.
    pub(super) fn await_builder(&self) {
        if let Some(link) = self.builder.as_ref().map(Builder::link) {
            link.wait(link.lock());
        }
    }
}
