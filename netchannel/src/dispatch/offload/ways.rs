//! The ways out that carried flows take, and what they stand on: few ways for many flows, so that a neighbour that moves ends them all at once.

use std::collections::HashMap;
use std::sync::Arc;

use ahash::RandomState;

use crate::dispatch::core::Core;
use crate::dispatch::routing::{Departure, NextHop};
use crate::network::{Links, MacAddress, NeighbourState, Network, Routes};
use crate::time::Time;
use crate::xdp::{OffloadTable, OffloadWay, WayId};

/// What a flow needs of a way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Wanted {
    /// The Ethernet address that its frames are sent to.
    pub(super) arrival: MacAddress,
    /// The slot of the device that they leave by.
    pub(super) slot: u32,
    /// Whether that device takes frames that lie in several buffers.
    pub(super) several_buffers: bool,
    pub(super) departure: Departure,
    pub(super) next_hop: NextHop,
}

struct Open {
    id: WayId,
    wanted: Wanted,
}

/// See the module. The numbers of ways that have ended are not given out again before all have ended.
pub(super) struct Ways {
    /// `None` for those that have ended.
    all: Vec<Option<Open>>,
    numbers: HashMap<Wanted, u32, RandomState>,
    /// Ways before this number ended with all others.
    first: u32,
    /// What all of them stand on.
    links: Arc<Links>,
    routes: Arc<Routes>,
}

impl Ways {
    pub(super) fn new(network: &Network) -> Self {
        Self {
            all: Vec::new(),
            numbers: HashMap::default(),
            first: 0,
            links: Arc::clone(&network.links),
            routes: Arc::clone(&network.routes),
        }
    }

    /// The number of a way, which is opened if it is not open. `None` if there are too many.
    pub(super) fn number_of(&mut self, table: &OffloadTable, wanted: Wanted) -> Option<u32> {
        // Another worker may have ended it.
        let id = table.set_way(&OffloadWay {
            arrival_mac: wanted.arrival,
            slot: wanted.slot,
            source_mac: wanted.departure.source,
            destination_mac: wanted.departure.destination,
            mtu: wanted.departure.mtu,
            several_buffers: wanted.several_buffers,
        })?;
        if let Some(&number) = self.numbers.get(&wanted) {
            if self.id(number) == Some(id) {
                return Some(number);
            }
            self.forget(number);
        }
        let number = self.first + self.all.len() as u32;
        self.all.push(Some(Open { id, wanted }));
        self.numbers.insert(wanted, number);
        Some(number)
    }

    fn forget(&mut self, number: u32) {
        let place = number.checked_sub(self.first);
        if let Some(place) = place.and_then(|place| self.all.get_mut(place as usize)) {
            *place = None;
        }
    }

    fn get(&self, number: u32) -> Option<&Open> {
        let index = number.checked_sub(self.first)?;
        self.all.get(index as usize)?.as_ref()
    }

    /// The table's name for a way, while it is open.
    pub(super) fn id(&self, number: u32) -> Option<WayId> {
        self.get(number).map(|open| open.id)
    }

    pub(super) fn is_open(&self, number: u32) -> bool {
        self.get(number).is_some()
    }

    /// Ends all ways.
    pub(super) fn end_all(&mut self, table: &OffloadTable) {
        for open in self.all.iter().flatten() {
            table.end_way(open.id);
        }
        self.first += self.all.len() as u32;
        self.all.clear();
        self.numbers.clear();
    }

    /// Whether routes, links or addresses are others than before.
    pub(super) fn is_new(&mut self, network: &Network) -> bool {
        let is_same = Arc::ptr_eq(&self.links, &network.links) && Arc::ptr_eq(&self.routes, &network.routes);
        if !is_same {
            self.links = Arc::clone(&network.links);
            self.routes = Arc::clone(&network.routes);
        }
        !is_same
    }

    /// Ends the ways whose next hop has another Ethernet address now, or none. The kernel is asked to confirm those that it is not sure of: it does
    /// not see that they are in use.
    pub(super) fn follow_neighbours(&mut self, table: &OffloadTable, core: &mut Core, now: Time) {
        for place in &mut self.all {
            let Some(Open { id, wanted }) = place else {
                continue;
            };
            let next_hop = wanted.next_hop;
            let neighbours = &core.network.network().neighbours;
            let known = neighbours.lookup(next_hop.index, next_hop.address);
            match known.and_then(|known| Some((known.mac?, known.state))) {
                Some((mac, state)) if mac == wanted.departure.destination => {
                    if state == NeighbourState::Stale {
                        core.confirm(next_hop, now);
                    }
                }
                _ => {
                    table.end_way(*id);
                    self.numbers.remove(wanted);
                    *place = None;
                }
            }
        }
    }
}
