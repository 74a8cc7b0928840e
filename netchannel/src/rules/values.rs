//! The values that rules name, and how all notations write them: addresses, ports, protocols, TCP flags, numbers of further fields.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use ipnet::IpNet;

use crate::dispatch::TCP_FLAGS;
use crate::text::quoted;

/// Text is not the value that was expected; says what was found and what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct WrongValue(pub String);

/// Addresses of one family, first to last, both included; the first is not above the last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AddressRange {
    /// IPv4 addresses.
    V4(Ipv4Addr, Ipv4Addr),
    /// IPv6 addresses.
    V6(Ipv6Addr, Ipv6Addr),
}

impl AddressRange {
    /// Whether these are IPv4 addresses.
    pub fn is_ipv4(&self) -> bool {
        matches!(self, AddressRange::V4(..))
    }

    /// Whether an address is in the range.
    pub fn contains(&self, address: IpAddr) -> bool {
        match (self, address) {
            (AddressRange::V4(first, last), IpAddr::V4(address)) => (first..=last).contains(&&address),
            (AddressRange::V6(first, last), IpAddr::V6(address)) => (first..=last).contains(&&address),
            _ => false,
        }
    }

    /// The prefix that the range is, if it is one.
    pub fn prefix(&self) -> Option<IpNet> {
        let length = |free: u128, first: u128, width: u32| {
            let is_prefix = free & free.wrapping_add(1) == 0 && first & free == 0;
            is_prefix.then_some((width - (u128::BITS - free.leading_zeros())) as u8)
        };
        match *self {
            AddressRange::V4(first, last) => {
                let free = u128::from(first.to_bits() ^ last.to_bits());
                let length = length(free, first.to_bits().into(), 32)?;
                IpNet::new(first.into(), length).ok()
            }
            AddressRange::V6(first, last) => {
                let length = length(first.to_bits() ^ last.to_bits(), first.to_bits(), 128)?;
                IpNet::new(first.into(), length).ok()
            }
        }
    }
}

impl From<IpNet> for AddressRange {
    fn from(prefix: IpNet) -> Self {
        match prefix {
            IpNet::V4(prefix) => AddressRange::V4(prefix.network(), prefix.broadcast()),
            IpNet::V6(prefix) => AddressRange::V6(prefix.network(), prefix.broadcast()),
        }
    }
}

impl From<IpAddr> for AddressRange {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(address) => AddressRange::V4(address, address),
            IpAddr::V6(address) => AddressRange::V6(address, address),
        }
    }
}

/// An address, a prefix where the range is one, or `FIRST-LAST`.
impl fmt::Display for AddressRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AddressRange::V4(first, last) if first == last => write!(f, "{first}"),
            AddressRange::V6(first, last) if first == last => write!(f, "{first}"),
            _ => match (self.prefix(), self) {
                (Some(prefix), _) => write!(f, "{prefix}"),
                (None, AddressRange::V4(first, last)) => write!(f, "{first}-{last}"),
                (None, AddressRange::V6(first, last)) => write!(f, "{first}-{last}"),
            },
        }
    }
}

/// What stands for addresses.
pub(crate) const ADDRESSES_EXPECTED: &str = "a prefix, an address or a range \"FIRST-LAST\"";
/// What stands for a prefix.
pub(crate) const PREFIX_EXPECTED: &str = "a prefix, such as \"10.0.0.0/24\"";

impl FromStr for AddressRange {
    type Err = WrongValue;

    fn from_str(text: &str) -> Result<Self, WrongValue> {
        if text.contains('/') {
            return prefix(text).map(AddressRange::from).map_err(WrongValue);
        }
        let parse = |text: &str| {
            let text = text.trim();
            text.parse::<IpAddr>().map_err(|_| {
                WrongValue(format!(
                    "{} is not an address; expected {ADDRESSES_EXPECTED}",
                    quoted(text)
                ))
            })
        };
        let Some((first, last)) = text.split_once('-') else {
            return parse(text).map(AddressRange::from);
        };
        match (parse(first)?, parse(last)?) {
            (first, last) if first.is_ipv4() == last.is_ipv4() && first > last => Err(WrongValue(format!(
                "{} runs backwards; expected \"{last}-{first}\"",
                quoted(text)
            ))),
            (IpAddr::V4(first), IpAddr::V4(last)) => Ok(AddressRange::V4(first, last)),
            (IpAddr::V6(first), IpAddr::V6(last)) => Ok(AddressRange::V6(first, last)),
            _ => Err(WrongValue(format!(
                "{} mixes IPv4 and IPv6; expected one of them at both ends",
                quoted(text)
            ))),
        }
    }
}

