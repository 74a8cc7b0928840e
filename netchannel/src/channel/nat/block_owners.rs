//! Who gets which block of external ports, and when it is taken back.

use std::net::Ipv4Addr;

use super::address_set::AddressId;
use super::blocks::Blocks;
use super::events::PortBlock;
use super::flow::{Endpoint, Protocol};
use super::mapping::Mappings;
use super::ports::Span;
use super::settings::Pooling;
use crate::drop_reason::DropReason;
use crate::time::Time;

impl Mappings {
    /// Takes an external endpoint of the host's blocks, any of their free ports with equal chance; if they have none, of another block.
    /// O(blocks of the host).
    pub(super) fn take_of_blocks(
        &mut self,
        protocol: Protocol,
        inside: Endpoint,
        host: Option<u32>,
    ) -> Result<(AddressId, Endpoint), DropReason> {
        let exhausted = DropReason::NatPortsExhausted;
        let blocks = self.blocks.as_mut().ok_or(exhausted)?;
        let mut paired = None;
        if let Some(host) = host.map(|host| self.hosts.get(host)) {
            let own = blocks.of(host.first_block);
            let taken = self.pool.take_of(own, protocol, inside.port, &mut self.random);
            if let Some(taken) = taken {
                return Ok(taken);
            }
            if host.blocks >= blocks.settings().most {
                return Err(DropReason::NatHostBlockLimit);
            }
            paired = host.address;
        }
        let address = match self.pooling {
            Pooling::Paired { soft } => match paired.map(|address| (address, soft)) {
                Some((address, false)) => Some(address),
                Some((address, true)) => blocks.roomier([address, address]),
                None => blocks.roomier(self.pool.addresses_for(inside.address)),
            },
            Pooling::Arbitrary => blocks.roomier(self.pool.any_addresses(&mut self.random)),
        };
        let given = address.and_then(|address| blocks.give(address, &mut self.random));
        let given = given.ok_or(exhausted)?;
        // None of its ports is in use.
        let own = std::iter::once(given);
        let taken = self.pool.take_of(own, protocol, inside.port, &mut self.random);
        taken.ok_or(exhausted)
    }

    /// Counts a mapping in its host's blocks.
    pub(super) fn add_to_block(&mut self, address: AddressId, port: u16, host: u32, now: Time) {
        let Some(blocks) = &mut self.blocks else { return };
        let owner = self.hosts.get_mut(host);
        if let Some(ports) = blocks.add_mapping((address, port), host, &mut owner.first_block) {
            owner.blocks += 1;
            let block = port_block(owner.inside, self.pool.address(address), ports);
            self.events.block_allocated(block, now);
        }
    }

    /// Takes a mapping that ends from its block.
    pub(super) fn remove_from_block(&mut self, external: Endpoint, now: Time) {
        let Some(blocks) = &mut self.blocks else { return };
        if let Some(address) = self.pool.id_of(external.address) {
            blocks.remove_mapping(address, external.port, now);
        }
        self.release_blocks(now, 1);
    }

    /// Takes back blocks that were without mappings for long enough, up to `limit`.
    pub(super) fn release_blocks(&mut self, now: Time, limit: usize) {
        for _ in 0..limit {
            let Some(blocks) = &self.blocks else { return };
            let Some(host) = blocks.next_released(now) else {
                return;
            };
            self.release_oldest_block(host, now);
        }
    }

    /// Takes back all blocks without mappings.
    pub(super) fn release_all_blocks(&mut self, now: Time) {
        while let Some(host) = self.blocks.as_ref().and_then(Blocks::oldest_held) {
            self.release_oldest_block(host, now);
        }
    }

    /// Takes back the block that is without mappings for longest, which is this host's.
    fn release_oldest_block(&mut self, host: u32, now: Time) {
        let Some(blocks) = &mut self.blocks else { return };
        let owner = self.hosts.get_mut(host);
        if let Some((address, ports)) = blocks.release(&mut owner.first_block) {
            owner.blocks -= 1;
            let block = port_block(owner.inside, self.pool.address(address), ports);
            self.events.block_released(block, now);
            self.hosts.forget_if_idle(host, now);
        }
    }
}

fn port_block(host: Ipv4Addr, external: Ipv4Addr, (first, last): Span) -> PortBlock {
    PortBlock {
        host,
        external,
        first,
        last,
    }
}

#[cfg(test)]
mod tests {
    use super::super::settings::Filtering;
    use super::*;
    use crate::channel::nat::{EndReason, Forward, NatSettings, PortBlocks};
    use proptest::prelude::*;
    use rand::SeedableRng;
    use rand::rngs::StdRng;
    use std::collections::{BTreeMap, BTreeSet};
    use std::time::Duration;

