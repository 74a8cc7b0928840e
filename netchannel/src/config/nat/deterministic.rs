//! `[channel.deterministic]`: ports of its own for each inside host.

use super::super::error::Source;
use super::super::schema;
use super::super::section::Section;
use super::super::value;
use super::external::External;
use crate::channel::nat::Deterministic;
use crate::rules::AddressRange;

const INSIDE_EXPECTED: &str = "an IPv4 prefix, an address or a range \"FIRST-LAST\"";

pub(super) fn read(
    table: &Section<'_, '_>,
    external: Option<&[External]>,
    source: &mut Source<'_>,
) -> Option<Deterministic> {
    let channel = table;
    let table = table.table("deterministic", &schema::DETERMINISTIC, source)?;
    let by_name = |external: &External| matches!(external, External::Interface(_));
    if external.is_some_and(|external| external.iter().any(by_name)) {
        let message = "the address of an interface may change, and with it who has which ports; expected `external` to hold \
                       addresses only";
        source.error(&table.span, "external", message);
    }
    if table.value("inside").is_none() {
        table.missing("inside", INSIDE_EXPECTED, source);
    }
    let inside = table.list(
        "inside",
        INSIDE_EXPECTED,
        source,
        |item| match value::addresses(item)? {
            AddressRange::V4(first, last) => Ok(first..=last),
            AddressRange::V6(..) => Err(format!("is IPv6; expected {INSIDE_EXPECTED}")),
        },
    )?;
    for (number, range) in inside.iter().enumerate() {
        let meets = |other: &toml::Spanned<std::ops::RangeInclusive<std::net::Ipv4Addr>>| {
            let (range, other) = (range.get_ref(), other.get_ref());
            range.start() <= other.end() && other.start() <= range.end()
        };
        if inside[..number].iter().any(meets) {
            let message = "holds a host that is here already; expected each host once";
            source.error(&range.span(), "inside", message);
        }
    }
    let ports_per_host = table
        .value("ports_per_host")
        .map(|_| table.number("ports_per_host", 1, 1..=u16::MAX.into(), source) as u16);
    let spare_ports = table.number("spare_ports", 0, 0..=u16::MAX.into(), source) as u16;
    if spare_ports > 0 && channel.value("blocks").is_none() {
        let message = "nobody gets these ports; expected a [channel.blocks]";
        let span = table.key_span("spare_ports").unwrap_or(table.span.clone());
        source.error(&span, "spare_ports", message);
    }
    Some(Deterministic {
        spare_ports,
        inside: inside.into_iter().map(toml::Spanned::into_inner).collect(),
        ports_per_host,
    })
}
