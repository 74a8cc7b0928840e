//! Entries and ways, read while user space may write them.

use core::intrinsics::{AtomicOrdering, atomic_xadd};
use core::ptr::{read_volatile, write_volatile};

use xdp_prog::offload::{BUCKET, Count, State, WAY_ENDED, WayRecord, tag, way_number};

use super::{Frame, SEVERAL_BUFFERS, clock, maps};

/// The packet's flow, and what was read of it before its fields.
pub(super) struct Hit<E> {
    pub(super) entry: *mut E,
    pub(super) stamp: u32,
    lease: u32,
    /// [Tick](clock::tick) of the clock.
    now: u32,
}

/// What a flow's packets get when they leave.
pub(super) struct Way {
    record: *const WayRecord<u32, u64>,
    id: u32,
    slot: u32,
    macs: u64,
    macs_end: u32,
}

/// Reads a word that others may write.
macro_rules! word {
    ($pointer:expr, $($field:tt)+) => {
        // SAFETY: the pointer is to a value of a map, which lives as long as the program runs.
        unsafe { core::ptr::read_volatile(&raw const (*$pointer).$($field)+) }
    };
}
pub(super) use word;

/// The entry of a bucket with this hash that `is_of` knows.
#[inline(always)]
pub(super) fn find<E>(
    hash: u32,
    buckets: u32,
    tags_of: impl Fn(u32) -> Option<*const u64>,
    entry_of: impl Fn(u32) -> Option<*mut E>,
    state_of: impl Fn(*mut E) -> *mut State<u32, u64>,
    is_of: impl Fn(*const E) -> bool,
) -> Option<Hit<E>> {
    const LOWEST: u64 = u64::from_ne_bytes([1; BUCKET]);
    let bucket = hash & (buckets - 1);
    let tags = tags_of(bucket)?;
    // SAFETY: as above.
    let tags = unsafe { read_volatile(tags) };
    // Where the tags are equal the difference has a byte of zeros, which a borrow turns into ones; now and then another byte too.
    let difference = tags ^ LOWEST * u64::from(tag(hash));
    let mut candidates = difference.wrapping_sub(LOWEST) & !difference & LOWEST << 7;
    for _ in 0..BUCKET {
        if candidates == 0 {
            break;
        }
        let lowest = candidates & candidates.wrapping_neg();
        let entry = entry_of(bucket * BUCKET as u32 + byte_of(lowest))?;
        let stamp_and_lease = word!(state_of(entry), stamp_and_lease);
        let entry = behind(entry, stamp_and_lease);
        if is_of(entry) {
            return Some(Hit {
                entry,
                stamp: (stamp_and_lease >> 32) as u32,
                lease: stamp_and_lease as u32,
                now: clock::tick()?,
            });
        }
        candidates ^= lowest;
    }
    None
}

/// The same entry, as far as the processor can tell only known when `word` has been read: so what is read of the entry by this pointer is
/// not older, on machines that reorder loads too.
#[inline(always)]
fn behind<E>(entry: *mut E, word: u64) -> *mut E {
    entry.wrapping_byte_add((word & maps::NOTHING.load()) as usize)
}

/// The number of the byte whose highest bit is set. The machine has no instruction for it.
#[inline(always)]
fn byte_of(bit: u64) -> u32 {
    // Shifted by 8 for each byte, the upper 3 bits are the number.
    const NUMBERS: u64 = 1 << 53 | 2 << 45 | 3 << 37 | 4 << 29 | 5 << 21 | 6 << 13 | 7 << 5;
    ((bit >> 7).wrapping_mul(NUMBERS) >> 61) as u32
}

impl<E> Hit<E> {
    #[inline(always)]
    pub(super) fn has(&self, flag: u32) -> bool {
        self.stamp & flag != 0
    }

    /// The flow's way, if the flow is still to be carried on it and the packet is one for it.
    #[inline(always)]
    pub(super) fn way(&self, state: *const State<u32, u64>, frame: Frame, length: u32) -> Option<Way> {
        /// What of 8 bytes is an Ethernet address.
        const MAC: u64 = u64::from_ne_bytes([0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0]);
        if self.stamp == 0 || self.lease.wrapping_sub(self.now) as i32 <= 0 {
            return None;
        }
        let id = word!(state, way);
        let record = maps::way(way_number(id))?;
        // The record is found by its id, which only a flow entered later can have: what is read of it here is not older than that. It may
        // be another's by now, which is seen in the end.
        let mtu = word!(record, mtu);
        if word!(record, id) != id
            || word!(record, arrival_mac) != frame.read::<u64>(0) & MAC
            || mtu & (SEVERAL_BUFFERS - 1) < length
            || (frame.elsewhere > 0 && mtu & SEVERAL_BUFFERS == 0)
        {
            return None;
        }
        Some(Way {
            record,
            id,
            slot: word!(record, slot),
            macs: word!(record, macs),
            macs_end: word!(record, macs_end),
        })
    }

    /// Counts the packet, if it is carried.
    #[inline(always)]
    pub(super) fn count(&self, state: *mut State<u32, u64>, way: &Way, frame: Frame) -> bool {
        let packet = Count::of_packet(frame.len());
        // SAFETY: the word lies in a map's value, aligned, and all who change it do so by atomic operations.
        let before =
            unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(&raw mut (*state).count, packet) };
        let after = before.wrapping_add(packet);
        if Count::overflows(before, after) {
            add_overflow(state, Count::overflow(before, after));
        }
        let stamp = (word!(state, stamp_and_lease) >> 32) as u32;
        let id = word!(way.record, id);
        // A way that has just ended is as it was, until another gets its record.
        if before & Count::CARRIED == 0 || stamp != self.stamp || (id != way.id && id != WAY_ENDED) {
            take_back(state, packet);
            return false;
        }
        // SAFETY: as above; the program alone writes it while the flow is carried.
        unsafe { write_volatile(&raw mut (*state).last_seen, self.now) };
        true
    }
}

#[cold]
#[inline(always)]
fn add_overflow(state: *mut State<u32, u64>, overflow: u64) {
    // SAFETY: as above.
    unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(&raw mut (*state).overflows, overflow) };
}

/// Takes a packet off the counter that was not carried after all.
#[cold]
#[inline(always)]
fn take_back(state: *mut State<u32, u64>, packet: u64) {
    let less = packet.wrapping_neg();
    // SAFETY: as above.
    let before =
        unsafe { atomic_xadd::<u64, u64, { AtomicOrdering::SeqCst }>(&raw mut (*state).count, less) };
    let after = before.wrapping_add(less);
    if Count::overflows(before, after) {
        add_overflow(state, Count::overflow(after, before).wrapping_neg());
    }
}

impl Way {
    /// Gives the frame to the device that it leaves by when the program ends. False if there is no such device, and then nothing has
    /// happened.
    #[inline(always)]
    pub(super) fn redirect(&self) -> bool {
        maps::DEVICES.redirect(self.slot, 0).is_ok()
    }

    /// Sets the Ethernet addresses.
    #[inline(always)]
    pub(super) fn encapsulate(&self, frame: Frame) {
        frame.write(0, self.macs);
        frame.write(8, self.macs_end);
    }
}
