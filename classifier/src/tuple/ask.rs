//! Asking tables for a burst of keys: the words of many keys side by side, so that several are hashed at
//! once.
#![allow(unsafe_code)]

use std::sync::atomic::{AtomicU64, Ordering};

use super::bucket::{Bucket, TAG_BITS, class};
use super::compare::{Avx2, Portable};
use super::scratch::Scratch;
use super::search::{BURST, CANDIDATES, Candidate};
use super::state::Table;
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

    /// Sets a key, which is asked for.
    ///
    /// # Safety
    ///
    /// The key is below [`BURST`], and those before it are set.
    #[inline(always)]
    pub(super) unsafe fn push<W: Word, const D: usize>(&mut self, key: usize, values: &[W; D]) {
        const {
            assert!(
                W::BITS as usize * D <= MAX_WORDS * 64,
                "too many dimensions for their width"
            )
        }
        // SAFETY: the caller's promise.
        unsafe {
            for index in 0..W::packed_len::<D>() {
                self.words[index].set(key, W::packed(values, index));
            }
        }
        self.count = key + 1;
    }

    /// The words that are asked for: those of all keys at `FIRST`.
    #[inline(always)]
    const fn asked<const FIRST: bool>(&self) -> &[Column; MAX_WORDS] {
        if FIRST { &self.words } else { &self.asked }
    }
}

/// A way to ask tables.
pub(super) trait Ask: Copy {
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
mod avx512 {
    use std::arch::x86_64::*;

    use super::{Ask, BURST, Candidates, Columns, Places, Scratch, Table, VECTOR, Word, multiplier};
    use crate::tuple::bucket::{Bucket, TAG_BITS};
    use crate::tuple::compare::Avx512;

    impl Ask for Avx512 {
        #[inline(always)]
        unsafe fn narrow<W: Word, const D: usize>(
            self,
            columns: &mut Columns,
            keys: usize,
            priorities: &Scratch<u32, { BURST + 2 * VECTOR }>,
            best: u32,
        ) {
            // SAFETY: the caller's promise.
            unsafe { narrow::<W, D>(columns, keys, priorities, best) }
        }

        #[inline(always)]
        unsafe fn places<const FIRST: bool, W: Word, const D: usize>(
            self,
            columns: &Columns,
            table: &Table<W, D>,
            places: &mut Places,
            first: usize,
        ) {
            // SAFETY: the caller's promise.
            unsafe { find_places::<FIRST, W, D>(columns, table, places, first) }
        }

        #[inline(always)]
        unsafe fn ask<const FIRST: bool, W: Word, const D: usize>(
            self,
            columns: &Columns,
            table: &Table<W, D>,
            places: &Places,
            first: usize,
            candidates: &mut Candidates,
            count: usize,
        ) -> usize {
            // SAFETY: the caller's promise.
            unsafe { ask::<FIRST, W, D>(columns, table, places, first, candidates, count) }
        }

        #[inline(always)]
        unsafe fn ask_directly<const FIRST: bool, W: Word, const D: usize>(
            self,
            columns: &Columns,
            table: &Table<W, D>,
            _: &mut Places,
            candidates: &mut Candidates,
            count: usize,
        ) -> usize {
            // SAFETY: the caller's promise.
            unsafe { ask_directly::<FIRST, W, D>(columns, table, candidates, count) }
        }
    }

    /// [`Ask::narrow`], eight keys at a time.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn narrow<W: Word, const D: usize>(
        columns: &mut Columns,
        keys: usize,
        priorities: &Scratch<u32, { BURST + 2 * VECTOR }>,
        best: u32,
    ) {
        let best = _mm256_set1_epi32(best as i32);
        let mut kept = 0;
        let mut key = 0;
        while key < keys {
            // SAFETY: columns and priorities have room for a vector behind the last key; what is read there
            // is not kept.
            unsafe {
                let left = ((1u32 << (keys - key).min(VECTOR)) - 1) as u8;
                let priority = _mm256_loadu_si256(priorities.address(key).cast());
                let keep = _mm256_mask_cmpge_epu32_mask(left, priority, best);
                for index in 0..W::packed_len::<D>() {
                    let word = _mm512_loadu_si512(columns.words[index].address(key).cast());
                    let word = _mm512_maskz_compress_epi64(keep, word);
                    _mm512_storeu_si512(columns.asked[index].address_mut(kept).cast(), word);
                }
                let numbers = _mm512_maskz_compress_epi64(keep, numbers(key));
                _mm512_storeu_si512(columns.keys.address_mut(kept).cast(), numbers);
                // See `class`.
                let zeros = _mm256_lzcnt_epi32(_mm256_or_si256(priority, _mm256_set1_epi32(1)));
                let twenty = _mm256_set1_epi32(20);
                let exponent = _mm256_sub_epi32(twenty, _mm256_min_epu32(zeros, twenty));
                let class = _mm256_add_epi32(
                    _mm256_slli_epi32::<11>(exponent),
                    _mm256_srlv_epi32(priority, exponent),
                );
                let worst = _mm512_maskz_compress_epi64(keep, _mm512_cvtepu32_epi64(class));
                _mm512_storeu_si512(columns.worst.address_mut(kept).cast(), worst);
                kept += keep.count_ones() as usize;
            }
            key += VECTOR;
        }
        columns.count = kept;
    }