/// A prefix without host bits.
pub(crate) fn prefix(text: &str) -> Result<IpNet, String> {
    let prefix = interface_address(text, PREFIX_EXPECTED)?;
    if prefix.addr() == prefix.network() {
        return Ok(prefix);
    }
    let (meant, address) = (prefix.trunc(), prefix.addr());
    Err(format!(
        "{} has host bits set; expected the prefix \"{meant}\", or \"{address}/{}\" for the one address",
        quoted(text),
        prefix.max_prefix_len()
    ))
}

/// An address with the length of its prefix.
pub(crate) fn interface_address(text: &str, expected: &str) -> Result<IpNet, String> {
    let wrong = |why: String| format!("{} {why}; expected {expected}", quoted(text));
    if let Ok(prefix) = text.parse() {
        return Ok(prefix);
    }
    match text.split_once('/') {
        None if text.parse::<IpAddr>().is_ok() => {
            let longest = if text.contains(':') { 128 } else { 32 };
            Err(format!(
                "{} has no prefix length; expected for example \"{text}/{longest}\"",
                quoted(text)
            ))
        }
        Some((address, length)) if address.parse::<IpAddr>().is_ok() => {
            let longest = if address.contains(':') { 128 } else { 32 };
            Err(wrong(format!(
                "has the prefix length {}, which is not 0 to {longest}",
                quoted(length)
            )))
        }
        _ => Err(wrong("is not a prefix".to_owned())),
    }
}

/// TCP or UDP ports, or ICMP identifiers, `first` to `last`, both included; `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PortRange {
    /// The lowest port.
    pub first: u16,
    /// The highest port.
    pub last: u16,
}

impl PortRange {
    /// Every port.
    pub const ANY: PortRange = PortRange {
        first: 0,
        last: u16::MAX,
    };

    /// How many ports, 1 to 65536.
    pub fn count(&self) -> u32 {
        u32::from(self.last) - u32::from(self.first) + 1
    }

    /// Whether a port is in the range.
    pub fn contains(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    /// Whether two ranges share a port.
    pub fn overlaps(&self, other: &PortRange) -> bool {
        self.first <= other.last && other.first <= self.last
    }
}

impl fmt::Display for PortRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.first == self.last {
            write!(f, "{}", self.first)
        } else {
            write!(f, "{}-{}", self.first, self.last)
        }
    }
}

/// What stands for ports.
pub(crate) const PORTS_EXPECTED: &str = "\"LOW-HIGH\" or a port, 0 to 65535";

impl FromStr for PortRange {
    type Err = WrongValue;

    fn from_str(text: &str) -> Result<Self, WrongValue> {
        let port = |text: &str| {
            let text = text.trim();
            let digits = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u16>().ok()).flatten()
        };
        let ends = match text.split_once('-') {
            None => port(text).map(|port| (port, port)),
            Some((first, last)) => port(first).zip(port(last)),
        };
        let (first, last) = ends.ok_or_else(|| {
            WrongValue(format!(
                "{} is not a port range; expected {PORTS_EXPECTED}",
                quoted(text)
            ))
        })?;
        if first > last {
            return Err(WrongValue(format!(
                "{} runs backwards; expected \"{last}-{first}\"",
                quoted(text)
            )));
        }
        Ok(PortRange { first, last })
    }
}

/// ICMP for IPv4.
pub const ICMP: u8 = 1;
/// ICMP for IPv6.
pub const ICMPV6: u8 = 58;

/// Protocols that have ports at the start of their header, so that a rule may ask for ports.
pub const WITH_PORTS: [u8; 5] = [6, 17, 33, 132, 136];

/// Names of IANA's protocol numbers that rules may use; any other is given as a number.
pub const PROTOCOLS: [(&str, u8); 12] = [
    ("icmp", ICMP),
    ("igmp", 2),
    ("ipip", 4),
    ("tcp", 6),
    ("udp", 17),
    ("dccp", 33),
    ("gre", 47),
    ("esp", 50),
    ("ah", 51),
    ("icmpv6", ICMPV6),
    ("sctp", 132),
    ("udplite", 136),
];

/// A protocol by name, whatever its case, or number.
///
/// # Errors
/// If there is none of this name.
pub fn parse_protocol(text: &str) -> Result<u8, WrongValue> {
    let named = PROTOCOLS
        .iter()
        .find(|(name, _)| name.eq_ignore_ascii_case(text))
        .map(|(_, number)| *number);
    named.or_else(|| text.parse().ok()).ok_or_else(|| {
        let names: Vec<&str> = PROTOCOLS.iter().map(|(name, _)| *name).collect();
        WrongValue(format!(
            "{} is not a protocol; expected one of {}, or a number, 0 to 255",
            quoted(text),
            names.join(", ")
        ))
    })
}

