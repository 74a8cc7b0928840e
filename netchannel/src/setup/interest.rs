//! What the XDP program is asked to redirect.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr};

use ipnet::{IpNet, Ipv4Net, Ipv4Subnets};

use super::{Claim, Layout};
use crate::config::{self, ChannelKind, Config, Role};
use crate::interface::Interface;
use crate::network::{Link, Links};
use crate::rules::{AddressRange, Families, Rule};
use crate::xdp::{ExternalPrefix, Interest, LogicalInterface};

/// Works out what user space wants: on inside interfaces what comes from the prefixes that they serve, everywhere what is sent to
/// the translators' external addresses and ports, and on outside interfaces, if a rule forwards, what is sent to the inside prefixes.
/// Of interfaces that are not there, nothing.
pub fn interest<'r>(
    config: &Config,
    rules: impl Iterator<Item = &'r Rule> + Clone,
    layout: &Layout,
    links: &Links,
    claims: &[Claim],
) -> Interest {
    let ruled = Ruled::by(config, rules.clone());
    let sources = |name: &str| -> Vec<IpNet> {
        config.interface(name).map_or(Vec::new(), |interface| {
            served(interface, layout.link(name, links))
        })
    };
    let inside: Vec<IpNet> = config
        .interfaces
        .iter()
        .filter(|interface| interface.role == Role::Inside)
        .flat_map(|interface| sources(&interface.name))
        .filter(|prefix| ruled.are_ruled(prefix))
        .collect();
    let forwards = rules.clone().any(|rule| {
        config
            .channel(&rule.channel)
            .is_some_and(|channel| channel.kind == ChannelKind::Forward)
    });
    let whole: Vec<Ipv4Net> = claims
        .iter()
        .filter(|claim| claim.is_whole)
        .flat_map(|claim| Ipv4Subnets::new(*claim.addresses.start(), *claim.addresses.end(), 0))
        .collect();
    let is_there = |interface: &Interface| {
        let device = &layout.devices[usize::from(interface.port.0)];
        links.get(interface.index).is_some() && links.get(device.index).is_some()
    };
    let present = layout
        .interfaces
        .iter()
        .filter(|(_, interface)| is_there(interface));
    let interfaces = present.map(|(id, interface)| {
        let is_inside = interface.role == Role::Inside;
        let mut wanted = LogicalInterface {
            device: layout.devices[usize::from(interface.port.0)].name.clone(),
            outer_vlan: interface.vlan.outer,
            inner_vlan: interface.vlan.inner,
            id: u32::from(id.0),
            sources: Vec::new(),
            destinations: Vec::new(),
            passes_flows: false,
        };
        if is_inside {
            wanted.sources = sources(&interface.name)
                .into_iter()
                .filter(|prefix| ruled.are_ruled(prefix))
                .collect();
        } else if forwards {
            wanted.destinations = inside.clone();
        }
        let forwarded = !wanted.destinations.is_empty();
        wanted.destinations.extend(whole.iter().copied().map(IpNet::V4));
        wanted.passes_flows = forwarded || may_pass(rules.clone(), &wanted.sources);
        wanted
    });
    Interest {
        interfaces: interfaces.collect(),
        external: external(claims),
        local: links.local_addresses().chain(broadcasts(links)).collect(),
    }
}

/// The prefixes of an inside interface: those that the configuration has, else those that its link is connected to.
pub(super) fn served(interface: &config::Interface, link: Option<&Link>) -> Vec<IpNet> {
    let connected = || link.map_or(Vec::new(), connected);
    interface.prefixes.clone().unwrap_or_else(connected)
}

/// The prefixes of a link's addresses, link-local ones apart.
fn connected(link: &Link) -> Vec<IpNet> {
    let routable = |address: &&IpNet| match address {
        IpNet::V4(v4) => !v4.addr().is_link_local(),
        IpNet::V6(v6) => !v6.addr().is_unicast_link_local(),
    };
    link.addresses.iter().filter(routable).map(IpNet::trunc).collect()
}

/// The broadcast addresses of the links' IPv4 prefixes.
fn broadcasts(links: &Links) -> impl Iterator<Item = IpAddr> {
    let addresses = links.iter().flat_map(|link| &link.addresses);
    addresses
        .filter(|address| address.addr().is_ipv4())
        .map(IpNet::broadcast)
}

