//! Asking tables for a burst of keys: the words of many keys side by side, so that several are hashed at
//! once.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::bucket::{Bucket, TAG_BITS, class};
use super::compare::{Avx2, Portable};
use super::scratch::Scratch;
use super::search::{BURST, CANDIDATES, Candidate};
use super::state::Table;
use crate::key::Key;
use crate::prefetch::prefetch_address;
use crate::word::{Word, multiplier};

/// The most words of a key, in 64 bits.
const MAX_WORDS: usize = 16;

/// Vectors may write this much behind the last value.
pub(super) const VECTOR: usize = 8;

type Column = Scratch<u64, { BURST + VECTOR }>;

/// Places of all keys in all tables of a group.
pub(super) type Places = Scratch<u64, { CANDIDATES + VECTOR }>;

/// Candidates of all keys in all tables of a group.
pub(super) type Candidates = Scratch<Candidate, { CANDIDATES + VECTOR }>;

/// The keys of a burst, word by word, and which of them are still asked for.
pub(super) struct Columns {
    /// All keys.
    words: [Column; MAX_WORDS],
    /// Those that are asked for, since they were [narrowed](Ask::narrow) down.
    asked: [Column; MAX_WORDS],
    /// The same: their places in the burst, as a candidate holds them.
    keys: Column,
    /// The same: the class of the worst priority that is of use.
    worst: Column,
    /// How many are asked for.
    count: usize,
}

impl Columns {
    #[inline(always)]
    pub(super) const fn new() -> Self {
        Self {
            words: [const { Scratch::new() }; MAX_WORDS],
            asked: [const { Scratch::new() }; MAX_WORDS],
            keys: Scratch::new(),
            worst: Scratch::new(),
            count: 0,
        }
    }

    pub(super) const fn count(&self) -> usize {
        self.count
    }

    /// The words that are asked for: those of all keys at `FIRST`.
    #[inline(always)]
    const fn asked<const FIRST: bool>(&self) -> &[Column; MAX_WORDS] {
        if FIRST { &self.words } else { &self.asked }
    }
}

/// A way to ask tables.
pub(super) trait Ask: Copy {
    /// Takes these keys, and asks for all.
    ///
    /// # Safety
    ///
    /// They are at most [`BURST`]; the processor has the instructions.
    #[inline(always)]
    unsafe fn fill<W: Word, const D: usize>(self, columns: &mut Columns, keys: &[Key<W, D>]) {
        const {
            assert!(
                W::BITS as usize * D <= MAX_WORDS * 64,
                "too many dimensions for their width"
            )
        }
        for (key, values) in keys.iter().enumerate() {
            for index in 0..W::packed_len::<D>() {
                // SAFETY: the caller's promise.
                unsafe { columns.words[index].set(key, W::packed(values.values(), index)) };
            }
        }
        columns.count = keys.len();
    }

    /// Asks only for those of the first `keys` keys from now on that have no priority better than `best`.
    ///
    /// # Safety
    ///
    /// So many keys were pushed, and have a priority; the processor has the instructions.
    #[inline(always)]
    unsafe fn narrow<W: Word, const D: usize>(
        self,
        columns: &mut Columns,
        keys: usize,
        priorities: &Scratch<u32, { BURST + 2 * VECTOR }>,
        best: u32,
    ) {
        let mut kept = 0;
        for key in 0..keys {
            // SAFETY: the caller's promise; `kept` is at most the key.
            unsafe {
                let priority = *priorities.get(key);
                for index in 0..W::packed_len::<D>() {
                    columns.asked[index].set(kept, *columns.words[index].get(key));
                }
                columns.keys.set(kept, Candidate::key_bits(key));
                columns.worst.set(kept, u64::from(class(priority)));
                kept += usize::from(priority >= best);
            }
        }
        columns.count = kept;
    }

    /// Finds the places of all keys that are asked for in a table, and stores them from `first` on. `FIRST` says
    /// that they were not [narrowed](Self::narrow) down yet, here and below.
    ///
    /// # Safety
    ///
    /// There is room for them; the processor has the instructions.
    #[inline(always)]
    unsafe fn places<const FIRST: bool, W: Word, const D: usize>(
        self,
        columns: &Columns,
        table: &Table<W, D>,
        places: &mut Places,
        first: usize,
    ) {
        for index in 0..columns.count {
            // SAFETY: so many keys are asked for; the caller's promise.
            unsafe {
                let mut hash = 0u64;
                for word in 0..W::packed_len::<D>() {
                    let masked = columns.asked::<FIRST>()[word].get(index) & table.shape.mask(word);
                    hash = hash.wrapping_add(masked).wrapping_mul(multiplier(word));
                }
                places.set(first + index, hash >> table.shift());
            }
        }
    }

    /// Looks at the buckets of the places from `first` on, one for each key that is asked for, and adds
    /// those that may hold an answer to the candidates, of which there are `count`. Returns how many there
    /// are then.
    ///
    /// # Safety
    ///
    /// The places are those of the table, and there is room for the candidates; the processor has the
    /// instructions.
    #[inline(always)]
    unsafe fn ask<const FIRST: bool, W: Word, const D: usize>(
        self,
        columns: &Columns,
        table: &Table<W, D>,
        places: &Places,
        first: usize,
        candidates: &mut Candidates,
        mut count: usize,
    ) -> usize {
        let buckets = table.buckets();
        for index in 0..columns.count {
            // SAFETY: the caller's promise; the index of a place is below the number of buckets.
            unsafe {
                let place = *places.get(first + index);
                let bucket: &AtomicU64 = &*buckets.add((place >> TAG_BITS) as usize);
                // Acquire: the entries were written before the bucket that leads to them.
                let bucket = Bucket(bucket.load(Ordering::Acquire));
                let (key, worst) = if FIRST {
                    (Candidate::key_bits(index), u64::from(class(u32::MAX)))
                } else {
                    (*columns.keys.get(index), *columns.worst.get(index))
                };
                candidates.set(count, Candidate::new(bucket, key));
                count += bucket.may_hold(place, worst as u32) as usize;
            }
        }
        count
    }

    /// Finds the places of all keys that are asked for in a table, and [asks](Self::ask) at once.
    ///
    /// # Safety
    ///
    /// There is room for the places, if they are kept, and for the candidates; the processor has the
    /// instructions.
    #[inline(always)]
    unsafe fn ask_directly<const FIRST: bool, W: Word, const D: usize>(
        self,
        columns: &Columns,
        table: &Table<W, D>,
        places: &mut Places,
        candidates: &mut Candidates,
        count: usize,
    ) -> usize {
        // SAFETY: the caller's promise.
        unsafe {
            self.places::<FIRST, W, D>(columns, table, places, 0);
            self.ask::<FIRST, W, D>(columns, table, places, 0, candidates, count)
        }
    }

    /// Asks for memory of the buckets of so many places of a table, from `first` on.
    ///
    /// # Safety
    ///
    /// So many places are set.
    #[inline(always)]
    unsafe fn prefetch<W: Word, const D: usize>(
        self,
        table: &Table<W, D>,
        places: &Places,
        first: usize,
        count: usize,
    ) {
        let buckets = table.buckets();
        for index in first..first + count {
            // SAFETY: the caller's promise.
            let place = unsafe { *places.get(index) };
            prefetch_address(buckets.wrapping_add((place >> TAG_BITS) as usize));
        }
    }
}

impl Ask for Portable {}

#[cfg(target_arch = "x86_64")]
impl Ask for Avx2 {}

#[cfg(target_arch = "x86_64")]
mod avx512;
