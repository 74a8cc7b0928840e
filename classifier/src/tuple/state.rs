//! What searches walk through: tables, the entries behind them, and the residual list.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicPtr, AtomicU32, AtomicU64, AtomicUsize, Ordering};

use super::arena::Arena;
use super::bucket::{Bucket, TAG_BITS};
use super::compare::Instructions;
use super::entry::{Entry, Snapshot};
use super::residual::Residual;
use super::shape::Shape;
use crate::range::Range;
use crate::rule::Match;
use crate::word::Word;

/// The most tables that are asked before the answers so far are looked at.
pub(super) const MAX_GROUP: usize = 8;

/// From this size on, the memory of entries is asked for before it is needed. Below, it is in a core's own
/// caches: then asking costs more than waiting.
const ENTRIES_IN_CACHE: usize = 3 << 19;

/// The same for that of buckets, for many of which searches wait at once.
const BUCKETS_IN_CACHE: usize = 4 << 20;

/// One generation of the structure. It is built from all rules at once, and changes in place from then on,
/// until the next is published.
#[derive(Debug)]
pub(super) struct State<W, A, const D: usize> {
    /// By group, and in a group by the best priority when it was built.
    pub(super) tables: Vec<Table<W, D>>,
    /// In the order in which they are asked.
    pub(super) groups: Vec<Group>,
    pub(super) arena: Arena<Entry<W, A, D>>,
    residual: AtomicPtr<Residual<W, A, D>>,
    version: Version,
    pub(super) instructions: Instructions,
    /// Whether searches ask for the memory of entries before they need it, and for that of buckets.
    pub(super) prefetches_entries: bool,
    pub(super) prefetches_buckets: bool,
    /// What the writer found last, see [`Lookup::memory`](crate::Lookup::memory).
    pub(super) writer_memory: AtomicUsize,
}

/// A hash table of the rules of one shape.
#[derive(Debug)]
pub(super) struct Table<W, const D: usize> {
    pub(super) shape: Shape<W, D>,
    /// A hash shifted by this is the index of a bucket, and behind it the tag.
    shift: u32,
    buckets: Arena<AtomicU64>,
}

/// Tables that are asked together.
#[derive(Debug)]
pub(super) struct Group {
    /// The end of its tables; they begin where those of the group before end.
    pub(super) end: usize,
    /// No rule of this group or of one behind it has a lower priority number.
    best: AtomicU32,
}

/// How many changes a state has seen: insertions in the upper 40 bits, removals in the lower 24.
#[derive(Debug)]
pub(super) struct Version {
    changes: AtomicU64,
    /// Rules inserted, and rules there, when the state was published.
    base_inserted: u64,
    base_len: usize,
}

impl Version {
    /// The most removals that a state can count; then the next has to be built.
    pub(super) const MAX_REMOVED: u32 = (1 << Self::REMOVED_BITS) - 1;
    const REMOVED_BITS: u32 = 24;

    pub(super) fn new(inserted: u64, len: usize) -> Self {
        Self {
            changes: AtomicU64::new(0),
            base_inserted: inserted,
            base_len: len,
        }
    }

    fn split(&self, changes: u64) -> (u64, u32) {
        (changes >> Self::REMOVED_BITS, changes as u32 & Self::MAX_REMOVED)
    }

    #[inline(always)]
    pub(super) fn snapshot(&self) -> Snapshot {
        // Acquire: what the changes stored comes before their count.
        let (inserted, removed) = self.split(self.changes.load(Ordering::Acquire));
        Snapshot {
            inserted: self.base_inserted + inserted,
            removed,
        }
    }

    /// Rules at that time.
    pub(super) fn len(&self, at: Snapshot) -> usize {
        self.base_len + (at.inserted - self.base_inserted) as usize - at.removed as usize
    }

    /// Makes an insertion visible. Only the writer calls it.
    pub(super) fn count_insertion(&self) {
        let changes = self.changes.load(Ordering::Relaxed);
        self.changes
            .store(changes + (1 << Self::REMOVED_BITS), Ordering::Release);
    }

