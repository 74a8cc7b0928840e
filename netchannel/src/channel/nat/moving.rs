//! External addresses that are an interface's: they go and come with it, as those of the kernel's masquerade do.

use std::net::Ipv4Addr;

use super::Nat;
use super::mapping::Mappings;
use super::settings::is_stand_in;
use crate::time::Time;

/// Places of mappings that are looked at in one call.
const PLACES: usize = 16_384;
/// Sessions that end in one call, as in a tick.
const ENDINGS: usize = 2_048;

impl Nat {
    /// Takes an external address away and puts a [stand-in](super::stand_in) in its place: its mappings end, and no more are made. A call
    /// ends a bounded number of sessions; it returns the number to go on from if there are more.
    pub(super) fn take_address_away(
        &mut self,
        address: Ipv4Addr,
        stand_in: Ipv4Addr,
        after: u64,
        now: Time,
    ) -> Option<u64> {
        self.table.mappings.close_address(address, stand_in);
        let next = self.end_mappings_at(address, after, now);
        if next.is_none() {
            self.replace(address, stand_in, now);
        }
        next
    }

    fn end_mappings_at(&mut self, address: Ipv4Addr, after: u64, now: Time) -> Option<u64> {
        let count = self.table.mappings.places();
        let start = usize::try_from(after).unwrap_or(usize::MAX).min(count);
        let end = count.min(start.saturating_add(PLACES));
        let mut endings = ENDINGS;
        for place in start..end {
            let mapping = self.table.mappings.iter_in(place..place + 1).next();
            let Some((number, _)) = mapping.filter(|(_, mapping)| mapping.external.address == address) else {
                continue;
            };
            match self.table.delete(number, endings, now) {
                Some(left) if left > 0 => endings = left,
                Some(_) => return Some(place as u64 + 1),
                None => return Some(place as u64),
            }
        }
        (end < count).then_some(end as u64)
    }

    /// Puts an address in the place of its stand-in: mappings are made at it from now on.
    pub(super) fn take_address_up(&mut self, stand_in: Ipv4Addr, address: Ipv4Addr, now: Time) {
        self.table.mappings.forwards.move_to(stand_in, address);
        self.replace(stand_in, address, now);
    }

    fn replace(&mut self, from: Ipv4Addr, to: Ipv4Addr, now: Time) {
        self.table.mappings.replace_address(from, to, now);
        let single = from..=from;
        for range in self
            .settings
            .external
            .iter_mut()
            .filter(|range| **range == single)
        {
            *range = to..=to;
        }
        for forward in &mut self.settings.forwards {
            if forward.external == from {
                forward.external = to;
            }
        }
    }
}

impl Mappings {
    /// Makes no more mappings at an address. Its forwarded ports are those of the stand-in.
    fn close_address(&mut self, address: Ipv4Addr, stand_in: Ipv4Addr) {
        self.forwards.move_to(address, stand_in);
        if let Some(id) = self.pool.id_of(address).filter(|&id| self.pool.is_given(id)) {
            self.pool.close(id);
            if let Some(blocks) = &mut self.blocks {
                blocks.set_open(id, false);
            }
        }
    }

