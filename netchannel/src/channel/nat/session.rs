//! Sessions: a mapping in use with one outside endpoint, and all that its packets need.

use std::time::Duration;

use super::events::EndReason;
use super::flow::{Direction, Endpoint, Protocol};
use super::mapping::Mapping;
use super::settings::Timeouts;
use super::tcp;
use super::translate::Rewrite;
use crate::dispatch::Departure;
use crate::time::Time;

/// What timeout a session has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Udp,
    /// To a port with a timeout of its own: which of [`Timeouts::udp_to_port`].
    UdpToPort(u16),
    Icmp,
    Tcp(tcp::State),
}

impl Phase {
    pub(super) fn opened(
        protocol: Protocol,
        direction: Direction,
        remote: Endpoint,
        timeouts: &Timeouts,
    ) -> Self {
        match protocol {
            Protocol::Udp if direction == Direction::Outbound => timeouts
                .udp_to_port
                .iter()
                .position(|&(port, _)| port == remote.port)
                .and_then(|place| u16::try_from(place).ok())
                .map_or(Self::Udp, Self::UdpToPort),
            Protocol::Udp => Self::Udp,
            Protocol::Icmp => Self::Icmp,
            Protocol::Tcp => Self::Tcp(tcp::State::opened(direction)),
        }
    }

    /// Why a session ends that has reached its timeout.
    pub(super) fn end_reason(self) -> EndReason {
        match self {
            Self::Tcp(tcp::State::Closed | tcp::State::Reset | tcp::State::Refused) => EndReason::Closed,
            _ => EndReason::Expired,
        }
    }

    #[inline]
    pub(super) fn timeout(self, timeouts: &Timeouts) -> Duration {
        match self {
            Self::Udp => timeouts.udp,
            Self::UdpToPort(place) => timeouts.udp_to_port[usize::from(place)].1,
            Self::Icmp => timeouts.icmp,
            Self::Tcp(state) if state.is_established() => timeouts.tcp_established,
            Self::Tcp(tcp::State::OutboundSyn | tcp::State::InboundSyn) => timeouts.tcp_opening,
            Self::Tcp(tcp::State::Refused) => Duration::ZERO,
            Self::Tcp(_) => timeouts.tcp_closing,
        }
    }
}

/// One session.
#[derive(Debug)]
pub(super) struct Session {
    pub(super) mapping: u32,
    /// The outside endpoint.
    pub(super) remote: Endpoint,
    pub(super) phase: Phase,
    /// The outside endpoint is an external one of this translator: it is another inside host.
    pub(super) is_hairpin: bool,
    /// When the timeout started.
    pub(super) active: Time,
    /// By direction: what packets get in place of their source (outbound) or destination (inbound).
    rewrites: [Rewrite; 2],
    /// By direction: the way out, if it was found for the present `network_version`.
    ways: [Option<Departure>; 2],
    network_version: u64,
}

impl Session {
    pub(super) fn new(
        index: u32,
        mapping: &Mapping,
        remote: Endpoint,
        opener: Direction,
        is_hairpin: bool,
        timeouts: &Timeouts,
        now: Time,
    ) -> Self {
        Self {
            mapping: index,
            remote,
            phase: Phase::opened(mapping.protocol, opener, remote, timeouts),
            is_hairpin,
            active: now,
            rewrites: [
                Rewrite::new(mapping.protocol, mapping.inside, mapping.external),
                Rewrite::new(mapping.protocol, mapping.external, mapping.inside),
            ],
            ways: [None; 2],
            network_version: 0,
        }
    }

    /// When it ends if no packet comes.
    #[inline]
    pub(super) fn deadline(&self, timeouts: &Timeouts) -> Time {
        self.active + self.phase.timeout(timeouts)
    }

    #[inline]
    pub(super) fn rewrite(&self, direction: Direction) -> Rewrite {
        self.rewrites[direction as usize]
    }

    /// The way out that was found last, if the network is still the same.
    #[inline]
    pub(super) fn way(&self, direction: Direction, network_version: u64) -> Option<Departure> {
        self.ways[direction as usize].filter(|_| self.network_version == network_version)
    }

    pub(super) fn set_way(&mut self, direction: Direction, network_version: u64, way: Departure) {
        if self.network_version != network_version {
            self.network_version = network_version;
            self.ways = [None; 2];
        }
        self.ways[direction as usize] = Some(way);
    }
}

/// What is noted in the flow table: where the session is, which of those that were ever there, and the direction of the flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cookie {
    pub(super) index: u32,
    /// Never 0, so that no cookie is the note 0 of a new flow.
    pub(super) stamp: u32,
    pub(super) direction: Direction,
}

impl Cookie {
    #[inline]
    pub(super) fn to_note(self) -> u64 {
        u64::from(self.stamp) << 32 | u64::from(self.index) << 1 | self.direction as u64
    }

    #[inline]
    pub(super) fn from_note(note: u64) -> Self {
        let direction = if note & 1 == 0 {
            Direction::Outbound
        } else {
            Direction::Inbound
        };
        Self {
            index: note as u32 >> 1,
            stamp: (note >> 32) as u32,
            direction,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::HIGHEST_LIMIT;
    use super::*;

    #[test]
    fn a_cookie_survives_the_flow_table() {
        for direction in [Direction::Outbound, Direction::Inbound] {
            for (index, stamp) in [(0, 1), (HIGHEST_LIMIT, u32::MAX), (12345, 678)] {
                let cookie = Cookie {
                    index,
                    stamp,
                    direction,
                };
                assert_eq!(Cookie::from_note(cookie.to_note()), cookie);
                assert_ne!(cookie.to_note(), 0);
            }
        }
    }

    #[test]
    fn a_session_is_as_large_as_the_documentation_says() {
        assert!(size_of::<Session>() <= 88, "{}", size_of::<Session>());
    }
}
