//! The external addresses of a translator: of interfaces, or by number.

use std::net::Ipv4Addr;

use toml::Spanned;
use toml::de::DeValue;

use super::super::error::Source;
use super::super::interface::{KnownInterfaces, Role};
use super::super::section::{Section, describe};
use super::super::value;
use crate::channel::nat::MOST_ADDRESSES;
use crate::rules::AddressRange;
use crate::text::{one_of, quoted};

const EXPECTED: &str =
    "the name of an outside interface, an IPv4 address, a prefix or a range \"FIRST-LAST\"";

/// Where external addresses come from.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum External {
    /// The first IPv4 address of this outside interface.
    Interface(String),
    /// These addresses, the first and the last one included.
    Addresses(Ipv4Addr, Ipv4Addr),
}

impl External {
    /// Whether two may have an address in common.
    pub(super) fn overlaps(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Interface(a), Self::Interface(b)) => a == b,
            (Self::Addresses(first, last), Self::Addresses(other_first, other_last)) => {
                first <= other_last && other_first <= last
            }
            _ => false,
        }
    }
}

/// The key `external`: one or a list, nothing twice. `None` if something is wrong with it.
pub(super) fn read(
    table: &Section<'_, '_>,
    interfaces: &KnownInterfaces,
    source: &mut Source<'_>,
) -> Option<Vec<External>> {
    if table.value("external").is_none() {
        let message = format!("a nat channel needs external addresses; expected {EXPECTED}, or a list");
        source.error(&table.span, "external", message);
        return None;
    }
    let given = table.list("external", EXPECTED, source, |item| one(item, interfaces))?;
    let mut count: u64 = 0;
    for (number, external) in given.iter().enumerate() {
        let earlier = given[..number]
            .iter()
            .find(|earlier| earlier.get_ref().overlaps(external.get_ref()));
        if earlier.is_some() {
            let message = "holds an address that is here already; expected each address once";
            source.error(&external.span(), "external", message);
        }
        count += match external.get_ref() {
            External::Interface(_) => 1,
            External::Addresses(first, last) => u64::from(last.to_bits() - first.to_bits()) + 1,
        };
    }
    if count > u64::from(MOST_ADDRESSES) {
        let message = format!("{count} addresses are too many; expected at most {MOST_ADDRESSES}");
        source.error(&table.span, "external", message);
    }
    (!given.is_empty()).then(|| given.into_iter().map(Spanned::into_inner).collect())
}

fn one(item: &DeValue<'_>, interfaces: &KnownInterfaces) -> Result<External, String> {
    let found = describe(item);
    let Some(text) = item.as_str() else {
        return Err(format!("found {found}; expected {EXPECTED}"));
    };
    match (interfaces.get(text), value::addresses(item)) {
        (Some(Some(Role::Outside) | None), _) => Ok(External::Interface(text.to_owned())),
        (Some(Some(Role::Inside)), _) => Err(format!(
            "{} is an inside interface; expected {}",
            quoted(text),
            outside(interfaces)
        )),
        (None, Ok(AddressRange::V4(first, last))) => {
            for address in [first, last] {
                value::check_unicast(address)
                    .map_err(|why| format!("{found} {why}; expected addresses of this host"))?;
            }
            Ok(External::Addresses(first, last))
        }
        (None, Ok(AddressRange::V6(..))) => Err(format!(
            "{found} is IPv6, which nat does not translate; expected {EXPECTED}"
        )),
        (None, Err(message)) if text.starts_with(|c: char| c.is_ascii_digit()) => Err(message),
        (None, Err(_)) => Err(format!(
            "{} is not an [[interface]] of this file; expected {}",
            quoted(text),
            outside(interfaces)
        )),
    }
}

/// Which interfaces there are to name.
fn outside(interfaces: &KnownInterfaces) -> String {
    let outside = interfaces
        .iter()
        .filter(|(_, role)| **role == Some(Role::Outside));
    let mut outside: Vec<&str> = outside.map(|(name, _)| name.as_str()).collect();
    outside.sort_unstable();
    if outside.is_empty() {
        "an [[interface]] with role = \"outside\"".to_owned()
    } else {
        format!("an outside one: {}", one_of(outside))
    }
}