    /// The places of eight keys, from `index` on.
    ///
    /// # Safety
    ///
    /// As for [`Ask::places`]; the index is below the number of keys that are asked for.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn eight_places<const FIRST: bool, W: Word, const D: usize>(
        columns: &Columns,
        table: &Table<W, D>,
        index: usize,
    ) -> __m512i {
        let mut hash = _mm512_setzero_si512();
        for word in 0..W::packed_len::<D>() {
            // SAFETY: columns have room for a vector behind the last key.
            let value = unsafe { _mm512_loadu_si512(columns.asked::<FIRST>()[word].address(index).cast()) };
            let mask = _mm512_set1_epi64(table.shape.mask(word) as i64);
            let sum = _mm512_add_epi64(hash, _mm512_and_si512(value, mask));
            hash = _mm512_mullo_epi64(sum, _mm512_set1_epi64(multiplier(word) as i64));
        }
        _mm512_srl_epi64(hash, _mm_cvtsi32_si128(table.shift() as i32))
    }

    /// Asks for eight keys, from `index` on, whose places these are. Returns how many candidates there are
    /// then.
    ///
    /// # Safety
    ///
    /// As for [`Ask::ask`]; the index is below the number of keys that are asked for.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn ask_eight<const FIRST: bool, W: Word, const D: usize>(
        columns: &Columns,
        table: &Table<W, D>,
        index: usize,
        place: __m512i,
        candidates: &mut Candidates,
        count: usize,
    ) -> usize {
        let buckets: *const i64 = table.buckets().cast();
        let left = ((1u32 << (columns.count - index).min(VECTOR)) - 1) as u8;
        // SAFETY: the places of the keys that are left are the table's, so their buckets exist; others are not
        // read. Each bucket is an aligned word of 64 bits: x86-64 loads it at once, and no later load before
        // it, as the acquire load that it stands for. There is room for a vector behind the last candidate,
        // and columns have room for one behind the last key.
        unsafe {
            let at = _mm512_srli_epi64::<TAG_BITS>(place);
            let bucket = _mm512_mask_i64gather_epi64::<8>(_mm512_setzero_si512(), left, at, buckets.cast());
            let tag = _mm512_and_si512(place, _mm512_set1_epi64((1 << TAG_BITS) - 1));
            let tags = _mm512_srlv_epi64(_mm512_srli_epi64::<32>(bucket), tag);
            let mut may = _mm512_mask_test_epi64_mask(left, tags, _mm512_set1_epi64(1));
            let keys = if FIRST {
                numbers(index)
            } else {
                let worst = _mm512_loadu_si512(columns.worst.address(index).cast());
                may = _mm512_mask_cmple_epu64_mask(may, _mm512_srli_epi64::<48>(bucket), worst);
                _mm512_loadu_si512(columns.keys.address(index).cast())
            };
            let entries = _mm512_and_si512(bucket, _mm512_set1_epi64(Bucket::ENTRIES as i64));
            let found = _mm512_maskz_compress_epi64(may, _mm512_or_si512(entries, keys));
            _mm512_storeu_si512(candidates.address_mut(count).cast(), found);
            count + may.count_ones() as usize
        }
    }

    /// Eight keys of the burst, from that one on, as candidates hold them.
    #[inline]
    #[target_feature(enable = "avx512f")]
    fn numbers(first: usize) -> __m512i {
        _mm512_add_epi64(
            _mm512_set1_epi64((first as i64) << 32),
            _mm512_setr_epi64(0, 1 << 32, 2 << 32, 3 << 32, 4 << 32, 5 << 32, 6 << 32, 7 << 32),
        )
    }

    /// [`Ask::places`], eight keys at a time.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn find_places<const FIRST: bool, W: Word, const D: usize>(
        columns: &Columns,
        table: &Table<W, D>,
        places: &mut Places,
        first: usize,
    ) {
        for index in (0..columns.count).step_by(VECTOR) {
            // SAFETY: columns and places have room for a vector behind the last key.
            unsafe {
                let place = eight_places::<FIRST, W, D>(columns, table, index);
                _mm512_storeu_si512(places.address_mut(first + index).cast(), place);
            }
        }
    }

    /// [`Ask::ask`], eight keys at a time.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn ask<const FIRST: bool, W: Word, const D: usize>(
        columns: &Columns,
        table: &Table<W, D>,
        places: &Places,
        first: usize,
        candidates: &mut Candidates,
        mut count: usize,
    ) -> usize {
        for index in (0..columns.count).step_by(VECTOR) {
            // SAFETY: the caller's promise; places have room for a vector behind the last.
            unsafe {
                let place = _mm512_loadu_si512(places.address(first + index).cast());
                count = ask_eight::<FIRST, W, D>(columns, table, index, place, candidates, count);
            }
        }
        count
    }

    /// [`Ask::ask_directly`], eight keys at a time.
    ///
    /// # Safety
    ///
    /// As there.
    #[inline]
    #[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
    unsafe fn ask_directly<const FIRST: bool, W: Word, const D: usize>(
        columns: &Columns,
        table: &Table<W, D>,
        candidates: &mut Candidates,
        mut count: usize,
    ) -> usize {
        for index in (0..columns.count).step_by(VECTOR) {
            // SAFETY: the caller's promise.
            unsafe {
                let place = eight_places::<FIRST, W, D>(columns, table, index);
                count = ask_eight::<FIRST, W, D>(columns, table, index, place, candidates, count);
            }
        }
        count
    }
}
