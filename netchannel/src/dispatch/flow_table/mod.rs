//! The flow table: one exact-match entry in front of the classifier says which channel a flow belongs to and what that
//! channel noted about it. Bounded, owned by one worker, stamped with the rule set's generation.

mod ledger;
#[cfg(test)]
mod ledger_tests;
mod set;
mod sweep;
#[cfg(test)]
mod tests;

pub use ledger::{CensusNumber, CensusSuperseded};

use std::hash::{BuildHasher, Hasher};

use ahash::RandomState;
use zerocopy::FromZeros;

use super::flow_key::{FlowKey, Ipv4Key, Ipv6Key, PackedKey};
use super::flow_record::FlowRecorder;
use super::rule_counters::RuleNumber;
use super::rule_set::Action;
use crate::channel::ChannelId;
use crate::interface::InterfaceId;
use crate::time::Time;
use ledger::Ledger;
use set::{Entry, Set, WAYS};
use sweep::Sweep;

/// One flow.
#[derive(Clone, Copy, Debug, FromZeros)]
pub struct Flow {
    /// What the channel noted about the flow, 0 at first. The entry may be replaced at any time, so the note must be something
    /// that the channel can check and make anew.
    pub note: u64,
    /// Packets so far.
    pub packets: u64,
    /// Bytes so far, Ethernet header included.
    pub bytes: u64,
    /// When the last packet came.
    pub last_seen: Time,
    /// The rule that decided it.
    pub rule: RuleNumber,
    /// The channel that its packets go to.
    pub channel: ChannelId,
    /// What the rule says to the channel; see [`Action::parameter`].
    pub parameter: u8,
}

/// A flow in the table, which may have taken its place from another one, or lost it since.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FlowId {
    place: u32,
    /// That of the entry: which of the flows it is that were ever there.
    stamp: u32,
}

impl FlowId {
    /// Set in the places of IPv6 flows.
    const IPV6: u32 = 1 << 31;

    /// That of a packet without a flow: no table has such a place.
    pub(crate) const NONE: Self = Self {
        place: u32::MAX,
        stamp: 0,
    };

    /// Different for each place in the table.
    pub(crate) fn place(self) -> u32 {
        self.place
    }
}

/// A flow's key, and where it is if it is in the table.
#[derive(Clone, Copy)]
pub(crate) struct Sought {
    key: PackedKey,
    place: Place,
}

impl Sought {
    /// The flow's key.
    pub(crate) fn key(&self) -> PackedKey {
        self.key
    }

    /// The interface that the flow's packets arrive on.
    #[inline(always)]
    pub(crate) fn interface(&self) -> InterfaceId {
        self.key.interface()
    }
}

#[derive(Clone, Copy)]
struct Place {
    bucket: u32,
    tag: u8,
}

/// A set-associative table of flows: a lookup looks at one bucket of 8 entries, and a flow that finds its bucket full takes the
/// place of the one that was silent longest; those of a single packet give way half a minute sooner than others. Hashes are keyed with a secret, so that nobody outside can fill a chosen bucket.
pub struct FlowTable {
    ipv4: Set<Ipv4Key>,
    ipv6: Set<Ipv6Key>,
    hasher: RandomState,
    /// Never 0, which is the generation of free entries.
    generation: u32,
    sweep: Sweep,
    ledger: Ledger,
    /// Who is told of flows that open and close, if somebody watches.
    recorder: Option<FlowRecorder>,
}

fn of_ipv6(id: FlowId) -> FlowId {
    FlowId {
        place: id.place | FlowId::IPV6,
        ..id
    }
}

impl FlowTable {
    /// A table for `capacity` flows of each IP version, rounded up to a power of two, at least 8. It takes 65 bytes an IPv4 flow and 129
    /// an IPv6 one, as they come.
    pub fn new(capacity: usize) -> Self {
        let buckets = capacity.div_ceil(WAYS).next_power_of_two();
        Self {
            ipv4: Set::new(0, buckets),
            ipv6: Set::new(buckets * WAYS, buckets),
            hasher: RandomState::new(),
            generation: 1,
            sweep: Sweep::new(1),
            ledger: Ledger::default(),
            recorder: None,
        }
    }

    /// Has it tell of flows that open and close.
    pub(crate) fn record(&mut self, recorder: FlowRecorder) {
        self.recorder = Some(recorder);
    }

    /// Makes all entries stale: each flow is classified anew with its next packet. O(1).
    pub fn invalidate(&mut self) {
        self.generation = self.generation.wrapping_add(1).max(1);
        let buckets = self.ipv4.buckets() + self.ipv6.buckets();
        self.sweep.begin(self.generation, buckets as u64);
    }

    /// Entries in use, stale ones included.
    pub fn len(&self) -> usize {
        self.ipv4.occupied + self.ipv6.occupied
    }

    /// Whether no entry is in use.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Entries that there is room for, of each IP version.
    pub fn capacity(&self) -> usize {
        self.ipv4.places()
    }

    /// Places for flows of both IP versions.
    pub fn places(&self) -> usize {
        self.ipv4.places() + self.ipv6.places()
    }

