//! The values of options.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net};

use super::line::{refuse, wrong};
use super::words::Word;
use crate::rules::chains::{Dimension, Refusal, Region, Spans};
use crate::rules::{AddressRange, Name};

/// How many values an option has, where that is known.
pub(super) fn arity(option: &str) -> Option<usize> {
    match option {
        "-f" | "--fragment" | "--syn" => Some(0),
        "--tcp-flags" => Some(2),
        "-s"
        | "--source"
        | "--src"
        | "-d"
        | "--destination"
        | "--dst"
        | "-p"
        | "--protocol"
        | "-i"
        | "--in-interface"
        | "-o"
        | "--out-interface"
        | "-m"
        | "--match"
        | "--sport"
        | "--source-port"
        | "--dport"
        | "--destination-port"
        | "--sports"
        | "--source-ports"
        | "--dports"
        | "--destination-ports"
        | "--ports"
        | "--icmp-type"
        | "--icmpv6-type"
        | "--ctstate"
        | "--state"
        | "--comment"
        | "--dscp"
        | "--dscp-class"
        | "--src-range"
        | "--dst-range" => Some(1),
        _ => None,
    }
}

/// Whether rules can ask for anything that a module of matches does.
pub(super) fn module(name: &Word) -> Result<(), Refusal> {
    const KNOWN: [&str; 16] = [
        "tcp",
        "udp",
        "udplite",
        "sctp",
        "dccp",
        "multiport",
        "icmp",
        "icmp6",
        "iprange",
        "conntrack",
        "state",
        "comment",
        "dscp",
        "addrtype",
        "standard",
        "icmpv6",
    ];
    match name.text.as_str() {
        known if KNOWN.contains(&known) => Ok(()),
        "limit" | "hashlimit" | "connlimit" | "recent" | "quota" | "statistic" => Err(refuse(
            name,
            format!(
                "rules do not limit or count; -m {} does (see [channel.limits] for what a nat channel limits)",
                name.text
            ),
        )),
        "set" => Err(refuse(
            name,
            "what is in an ipset is not in this file; expected its addresses, as rules or a named set",
        )),
        other => Err(refuse(
            name,
            format!("rules do not ask for what -m {other} asks for"),
        )),
    }
}

pub(super) fn port_region(side: Dimension, spans: Spans, not: bool) -> Region {
    let spans = if not {
        spans.complement(u16::MAX.into())
    } else {
        spans
    };
    Region::with_ports(side, spans)
}

pub(super) fn flags(mask: u8, set: u8, not: bool) -> Region {
    let taken = (0..=u8::MAX).filter(|flags| (flags & mask == set) != not);
    Region::with_header(
        Dimension::TcpFlags,
        Spans::new(taken.map(|flags| (flags.into(), flags.into()))),
    )
}

/// Flags by name, `ALL` or `NONE`.
pub(super) fn flag_names(word: &Word) -> Result<u8, Refusal> {
    let mut flags = 0;
    for name in word.text.split(',') {
        flags |= match name {
            "FIN" => 0x01,
            "SYN" => 0x02,
            "RST" => 0x04,
            "PSH" => 0x08,
            "ACK" => 0x10,
            "URG" => 0x20,
            "ALL" => 0x3f,
            "NONE" => 0,
            _ => {
                return Err(wrong(
                    word,
                    "some of FIN, SYN, RST, PSH, ACK and URG, or ALL or NONE",
                ));
            }
        };
    }
    Ok(flags)
}

pub(super) fn interface(word: &Word) -> Result<Name, Refusal> {
    if word.text.ends_with('+') {
        return Err(refuse(
            word,
            "stands for all interfaces whose names begin so; rules name them one by one; expected a rule for each",
        ));
    }
    if word.text.is_empty() || word.text.len() > 15 {
        return Err(wrong(word, "the name of an interface, 1 to 15 bytes"));
    }
    Ok(word.text.as_str().into())
}

/// An address, `ADDRESS/LENGTH` or `ADDRESS/MASK`.
pub(super) fn prefix(word: &Word) -> Result<AddressRange, Refusal> {
    let expected = || wrong(word, "an address, or one with a prefix length or mask");
    let Some((address, length)) = word.text.split_once('/') else {
        return word
            .text
            .parse::<IpAddr>()
            .map(AddressRange::from)
            .map_err(|_| expected());
    };
    let address: IpAddr = address.parse().map_err(|_| expected())?;
    let net = match (address, length.parse::<IpAddr>()) {
        (IpAddr::V4(address), Ok(IpAddr::V4(mask))) => match Ipv4Net::with_netmask(address, mask) {
            Ok(net) => net.into(),
            Err(_) => {
                return Err(refuse(
                    word,
                    "has a mask with holes; rules take prefixes and ranges",
                ));
            }
        },
        (IpAddr::V6(_), Ok(IpAddr::V6(mask))) => {
            let bits = mask.to_bits();
            if bits.leading_ones() + bits.trailing_zeros() < 128 {
                return Err(refuse(
                    word,
                    "has a mask with holes; rules take prefixes and ranges",
                ));
            }
            IpNet::new(address, bits.leading_ones() as u8).map_err(|_| expected())?
        }
        _ => IpNet::new(address, length.parse().map_err(|_| expected())?).map_err(|_| expected())?,
    };
    Ok(net.trunc().into())
}

/// `FIRST-LAST`, or an address.
pub(super) fn range(word: &Word) -> Result<AddressRange, Refusal> {
    word.text
        .parse()
        .map_err(|_| wrong(word, "FIRST-LAST, two addresses of one IP version"))
}

/// `PORT`, `FIRST:LAST`, or one of these without one end.
pub(super) fn ports(word: &Word) -> Result<Spans, Refusal> {
    one_port_range(word, &word.text)
}

pub(super) fn port_list(word: &Word) -> Result<Spans, Refusal> {
    let mut ranges = Vec::new();
    for text in word.text.split(',') {
        ranges.extend(one_port_range(word, text)?.iter());
    }
    Ok(Spans::new(ranges))
}

pub(super) fn one_port_range(word: &Word, text: &str) -> Result<Spans, Refusal> {
    let port = |text: &str, default: u16| match text {
        "" => Some(default),
        text => text.parse().ok(),
    };
    let ends = match text.split_once(':') {
        Some((first, last)) => port(first, 0).zip(port(last, u16::MAX)),
        None => text.parse().ok().map(|port: u16| (port, port)),
    };
    match ends {
        Some((first, last)) if first <= last => Ok(Spans::range(first.into(), last.into())),
        _ => Err(wrong(word, "PORT or FIRST:LAST, numbers 0 to 65535")),
    }
}
