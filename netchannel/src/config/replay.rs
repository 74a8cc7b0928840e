//! `[[replay.interface]]`: what the kernel would tell of an interface, when captures are replayed.

use std::collections::HashSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use ipnet::{IpNet, Ipv4Net, Ipv6Net};
use toml::Spanned;

use super::error::Source;
use super::interface::{Interface, KnownInterfaces, Role};
use super::schema;
use super::section::Section;
use super::value;
use crate::text::{one_of, quoted};

/// RFC 7600: the address to send ICMP errors from where there is none of one's own.
const DUMMY_IPV4: Ipv4Addr = Ipv4Addr::new(192, 0, 0, 8);

/// What the kernel would tell of an interface. Every interface of the configuration has one; what the file leaves
/// out is made up, the same each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReplayInterface {
    /// The name of the interface.
    pub name: String,
    /// Its Ethernet address; by default `02:00:00:00:00:01` for the first interface of the file, and so on.
    pub mac: [u8; 6],
    /// Its addresses, each with its prefix; not empty. By default, inside: the first host of each of its prefixes, or
    /// `192.0.0.8/32` if it has none; outside: `198.51.100.1/24` for the first interface of the file,
    /// `198.51.100.2/24` for the second, and so on.
    pub addresses: Vec<IpNet>,
    /// The sources whose packets are taken: the interface's `prefixes`, else the prefixes of `addresses` here, else
    /// the private ones (RFC 1918 and RFC 4193). Empty for an outside interface.
    pub prefixes: Vec<IpNet>,
    /// The longest IP packet, in bytes, 68 to 65,535; 1,500 by default.
    pub mtu: u32,
    /// The next hop for what is behind no interface; `None`: every address answers for itself.
    pub gateway: Option<IpAddr>,
    /// The Ethernet address that every next hop here has; by default `02:00:00:01:00:01` for the first interface of
    /// the file, and so on.
    pub neighbour_mac: [u8; 6],
}

pub(super) fn read(
    file: &Section<'_, '_>,
    interfaces: &[Interface],
    known: &KnownInterfaces,
    source: &mut Source<'_>,
) -> Vec<ReplayInterface> {
    let mut replayed: Vec<ReplayInterface> = interfaces
        .iter()
        .enumerate()
        .map(|(index, interface)| made_up(index, interface))
        .collect();
    let tables = file
        .table("replay", &schema::REPLAY, source)
        .map(|table| table.tables("interface", &schema::REPLAY_INTERFACE, source));
    let mut seen = HashSet::new();
    for table in tables.iter().flatten() {
        if table.value("name").is_none() {
            table.missing("name", "the name of an [[interface]]", source);
        }
        let name = table.string("name", "the name of an [[interface]]", source);
        if let Some(name) = &name {
            check_name(name, known, &mut seen, source);
        }
        let given = Given::read(table, source);
        let replay = name.and_then(|name| replayed.iter_mut().find(|replay| replay.name == *name.get_ref()));
        if let Some(replay) = replay {
            let interface = interfaces.iter().find(|interface| interface.name == replay.name);
            given.apply(replay, interface);
        }
    }
    replayed
}

fn check_name<'t>(
    name: &Spanned<&'t str>,
    known: &KnownInterfaces,
    seen: &mut HashSet<&'t str>,
    source: &mut Source<'_>,
) {
    let text = *name.get_ref();
    if !known.contains_key(text) {
        let mut names: Vec<&str> = known.keys().map(String::as_str).collect();
        names.sort_unstable();
        let expected = one_of(names.iter().take(20));
        let message = format!(
            "{} is not an [[interface]] of this file; expected {expected}",
            quoted(text)
        );
        source.error(&name.span(), "name", message);
    } else if !seen.insert(text) {
        source.error(
            &name.span(),
            "name",
            format!("{} is here twice; expected each interface once", quoted(text)),
        );
    }
}

/// What one table says; the rest stays made up.
struct Given {
    mac: Option<[u8; 6]>,
    addresses: Option<Vec<IpNet>>,
    mtu: u32,
    gateway: Option<IpAddr>,
    neighbour_mac: Option<[u8; 6]>,
}