/// The families that there are rules for: without any, packets would come here only to be passed back.
struct Ruled(Families);

impl Ruled {
    fn by<'r>(config: &Config, rules: impl Iterator<Item = &'r Rule>) -> Self {
        let mut ruled = Families {
            ipv4: false,
            ipv6: false,
        };
        for rule in rules {
            let families = super::families(config, rule);
            ruled.ipv4 |= families.ipv4;
            ruled.ipv6 |= families.ipv6;
        }
        Self(ruled)
    }

    fn are_ruled(&self, prefix: &IpNet) -> bool {
        match prefix {
            IpNet::V4(_) => self.0.ipv4,
            IpNet::V6(_) => self.0.ipv6,
        }
    }
}

/// Whether packets from these prefixes may end in the channel `pass`: a rule says so, or they may match no rule.
fn may_pass<'r>(rules: impl Iterator<Item = &'r Rule> + Clone, sources: &[IpNet]) -> bool {
    let takes_all = |rule: &&Rule| {
        rule.to.is_any()
            && rule.protocols.is_empty()
            && rule.source_ports.is_any()
            && rule.destination_ports.is_any()
            && rule.interfaces.is_empty()
            && rule.tcp_flags.is_empty()
            && rule.fields.is_empty()
    };
    let covered = |prefix: &IpNet| {
        let mut rules = rules.clone().filter(takes_all);
        rules.any(|rule| rule.from.is_any() || rule.from.iter().any(|range| covers(range, prefix)))
    };
    rules.clone().any(|rule| *rule.channel == *"pass") || !sources.iter().all(covered)
}

fn covers(range: &AddressRange, prefix: &IpNet) -> bool {
    range.contains(prefix.network()) && range.contains(prefix.broadcast())
}

/// The claimed addresses as prefixes. The ports of the longest prefix count, so none of them may lie in another one: ranges that overlap are
/// cut where another one starts or ends.
fn external(claims: &[Claim]) -> Vec<ExternalPrefix> {
    let bounds = |claim: &Claim| {
        let (first, last) = (claim.addresses.start().to_bits(), claim.addresses.end().to_bits());
        (u64::from(first), u64::from(last) + 1)
    };
    let claims: Vec<&Claim> = claims.iter().filter(|claim| !claim.is_whole).collect();
    let cuts: BTreeSet<u64> = claims
        .iter()
        .map(|claim| bounds(claim))
        .flat_map(|(first, end)| [first, end])
        .collect();
    let mut prefixes = Vec::new();
    for claim in claims {
        let (first, end) = bounds(claim);
        let ends = cuts.range(first + 1..=end);
        let mut first = first;
        for &end in ends {
            let addresses = |bits: u64| Ipv4Addr::from_bits(bits as u32);
            for prefix in Ipv4Subnets::new(addresses(first), addresses(end - 1), 0) {
                prefixes.push(ExternalPrefix {
                    prefix,
                    ports: claim.ports.clone(),
                });
            }
            first = end;
        }
    }
    prefixes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::channel::ChannelId;
    use std::ops::RangeInclusive;

    fn claim(first: u8, last: u8, ports: RangeInclusive<u16>) -> Claim {
        Claim {
            channel: ChannelId(2),
            name: String::new(),
            addresses: Ipv4Addr::new(192, 0, 2, first)..=Ipv4Addr::new(192, 0, 2, last),
            ports: vec![ports],
            is_whole: false,
            interface: None,
        }
    }

    #[test]
    fn prefixes_of_claims_do_not_lie_in_each_other() {
        let claims = [claim(0, 5, 1..=9), claim(4, 4, 20..=29)];
        let found: Vec<String> = external(&claims)
            .iter()
            .map(|external| format!("{} {:?}", external.prefix, external.ports))
            .collect();
        assert_eq!(
            found,
            [
                "192.0.2.0/30 [1..=9]",
                "192.0.2.4/32 [1..=9]",
                "192.0.2.5/32 [1..=9]",
                "192.0.2.4/32 [20..=29]"
            ]
        );
    }
}