    /// Has an address without mappings be another one.
    fn replace_address(&mut self, from: Ipv4Addr, to: Ipv4Addr, now: Time) {
        // Blocks that are held have the address in the log's records of them.
        self.release_all_blocks(now);
        if let Some(id) = self.pool.id_of(from).filter(|&id| self.pool.is_given(id)) {
            self.pool.replace(id, to);
            if let Some(blocks) = &mut self.blocks {
                blocks.set_open(id, !is_stand_in(to));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::super::flow::{Endpoint, Protocol};
    use super::super::settings::{Filtering, stand_in};
    use super::super::table::Table;
    use super::super::{Forward, NatSettings, PortBlocks};
    use super::*;
    use crate::channel::Netchannel;
    use crate::channel::listing::Slice;
    use crate::control::Filter;
    use crate::drop_reason::DropReason;

    const OLD: Ipv4Addr = Ipv4Addr::new(198, 51, 100, 1);
    const NEW: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 9);
    const OTHER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
    const SERVER: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 200);

    fn endpoint(address: Ipv4Addr, port: u16) -> Endpoint {
        Endpoint { address, port }
    }

    fn open(nat: &mut Nat, host: u8, port: u16, now: Time) -> Result<Endpoint, DropReason> {
        let inside = endpoint(Ipv4Addr::new(10, 0, 0, host), port);
        let remote = endpoint(SERVER, 53);
        let filtering = Filtering::EndpointIndependent;
        let table: &mut Table = &mut nat.table;
        let session = table.open_outbound(Protocol::Udp, inside, remote, filtering, now)?;
        Ok(table.mappings.get(table.session(session).mapping).external)
    }

    /// Calls it until it is done; returns how often.
    fn away(nat: &mut Nat, address: Ipv4Addr, now: Time) -> usize {
        let mut after = 0;
        for calls in 1.. {
            match nat.take_address_away(address, stand_in(1), after, now) {
                Some(next) => after = next,
                None => return calls,
            }
        }
        unreachable!("it returned")
    }

    fn nat(change: impl FnOnce(&mut NatSettings)) -> Nat {
        let mut settings = NatSettings::new(vec![OLD]);
        settings.forwards = vec![Forward {
            protocol: Protocol::Udp,
            external: OLD,
            ports: 5060..=5061,
            inside: Ipv4Addr::new(10, 0, 0, 99),
            inside_port: 5060,
        }];
        change(&mut settings);
        let prepared = super::super::PreparedNat::new(settings).unwrap();
        let mut nat = prepared.into_channel();
        nat.table.mappings.random = StdRng::seed_from_u64(1);
        nat
    }

    #[test]
    fn mappings_of_an_address_end_with_it_and_the_next_ones_have_the_new_one() {
        let mut nat = nat(|_| {});
        let now = Time::from_secs(1);
        for port in 0..3000 {
            assert_eq!(open(&mut nat, 2, 2000 + port, now).unwrap().address, OLD);
        }
        assert!(away(&mut nat, OLD, now) > 1, "in one go, packets would wait");
        assert_eq!(
            (nat.table.session_count(), nat.table.mappings.count(Protocol::Udp)),
            (0, 0)
        );
        assert_eq!(nat.table.mappings.pool.held(), 0);
        // None at the moment, of a forwarded port neither.
        let refused = DropReason::NatNoExternalAddress;
        assert_eq!(open(&mut nat, 2, 2000, now), Err(refused));
        assert_eq!(open(&mut nat, 99, 5060, now), Err(refused));
        assert!(!nat.is_external(OLD));
        nat.take_address_up(stand_in(1), NEW, now);
        assert!(nat.is_external(NEW));
        assert_eq!(open(&mut nat, 2, 2000, now).unwrap(), endpoint(NEW, 2000));
        assert_eq!(open(&mut nat, 99, 5061, now).unwrap(), endpoint(NEW, 5061));
        let inside = nat
            .table
            .mappings
            .forwards
            .inside_of(Protocol::Udp, endpoint(NEW, 5060));
        assert_eq!(inside, Some(endpoint(Ipv4Addr::new(10, 0, 0, 99), 5060)));
        assert_eq!(nat.settings.external, [NEW..=NEW]);
        // Every port of the new address can be had: none was lost on the way.
        let all = nat.table.mappings.pool.ports_per_address();
        let counts = nat.table.mappings.pool.port_counts(0, Protocol::Udp);
        assert_eq!(counts.used + counts.free + counts.held, all - 2);
        assert_eq!(counts.used, 1);
    }

    #[test]
    fn hosts_get_another_address_while_one_is_gone() {
        let mut nat = nat(|settings| settings.external.push(OTHER..=OTHER));
        let now = Time::from_secs(1);
        for host in 1..100 {
            open(&mut nat, host, 2000, now).unwrap();
        }
        let at_other = |nat: &Nat| {
            let mappings = &nat.table.mappings;
            let all = mappings.iter_in(0..mappings.places());
            all.filter(|(_, mapping)| mapping.external.address == OTHER)
                .count()
        };
        let before = at_other(&nat);
        assert!((1..99).contains(&before));
        away(&mut nat, OLD, now);
        assert_eq!((at_other(&nat), nat.table.session_count()), (before, before));
        for host in 100..200 {
            assert_eq!(open(&mut nat, host, 2000, now).unwrap().address, OTHER);
        }
    }

    #[test]
    fn blocks_of_ports_end_with_the_address_that_they_are_at() {
        let mut nat = nat(|settings| {
            settings.blocks = Some(PortBlocks::default());
            settings.external.push(OTHER..=OTHER);
        });
        let now = Time::from_secs(1);
        for host in 1..50 {
            open(&mut nat, host, 2000, now).unwrap();
        }
        away(&mut nat, OLD, now);
        for host in 1..50 {
            assert_eq!(open(&mut nat, host, 3000, now).unwrap().address, OTHER);
        }
        nat.take_address_up(stand_in(1), NEW, now);
        assert!((50..100).any(|host| open(&mut nat, host, 2000, now).unwrap().address == NEW));
    }

    #[test]
    fn an_address_that_is_not_there_at_the_start_is_taken_up_later() {
        let mut nat = nat(|settings| {
            settings.external = vec![stand_in(1)..=stand_in(1)];
            settings.forwards[0].external = stand_in(1);
        });
        let now = Time::from_secs(1);
        assert_eq!(
            open(&mut nat, 2, 2000, now),
            Err(DropReason::NatNoExternalAddress)
        );
        assert_eq!(
            nat.addresses(Slice {
                after: 0,
                limit: 9,
                filter: &Filter::default()
            })
            .entries
            .len(),
            0
        );
        nat.take_address_up(stand_in(1), NEW, now);
        assert_eq!(open(&mut nat, 2, 2000, now).unwrap(), endpoint(NEW, 2000));
        assert_eq!(open(&mut nat, 99, 5060, now).unwrap(), endpoint(NEW, 5060));
    }
}