    const REMOTE: Endpoint = Endpoint {
        address: Ipv4Addr::new(8, 8, 8, 8),
        port: 53,
    };
    const SIZE: u16 = 16;
    const MOST: usize = 2;
    const HOLD: u64 = 10;
    const HELD: usize = 3;

    fn external(last: u8) -> Ipv4Addr {
        Ipv4Addr::new(192, 0, 2, last)
    }

    /// Six blocks and some ports at each of two addresses; one of the blocks has a forwarded port, another one reserved ports.
    fn settings(pooling: Pooling) -> NatSettings {
        let mut settings = NatSettings::new(vec![external(1), external(2)]);
        settings.ports = vec![2000..=2099];
        settings.reserved_ports = vec![2003..=2009];
        settings.pooling = pooling;
        settings.forwards = vec![Forward {
            protocol: Protocol::Tcp,
            external: external(1),
            ports: 2050..=2050,
            inside: Ipv4Addr::new(10, 0, 0, 99),
            inside_port: 80,
        }];
        settings.blocks = Some(PortBlocks {
            size: SIZE,
            most: MOST as u16,
            hold: Duration::from_secs(HOLD),
            hold_count: HELD as u32,
        });
        assert_eq!(settings.check(), Ok(()));
        settings
    }

    /// All blocks that may be given: address and first port.
    fn all_blocks() -> BTreeSet<(Ipv4Addr, u16)> {
        let firsts = (0..6).map(|number| 2000 + number * SIZE);
        firsts
            .flat_map(|first| [(external(1), first), (external(2), first)])
            .filter(|&block| block != (external(1), 2048))
            .collect()
    }

    /// A block of a host: which ports its mappings have, and since when there are none.
    struct Owned {
        host: Ipv4Addr,
        ports: BTreeSet<(u8, u16)>,
        empty: Option<u64>,
    }

    #[derive(Default)]
    struct Model {
        owned: BTreeMap<(Ipv4Addr, u16), Owned>,
        /// Those without mappings, the one that has been so longest first.
        held: Vec<(Ipv4Addr, u16)>,
        /// Where hosts got their first block.
        addresses: BTreeMap<Ipv4Addr, Ipv4Addr>,
    }

    impl Model {
        fn release(&mut self, now: u64) {
            while let Some(&oldest) = self.held.first() {
                let since = self.owned[&oldest].empty.unwrap();
                if since + HOLD > now && self.held.len() <= HELD {
                    return;
                }
                self.held.remove(0);
                let host = self.owned.remove(&oldest).unwrap().host;
                if self.blocks_of(host).is_empty() {
                    self.addresses.remove(&host);
                }
            }
        }

        fn blocks_of(&self, host: Ipv4Addr) -> Vec<(Ipv4Addr, u16)> {
            let own = self.owned.iter().filter(|(_, block)| block.host == host);
            own.map(|(block, _)| *block).collect()
        }

        /// The free ports of a host's blocks.
        fn free(&self, host: Ipv4Addr, protocol: Protocol) -> BTreeSet<(Ipv4Addr, u16)> {
            let own = self.owned.iter().filter(|(_, block)| block.host == host);
            own.flat_map(|(&(address, first), block)| {
                (first..first + SIZE)
                    .filter(|port| !(2003..=2009).contains(port))
                    .filter(|&port| !block.ports.contains(&(protocol as u8, port)))
                    .map(move |port| (address, port))
            })
            .collect()
        }

        /// Where a host may get a new block.
        fn choices(&self, host: Ipv4Addr, pooling: Pooling) -> BTreeSet<(Ipv4Addr, u16)> {
            let paired = match pooling {
                Pooling::Paired { soft: false } => self.addresses.get(&host),
                _ => None,
            };
            let mut free = all_blocks();
            free.retain(|block| {
                !self.owned.contains_key(block) && paired.is_none_or(|&address| block.0 == address)
            });
            free
        }

        fn add(&mut self, host: Ipv4Addr, protocol: Protocol, external: Endpoint) {
            let block = (external.address, 2000 + (external.port - 2000) / SIZE * SIZE);
            let owned = self.owned.entry(block).or_insert(Owned {
                host,
                ports: BTreeSet::new(),
                empty: None,
            });
            owned.empty = None;
            owned.ports.insert((protocol as u8, external.port));
            self.held.retain(|held| *held != block);
            self.addresses.entry(host).or_insert(external.address);
        }

