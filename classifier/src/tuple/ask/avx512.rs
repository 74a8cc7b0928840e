//! Asking tables for eight keys at a time, with AVX-512.
#![allow(unsafe_code)]

use std::arch::x86_64::*;

use super::{Ask, BURST, Candidates, Columns, MAX_WORDS, Places, Scratch, Table, VECTOR, Word, multiplier};
use crate::key::Key;
use crate::tuple::bucket::{Bucket, TAG_BITS};
use crate::tuple::compare::Avx512;

impl Ask for Avx512 {
    #[inline(always)]
    unsafe fn fill<W: Word, const D: usize>(self, columns: &mut Columns, keys: &[Key<W, D>]) {
        // SAFETY: the caller's promise; words of 32 bits are those that these instructions are for.
        unsafe { fill::<W, D>(columns, keys) }
    }

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

/// For each vector of eight keys' values, which of its lanes are in a word's column, and where.
struct Transposition<const D: usize>;

impl<const D: usize> Transposition<D> {
    /// The place, in the values of eight keys, of each 32-bit lane of a column's vector.
    const SOURCES: [[u32; 16]; MAX_WORDS] = {
        let mut sources = [[0; 16]; MAX_WORDS];
        let mut word = 0;
        while word * 2 < D {
            let mut lane = 0;
            while lane < 16 {
                sources[word][lane] = (lane / 2 * D + word * 2 + lane % 2) as u32;
                lane += 1;
            }
            word += 1;
        }
        sources
    };

    /// The lanes of a column's vector whose values are in that vector of the keys.
    const fn lanes(word: usize, vector: usize) -> u16 {
        let mut lanes = 0;
        let mut lane = 0;
        while lane < 16 {
            let dimension = word * 2 + lane % 2;
            if dimension < D && Self::SOURCES[word][lane] as usize / 16 == vector {
                lanes |= 1 << lane;
            }
            lane += 1;
        }
        lanes
    }
}

/// [`Ask::fill`], eight keys at a time.
///
/// # Safety
///
/// As there; the word has 32 bits.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn fill<W: Word, const D: usize>(columns: &mut Columns, keys: &[Key<W, D>]) {
    const { assert!(D <= 2 * MAX_WORDS, "too many dimensions") }
    let values: *const i32 = keys.as_ptr().cast();
    let mut vectors = [_mm512_setzero_si512(); MAX_WORDS];
    for first in (0..keys.len()).step_by(VECTOR) {
        let left = (keys.len() - first).min(VECTOR) * D;
        for (vector, loaded) in vectors.iter_mut().enumerate().take(D.div_ceil(2)) {
            let lanes = left.saturating_sub(vector * 16).min(16);
            // SAFETY: the mask leaves out what is behind the last key.
            *loaded = unsafe {
                _mm512_maskz_loadu_epi32(((1u32 << lanes) - 1) as u16, values.add(first * D + vector * 16))
            };
        }
        for word in 0..W::packed_len::<D>() {
            // SAFETY: a vector of 16 numbers.
            let sources = unsafe { _mm512_loadu_si512(Transposition::<D>::SOURCES[word].as_ptr().cast()) };
            let mut column = _mm512_setzero_si512();
            for (vector, &loaded) in vectors.iter().enumerate().take(D.div_ceil(2)) {
                // The lowest four bits choose a lane.
                let lanes = Transposition::<D>::lanes(word, vector);
                column = _mm512_mask_permutexvar_epi32(column, lanes, sources, loaded);
            }
            // SAFETY: columns have room for a vector behind the last key.
            unsafe { _mm512_storeu_si512(columns.words[word].address_mut(first).cast(), column) };
        }
    }
    columns.count = keys.len();
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
