//! The carried flows of one IP version: buckets of 8 entries, written here and read by the XDP program.
//!
//! Beside the entries, in memory of this process alone, is a register. A place in it has an owner: nobody, somebody who is at work on
//! it, or the stamp of the flow that is there. Whoever changes an entry has first made itself the owner of its place, by an atomic
//! exchange that only one can win; that is what makes removing exact and needs no lock. Two who insert into one bucket at the same
//! time could enter a flow twice: for them there is a lock, which is tried and never waited for.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering, fence};

use classifier::prefetch::prefetch_address;
use xdp_prog::offload::{BUCKET, Count, STAMP_STEP, TICK_BITS, tag};

use super::entry::{AtomicState, Entry};
use super::memory::{SharedArray, Tags};
use super::{Refused, Seeds, Usage};

/// Nobody owns the place.
const FREE: u32 = 0;
/// Somebody is at work on it.
const BUSY: u32 = 1;

/// Ticks that a flow must have been silent for to make room for another: a second.
const IDLE_TICKS: u64 = 1_000_000_000_u64.div_ceil(1 << TICK_BITS);

/// Ticks that the program's clock may be behind: it is that of the last timer interrupt but one, of at least 100 a second.
const BEHIND_TICKS: u64 = 20_000_000_u64.div_ceil(1 << TICK_BITS);

/// The carried flows of one IP version.
pub(super) struct Set<E> {
    tags: SharedArray<Tags>,
    entries: SharedArray<E>,
    places: Box<[Place]>,
    locks: Box<[AtomicBool]>,
    seeds: Seeds,
    /// Flows that are in it.
    len: AtomicUsize,
}

/// What this process knows of a place.
#[derive(Default)]
#[repr(align(32))]
struct Place {
    /// [`FREE`], [`BUSY`], or the stamp of the flow.
    owner: AtomicU32,
    /// The stamp of the last flow.
    stamp: AtomicU32,
    /// What the entry's counters were when the last flow left. They only ever grow.
    packets: AtomicU64,
    bytes: AtomicU64,
    /// The tick at which the flow came.
    inserted: AtomicU64,
}

/// A flow to insert, but for its content.
#[derive(Clone, Copy)]
pub(super) struct New {
    pub(super) way: u32,
    pub(super) flags: u32,
    /// Nanoseconds.
    pub(super) lease: u64,
    /// Nanoseconds.
    pub(super) now: u64,
}

/// Place and stamp of a flow.
#[derive(Clone, Copy)]
pub(super) struct Found {
    pub(super) place: u32,
    pub(super) stamp: u32,
}

/// How useless an entry is; the least goes first.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    Same,
    Free,
    /// Nothing is carried by it; since when it was silent.
    Dead(u64),
    Idle(u64),
}

impl<E: Entry> Set<E> {
    pub(super) fn new(tags: SharedArray<Tags>, entries: SharedArray<E>, seeds: Seeds) -> Self {
        Self {
            places: (0..entries.len()).map(|_| Place::default()).collect(),
            locks: (0..tags.len()).map(|_| AtomicBool::new(false)).collect(),
            tags,
            entries,
            seeds,
            len: AtomicUsize::new(0),
        }
    }

    pub(super) fn in_memory(buckets: usize, seeds: Seeds) -> io::Result<Self> {
        Ok(Self::new(
            SharedArray::anonymous(buckets)?,
            SharedArray::anonymous(buckets * BUCKET)?,
            seeds,
        ))
    }

    /// See [`OffloadTable::insert`](super::OffloadTable::insert).
    pub(super) fn insert(
        &self,
        content: &E::Content,
        new: New,
        has_ended: impl Fn(u32) -> bool,
    ) -> Result<(Found, Option<(Found, Usage)>), Refused> {
        let hash = E::hash(&self.seeds, content);
        let bucket = hash as usize & self.tags.len().wrapping_sub(1);
        let _lock = Lock::take(self.locks.get(bucket).ok_or(Refused::Unfit)?).ok_or(Refused::Busy)?;
        let (place, owner) = self.choose(bucket, content, new.now >> TICK_BITS, has_ended)?;
        let evicted = match owner {
            FREE => {
                self.places[place].owner.store(BUSY, Ordering::Relaxed);
                self.len.fetch_add(1, Ordering::Relaxed);
                None
            }
            stamp => {
                // Somebody may remove it at this moment.
                self.own(place, stamp).ok_or(Refused::Busy)?;
                let found = Found {
                    place: place as u32,
                    stamp,
                };
                Some((found, self.stop(place)))
            }
        };
        let stamp = self.enter(place, tag(hash), content, new);
        let found = Found {
            place: place as u32,
            stamp,
        };
        Ok((found, evicted))
    }

