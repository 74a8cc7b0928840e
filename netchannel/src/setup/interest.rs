//! What the XDP program is asked to redirect.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use ipnet::{IpNet, Ipv4Net};

use super::Layout;
use crate::channel::ChannelId;
use crate::config::{AddressRange, ChannelKind, Config, Role, Rule};
use crate::network::{Link, Links};
use crate::xdp::{ExternalPrefix, Interest, LogicalInterface};

/// Works out what user space wants: on inside interfaces what comes from the prefixes that they serve, everywhere what is sent to
/// the translators' external addresses and ports, and on outside interfaces, if a rule forwards, what is sent to the inside prefixes.
pub fn interest(
    config: &Config,
    layout: &Layout,
    links: &Links,
    claims: &[(ChannelId, Vec<Ipv4Addr>)],
) -> Interest {
    let sources = |name: &str| -> Vec<IpNet> {
        let prefixes = config
            .interface(name)
            .and_then(|interface| interface.prefixes.clone());
        prefixes.unwrap_or_else(|| links.by_name(name).map_or(Vec::new(), connected))
    };
    let inside: Vec<IpNet> = config
        .interfaces
        .iter()
        .filter(|interface| interface.role == Role::Inside)
        .flat_map(|interface| sources(&interface.name))
        .filter(|prefix| is_ruled(config, prefix))
        .collect();
    let forwards = config.rules.iter().any(|rule| {
        config
            .channel(&rule.channel)
            .is_some_and(|channel| channel.kind == ChannelKind::Forward)
    });
    let interfaces = layout.interfaces.iter().map(|(id, interface)| {
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
                .filter(|prefix| is_ruled(config, prefix))
                .collect();
        } else if forwards {
            wanted.destinations = inside.clone();
        }
        wanted.passes_flows = !wanted.destinations.is_empty() || may_pass(config, &wanted.sources);
        wanted
    });
    Interest {
        interfaces: interfaces.collect(),
        external: external(config, claims),
        local: links.local_addresses().chain(broadcasts(links)).collect(),
    }
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

/// Whether there are rules for the prefix's family: without any its packets would come here only to be passed back.
fn is_ruled(config: &Config, prefix: &IpNet) -> bool {
    config.rules.iter().any(|rule| match prefix {
        IpNet::V4(_) => rule.ipv4,
        IpNet::V6(_) => rule.ipv6,
    })
}

/// Whether packets from these prefixes may end in the channel `pass`: a rule says so, or they may match no rule.
fn may_pass(config: &Config, sources: &[IpNet]) -> bool {
    let takes_all = |rule: &&Rule| {
        rule.to.is_empty()
            && rule.protocols.is_empty()
            && rule.source_ports.is_empty()
            && rule.destination_ports.is_empty()
            && rule.fields.iter().all(Vec::is_empty)
    };
    let covered = |prefix: &IpNet| {
        config
            .rules
            .iter()
            .filter(takes_all)
            .any(|rule| rule.from.is_empty() || rule.from.iter().any(|range| covers(range, prefix)))
    };
    config.rules.iter().any(|rule| rule.channel == "pass") || !sources.iter().all(covered)
}

fn covers(range: &AddressRange, prefix: &IpNet) -> bool {
    range.contains(prefix.network()) && range.contains(prefix.broadcast())
}

fn external(config: &Config, claims: &[(ChannelId, Vec<Ipv4Addr>)]) -> Vec<ExternalPrefix> {
    let translators = config.channels.iter().filter_map(|channel| match &channel.kind {
        ChannelKind::Nat(nat) => Some(nat),
        ChannelKind::Forward | ChannelKind::Custom => None,
    });
    let ranges = |nat: &crate::config::Nat| -> Vec<RangeInclusive<u16>> {
        nat.ports.iter().map(|ports| ports.first..=ports.last).collect()
    };
    // Claims are made for the translators in their order.
    translators
        .zip(claims)
        .flat_map(|(nat, (_, addresses))| {
            let ports = ranges(nat);
            addresses.iter().map(move |&address| ExternalPrefix {
                prefix: Ipv4Net::from(address),
                ports: ports.clone(),
            })
        })
        .collect()
}
