//! Looking up bursts of keys.
//!
//! A burst goes through the structure stage by stage, so that the cache misses of its keys overlap, and
//! without branches that depend on a key, which would be mispredicted:
//!
//! 1. All tables of a group are asked for all keys that can still get a better answer. What a table says
//!    in one word (whether it has anything for such keys, and how good that could be) makes candidates.
//! 2. The first two entries of each candidate's bucket are compared with the key, all dimensions at once.
//! 3. What is left of buckets with several entries is searched one by one; that is rare.
//! 4. Keys whose answer no later group can beat are done.
#![allow(unsafe_code)]

use std::hint::select_unpredictable;

use super::ask::{Ask, Candidates, Columns, Places, VECTOR};
use super::bucket::Bucket;
use super::compare::{Compare, Instructions, Portable};
use super::entry::Snapshot;
use super::scratch::Scratch;
use super::state::{MAX_GROUP, State, Table};
use crate::key::Key;
use crate::prefetch::prefetch_address;
use crate::rule::{Match, Rank};
use crate::word::Word;

/// Keys that go through the structure together.
pub(super) const BURST: usize = 64;

/// So few candidates are followed to their end one by one.
const FEW: usize = 4;

/// The most candidates of a burst in a group.
pub(super) const CANDIDATES: usize = BURST * MAX_GROUP;

/// A key whose bucket in a table may have its answer: what leads to the entries, and the key's place in the
/// burst.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct Candidate(u64);

impl Candidate {
    /// A candidate in that bucket, for the key of these [bits](Self::key_bits).
    #[inline(always)]
    pub(super) const fn new(bucket: Bucket, key_bits: u64) -> Self {
        Self((bucket.0 & Bucket::ENTRIES) | key_bits)
    }

    /// A key of the burst, as candidates hold it.
    #[inline(always)]
    pub(super) const fn key_bits(key: usize) -> u64 {
        (key as u64) << 32
    }

    /// The index of the entry to compare with.
    #[inline(always)]
    const fn entry(self) -> usize {
        Bucket(self.0).index()
    }

    /// Whether there is an entry behind that.
    #[inline(always)]
    const fn has_next(self) -> bool {
        Bucket(self.0).count() > 1
    }

    /// The candidate without its first `count` entries, of which it has at least so many.
    #[inline(always)]
    const fn after(self, count: u64) -> Self {
        Self(self.0.wrapping_add(count).wrapping_sub(count * Bucket::ONE_ENTRY))
    }

    /// Whether there are entries behind the first two.
    #[inline(always)]
    const fn has_third(self) -> bool {
        Bucket(self.0).count() > 2
    }

    #[inline(always)]
    const fn key(self) -> usize {
        (self.0 >> 32) as usize
    }
}

/// The answers so far.
struct Answers<'state, A> {
    found: Scratch<Option<&'state Match<A>>, BURST>,
    priority: Scratch<u32, { BURST + 2 * VECTOR }>,
}

impl<'state, A> Answers<'state, A> {
    #[inline(always)]
    fn new() -> Self {
        Self {
            found: Scratch::new(),
            priority: Scratch::new(),
        }
    }

    /// Nothing found yet for the first `keys` keys of the burst.
    ///
    /// # Safety
    ///
    /// They are at most [`BURST`].
    #[inline(always)]
    unsafe fn clear(&mut self, keys: usize) {
        for key in 0..keys {
            // SAFETY: the caller's promise.
            unsafe {
                self.found.set(key, None);
                self.priority.set(key, Rank::LAST.priority);
            }
        }
    }

    /// The lowest priority number found for a key, or the highest there is.
    ///
    /// # Safety
    ///
    /// The key was [cleared](Self::clear).
    #[inline(always)]
    unsafe fn priority(&self, key: usize) -> u32 {
        // SAFETY: the caller's promise.
        unsafe { *self.priority.get(key) }
    }

    /// Takes a rule that accepts the key as the answer, if it is better than what was found before.
    ///
    /// # Safety
    ///
    /// As [`priority`](Self::priority).
    #[inline(always)]
    unsafe fn improve(&mut self, key: usize, found: &'state Match<A>) {
        // SAFETY: the caller's promise.
        unsafe {
            let (before, priority) = (*self.found.get(key), *self.priority.get(key));
            let better = if found.priority == priority {
                before.is_none_or(|before| found.id.sequence() < before.id.sequence())
            } else {
                found.priority < priority
            };
            // Without a branch: whether a rule is better can't be predicted, but that few are equal.
            self.found
                .set(key, select_unpredictable(better, Some(found), before));
            self.priority
                .set(key, select_unpredictable(better, found.priority, priority));
        }
    }
}

