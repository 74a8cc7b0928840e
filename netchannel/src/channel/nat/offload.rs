//! Sessions whose packets the kernel's fast path may move: those that need nothing but to be translated.

use std::net::IpAddr;

use super::Nat;
use super::flow::{Direction, Protocol};
use super::session::{Cookie, Phase, Session};
use super::table::Table;
use crate::dispatch::{FlowKey, Offloadable, Rewriting, is_possible_source};
use crate::interface::Role;
use crate::packet::checksum::Delta;
use crate::time::Time;

/// The note of a flow that has no session: its translation is [one to one](super::OneToOne).
const NO_SESSION: u64 = 0;

impl Nat {
    /// See [`Netchannel::offload`](crate::channel::Netchannel::offload). Sessions between inside hosts stay here, as do those that open or close.
    pub(super) fn offloadable(
        &mut self,
        flow: &FlowKey,
        note: u64,
        role: Role,
        network_version: u64,
        now: Time,
    ) -> Option<Offloadable> {
        let cookie = Cookie::from_note(note);
        let direction = cookie.direction;
        let is_its_way = match role {
            Role::Inside => direction == Direction::Outbound,
            Role::Outside => direction == Direction::Inbound,
        };
        let session = self.table.session_of(note)?;
        let until = self.table.deadline(session);
        if !is_its_way || session.is_hairpin || !session.is_plain() || now >= until {
            return None;
        }
        // It is known where it leaves, and that this is the other side.
        self.table.way_of(session, direction, network_version)?;
        let rewrite = *session.rewrite(direction);
        self.table.session_mut(cookie.index).set_carried(direction);
        let (network, transport) = rewrite.deltas();
        let to = rewrite.to();
        Some(Offloadable {
            rewriting: Some(Rewriting {
                source: direction == Direction::Outbound,
                address: to.address,
                port: to.port,
                network,
                transport,
            }),
            needs_dont_fragment: true,
            until,
            toward: match direction {
                Direction::Outbound => flow.destination,
                Direction::Inbound => IpAddr::V4(to.address),
            },
            leaves_to: None,
            note,
        })
    }

    /// A flow between a host with an external address of its own and the outside: of its packets nothing but that address is replaced, and no
    /// session keeps them.
    pub(super) fn offloadable_one_to_one(&self, flow: &FlowKey, role: Role) -> Option<Offloadable> {
        let (IpAddr::V4(source), IpAddr::V4(destination)) = (flow.source, flow.destination) else {
            return None;
        };
        if !is_possible_source(flow.source) || self.is_external(source) {
            return None;
        }
        let (old, new, port, toward, leaves_to) = match role {
            Role::Inside if !self.is_external(destination) => {
                let external = self.one_to_one.external_of(source)?;
                (source, external, flow.source_port, destination, Role::Outside)
            }
            Role::Inside => return None,
            Role::Outside => {
                let inside = self.one_to_one.inside_of(destination)?;
                (destination, inside, flow.destination_port, inside, Role::Inside)
            }
        };
        let delta = Delta::NONE.address(old, new);
        Some(Offloadable {
            rewriting: Some(Rewriting {
                source: role == Role::Inside,
                address: new,
                port,
                network: delta,
                transport: delta,
            }),
            needs_dont_fragment: false,
            until: Time::MAX,
            toward: IpAddr::V4(toward),
            leaves_to: Some(leaves_to),
            note: NO_SESSION,
        })
    }
}

impl Session {
    /// Whether its packets need nothing but to be translated, unless their flags say otherwise.
    fn is_plain(&self) -> bool {
        match self.phase {
            Phase::Tcp(state) => state.is_established(),
            _ => self.phase.protocol() == Protocol::Udp,
        }
    }
}

impl Table {
    /// What is carried of a session comes back: it ends, or its next packets decide about it.
    pub(super) fn recall(&mut self, index: u32) {
        for direction in self.session_mut(index).take_carried() {
            let note = self.cookie(index, direction).to_note();
            self.recalled.push(note);
        }
    }

    /// A carried flow had its last packet at `seen`. Returns when its session ends; `None` if it has ended, or is not to be carried any more.
    /// Without a session, nothing but the flow itself ends, when it is silent.
    pub(super) fn carried_until(&mut self, note: u64, seen: Option<Time>) -> Option<Time> {
        if note == NO_SESSION {
            return seen.map(|_| Time::MAX);
        }
        let Cookie { index, direction, .. } = Cookie::from_note(note);
        self.session_of(note)?;
        let counts = direction == Direction::Outbound || self.refresh_inbound;
        let session = self.session_mut(index);
        if let Some(seen) = seen
            && (counts || session.phase.protocol() == Protocol::Tcp)
        {
            session.active = session.active.max(seen);
        }
        let is_plain = session.is_plain();
        let session = self.session(index);
        is_plain.then(|| self.deadline(session))
    }
}