    /// Makes a removal visible. Only the writer calls it, less than [`MAX_REMOVED`](Self::MAX_REMOVED)
    /// times.
    pub(super) fn count_removal(&self) {
        let changes = self.changes.load(Ordering::Relaxed);
        self.changes.store(changes + 1, Ordering::Release);
    }
}

impl<W: Word, const D: usize> Table<W, D> {
    /// An empty table for about that many entries.
    pub(super) fn new(shape: Shape<W, D>, entries: usize) -> Self {
        // Small tables are kept half empty; in large ones that would cost more cache misses than it saves.
        let wanted = if entries < 1 << 16 { entries * 2 } else { entries };
        let bits = wanted.max(16).next_power_of_two().trailing_zeros().min(26);
        Self {
            shape,
            shift: u64::BITS - bits - TAG_BITS,
            buckets: Arena::filled(1 << bits, || AtomicU64::new(Bucket::EMPTY.0)),
        }
    }

    /// The place of a hash: the bucket's index, and behind it the tag.
    #[inline(always)]
    pub(super) fn place(&self, hash: u64) -> u64 {
        hash >> self.shift
    }

    /// How far a hash is shifted for a place.
    #[inline(always)]
    pub(super) fn shift(&self) -> u32 {
        self.shift
    }

    /// The first bucket. The index of a place is below their number.
    #[inline(always)]
    pub(super) fn buckets(&self) -> *const AtomicU64 {
        self.buckets.address(0)
    }

    /// The bucket of a place of this table.
    #[inline(always)]
    pub(super) fn bucket(&self, place: u64) -> Bucket {
        // Acquire: the entries were written before the bucket that leads to them.
        Bucket(self.word(place).load(Ordering::Acquire))
    }

    /// Where the bucket of a place is, to load it before it is needed.
    pub(super) fn address(&self, place: u64) -> *const AtomicU64 {
        self.buckets.address((place >> TAG_BITS) as usize)
    }

    /// Publishes a bucket. Only the writer calls it.
    pub(super) fn set_bucket(&self, place: u64, bucket: Bucket) {
        self.word(place).store(bucket.0, Ordering::Release);
    }

    #[inline(always)]
    fn word(&self, place: u64) -> &AtomicU64 {
        let index = (place >> TAG_BITS) as usize;
        assert!(index < self.buckets.capacity());
        // SAFETY: below the capacity; all buckets were written when the table was made.
        unsafe { self.buckets.get(index) }
    }

    /// How many buckets there are.
    pub(super) fn size(&self) -> usize {
        self.buckets.capacity()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.buckets.memory()
    }
}

impl Group {
    pub(super) fn new(end: usize, best: u32) -> Self {
        Self {
            end,
            best: AtomicU32::new(best),
        }
    }

    #[inline(always)]
    pub(super) fn best(&self) -> u32 {
        self.best.load(Ordering::Relaxed)
    }

    /// Takes in a rule of that priority, before it becomes visible.
    pub(super) fn lower_best(&self, priority: u32) {
        if priority < self.best() {
            self.best.store(priority, Ordering::Relaxed);
        }
    }
}

impl<W: Word, A: Copy, const D: usize> State<W, A, D> {
    /// A state that nobody sees yet. It becomes visible [from a number of insertions on](Self::begin).
    pub(super) fn new(
        tables: Vec<Table<W, D>>,
        groups: Vec<Group>,
        arena: Arena<Entry<W, A, D>>,
        residual: Residual<W, A, D>,
        instructions: Instructions,
    ) -> Self {
        let buckets: usize = tables.iter().map(Table::memory).sum();
        let prefetches_buckets = buckets >= BUCKETS_IN_CACHE;
        let prefetches_entries = prefetches_buckets || arena.memory() >= ENTRIES_IN_CACHE;
        Self {
            tables,
            groups,
            arena,
            residual: AtomicPtr::new(Box::into_raw(Box::new(residual))),
            version: Version::new(0, 0),
            instructions: instructions.for_words::<W>(),
            prefetches_entries,
            prefetches_buckets,
            writer_memory: AtomicUsize::new(0),
        }
    }