/// Answers all keys, as the rules were at that time.
///
/// # Safety
///
/// The state was loaded in a section that is open for as long as the answers are used, or the caller is the
/// writer, that doesn't change the state meanwhile.
pub(super) unsafe fn search<'state, W: Word, A: Copy, const D: usize>(
    state: &'state State<W, A, D>,
    at: Snapshot,
    keys: &[Key<W, D>],
    results: &mut [Option<&'state Match<A>>],
) {
    for (keys, results) in keys.chunks(BURST).zip(results.chunks_mut(BURST)) {
        let count = keys.len().min(results.len());
        let (keys, results) = (&keys[..count], &mut results[..count]);
        // SAFETY: the caller's promise; a state's instructions are such that its processor has.
        unsafe {
            match (state.instructions, state.prefetches_entries) {
                #[cfg(target_arch = "x86_64")]
                (Instructions::Avx512, true) => burst_avx512::<true, W, A, D>(state, at, keys, results),
                #[cfg(target_arch = "x86_64")]
                (Instructions::Avx512, false) => burst_avx512::<false, W, A, D>(state, at, keys, results),
                #[cfg(target_arch = "x86_64")]
                (Instructions::Avx2, true) => burst_avx2::<true, W, A, D>(state, at, keys, results),
                #[cfg(target_arch = "x86_64")]
                (Instructions::Avx2, false) => burst_avx2::<false, W, A, D>(state, at, keys, results),
                (_, true) => burst::<true, W, A, D, _>(state, at, keys, results, Portable),
                (_, false) => burst::<false, W, A, D, _>(state, at, keys, results, Portable),
            }
        }
    }
}

/// [`burst`] with AVX-512.
///
/// # Safety
///
/// As [`search`], and the processor has the instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512cd,avx512dq,avx512vl,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn burst_avx512<'state, const PREFETCH: bool, W: Word, A: Copy, const D: usize>(
    state: &'state State<W, A, D>,
    at: Snapshot,
    keys: &[Key<W, D>],
    results: &mut [Option<&'state Match<A>>],
) {
    // SAFETY: the caller's promise.
    unsafe { burst::<PREFETCH, W, A, D, _>(state, at, keys, results, super::compare::Avx512) };
}

/// [`burst`] with AVX2.
///
/// # Safety
///
/// As [`search`], and the processor has the instructions.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn burst_avx2<'state, const PREFETCH: bool, W: Word, A: Copy, const D: usize>(
    state: &'state State<W, A, D>,
    at: Snapshot,
    keys: &[Key<W, D>],
    results: &mut [Option<&'state Match<A>>],
) {
    // SAFETY: the caller's promise.
    unsafe { burst::<PREFETCH, W, A, D, _>(state, at, keys, results, super::compare::Avx2) };
}

/// Answers up to [`BURST`] keys.
///
/// # Safety
///
/// As [`search`], with at most [`BURST`] keys and as many results, and as [`Compare`] asks.
#[inline(always)]
unsafe fn burst<'state, const PREFETCH: bool, W: Word, A: Copy, const D: usize, C: Compare + Ask>(
    state: &'state State<W, A, D>,
    at: Snapshot,
    keys: &[Key<W, D>],
    results: &mut [Option<&'state Match<A>>],
    compare: C,
) {
    let mut columns = Columns::new();
    let mut places = Places::new();
    let mut candidates = Candidates::new();
    let mut hits = Candidates::new();
    let mut answers = Answers::new();
    // SAFETY: at most `BURST` keys.
    unsafe {
        compare.fill(&mut columns, keys);
        answers.clear(keys.len());
    }

    for (group_index, group) in state.groups.iter().enumerate() {
        if group_index > 0 {
            // SAFETY: all keys of the burst were pushed and cleared.
            unsafe { compare.narrow::<W, D>(&mut columns, keys.len(), &answers.priority, group.best()) };
            if columns.count() == 0 {
                break;
            }
        }
        let tables = state.tables_of(group_index);
        // SAFETY: a group has at most `MAX_GROUP` tables, and as many keys as the burst are asked for.
        let candidate_count = unsafe {
            if group_index == 0 {
                ask_group::<PREFETCH, true, W, A, D, C>(
                    state,
                    tables,
                    &columns,
                    &mut places,
                    &mut candidates,
                    compare,
                )
            } else {
                ask_group::<PREFETCH, false, W, A, D, C>(
                    state,
                    tables,
                    &columns,
                    &mut places,
                    &mut candidates,
                    compare,
                )
            }
        };

        // Two entries of each bucket after the other, for all candidates for which none was accepted yet; when
        // they are few, they are followed to their ends.
        let mut unfinished = candidate_count;
        while unfinished > FEW {
            let before = unfinished;
            let mut hit_count = 0;
            unfinished = 0;
            for index in 0..before {
                // SAFETY: the first `before` are set, to keys of the burst and buckets that are not empty;
                // the caller is in a section, or the writer.
                unsafe {
                    let candidate = *candidates.get(index);
                    let values = keys.get_unchecked(candidate.key()).values();
                    // Where there is no second entry, the first is compared again.
                    let second = u64::from(candidate.has_next());
                    let first_accepts = compare.accepts(values, state.arena.get(candidate.entry()));
                    let second_accepts =
                        compare.accepts(values, state.arena.get(candidate.entry() + second as usize));
                    let skipped = select_unpredictable(first_accepts, 0, second);
                    hits.set(hit_count, candidate.after(skipped));
                    hit_count += usize::from(first_accepts | second_accepts);
                    candidates.set(unfinished, candidate.after(2));
                    unfinished += usize::from(!(first_accepts | second_accepts) & candidate.has_third());
                }
            }
            for index in 0..hit_count {
                // SAFETY: as above, for the first `hit_count`.
                unsafe {
                    let hit = *hits.get(index);
                    let entry = state.arena.get(hit.entry());
                    if entry.is_visible(at) {
                        answers.improve(hit.key(), &entry.found);
                    } else if hit.has_next() {
                        // It changes just now: what is behind it may be the answer.
                        candidates.set(unfinished, hit.after(1));
                        unfinished += 1;
                    }
                }
            }
        }
        for index in 0..unfinished {
            // SAFETY: as above, for the first `unfinished`.
            unsafe {
                let mut candidate = *candidates.get(index);
                let key = candidate.key();
                loop {
                    let entry = state.arena.get(candidate.entry());
                    if compare.accepts(keys.get_unchecked(key).values(), entry) && entry.is_visible(at) {
                        answers.improve(key, &entry.found);
                        break;
                    }
                    if !candidate.has_next() {
                        break;
                    }
                    candidate = candidate.after(1);
                }
            }
        }
    }

    let residual = state.residual();
    if let Some(best) = residual.best_priority() {
        for (key, values) in keys.iter().enumerate() {
            // SAFETY: the answers of all keys of the burst are set; `compare` is as the caller
            // promises.
            unsafe {
                if answers.priority(key) < best {
                    continue;
                }
                let worst = answers.found.get(key).map_or(Rank::LAST, Match::rank);
                if let Some(found) = residual.search(values.values(), at, worst, compare) {
                    answers.improve(key, found);
                }
            }
        }
    }

    for (key, result) in results.iter_mut().enumerate().take(keys.len()) {
        // SAFETY: the answers of all keys of the burst are set.
        *result = unsafe { *answers.found.get(key) };
    }
}

