//! A timer wheel: which sessions may have come to their end.

use super::chain::{Chains, NONE};
use crate::memory::vec_in_huge_pages;
use crate::time::Time;

/// Slots, of a second each: 2 hours 16 minutes, more than TCP's 2 hours 4 minutes. What ends later is looked at once in between.
const SLOTS: u64 = 8192;
const NANOS: u64 = 1_000_000_000;

/// Entries in the order of their deadlines, to the second. Putting in and taking out cost O(1). An entry whose deadline has moved on is not
/// moved: it comes up at the former one, and is put in again.
pub(super) struct Wheel {
    heads: Vec<u32>,
    chains: Chains,
    /// The slot that an entry is in.
    slots: Vec<u16>,
    /// The second whose slot is emptied next; those before it are empty.
    cursor: u64,
    len: usize,
}

impl Wheel {
    pub(super) fn with_capacity(capacity: usize) -> Self {
        Self {
            heads: vec![NONE; SLOTS as usize],
            chains: Chains::with_capacity(capacity),
            slots: vec_in_huge_pages(capacity),
            cursor: 0,
            len: 0,
        }
    }

    /// Bytes that are reserved.
    pub(super) fn memory(&self) -> usize {
        self.heads.capacity() * size_of::<u32>()
            + self.chains.memory()
            + self.slots.capacity() * size_of::<u16>()
    }

    /// Puts in an entry, to come up at `deadline`, not earlier and in the second after it at the latest.
    pub(super) fn insert(&mut self, index: u32, deadline: Time, now: Time) {
        if self.len == 0 {
            self.cursor = self.cursor.max(now.as_nanos() / NANOS);
        }
        let second = deadline.as_nanos().div_ceil(NANOS);
        let slot = second.clamp(self.cursor, self.cursor + SLOTS - 1) % SLOTS;
        let place = index as usize;
        if place >= self.slots.len() {
            self.slots.resize(place + 1, 0);
        }
        self.slots[place] = slot as u16;
        self.chains.push(&mut self.heads[slot as usize], index);
        self.len += 1;
    }

    /// Takes an entry out before it comes up.
    pub(super) fn remove(&mut self, index: u32) {
        let slot = usize::from(self.slots[index as usize]);
        self.chains.remove(&mut self.heads[slot], index);
        self.len -= 1;
    }

    /// Takes out an entry that has come up, if there is one. O(1), and for each second that has passed since the last call, at most
    /// once around the wheel.
    pub(super) fn next_due(&mut self, now: Time) -> Option<u32> {
        let second = now.as_nanos() / NANOS;
        self.cursor = self.cursor.max((second + 1).saturating_sub(SLOTS));
        while self.len > 0 && self.cursor <= second {
            let index = self.heads[(self.cursor % SLOTS) as usize];
            if index != NONE {
                self.remove(index);
                return Some(index);
            }
            self.cursor += 1;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeMap;
    use std::time::Duration;

    fn drain(wheel: &mut Wheel, now: Time) -> Vec<u32> {
        let mut due: Vec<u32> = std::iter::from_fn(|| wheel.next_due(now)).collect();
        due.sort_unstable();
        due
    }

    #[test]
    fn a_deadline_beyond_the_wheel_comes_up_early_and_can_be_put_in_again() {
        let mut wheel = Wheel::with_capacity(1);
        let start = Time::from_secs(1_000_000);
        let deadline = start + Duration::from_secs(3 * SLOTS);
        wheel.insert(0, deadline, start);
        let mut now = start;
        let mut looked_at = 0;
        while now < deadline {
            now = now + Duration::from_secs(10);
            if let Some(index) = wheel.next_due(now) {
                looked_at += 1;
                if now < deadline {
                    wheel.insert(index, deadline, now);
                }
            }
        }
        assert_eq!((looked_at, wheel.len), (3, 0));
    }

    #[test]
    fn a_leap_of_years_is_one_turn_of_the_wheel() {
        let mut wheel = Wheel::with_capacity(1);
        wheel.insert(3, Time::from_secs(5), Time::from_secs(1));
        assert_eq!(drain(&mut wheel, Time::from_secs(1_000_000_000)), [3]);
        assert!(wheel.cursor >= 1_000_000_000 - SLOTS);
    }

    proptest! {
        /// Whatever is put in comes up in the second after its deadline, not before, and only if it was not taken out.
        #[test]
        fn agrees_with_a_sorted_map(
            steps in proptest::collection::vec((0u32..30, 0u64..12_000_000, 0u64..4_000_000), 1..200),
        ) {
            let milliseconds = |time| Time::from_nanos(time * 1_000_000);
            let mut wheel = Wheel::with_capacity(0);
            let mut model: BTreeMap<u32, u64> = BTreeMap::new();
            let mut now = 5_000;
            for (index, ahead, step) in steps {
                if model.remove(&index).is_some() {
                    wheel.remove(index);
                } else {
                    let ahead = ahead % (1000 * (SLOTS - 2));
                    wheel.insert(index, milliseconds(now + ahead), milliseconds(now));
                    model.insert(index, now + ahead);
                }
                now += step;
                for index in drain(&mut wheel, milliseconds(now)) {
                    prop_assert!(model.remove(&index).is_some_and(|deadline| deadline <= now));
                }
                prop_assert!(model.values().all(|deadline| deadline + 1000 > now));
                prop_assert_eq!(wheel.len, model.len());
            }
        }
    }
}
