//! What translators have of external addresses and all else. Every worker has a part of it at the same addresses; what is told is the whole.

use super::inspect::Inspector;
use super::pages::{Cursor, Taken, sliced};
use crate::channel::{AddressEntry, BlockCounts, PortCounts, Slice};
use crate::control::report::{ByProtocol, Limits, Pool, PoolAddress, PoolBlocks, PoolPorts, Pools};
use crate::control::{ControlError, Page};

/// A channel's pool, where its listing begins, and some of its addresses.
type Part = (Option<Pool>, Vec<AddressEntry>);

impl Inspector {
    pub(super) fn pools(&self, page: &Page) -> Result<Pools, ControlError> {
        let (mut pools, mut addresses) = (Vec::new(), Vec::new());
        let next = self.page_of(
            page,
            |at, limit| self.take_pool(page, at, limit),
            |channel, (pool, entries)| {
                pools.extend(pool.map(|pool| Pool {
                    channel: channel.to_owned(),
                    ..pool
                }));
                addresses.extend(entries.iter().map(|entry| address(channel, entry)));
                entries.len()
            },
        )?;
        Ok(Pools {
            pools,
            addresses,
            next,
        })
    }

    /// The same slice of all workers, added up: they have the same addresses in the same order.
    fn take_pool(&self, page: &Page, at: Cursor, limit: usize) -> Result<Option<Taken<Part>>, ControlError> {
        let filter = page.filter.clone();
        let of_workers = self.ask_all(move |dispatcher, _| {
            let count = dispatcher.channels().len();
            let mut channels = dispatcher.channels().iter().enumerate().skip(at.channel);
            let (number, (name, channel, _)) = channels.find(|(_, (name, _, _))| filter.has_channel(name))?;
            let after = if number == at.channel { at.place } else { 0 };
            let pool = channel.pool().filter(|_| after == 0);
            let slice = Slice {
                filter: &filter,
                after,
                limit,
            };
            let (addresses, next) = sliced(channel.addresses(slice));
            let next = match next {
                Some(place) => Cursor {
                    place,
                    ..Cursor::of_channel(number)
                },
                None => Cursor::of_channel(number + 1),
            };
            let next = (next.channel < count).then_some(next);
            Some((name.to_owned(), (pool, addresses), next))
        })?;
        let mut parts = of_workers.into_iter().flatten();
        let Some((name, (mut pool, mut addresses), next)) = parts.next() else {
            return Ok(None);
        };
        for (_, (more, more_addresses), _) in parts {
            if let (Some(sum), Some(more)) = (&mut pool, &more) {
                add_pool(sum, more);
            }
            for more in &more_addresses {
                match addresses.iter_mut().find(|sum| sum.address == more.address) {
                    Some(sum) => add_address(sum, more),
                    None => addresses.push(*more),
                }
            }
        }
        Ok(Some((name, (pool, addresses), next)))
    }
}

/// Adds what another worker has of the same channel.
pub(super) fn add_pool(sum: &mut Pool, more: &Pool) {
    sum.addresses = sum.addresses.max(more.addresses);
    sum.hosts += more.hosts;
    sum.ports_per_protocol += more.ports_per_protocol;
    sum.ports_held += more.ports_held;
    sum.mappings.tcp += more.mappings.tcp;
    sum.mappings.udp += more.mappings.udp;
    sum.mappings.icmp += more.mappings.icmp;
    sum.sessions += more.sessions;
    add_limits(&mut sum.limits, &more.limits);
}

/// Bounds on all hosts together are shared out, so that the shares make the bound.
fn add_limits(sum: &mut Limits, more: &Limits) {
    let add = |sum: &mut Option<u32>, more: Option<u32>| {
        *sum = sum.zip(more).map(|(one, other)| one.saturating_add(other));
    };
    add(&mut sum.mappings, more.mappings);
    add(&mut sum.mappings_of.tcp, more.mappings_of.tcp);
    add(&mut sum.mappings_of.udp, more.mappings_of.udp);
    add(&mut sum.mappings_of.icmp, more.mappings_of.icmp);
    add(&mut sum.sessions, more.sessions);
    add(&mut sum.new_mappings_per_second, more.new_mappings_per_second);
}

fn add_address(sum: &mut AddressEntry, more: &AddressEntry) {
    sum.hosts += more.hosts;
    let add = |sum: &mut PortCounts, more: PortCounts| {
        sum.used += more.used;
        sum.free += more.free;
        sum.held += more.held;
    };
    add(&mut sum.ports.tcp, more.ports.tcp);
    add(&mut sum.ports.udp, more.ports.udp);
    add(&mut sum.ports.icmp, more.ports.icmp);
    sum.blocks = sum.blocks.zip(more.blocks).map(|(one, other)| BlockCounts {
        all: one.all + other.all,
        given: one.given + other.given,
    });
}

fn address(channel: &str, entry: &AddressEntry) -> PoolAddress {
    let ports = |counts: PortCounts| PoolPorts {
        used: counts.used.into(),
        free: counts.free.into(),
        held: counts.held.into(),
    };
    PoolAddress {
        channel: channel.to_owned(),
        address: entry.address.to_string(),
        hosts: entry.hosts.into(),
        ports: ByProtocol {
            tcp: ports(entry.ports.tcp),
            udp: ports(entry.ports.udp),
            icmp: ports(entry.ports.icmp),
        },
        blocks: entry.blocks.map(|blocks| PoolBlocks {
            all: blocks.all.into(),
            given: blocks.given.into(),
        }),
    }
}