/// Asks all tables of a group for all keys that are asked for; returns the number of candidates.
///
/// # Safety
///
/// There is room for a place and a candidate for each key in each table; as for [`Ask`].
#[inline(always)]
unsafe fn ask_group<const PREFETCH: bool, const FIRST: bool, W: Word, A: Copy, const D: usize, C: Ask>(
    state: &State<W, A, D>,
    tables: &[Table<W, D>],
    columns: &Columns,
    places: &mut Places,
    candidates: &mut Candidates,
    ask: C,
) -> usize {
    let mut count = 0;
    // SAFETY: each table is asked for the places that it gave; the caller's promise.
    unsafe {
        if !PREFETCH {
            for table in tables {
                count = ask.ask_directly::<FIRST, W, D>(columns, table, places, candidates, count);
            }
            return count;
        }
        if state.prefetches_buckets {
            for (index, table) in tables.iter().enumerate() {
                let first = index * columns.count();
                ask.places::<FIRST, W, D>(columns, table, places, first);
                ask.prefetch(table, places, first, columns.count());
            }
        }
        for (index, table) in tables.iter().enumerate() {
            let before = count;
            count = if state.prefetches_buckets {
                let first = index * columns.count();
                ask.ask::<FIRST, W, D>(columns, table, places, first, candidates, count)
            } else {
                ask.ask_directly::<FIRST, W, D>(columns, table, places, candidates, count)
            };
            for candidate in before..count {
                let candidate = *candidates.get(candidate);
                prefetch_address(state.arena.address(candidate.entry()));
                // The second entry, or the first again.
                prefetch_address(
                    state
                        .arena
                        .address(candidate.entry() + usize::from(candidate.has_next())),
                );
            }
        }
    }
    count
}

/// All rules that accept the key, best first.
///
/// # Safety
///
/// As [`search`].
pub(super) unsafe fn all<'state, W: Word, A: Copy, const D: usize>(
    state: &'state State<W, A, D>,
    at: Snapshot,
    key: &Key<W, D>,
) -> Vec<&'state Match<A>> {
    let mut found = Vec::new();
    for table in &state.tables {
        let place = table.place(table.shape.hash(key.values()));
        // SAFETY: the caller's promise.
        for entry in unsafe { state.entries(table.bucket(place)) } {
            if entry.is_visible(at)
                && entry
                    .ranges()
                    .iter()
                    .zip(key.values())
                    .all(|(range, &value)| range.contains(value))
            {
                found.push(&entry.found);
            }
        }
    }
    for (ranges, resident) in state.residual().visible(at) {
        if crate::rule::covers(&ranges, key) {
            found.push(resident);
        }
    }
    found.sort_by_key(|found| found.rank());
    found.dedup_by_key(|found| found.id);
    found
}