    /// What the table of each IP version has: name, entries in use, places, bytes reserved.
    pub fn memory(&self) -> [(&'static str, usize, usize, usize); 2] {
        [
            ("ipv4", self.ipv4.occupied, self.ipv4.places(), self.ipv4.memory()),
            ("ipv6", self.ipv6.occupied, self.ipv6.places(), self.ipv6.memory()),
        ]
    }

    /// Flows that took the place of another one because their bucket was full.
    pub fn replaced(&self) -> u64 {
        self.ipv4.replaced + self.ipv6.replaced
    }

    /// Where a key's flow would be. Starts to load what tells whether it is there.
    #[inline(always)]
    pub(crate) fn seek(&self, key: PackedKey) -> Sought {
        let mut hasher = self.hasher.build_hasher();
        let place = match &key {
            PackedKey::V4(key) => {
                key.words().iter().for_each(|&word| hasher.write_u64(word));
                self.ipv4.place(hasher.finish())
            }
            PackedKey::V6(key) => {
                key.words().iter().for_each(|&word| hasher.write_u64(word));
                self.ipv6.place(hasher.finish())
            }
        };
        Sought { key, place }
    }

    /// Starts to load the flow that is probably there.
    #[inline(always)]
    pub(crate) fn prefetch(&self, sought: &Sought) {
        match sought.key {
            PackedKey::V4(_) => self.ipv4.prefetch(sought.place),
            PackedKey::V6(_) => self.ipv6.prefetch(sought.place),
        }
    }

    /// The flow that was sought, if there is one that the present rule set decided. O(1).
    #[inline(always)]
    pub(crate) fn find(&self, sought: &Sought) -> Option<FlowId> {
        let Sought { key, place } = sought;
        match key {
            PackedKey::V4(key) => self.ipv4.find(*place, key, self.generation),
            PackedKey::V6(key) => self.ipv6.find(*place, key, self.generation).map(of_ipv6),
        }
    }

    /// Whether there is the flow that was sought, whatever rule set decided it. O(1).
    pub(crate) fn has_former(&self, sought: &Sought) -> bool {
        let Sought { key, place } = sought;
        match key {
            PackedKey::V4(key) => self.ipv4.has(*place, key),
            PackedKey::V6(key) => self.ipv6.has(*place, key),
        }
    }

    /// Opens a flow, or decides a stale one anew. O(1).
    pub(crate) fn open(&mut self, sought: &Sought, action: impl Into<Action>, now: Time) -> FlowId {
        let Action {
            channel,
            parameter,
            rule,
        } = action.into();
        let flow = Flow {
            note: 0,
            packets: 0,
            bytes: 0,
            last_seen: now,
            rule,
            channel,
            parameter,
        };
        let (generation, ledger) = (self.generation, &mut self.ledger);
        let mut recorder = self.recorder.as_mut().filter(|recorder| recorder.is_wanted());
        if let Some(recorder) = &mut recorder {
            recorder.opened(sought.key.unpack(), &flow, now);
        }
        match sought.key {
            PackedKey::V4(key) => {
                let entry = Entry::new(key, flow, generation);
                self.ipv4.open(sought.place, entry, ledger, |key, flow, reason| {
                    if let Some(recorder) = recorder {
                        recorder.closed(key.unpack(), flow, reason, now);
                    }
                })
            }
            PackedKey::V6(key) => {
                let entry = Entry::new(key, flow, generation);
                of_ipv6(self.ipv6.open(sought.place, entry, ledger, |key, flow, reason| {
                    if let Some(recorder) = recorder {
                        recorder.closed(key.unpack(), flow, reason, now);
                    }
                }))
            }
        }
    }

    /// The flow, if no other one has taken its place since it was found.
    #[inline(always)]
    pub(crate) fn flow_mut(&mut self, id: FlowId) -> Option<&mut Flow> {
        if id.place & FlowId::IPV6 == 0 {
            self.ipv4.flow_mut(id)
        } else {
            self.ipv6.flow_mut(id)
        }
    }

    /// Counts packets of a flow that did not come here. For its rule they count even if it has lost its place.
    pub(crate) fn count(&mut self, id: FlowId, rule: RuleNumber, packets: u64, bytes: u64, seen: Time) {
        match self.flow_mut(id) {
            Some(flow) => {
                flow.packets += packets;
                flow.bytes += bytes;
                flow.last_seen = flow.last_seen.max(seen);
            }
            None => self.ledger.count(rule, packets, bytes, seen),
        }
    }

    /// The name, among all places, of the flow at a place of [`flow_at`](Self::flow_at).
    pub(crate) fn name_of_place(&self, place: usize) -> u32 {
        match place.checked_sub(self.ipv4.places()) {
            None => place as u32,
            Some(place) => place as u32 | FlowId::IPV6,
        }
    }

    /// All flows that the present rule set decided, with their keys.
    pub fn iter(&self) -> impl Iterator<Item = (FlowKey, &Flow)> {
        (0..self.places()).filter_map(|place| self.flow_at(place))
    }

    /// The flow at a place, from 0 to below [`places`](Self::places), if the present rule set decided it.
    ///
    /// # Panics
    /// If there is no such place.
    pub fn flow_at(&self, place: usize) -> Option<(FlowKey, &Flow)> {
        match place.checked_sub(self.ipv4.places()) {
            None => {
                let found = self.ipv4.at(place, self.generation);
                found.map(|(key, flow)| (key.unpack(), flow))
            }
            Some(place) => {
                let found = self.ipv6.at(place, self.generation);
                found.map(|(key, flow)| (key.unpack(), flow))
            }
        }
    }
}
