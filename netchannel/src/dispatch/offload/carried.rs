//! The flows that the XDP program carries for a worker, found by their place in the flow table, by their entry, and by what their channel
//! noted about them.

use std::collections::HashMap;
use std::hash::Hash;

use ahash::RandomState;

use crate::channel::ChannelId;
use crate::dispatch::flow_table::FlowId;
use crate::dispatch::rule_counters::RuleNumber;
use crate::interface::PortId;
use crate::time::Time;
use crate::xdp::{OffloadId, Usage};

/// One of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Carried {
    pub(super) entry: OffloadId,
    pub(super) flow: FlowId,
    pub(super) arrival: PortId,
    pub(super) egress: PortId,
    pub(super) channel: ChannelId,
    pub(super) rule: RuleNumber,
    /// What the channel knows it by, 0 if it has no such note.
    pub(super) note: u64,
    /// What the channel noted about the flow.
    pub(super) channel_note: u64,
    /// The number of the way that it leaves by.
    pub(super) way: u32,
    /// What was counted of it so far.
    pub(super) counted: Usage,
    /// Packets that it had carried when packets came past it last.
    pub(super) doubted: u64,
    pub(super) lease: Time,
    /// It has left its place, and who took that has not said yet what was carried.
    pub(super) is_missing: bool,
}

/// All of them, in no order. Everything is O(1).
#[derive(Default)]
pub(super) struct CarriedFlows {
    all: Vec<Carried>,
    by_place: HashMap<u32, u32, RandomState>,
    by_entry: HashMap<OffloadId, u32, RandomState>,
    /// Those that their channel may want back.
    by_note: HashMap<(ChannelId, u64), u32, RandomState>,
}

impl CarriedFlows {
    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.all.is_empty()
    }

    /// # Panics
    /// If there are not so many.
    pub(super) fn get(&self, index: usize) -> &Carried {
        &self.all[index]
    }

    /// As [`get`](Self::get), to change what it is not found by.
    pub(super) fn get_mut(&mut self, index: usize) -> &mut Carried {
        &mut self.all[index]
    }

    pub(super) fn of_place(&self, place: u32) -> Option<usize> {
        self.by_place.get(&place).map(|&index| index as usize)
    }

    /// The one of this very flow.
    pub(super) fn of_flow(&self, flow: FlowId) -> Option<usize> {
        let index = self.of_place(flow.place())?;
        (self.all[index].flow == flow).then_some(index)
    }

    pub(super) fn of_entry(&self, entry: OffloadId) -> Option<usize> {
        self.by_entry.get(&entry).map(|&index| index as usize)
    }

    pub(super) fn of_note(&self, channel: ChannelId, note: u64) -> Option<usize> {
        self.by_note.get(&(channel, note)).map(|&index| index as usize)
    }

    /// Adds one. Another one at its place in the flow table is not found by that any more.
    pub(super) fn add(&mut self, carried: Carried) {
        let index = self.all.len() as u32;
        self.all.push(carried);
        self.by_place.insert(carried.flow.place(), index);
        self.by_entry.insert(carried.entry, index);
        if carried.note != 0 {
            self.by_note.insert((carried.channel, carried.note), index);
        }
    }

    /// Takes all out.
    pub(super) fn clear(&mut self) {
        self.all.clear();
        self.by_place.clear();
        self.by_entry.clear();
        self.by_note.clear();
    }

    /// Takes one out; the last one has its index then.
    pub(super) fn remove(&mut self, index: usize) {
        let removed = self.all.swap_remove(index);
        let (at, last) = (index as u32, self.all.len() as u32);
        forget(&mut self.by_place, removed.flow.place(), at);
        forget(&mut self.by_entry, removed.entry, at);
        forget(&mut self.by_note, (removed.channel, removed.note), at);
        if let Some(moved) = self.all.get(index) {
            renumber(&mut self.by_place, moved.flow.place(), last, at);
            renumber(&mut self.by_entry, moved.entry, last, at);
            renumber(&mut self.by_note, (moved.channel, moved.note), last, at);
        }
    }
}

/// Takes a key out if it leads to `index`.
fn forget<K: Eq + Hash>(map: &mut HashMap<K, u32, RandomState>, key: K, index: u32) {
    if map.get(&key) == Some(&index) {
        map.remove(&key);
    }
}

/// Has a key that leads to `from` lead to `to`.
fn renumber<K: Eq + Hash>(map: &mut HashMap<K, u32, RandomState>, key: K, from: u32, to: u32) {
    if let Some(index) = map.get_mut(&key).filter(|index| **index == from) {
        *index = to;
    }
}