        fn remove(&mut self, protocol: Protocol, external: Endpoint, now: u64) {
            let block = (external.address, 2000 + (external.port - 2000) / SIZE * SIZE);
            let owned = self.owned.get_mut(&block).unwrap();
            owned.ports.remove(&(protocol as u8, external.port));
            if owned.ports.is_empty() {
                owned.empty = Some(now);
                self.held.push(block);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Operation {
        Open {
            host: u8,
            protocol: usize,
            port: u16,
        },
        /// The mapping at this place of those that there are.
        Close(prop::sample::Index),
        Wait(u64),
    }

    fn operation() -> impl Strategy<Value = Operation> {
        prop_oneof![
            6 => (0u8..8, 0usize..3, 1990u16..2110)
                .prop_map(|(host, protocol, port)| Operation::Open { host, protocol, port }),
            4 => any::<prop::sample::Index>().prop_map(Operation::Close),
            1 => (1u64..12).prop_map(Operation::Wait),
        ]
    }

    fn pooling() -> impl Strategy<Value = Pooling> {
        prop_oneof![
            Just(Pooling::Paired { soft: false }),
            Just(Pooling::Paired { soft: true }),
            Just(Pooling::Arbitrary),
        ]
    }

    proptest! {
        /// 6888-14: whose each block is, and when it gets another host, as the plain model has it; ports are taken of a host's own blocks as
        /// long as they have any, and of new ones then and no sooner.
        #[test]
        fn rfc_6888_14_blocks_agree_with_the_model(
            pooling in pooling(),
            protocols in 1usize..=3,
            operations in proptest::collection::vec(operation(), 0..500),
        ) {
            let mut mappings = Mappings::new(&settings(pooling), StdRng::seed_from_u64(1));
            let mut model = Model::default();
            let mut open: Vec<(u32, Protocol, Endpoint, Endpoint)> = Vec::new();
            let mut seconds = 1000;
            for operation in operations {
                let now = Time::from_secs(seconds);
                mappings.release(now, 100);
                model.release(seconds);
                match operation {
                    Operation::Open { host, protocol, port } => {
                        let protocol = Protocol::ALL[protocol % protocols];
                        let inside = Endpoint { address: Ipv4Addr::new(10, 0, 0, host), port };
                        if open.iter().any(|other| (other.1, other.2) == (protocol, inside)) {
                            continue;
                        }
                        let free = model.free(inside.address, protocol);
                        let choices = model.choices(inside.address, pooling);
                        let own = model.blocks_of(inside.address).len();
                        match mappings.open(protocol, inside, REMOTE, Filtering::EndpointIndependent, now) {
                            Ok(mapping) => {
                                let external = mappings.get(mapping).external;
                                let place = (external.address, external.port);
                                if free.is_empty() {
                                    prop_assert!(own < MOST);
                                    let first = 2000 + (external.port - 2000) / SIZE * SIZE;
                                    prop_assert!(choices.contains(&(external.address, first)), "{}", external);
                                    prop_assert!(!(2003..=2009).contains(&external.port));
                                } else {
                                    prop_assert!(free.contains(&place), "{}", external);
                                    let kept = free.iter().any(|&(_, free)| free == port);
                                    prop_assert!(!kept || external.port == port);
                                }
                                model.add(inside.address, protocol, external);
                                open.push((mapping, protocol, inside, external));
                            }
                            Err(DropReason::NatHostBlockLimit) => prop_assert!(free.is_empty() && own == MOST),
                            Err(DropReason::NatPortsExhausted) => {
                                prop_assert!(free.is_empty() && own < MOST && choices.is_empty());
                            }
                            Err(other) => prop_assert!(false, "{:?}", other),
                        }
                    }
                    Operation::Close(place) if !open.is_empty() => {
                        let (mapping, protocol, _, external) = open.swap_remove(place.index(open.len()));
                        mappings.close(mapping, EndReason::Expired, now);
                        model.remove(protocol, external, seconds);
                        model.release(seconds);
                    }
                    Operation::Close(_) => {}
                    Operation::Wait(time) => seconds += time,
                }
                let blocks = mappings.blocks.as_ref().unwrap();
                prop_assert_eq!(blocks.given(), (model.owned.len(), model.held.len() as u32));
            }
            // All come back.
            for (mapping, ..) in open {
                mappings.close(mapping, EndReason::Expired, Time::from_secs(seconds));
            }
            mappings.release(Time::from_secs(seconds + HOLD), 100);
            prop_assert_eq!(mappings.blocks.as_ref().unwrap().given(), (0, 0));
        }
    }
}