    /// The place for a flow, and who owns it now.
    fn choose(
        &self,
        bucket: usize,
        content: &E::Content,
        now: u64,
        has_ended: impl Fn(u32) -> bool,
    ) -> Result<(usize, u32), Refused> {
        let start = bucket * BUCKET;
        let places = start..start + BUCKET;
        let ranked = places.filter_map(|place| {
            let owner = self.places[place].owner.load(Ordering::Acquire);
            let rank = match owner {
                BUSY => return None,
                FREE => Rank::Free,
                _ if self.entries[place].is_of(content) => Rank::Same,
                _ => {
                    let state = self.entries[place].state();
                    let seen = self.last_active(place);
                    let lease = state.stamp_and_lease.load(Ordering::Relaxed) as u32;
                    if has_ended(state.way.load(Ordering::Relaxed)) || is_over(lease, now) {
                        Rank::Dead(seen)
                    } else if now.saturating_sub(seen) > IDLE_TICKS {
                        Rank::Idle(seen)
                    } else {
                        return None;
                    }
                }
            };
            Some((rank, place, owner))
        });
        let (_, place, owner) = ranked.min().ok_or(Refused::Full)?;
        Ok((place, owner))
    }

    /// Makes the caller the owner of a place that a flow has.
    fn own(&self, place: usize, stamp: u32) -> Option<()> {
        self.places[place]
            .owner
            .compare_exchange(stamp, BUSY, Ordering::AcqRel, Ordering::Relaxed)
            .ok()
            .map(drop)
    }

    /// Ends a flow, and says what exactly was carried of it. The caller owns its place.
    fn stop(&self, place: usize) -> Usage {
        let (state, known) = (self.entries[place].state(), &self.places[place]);
        let overflows = state.overflows.load(Ordering::Acquire);
        let count = state.count.fetch_and(!Count::CARRIED, Ordering::SeqCst);
        let usage = self.usage_of(place, count, overflows);
        if usage.packets > 0 {
            let (packets, bytes) = Count::read(count, overflows);
            known.packets.store(packets, Ordering::Relaxed);
            known.bytes.store(bytes, Ordering::Relaxed);
        }
        usage
    }

    /// Puts a flow in a place, which the caller owns and which no flow has any more. Returns its stamp.
    fn enter(&self, place: usize, tag: u8, content: &E::Content, new: New) -> u32 {
        let (entry, known) = (&self.entries[place], &self.places[place]);
        let state = entry.state();
        let former = known.stamp.load(Ordering::Relaxed) & !(STAMP_STEP - 1);
        let stamp = former.wrapping_add(STAMP_STEP).max(STAMP_STEP) | new.flags;
        known.stamp.store(stamp, Ordering::Relaxed);

        state.stamp_and_lease.store(0, Ordering::Relaxed);
        // A program that reads anything of what is written now finds another stamp afterwards.
        fence(Ordering::SeqCst);
        entry.write(content);
        state.way.store(new.way, Ordering::Relaxed);
        let tick = new.now >> TICK_BITS;
        state.last_seen.store(tick as u32, Ordering::Relaxed);
        state.count.fetch_or(Count::CARRIED, Ordering::Release);
        state
            .stamp_and_lease
            .store(stamp_and_lease(stamp, new.lease), Ordering::Release);

        self.tags[place / BUCKET][place % BUCKET].store(tag, Ordering::Release);

        known.inserted.store(tick, Ordering::Relaxed);
        known.owner.store(stamp, Ordering::Release);
        stamp
    }