/// The protocol's name; its number if it has none.
pub fn protocol_name(protocol: u8) -> String {
    let named = PROTOCOLS.iter().find(|(_, number)| *number == protocol);
    named.map_or_else(|| protocol.to_string(), |(name, _)| (*name).to_owned())
}

/// Values of a field as they stand in a classifier's key, `first` to `last`, both included; `first <= last`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FieldRange {
    /// The lowest value.
    pub first: u32,
    /// The highest value.
    pub last: u32,
}

impl FieldRange {
    /// One value.
    pub fn exact(value: u32) -> Self {
        Self {
            first: value,
            last: value,
        }
    }
}

/// TCP flags that must be set, of those that are looked at; bits as in the TCP header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FlagMatch {
    /// Those that are set; none outside of `mask`.
    pub set: u8,
    /// Those that are looked at.
    pub mask: u8,
}

impl FlagMatch {
    /// Whether a header with these flags is meant.
    pub fn takes(&self, flags: u8) -> bool {
        flags & self.mask == self.set
    }
}

/// `SET/MASK`, or `SET` alone for `SET/SET`.
impl fmt::Display for FlagMatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |flags: u8| {
            let names = TCP_FLAGS.iter().filter(|(_, bit)| flags & bit != 0);
            names.map(|(name, _)| *name).collect::<Vec<_>>().join(",")
        };
        match (self.set, self.mask) {
            (0, u8::MAX) => f.write_str("none/all"),
            (0, mask) => write!(f, "none/{}", names(mask)),
            (set, u8::MAX) => write!(f, "{}/all", names(set)),
            (set, mask) if set == mask => f.write_str(&names(set)),
            (set, mask) => write!(f, "{}/{}", names(set), names(mask)),
        }
    }
}

/// `SET/MASK`: of the flags in MASK those in SET are set, and the others are not. `SET` alone is `SET/SET`.
impl FromStr for FlagMatch {
    type Err = WrongValue;

    fn from_str(text: &str) -> Result<Self, WrongValue> {
        let lower = text.to_ascii_lowercase();
        let (set, mask) = lower.split_once('/').unwrap_or((&lower, &lower));
        let set = match set.trim() {
            "none" if lower.contains('/') => 0,
            set => flags(set)?,
        };
        let mask = match mask.trim() {
            "all" => u8::MAX,
            mask => flags(mask)?,
        };
        if set & !mask != 0 {
            return Err(WrongValue(format!(
                "{} wants flags set that are not behind the slash; expected all of them there, as in \"syn/syn,ack\"",
                quoted(text)
            )));
        }
        Ok(FlagMatch { set, mask })
    }
}

/// Names of flags, one at least.
fn flags(text: &str) -> Result<u8, WrongValue> {
    let mut flags = 0;
    for word in text.split(',').map(str::trim) {
        let Some((_, bit)) = TCP_FLAGS.iter().find(|(name, _)| *name == word) else {
            let names: Vec<&str> = TCP_FLAGS.iter().map(|(name, _)| *name).collect();
            return Err(WrongValue(format!(
                "{} is not a TCP flag; expected some of {}, as in \"syn/syn,ack\", or \"none\" before the slash or \
                 \"all\" behind it",
                quoted(word),
                names.join(", ")
            )));
        };
        flags |= bit;
    }
    Ok(flags)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_written_as_they_are_read() {
        for text in [
            "10.0.0.0/24",
            "10.0.0.7",
            "10.0.0.7-10.0.1.9",
            "2001:db8::/127",
            "::/0",
            "0.0.0.0/0",
        ] {
            let range: AddressRange = text.parse().unwrap();
            assert_eq!(range.to_string(), text);
        }
        for text in ["80", "1000-2000"] {
            let range: PortRange = text.parse().unwrap();
            assert_eq!(range.to_string(), text);
        }
        for text in ["syn/syn,ack", "syn", "none/all", "syn,ack/all", "none/rst,fin"] {
            let flags: FlagMatch = text.parse().unwrap();
            assert_eq!(flags.to_string(), text);
        }
        assert_eq!(parse_protocol("TCP"), Ok(6));
        assert_eq!(
            (protocol_name(6), protocol_name(89)),
            ("tcp".to_owned(), "89".to_owned())
        );
    }
}
