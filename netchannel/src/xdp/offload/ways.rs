//! The ways that flows leave by.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use std::sync::{Mutex, PoisonError};

use xdp_prog::offload::{MAX_WAYS, SEVERAL_BUFFERS, WAY_CHANGING, WAY_ENDED, WayRecord, way_number};

use super::memory::SharedArray;
use super::{OffloadWay, WayId};

/// Records of ways. Each is taken once for a way, and again only after that has ended.
pub(super) struct Ways {
    records: SharedArray<WayRecord<AtomicU32, AtomicU64>>,
    book: Mutex<Book>,
}

/// What is in the records.
struct Book {
    numbers: HashMap<OffloadWay, u32>,
    /// The last way of each record.
    taken: Vec<Option<(OffloadWay, u32)>>,
    /// The record that was taken last: those that ended long ago are used again before those that ended just now.
    last: u32,
}

impl Ways {
    pub(super) fn new(records: SharedArray<WayRecord<AtomicU32, AtomicU64>>) -> Self {
        let taken = vec![None; records.len()];
        Self {
            records,
            book: Mutex::new(Book {
                numbers: HashMap::new(),
                taken,
                last: 0,
            }),
        }
    }

    pub(super) fn in_memory() -> io::Result<Self> {
        Ok(Self::new(SharedArray::anonymous(MAX_WAYS as usize)?))
    }

    /// See [`OffloadTable::set_way`](super::OffloadTable::set_way).
    pub(super) fn set(&self, way: &OffloadWay) -> Option<WayId> {
        let mut book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(id) = book.id_of(way).filter(|&id| !self.has_ended(id)) {
            return Some(WayId(id));
        }
        // The first record is of no way, so that no id is one of the two special ones.
        let numbers = (book.last + 1..MAX_WAYS).chain(1..=book.last);
        let number = numbers
            .into_iter()
            .find(|&number| self.records[number as usize].id.load(Ordering::Acquire) == WAY_ENDED)?;
        let former = book.taken[number as usize].take();
        if let Some((former, _)) = &former
            && book.numbers.get(former) == Some(&number)
        {
            book.numbers.remove(former);
        }
        let id = match former {
            Some((_, id)) => next_id(id),
            None => MAX_WAYS | number,
        };
        book.numbers.insert(*way, number);
        book.taken[number as usize] = Some((*way, id));
        book.last = number;
        self.write(id, way);
        Some(WayId(id))
    }

    fn write(&self, id: u32, way: &OffloadWay) {
        let record = &self.records[way_number(id) as usize];
        record.id.store(WAY_CHANGING, Ordering::Relaxed);
        // Whoever reads what comes now finds the record changing afterwards.
        fence(Ordering::SeqCst);
        let [a, b, c, d, e, f] = way.arrival_mac;
        record
            .arrival_mac
            .store(u64::from_ne_bytes([a, b, c, d, e, f, 0, 0]), Ordering::Relaxed);
        let [a, b, c, d, e, f] = way.destination_mac;
        let [g, h, i, j, k, l] = way.source_mac;
        record
            .macs
            .store(u64::from_ne_bytes([a, b, c, d, e, f, g, h]), Ordering::Relaxed);
        record
            .macs_end
            .store(u32::from_ne_bytes([i, j, k, l]), Ordering::Relaxed);
        record.slot.store(way.slot, Ordering::Relaxed);
        let several_buffers = if way.several_buffers { SEVERAL_BUFFERS } else { 0 };
        record
            .mtu
            .store(u32::from(way.mtu) | several_buffers, Ordering::Relaxed);
        record.id.store(id, Ordering::Release);
    }

    pub(super) fn end(&self, WayId(id): WayId) {
        // A way that has ended already may have left its record to another.
        let _ = self.records[way_number(id) as usize].id.compare_exchange(
            id,
            WAY_ENDED,
            Ordering::SeqCst,
            Ordering::Relaxed,
        );
    }

    pub(super) fn end_all(&self) {
        for record in &self.records[1..] {
            let id = record.id.load(Ordering::Acquire);
            if id != WAY_ENDED && id != WAY_CHANGING {
                // If it is not the same any more, somebody else has ended it.
                let _ = record
                    .id
                    .compare_exchange(id, WAY_ENDED, Ordering::SeqCst, Ordering::Relaxed);
            }
        }
    }

    #[inline]
    pub(super) fn has_ended(&self, id: u32) -> bool {
        self.records[way_number(id) as usize].id.load(Ordering::Acquire) != id
    }

    pub(super) fn memory(&self) -> usize {
        size_of_val(&self.records[..])
    }
}

impl Book {
    fn id_of(&self, way: &OffloadWay) -> Option<u32> {
        let number = self.numbers.get(way)?;
        self.taken[*number as usize].as_ref().map(|(_, id)| *id)
    }
}

/// The id of the next way in the same record; its upper bits are never zero.
fn next_id(id: u32) -> u32 {
    match id.checked_add(MAX_WAYS) {
        Some(next) => next,
        None => MAX_WAYS | way_number(id),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn way(number: u32) -> OffloadWay {
        OffloadWay {
            arrival_mac: [2; 6],
            slot: number,
            source_mac: [3; 6],
            destination_mac: [4; 6],
            mtu: 1500,
            several_buffers: false,
        }
    }

    #[test]
    fn equal_ways_are_one_until_it_ends() {
        let ways = Ways::in_memory().expect("memory");
        let first = ways.set(&way(1)).expect("room");
        assert_eq!(ways.set(&way(1)), Some(first));
        let other = ways.set(&way(2)).expect("room");
        assert_ne!(other, first);
        ways.end(first);
        assert!(ways.has_ended(first.0) && !ways.has_ended(other.0));
        let again = ways.set(&way(1)).expect("room");
        assert_ne!(again, first);
        // It can't be ended by its former name.
        ways.end(first);
        assert!(!ways.has_ended(again.0));
        ways.end_all();
        assert!(ways.has_ended(again.0) && ways.has_ended(other.0));
    }

    #[test]
    fn there_is_room_for_so_many_and_again_when_they_end() {
        let ways = Ways::in_memory().expect("memory");
        let all: Vec<WayId> = (1..MAX_WAYS)
            .map(|number| ways.set(&way(number)).expect("room"))
            .collect();
        assert_eq!(ways.set(&way(0)), None);
        assert_eq!(ways.set(&way(7)), Some(all[6]));
        ways.end(all[6]);
        let taken = ways.set(&way(0)).expect("room");
        assert_eq!(way_number(taken.0), way_number(all[6].0));
        assert!(ways.has_ended(all[6].0));
        assert_eq!(ways.set(&way(7)), None);
        for round in 0..10 {
            ways.end_all();
            for number in 1..MAX_WAYS {
                ways.set(&way(round * MAX_WAYS + number)).expect("room");
            }
        }
    }

    #[test]
    fn ids_never_become_special_ones() {
        let mut id = u32::MAX - 3 * MAX_WAYS - 1020;
        let number = way_number(id);
        for _ in 0..10 {
            id = next_id(id);
            assert_eq!(way_number(id), number);
            assert!(id > MAX_WAYS);
        }
    }
}