    pub(super) fn remove(&self, Found { place, stamp }: Found) -> Option<Usage> {
        let place = place as usize;
        self.places.get(place)?;
        self.own(place, stamp)?;
        let usage = self.stop(place);
        self.tags[place / BUCKET][place % BUCKET].store(0, Ordering::Relaxed);
        self.places[place].owner.store(FREE, Ordering::Release);
        self.len.fetch_sub(1, Ordering::Relaxed);
        Some(usage)
    }

    pub(super) fn usage(&self, Found { place, stamp }: Found) -> Option<Usage> {
        let place = place as usize;
        let known = self.places.get(place)?;
        if known.owner.load(Ordering::Acquire) != stamp {
            return None;
        }
        let state = self.entries[place].state();
        let overflows = state.overflows.load(Ordering::Acquire);
        let count = state.count.load(Ordering::Acquire);
        let usage = self.usage_of(place, count, overflows);
        fence(Ordering::Acquire);
        (known.owner.load(Ordering::Relaxed) == stamp).then_some(usage)
    }

    /// What has been carried of the flow in a place, if its counters are these.
    fn usage_of(&self, place: usize, count: u64, overflows: u64) -> Usage {
        let known = &self.places[place];
        let (packets, bytes) = Count::read(count, overflows);
        let packets = packets.wrapping_sub(known.packets.load(Ordering::Relaxed));
        let bytes = bytes.wrapping_sub(known.bytes.load(Ordering::Relaxed));
        // A packet of the flow before may have been counted, and is taken off at this moment.
        if packets as i64 <= 0 {
            return Usage::default();
        }
        Usage {
            packets,
            bytes,
            last_seen: (self.last_active(place) + 1 + BEHIND_TICKS) << TICK_BITS,
        }
    }

    /// The tick of the last packet of the flow in a place, or that at which it came.
    fn last_active(&self, place: usize) -> u64 {
        let inserted = self.places[place].inserted.load(Ordering::Relaxed);
        let seen = self.entries[place].state().last_seen.load(Ordering::Relaxed);
        let passed = seen.wrapping_sub(inserted as u32);
        // The program's clock may be a little behind.
        let passed = if passed > u32::MAX - 1000 { 0 } else { passed };
        inserted + u64::from(passed)
    }

    pub(super) fn set_lease(&self, Found { place, stamp }: Found, until: u64) {
        let Some(entry) = self.entries.get(place as usize) else {
            return;
        };
        let AtomicState {
            stamp_and_lease: word,
            ..
        } = entry.state();
        let is_there = |word: u64| (word >> 32) as u32 == stamp;
        // If it is not there any more, there is nothing to set.
        let _ = word.fetch_update(Ordering::Release, Ordering::Relaxed, |old| {
            is_there(old).then_some(stamp_and_lease(stamp, until))
        });
    }

    #[inline(always)]
    pub(super) fn prefetch(&self, place: u32) {
        if let (Some(entry), Some(known)) =
            (self.entries.get(place as usize), self.places.get(place as usize))
        {
            prefetch_address(entry.state());
            prefetch_address(known);
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// Flows that there is room for.
    pub(super) fn capacity(&self) -> usize {
        self.entries.len()
    }

    /// Bytes.
    pub(super) fn memory(&self) -> usize {
        size_of_val(&self.tags[..])
            + size_of_val(&self.entries[..])
            + size_of_val(&self.places[..])
            + size_of_val(&self.locks[..])
    }
}

fn stamp_and_lease(stamp: u32, lease: u64) -> u64 {
    let end = (lease >> TICK_BITS).saturating_sub(BEHIND_TICKS);
    u64::from(stamp) << 32 | u64::from(end as u32)
}

/// Whether a lease is over, as the program sees it.
fn is_over(lease: u32, now: u64) -> bool {
    lease.wrapping_sub(now as u32) as i32 <= 0
}

/// The right to insert into a bucket.
struct Lock<'a>(&'a AtomicBool);

impl<'a> Lock<'a> {
    fn take(lock: &'a AtomicBool) -> Option<Self> {
        let is_taken = lock.swap(true, Ordering::Acquire);
        // Not before it is known: a lock that is dropped is given back.
        (!is_taken).then(|| Self(lock))
    }
}

impl Drop for Lock<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}