impl Given {
    fn read(table: &Section<'_, '_>, source: &mut Source<'_>) -> Self {
        const EXPECTED: &str = "an address with its prefix length, such as \"10.0.0.1/24\"";
        let addresses = table.list("addresses", EXPECTED, source, |address| {
            value::interface_address(address, EXPECTED)
        });
        Given {
            mac: one(table, "mac", value::mac, source),
            addresses: addresses.map(|list| list.into_iter().map(Spanned::into_inner).collect()),
            mtu: table.number("mtu", 1_500, 68..=65_535, source),
            gateway: one(table, "gateway", value::address, source),
            neighbour_mac: one(table, "neighbour_mac", value::mac, source),
        }
    }

    fn apply(self, replay: &mut ReplayInterface, interface: Option<&Interface>) {
        replay.mac = self.mac.unwrap_or(replay.mac);
        replay.mtu = self.mtu;
        replay.gateway = self.gateway;
        replay.neighbour_mac = self.neighbour_mac.unwrap_or(replay.neighbour_mac);
        if let Some(addresses) = self.addresses {
            if interface
                .is_some_and(|interface| interface.role == Role::Inside && interface.prefixes.is_none())
            {
                replay.prefixes = addresses.iter().map(IpNet::trunc).collect();
            }
            replay.addresses = addresses;
        }
    }
}

fn one<T>(
    table: &Section<'_, '_>,
    key: &str,
    take: impl Fn(&toml::de::DeValue<'_>) -> Result<T, String>,
    source: &mut Source<'_>,
) -> Option<T> {
    let value = table.value(key)?;
    match take(value.get_ref()) {
        Ok(taken) => Some(taken),
        Err(message) => {
            source.error(&value.span(), key, message);
            None
        }
    }
}

fn made_up(index: usize, interface: &Interface) -> ReplayInterface {
    let [high, low] = u16::try_from(index + 1).unwrap_or(u16::MAX).to_be_bytes();
    let prefixes = match interface.role {
        Role::Inside => interface.prefixes.clone().unwrap_or_else(private_prefixes),
        Role::Outside => Vec::new(),
    };
    let addresses = match (interface.role, &interface.prefixes) {
        (Role::Inside, Some(own)) => own.iter().map(first_host).collect(),
        (Role::Inside, None) => vec![IpAddr::V4(DUMMY_IPV4).into()],
        (Role::Outside, _) => vec![outside_address(low)],
    };
    ReplayInterface {
        name: interface.name.clone(),
        mac: [2, 0, 0, 0, high, low],
        addresses,
        prefixes,
        mtu: 1_500,
        gateway: None,
        neighbour_mac: [2, 0, 0, 1, high, low],
    }
}

fn outside_address(number: u8) -> IpNet {
    Ipv4Net::new_assert(Ipv4Addr::new(198, 51, 100, number), 24).into()
}

fn private_prefixes() -> Vec<IpNet> {
    let private_ipv4 = [([10, 0, 0, 0], 8), ([172, 16, 0, 0], 12), ([192, 168, 0, 0], 16)];
    let ipv4 =
        private_ipv4.map(|(address, length)| Ipv4Net::new_assert(Ipv4Addr::from(address), length).into());
    let unique_local = Ipv6Net::new_assert(Ipv6Addr::new(0xfc00, 0, 0, 0, 0, 0, 0, 0), 7);
    ipv4.into_iter().chain([unique_local.into()]).collect()
}

/// The first address of a prefix that a host can have, with the prefix.
fn first_host(prefix: &IpNet) -> IpNet {
    match prefix {
        IpNet::V4(prefix) if prefix.prefix_len() < 31 => {
            let first = Ipv4Addr::from(u32::from(prefix.network()) + 1);
            Ipv4Net::new_assert(first, prefix.prefix_len()).into()
        }
        IpNet::V6(prefix) if prefix.prefix_len() < 127 => {
            let first = Ipv6Addr::from(u128::from(prefix.network()) + 1);
            Ipv6Net::new_assert(first, prefix.prefix_len()).into()
        }
        prefix => *prefix,
    }
}
