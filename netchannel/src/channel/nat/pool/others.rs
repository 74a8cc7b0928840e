//! Ports that a pool has, but other workers count. Where each inside host has ports of its own there are no slices: every worker's pool has the
//! ports of all hosts, though only those of its own hosts are taken from it. So that the counts of all workers make the whole, each counts those,
//! and the first one what is nobody's.

use super::super::flow::Protocol;
use super::super::ports::FreePorts;
use super::super::settings::NatSettings;
use super::super::share::{Slices, worker_of};

/// How many there are.
pub(super) struct Others {
    /// By the number of the address.
    all: Vec<u32>,
    /// By protocol, and the number of the address: those that are not forwarded.
    to_give: [Vec<u32>; 3],
}

impl Others {
    /// Those among the `usable` ports of each address. O(inside hosts + forwarded ports).
    pub(super) fn of(settings: &NatSettings, usable: &FreePorts) -> Self {
        let none = Self {
            all: Vec::new(),
            to_give: Default::default(),
        };
        let (Some(share), Some(Ok(scheme))) = (settings.share, settings.port_scheme()) else {
            return none;
        };
        let has_host = |host| worker_of(host, share.workers()) == share.worker();
        let is_first = share.worker() == 0;
        // Spare ports come in slices: those that are usable are its own.
        let slices = Slices::new(settings, share);
        let is_spare = |port: u16| slices.worker_of(port).is_some();
        let ports = usable.ranges().into_iter().flatten();
        let spare = ports.filter(|&port| is_spare(port)).count() as u32;
        let mut own_hosts = vec![0; settings.external_addresses().count()];
        let mut hosts = own_hosts.clone();
        for (host, address) in scheme.hosts() {
            hosts[address] += 1;
            own_hosts[address] += u32::from(has_host(host));
        }
        let each = scheme.ports_per_host();
        let others = hosts.iter().zip(&own_hosts).map(|(hosts, own)| match is_first {
            true => (hosts - own) * each,
            false => usable.len() - spare - own * each,
        });
        let all: Vec<u32> = others.collect();
        let mut to_give = [all.clone(), all.clone(), all.clone()];
        for forward in &settings.forwards {
            let Some(address) = scheme.number_of(forward.external) else {
                continue;
            };
            let is_others = |port| {
                let host = scheme.host_of(forward.external, port);
                usable.contains(port) && !is_spare(port) && !host.map_or(is_first, has_host)
            };
            let count = forward.ports.clone().filter(|&port| is_others(port)).count();
            to_give[forward.protocol as usize][address] -= count as u32;
        }
        Self { all, to_give }
    }

    /// Those of a protocol that mappings are given at the address of this number.
    pub(super) fn at(&self, address: usize, protocol: Protocol) -> u32 {
        let counts = &self.to_give[protocol as usize];
        counts.get(address).copied().unwrap_or(0)
    }

    /// Those of all addresses, for each protocol.
    pub(super) fn count(&self) -> u64 {
        self.all.iter().map(|&count| u64::from(count)).sum()
    }
}
