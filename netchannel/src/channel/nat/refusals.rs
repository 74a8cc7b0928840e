//! Refusals at a limit, told of at most once in ten seconds for each limit and host, so that a flood of packets is no flood of records.

use std::net::Ipv4Addr;
use std::time::Duration;

use ahash::RandomState;

use super::blocks::{Blocks, PortBlocks};
use super::events::LimitReached;
use super::flow::Protocol;
use super::limits::Pace;
use super::mapping::Mappings;
use crate::drop_reason::DropReason;
use crate::time::Time;

/// How long nothing more is told of the same limit.
const QUIET: Duration = Duration::from_secs(10);
/// Limits and hosts that are told apart at one time. What comes beside them is told of as long as the pace allows.
const PLACES: usize = 1024;
/// Places that one limit and host may be at.
const WAYS: usize = 4;
/// Records in a second, on average.
const PACE: u32 = 100;

/// What was refused of late.
pub(super) struct Refusals {
    places: Box<[Option<Refused>]>,
    hasher: RandomState,
    pace: Pace,
    /// The place that is looked at next for what has become due.
    cursor: usize,
    /// Places that are taken.
    taken: usize,
}

#[derive(Clone, Copy)]
struct Refused {
    /// `refused` counts what was not told of yet.
    last: LimitReached,
    quiet_until: Time,
}

/// What is told of together: one limit, and one host if the limit is on each host, or one external address.
type Key = (DropReason, Option<Ipv4Addr>);

fn key(reached: &LimitReached) -> Key {
    let party = match reached.limit {
        DropReason::NatHostMappingLimit
        | DropReason::NatHostSessionLimit
        | DropReason::NatHostRateLimit
        | DropReason::NatHostBlockLimit
        | DropReason::NatMappingSessionLimit => Some(reached.host),
        _ => reached.external,
    };
    (reached.limit, party)
}

impl Refusals {
    pub(super) fn new() -> Self {
        Self {
            places: vec![None; PLACES].into(),
            hasher: RandomState::new(),
            pace: Pace::default(),
            cursor: 0,
            taken: 0,
        }
    }

    /// Counts a refusal; what is to be told of it now. O(1).
    pub(super) fn add(&mut self, reached: LimitReached, now: Time) -> Option<LimitReached> {
        let key_of_new = key(&reached);
        let first = self.hasher.hash_one(key_of_new) as usize % (PLACES / WAYS) * WAYS;
        let ways = &mut self.places[first..first + WAYS];
        let known = ways
            .iter()
            .position(|place| place.is_some_and(|refused| key(&refused.last) == key_of_new));
        let Some(way) = known.or_else(|| ways.iter().position(Option::is_none)) else {
            // No place: told of without being counted.
            return self.allows(now).then_some(reached);
        };
        let place = &mut ways[way];
        let (refused, quiet_until) = place.map_or((0, Time::ZERO), |refused| {
            (refused.last.refused, refused.quiet_until)
        });
        if place.is_none() {
            self.taken += 1;
        }
        let last = LimitReached {
            refused: reached.refused.saturating_add(refused),
            ..reached
        };
        *place = Some(Refused { last, quiet_until });
        self.tell(first + way, now)
    }

    /// What was refused meanwhile and may be told of now. Looks at all places in a call that finds none.
    pub(super) fn next_due(&mut self, now: Time) -> Option<LimitReached> {
        if self.taken == 0 {
            return None;
        }
        for _ in 0..PLACES {
            let place = self.cursor;
            self.cursor = (place + 1) % PLACES;
            match &self.places[place] {
                Some(refused) if refused.quiet_until <= now && refused.last.refused == 0 => {
                    self.places[place] = None;
                    self.taken -= 1;
                }
                Some(_) => {
                    if let Some(reached) = self.tell(place, now) {
                        return Some(reached);
                    }
                }
                None => {}
            }
        }
        None
    }

    /// What is to be told of a place, unless it has to be quiet.
    fn tell(&mut self, place: usize, now: Time) -> Option<LimitReached> {
        let due =
            self.places[place].is_some_and(|refused| refused.quiet_until <= now && refused.last.refused > 0);
        if !due || !self.allows(now) {
            return None;
        }
        let refused = self.places[place].as_mut()?;
        let told = refused.last;
        refused.last.refused = 0;
        refused.quiet_until = now + QUIET;
        Some(told)
    }

