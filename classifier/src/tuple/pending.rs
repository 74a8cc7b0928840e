//! What the writer has taken out, and readers may still be looking at.

use std::collections::VecDeque;

use super::residual::Residual;
use super::state::State;
use crate::reclaim::{Domain, Sequence};

/// Objects that wait together.
pub(super) const BATCH: usize = 64;

/// The most closed batches; the writer waits for readers before there are more.
const MAX_BATCHES: usize = 64;

/// The most objects that wait for readers: runs of up to 63 entries, removed rules, residual lists.
pub(super) const MAX_PENDING: usize = BATCH * (MAX_BATCHES + 2);

/// What is to be done when no section is open that began before it was put here.
#[derive(Debug)]
pub(super) enum Pending<W, A, const D: usize> {
    /// Places of the arena that nothing leads to any more.
    Run { index: u32, length: u8 },
    /// The slot of a rule that is marked as removed, and still in its table (or the residual list).
    Removed { slot: u32 },
    /// A residual list.
    Residual(#[expect(dead_code, reason = "kept to be dropped")] Box<Residual<W, A, D>>),
    /// A whole generation.
    State(#[expect(dead_code, reason = "kept to be dropped")] Box<State<W, A, D>>),
}

/// Pending objects, oldest first. The sequence of their domain is advanced once per batch of them.
#[derive(Debug)]
pub(super) struct Queue<W, A, const D: usize> {
    objects: VecDeque<Pending<W, A, D>>,
    /// The first objects, which no reader can hold any more.
    ready: usize,
    /// Batches behind those that are complete: their sequence, and how many objects.
    closed: VecDeque<(Sequence, usize)>,
    /// Objects behind the last closed batch.
    open: usize,
    /// Whole generations among the objects.
    generations: usize,
}

impl<W, A, const D: usize> Queue<W, A, D> {
    pub(super) const fn new() -> Self {
        Self {
            objects: VecDeque::new(),
            ready: 0,
            closed: VecDeque::new(),
            open: 0,
            generations: 0,
        }
    }

    /// Puts an object behind the others. What led to it is gone.
    #[inline]
    pub(super) fn push(&mut self, object: Pending<W, A, D>) {
        self.generations += usize::from(matches!(object, Pending::State(_)));
        self.objects.push_back(object);
        self.open += 1;
    }

    /// Whether it is time to [`close`](Self::close) a batch.
    #[inline]
    pub(super) fn is_batch_full(&self) -> bool {
        self.open >= BATCH
    }

    /// Whether so many batches wait that the writer has to.
    pub(super) fn is_full(&self) -> bool {
        self.closed.len() >= MAX_BATCHES
    }

    /// Whether a whole generation waits.
    pub(super) fn holds_generation(&self) -> bool {
        self.generations > 0
    }

    /// Completes a batch of what was put here last.
    pub(super) fn close(&mut self, domain: &Domain) {
        if self.open > 0 {
            self.closed.push_back((domain.advance(), self.open));
            self.open = 0;
        }
    }

    /// Waits until the oldest closed batch can be taken.
    pub(super) fn wait(&self, domain: &Domain) {
        if let Some((sequence, _)) = self.closed.front() {
            domain.wait(*sequence);
        }
    }

    /// Up to a batch of the oldest objects that no reader can hold any more; they can be [taken](Self::pop)
    /// then.
    pub(super) fn ready(&mut self, domain: &Domain) -> impl Iterator<Item = &Pending<W, A, D>> {
        while self.ready < BATCH
            && let Some((sequence, objects)) = self.closed.front()
            && domain.has_passed(*sequence)
        {
            self.ready += objects;
            self.closed.pop_front();
        }
        self.objects.iter().take(self.ready.min(BATCH))
    }

    /// The oldest object, if it is [ready](Self::ready).
    #[inline]
    pub(super) fn pop(&mut self) -> Option<Pending<W, A, D>> {
        self.ready = self.ready.checked_sub(1)?;
        let object = self.objects.pop_front();
        self.generations -= usize::from(matches!(object, Some(Pending::State(_))));
        object
    }

    /// Takes out all objects without waiting.
    pub(super) fn take(&mut self) -> VecDeque<Pending<W, A, D>> {
        std::mem::take(self).objects
    }

    pub(super) fn is_empty(&self) -> bool {
        self.objects.is_empty()
    }

    /// Memory of the queue itself, in bytes.
    pub(super) fn memory(&self) -> usize {
        self.objects.capacity() * size_of::<Pending<W, A, D>>()
            + self.closed.capacity() * size_of::<(Sequence, usize)>()
    }
}

impl<W, A, const D: usize> Default for Queue<W, A, D> {
    fn default() -> Self {
        Self::new()
    }
}
