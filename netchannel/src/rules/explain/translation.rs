//! What a translator would do with a packet, as far as its configuration tells.

use std::net::{IpAddr, Ipv4Addr};
use std::ops::RangeInclusive;

use super::flow::Flow;
use crate::channel::nat::Protocol;
use crate::config::{ChannelKind, Config, External, Nat};
use crate::setup;

/// What the translator of this name would do, in sentences; nothing if the channel is no translator.
pub fn translation(config: &Config, channel: &str, flow: &Flow) -> Vec<String> {
    let kind = config.channel(channel).map(|channel| &channel.kind);
    let (Some(ChannelKind::Nat(nat)), IpAddr::V4(source), IpAddr::V4(destination)) =
        (kind, flow.source, flow.destination)
    else {
        return Vec::new();
    };
    let protocol = match flow.protocol {
        6 => Some(Protocol::Tcp),
        17 => Some(Protocol::Udp),
        1 => Some(Protocol::Icmp),
        _ => None,
    };
    inbound(nat, protocol, destination, flow.destination_port)
        .unwrap_or_else(|| outbound(config, channel, nat, protocol, source, flow))
}

/// What is sent to an external address.
fn inbound(nat: &Nat, protocol: Option<Protocol>, destination: Ipv4Addr, port: u16) -> Option<Vec<String>> {
    for one in &nat.one_to_one {
        if let Some(place) = place(&one.external, destination) {
            let inside = Ipv4Addr::from_bits(one.inside.to_bits() + place);
            return Some(vec![format!(
                "the destination becomes {inside}, for which {destination} stands (one_to_one)"
            )]);
        }
    }
    let first = nat.external.iter().find_map(|external| match external {
        External::Addresses(first, _) => Some(*first),
        External::Interface(_) => None,
    });
    let forwarded = nat.forwards.iter().find(|forward| {
        forward.external.or(first) == Some(destination)
            && forward.ports.contains(port)
            && protocol.is_some_and(|protocol| forward.protocols.contains(&protocol))
    });
    if let Some(forward) = forwarded {
        let to_port = forward.to_port + (port - forward.ports.first);
        return Some(vec![format!(
            "the destination becomes {}:{to_port} (forward)",
            forward.to
        )]);
    }
    let is_external = nat.external.iter().any(|external| match external {
        External::Addresses(first, last) => (first..=last).contains(&&destination),
        External::Interface(_) => false,
    });
    is_external.then(|| {
        vec![format!(
            "let in only if an inside host has a mapping for {destination}:{port}, and its filtering lets in the source: see netchannel \
             show mappings"
        )]
    })
}

/// What inside hosts send.
fn outbound(
    config: &Config,
    channel: &str,
    nat: &Nat,
    protocol: Option<Protocol>,
    source: Ipv4Addr,
    flow: &Flow,
) -> Vec<String> {
    for one in &nat.one_to_one {
        let count = one.external.end().to_bits() - one.external.start().to_bits();
        let last = one.inside.to_bits().saturating_add(count);
        if let Some(place) = place(&(one.inside..=Ipv4Addr::from_bits(last)), source) {
            let external = Ipv4Addr::from_bits(one.external.start().to_bits() + place);
            return vec![format!(
                "the source becomes {external}, which stands for {source} (one_to_one); ports stay"
            )];
        }
    }
    let Some(protocol) = protocol else {
        return vec!["dropped: only TCP, UDP and ICMP are translated".to_owned()];
    };
    let port = flow.source_port;
    for forward in &nat.forwards {
        let count = forward.ports.last - forward.ports.first;
        if forward.to == source
            && forward.protocols.contains(&protocol)
            && (forward.to_port..=forward.to_port.saturating_add(count)).contains(&port)
        {
            let external = forward.ports.first + (port - forward.to_port);
            let address = forward.external.map_or_else(
                || "the first external address".to_owned(),
                |address| address.to_string(),
            );
            return vec![format!("the source becomes {address}, port {external} (forward)")];
        }
    }
    if nat.deterministic.is_some() {
        let schemes = setup::port_schemes(config).unwrap_or_default();
        let scheme = schemes.iter().find(|(name, _)| *name == channel);
        return vec![match scheme.and_then(|(_, scheme)| scheme.ports_of(source)) {
            Some(host) => format!(
                "the source becomes {}, a port of {}-{}, which are {source}'s (deterministic)",
                host.address,
                host.ports.start(),
                host.ports.end()
            ),
            None => format!("dropped: {source} is none of the hosts that have ports (deterministic)"),
        }];
    }
    let external: Vec<String> = nat
        .external
        .iter()
        .map(|external| match external {
            External::Interface(name) => format!("{name}'s address"),
            External::Addresses(first, last) if first == last => first.to_string(),
            External::Addresses(first, last) => format!("{first}-{last}"),
        })
        .collect();
    let ports: Vec<String> = nat.ports.iter().map(ToString::to_string).collect();
    let which = match (nat.blocks.is_some(), nat.preserve_ports) {
        (true, _) => format!("one of its block of ports, of {}", ports.join(", ")),
        (false, true) if flow.protocol != 1 => {
            format!("{port} if it is free, else one of {}, by lot", ports.join(", "))
        }
        _ => format!("one of {}, by lot", ports.join(", ")),
    };
    let what = if protocol == Protocol::Icmp {
        "identifier"
    } else {
        "port"
    };
    vec![
        format!("the source becomes {}; the {what} {which}", external.join(", ")),
        format!(
            "unless {source} has a mapping for it already: see netchannel show mappings --inside {source}"
        ),
    ]
}

/// The place of an address in a range.
fn place(range: &RangeInclusive<Ipv4Addr>, address: Ipv4Addr) -> Option<u32> {
    range
        .contains(&address)
        .then(|| address.to_bits() - range.start().to_bits())
}