    /// From now on, all of the `len` rules that it has are visible, of all those `inserted` so far.
    pub(super) fn begin(&mut self, inserted: u64, len: usize) {
        self.version = Version::new(inserted, len);
    }

    #[inline(always)]
    pub(super) fn version(&self) -> &Version {
        &self.version
    }

    /// The residual list.
    #[inline(always)]
    pub(super) fn residual(&self) -> &Residual<W, A, D> {
        // SAFETY: never null. A list that `replace_residual` took out lives on until no section that could
        // have loaded it is open, and the writer calls that with no such reference in its own hands.
        unsafe { &*self.residual.load(Ordering::Acquire) }
    }

    /// Publishes another residual list, and returns the one before: readers may be using it still.
    pub(super) fn replace_residual(&self, residual: Residual<W, A, D>) -> Box<Residual<W, A, D>> {
        let before = self
            .residual
            .swap(Box::into_raw(Box::new(residual)), Ordering::AcqRel);
        // SAFETY: the pointer came from a box, and is ours alone to free now.
        unsafe { Box::from_raw(before) }
    }

    /// The tables of the group of that index.
    #[inline(always)]
    pub(super) fn tables_of(&self, group: usize) -> &[Table<W, D>] {
        let start = match group.checked_sub(1) {
            Some(before) => self.groups[before].end,
            None => 0,
        };
        &self.tables[start..self.groups[group].end]
    }

    /// The entries of a bucket of one of the tables.
    ///
    /// # Safety
    ///
    /// The bucket was loaded in a section that is open for as long as the entries are used, or by the writer,
    /// that doesn't give them up meanwhile.
    #[inline(always)]
    pub(super) unsafe fn entries(&self, bucket: Bucket) -> impl Iterator<Item = &Entry<W, A, D>> {
        let first = bucket.index();
        // SAFETY: the entries were written before the bucket, and are not overwritten before the caller is
        // done with them.
        (first..first + bucket.count()).map(|index| unsafe { self.arena.get(index) })
    }

    /// Every rule that was there at that time, some several times: those in several buckets.
    ///
    /// # Safety
    ///
    /// As for [`entries`](Self::entries): in a section, or by the writer.
    pub(super) unsafe fn visible(&self, at: Snapshot) -> impl Iterator<Item = ([Range<W>; D], &Match<A>)> {
        let tabled = self.tables.iter().enumerate().flat_map(move |(index, table)| {
            // SAFETY: the caller's promise.
            unsafe { self.visible_in(index, 0..table.size(), at) }
        });
        tabled.chain(self.residual().visible(at))
    }

    /// Those in some buckets of the table of that index.
    ///
    /// # Safety
    ///
    /// As for [`entries`](Self::entries): in a section, or by the writer.
    pub(super) unsafe fn visible_in(
        &self,
        table: usize,
        buckets: std::ops::Range<usize>,
        at: Snapshot,
    ) -> impl Iterator<Item = ([Range<W>; D], &Match<A>)> {
        let table = &self.tables[table];
        buckets.flat_map(move |index| {
            // SAFETY: the caller's promise.
            unsafe { self.entries(table.bucket((index as u64) << TAG_BITS)) }
                .filter(move |entry| entry.is_visible(at))
                .map(|entry| (entry.ranges(), &entry.found))
        })
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Self>()
            + self.arena.memory()
            + self.tables.iter().map(Table::memory).sum::<usize>()
            + self.groups.capacity() * size_of::<Group>()
            + self.residual().memory()
    }
}

impl<W, A, const D: usize> Drop for State<W, A, D> {
    fn drop(&mut self) {
        // SAFETY: the pointer came from a box, and nobody else has the state any more.
        drop(unsafe { Box::from_raw(*self.residual.get_mut()) });
    }
}
