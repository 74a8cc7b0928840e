//! Looking up one key: table by table, and out as soon as nothing behind can be better.
#![allow(unsafe_code)]

use super::bucket::class;
use super::compare::{Compare, Instructions, Portable};
use super::entry::Snapshot;
use super::state::State;
use crate::key::Key;
use crate::rule::{Match, Rank};
use crate::word::Word;

/// Answers one key, as the rules were at that time.
///
/// # Safety
///
/// As for [`search`](super::search::search).
#[inline]
pub(super) unsafe fn search_one<'state, W: Word, A: Copy, const D: usize>(
    state: &'state State<W, A, D>,
    at: Snapshot,
    key: &Key<W, D>,
) -> Option<&'state Match<A>> {
    // SAFETY: the caller's promise; a state's instructions are such that its processor has.
    unsafe {
        match state.instructions {
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx512 => one_avx512(state, at, key),
            #[cfg(target_arch = "x86_64")]
            Instructions::Avx2 => one_avx2(state, at, key),
            _ => one(state, at, key, Portable),
        }
    }
}

/// [`one`] with AVX-512.
///
/// # Safety
///
/// As [`search_one`], and the processor has the instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn one_avx512<'state, W: Word, A: Copy, const D: usize>(
    state: &'state State<W, A, D>,
    at: Snapshot,
    key: &Key<W, D>,
) -> Option<&'state Match<A>> {
    // SAFETY: the caller's promise.
    unsafe { one(state, at, key, super::compare::Avx512) }
}

/// [`one`] with AVX2.
///
/// # Safety
///
/// As [`search_one`], and the processor has the instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn one_avx2<'state, W: Word, A: Copy, const D: usize>(
    state: &'state State<W, A, D>,
    at: Snapshot,
    key: &Key<W, D>,
) -> Option<&'state Match<A>> {
    // SAFETY: the caller's promise.
    unsafe { one(state, at, key, super::compare::Avx2) }
}

/// Answers one key.
///
/// # Safety
///
/// As [`search_one`], and as [`Compare`] asks.
#[inline(always)]
unsafe fn one<'state, W: Word, A: Copy, const D: usize, C: Compare>(
    state: &'state State<W, A, D>,
    at: Snapshot,
    key: &Key<W, D>,
    compare: C,
) -> Option<&'state Match<A>> {
    let mut best = Rank::LAST;
    let mut found = None;
    for (index, group) in state.groups.iter().enumerate() {
        if best.priority < group.best() {
            break;
        }
        for table in state.tables_of(index) {
            let place = table.place(table.shape.hash(key.values()));
            let bucket = table.bucket(place);
            if bucket.may_hold(place, u32::from(class(best.priority))) == 0 {
                continue;
            }
            // SAFETY: the caller is in a section, or the writer; `compare` is as the caller promises.
            unsafe {
                for entry in state.entries(bucket) {
                    if entry.found.priority > best.priority {
                        break;
                    }
                    if compare.accepts(key.values(), entry) && entry.is_visible(at) {
                        if entry.rank() < best {
                            best = entry.rank();
                            found = Some(&entry.found);
                        }
                        break;
                    }
                }
            }
        }
    }
    // SAFETY: `compare` is as the caller promises.
    let resident = unsafe { state.residual().search(key.values(), at, best, compare) };
    resident.or(found)
}