    fn allows(&mut self, now: Time) -> bool {
        let allowed = self.pace.allows(PACE, now);
        if allowed {
            self.pace.count(PACE, now);
        }
        allowed
    }
}

impl Mappings {
    /// Tells the log that a mapping or session was refused to an inside host.
    #[cold]
    pub(super) fn refused(&mut self, limit: DropReason, protocol: Protocol, host: Ipv4Addr, now: Time) {
        if !self.events.wants_limits() {
            return;
        }
        let number = self.hosts.find(host);
        let of_hosts = self.hosts.limits();
        let (bound, external) = match limit {
            DropReason::NatSessionLimit => (self.limits.sessions, None),
            DropReason::NatMappingLimit => (self.counts.reached(&self.limits, protocol), None),
            DropReason::NatRateLimit => (self.limits.new_mappings_per_second, None),
            DropReason::NatHostSessionLimit => (of_hosts.sessions, None),
            DropReason::NatHostMappingLimit => (self.hosts.reached(number, protocol), None),
            DropReason::NatHostRateLimit => (of_hosts.new_mappings_per_second, None),
            DropReason::NatMappingSessionLimit => (self.sessions_per_mapping, None),
            DropReason::NatHostBlockLimit => {
                let blocks = self.blocks.as_ref().map(Blocks::settings);
                let ports = |blocks: &PortBlocks| u32::from(blocks.size) * u32::from(blocks.most);
                (blocks.map_or(0, ports), None)
            }
            DropReason::NatPortsExhausted => {
                let paired = number.and_then(|host| self.hosts.get(host).address);
                let external = paired.map(|address| self.pool.address(address));
                (self.pool.ports_per_address(), external)
            }
            // It is no limit that could be moved or waited for.
            _ => return,
        };
        let reached = LimitReached {
            limit,
            protocol,
            host,
            external,
            bound,
            refused: 1,
        };
        self.events.limit_reached(reached, now);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reached(limit: DropReason, host: u32) -> LimitReached {
        LimitReached {
            limit,
            protocol: Protocol::Udp,
            host: Ipv4Addr::from_bits(host),
            external: None,
            bound: 10,
            refused: 1,
        }
    }

    #[test]
    fn a_flood_at_one_limit_is_one_record_in_ten_seconds_and_none_is_uncounted() {
        let mut refusals = Refusals::new();
        let mut told = Vec::new();
        for step in 0..30_000u64 {
            let now = Time::from_nanos(1_000_000_000 + step * 1_000_000);
            let host = 1 + (step % 7) as u32;
            told.extend(refusals.add(reached(DropReason::NatMappingLimit, host), now));
        }
        let later = Time::from_secs(100);
        told.extend(std::iter::from_fn(|| refusals.next_due(later)));
        assert_eq!(
            told.iter().map(|told| told.refused).collect::<Vec<_>>(),
            [1, 10_000, 10_000, 9_999]
        );
        // Nothing is left behind.
        assert_eq!(refusals.next_due(Time::from_secs(200)), None);
        assert_eq!(refusals.taken, 0);
    }

    #[test]
    fn each_host_is_told_of_where_hosts_have_limits() {
        let mut refusals = Refusals::new();
        let now = Time::from_secs(1);
        for host in 1..=50 {
            let told = refusals.add(reached(DropReason::NatHostMappingLimit, host), now);
            assert_eq!(
                told.map(|told| (told.host, told.refused)),
                Some((Ipv4Addr::from_bits(host), 1))
            );
        }
    }

    /// A million hosts at their limits in a second: as many records as the pace allows.
    #[test]
    fn a_flood_of_hosts_is_bounded() {
        let mut refusals = Refusals::new();
        let told = (0..1_000_000u32)
            .filter(|&host| {
                let now = Time::from_nanos(1_000_000_000 + u64::from(host) * 1_000);
                refusals
                    .add(reached(DropReason::NatHostRateLimit, host), now)
                    .is_some()
            })
            .count();
        assert!(told <= 2 * PACE as usize, "{told}");
    }
}
