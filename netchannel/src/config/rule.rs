//! `[[rule]]`: which packets go to which channel.

use toml::Spanned;

use super::channel::{KnownChannels, RESERVED_CHANNELS, unknown_channel};
use super::error::{Position, Source};
use super::field::{self, RuleFields};
use super::interface::{Interface, KnownInterfaces};
use super::nat::{FILTERINGS, TOO_OPEN, is_too_open};
use super::ports::{PortRange, port_list};
use super::schema;
use super::section::Section;
use super::value::{self, ADDRESSES_EXPECTED, AddressRange, ICMP, ICMPV6, WITH_PORTS};
use crate::channel::nat::Filtering;

/// The most single boxes that the lists of one rule may multiply to.
pub const MAX_RULE_BOXES: u64 = 65_536;

/// The most single boxes that all rules may multiply to together.
pub const MAX_TOTAL_BOXES: u64 = 1 << 20;

/// The priority of a rule that gives none.
const DEFAULT_PRIORITY: u32 = 100;

/// One rule. A packet matches if each of its fields is in the list of that name; an empty list takes any.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    /// The lowest number is tried first; equal numbers in the order of the file.
    pub priority: u32,
    /// Source addresses; of the same family as `to`.
    pub from: Vec<AddressRange>,
    /// Destination addresses; of the same family as `from`.
    pub to: Vec<AddressRange>,
    /// IANA protocol numbers.
    pub protocols: Vec<u8>,
    /// Source ports; only with protocols that have ports.
    pub source_ports: Vec<PortRange>,
    /// Destination ports; only with protocols that have ports.
    pub destination_ports: Vec<PortRange>,
    /// The further fields.
    pub fields: RuleFields,
    /// The channel: one of the file's, or `drop` or `pass`.
    pub channel: String,
    /// Which outside hosts may answer through mappings that inside hosts open by this rule, in place of what its channel, a translator,
    /// says.
    pub filtering: Option<Filtering>,
    /// Whether IPv4 packets can match.
    pub ipv4: bool,
    /// Whether IPv6 packets can match.
    pub ipv6: bool,
    /// Where it stands in the file.
    pub position: Position,
}

pub(super) fn read(
    file: &Section<'_, '_>,
    channels: &mut KnownChannels,
    interfaces: (&[Interface], &KnownInterfaces),
    source: &mut Source<'_>,
) -> Vec<Rule> {
    let mut rules = Vec::new();
    let mut boxes: u64 = 0;
    for table in &file.tables("rule", &schema::RULE, source) {
        if let Some(rule) = one(table, channels, interfaces, source) {
            let before = boxes;
            boxes = boxes.saturating_add(rule.boxes());
            if before <= MAX_TOTAL_BOXES && boxes > MAX_TOTAL_BOXES {
                let message = format!(
                    "the lists of all rules up to this one make more than {MAX_TOTAL_BOXES} single rules; expected \
                     fewer or shorter lists"
                );
                source.error(&table.span, "", message);
            }
            rules.push(rule);
        }
    }
    // A stable sort: equal priorities stay in the order of the file.
    rules.sort_by_key(|rule| rule.priority);
    rules
}

fn one(
    table: &Section<'_, '_>,
    channels: &mut KnownChannels,
    interfaces: (&[Interface], &KnownInterfaces),
    source: &mut Source<'_>,
) -> Option<Rule> {
    let channel = channel(table, channels, source);
    let priority = table.number("priority", DEFAULT_PRIORITY, 0..=u32::MAX, source);
    let from = table.list("from", ADDRESSES_EXPECTED, source, value::addresses);
    let to = table.list("to", ADDRESSES_EXPECTED, source, value::addresses);
    let protocols = table.list("protocol", "a protocol", source, value::protocol);
    let source_ports = port_list(table, "source_ports", source);
    let destination_ports = port_list(table, "destination_ports", source);

    let protocols = without_duplicates(protocols, source);
    for (key, ports) in [
        ("source_ports", &source_ports),
        ("destination_ports", &destination_ports),
    ] {
        if ports.is_some() {
            check_ports(table, key, &protocols, source);
        }
    }
    let fields = field::read(table, &protocols, interfaces, source);
    let filtering = filtering(table, channel.as_ref(), channels, source);
    let (channel, is_nat) = channel?;
    let families = families(&from, &to, &protocols, is_nat, source);
    let rule = Rule {
        priority,
        from: plain(from),
        to: plain(to),
        protocols: plain(protocols),
        source_ports: plain(source_ports),
        destination_ports: plain(destination_ports),
        fields,
        channel,
        filtering,
        ipv4: families.ipv4,
        ipv6: families.ipv6,
        position: source.position(table.span.start),
    };
    if rule.boxes() > MAX_RULE_BOXES {
        let message = format!(
            "the lists of this rule make {} single rules; expected at most {MAX_RULE_BOXES}: use prefixes or ranges \
             in place of lists",
            rule.boxes()
        );
        source.error(&table.span, "", message);
        return None;
    }
    Some(rule)
}

fn plain<T>(list: Option<Vec<Spanned<T>>>) -> Vec<T> {
    list.into_iter().flatten().map(Spanned::into_inner).collect()
}

/// The rule's channel and whether it is a translator.
fn channel(
    table: &Section<'_, '_>,
    channels: &mut KnownChannels,
    source: &mut Source<'_>,
) -> Option<(String, bool)> {
    if table.value("channel").is_none() {
        table.missing("channel", "the name of a channel, \"drop\" or \"pass\"", source);
    }
    let name = table.string("channel", "the name of a channel", source)?;
    let text = *name.get_ref();
    if RESERVED_CHANNELS.contains(&text) {
        return Some((text.to_owned(), false));
    }
    match channels.get_mut(text) {
        Some(channel) => {
            channel.used = true;
            Some((text.to_owned(), channel.is_nat))
        }
        None => {
            source.error(&name.span(), "channel", unknown_channel(text, channels));
            None
        }
    }
}

/// What filters in place of the channel's own filtering.
fn filtering(
    table: &Section<'_, '_>,
    channel: Option<&(String, bool)>,
    channels: &KnownChannels,
    source: &mut Source<'_>,
) -> Option<Filtering> {
    let filtering = table.choice("filtering", &FILTERINGS, source)?;
    let span = table.key_span("filtering").unwrap_or(table.span.clone());
    let (name, is_nat) = channel?;
    if !is_nat {
        let message = "is for translators; expected it only where `channel` is of type \"nat\"";
        source.error(&span, "filtering", message);
    }
    let mapping = channels.get(name).and_then(|channel| channel.mapping)?;
    if is_too_open(filtering, mapping.tcp) || is_too_open(filtering, mapping.udp) {
        source.error(&span, "filtering", TOO_OPEN);
    }
    Some(filtering)
}

fn without_duplicates(
    protocols: Option<Vec<Spanned<u8>>>,
    source: &mut Source<'_>,
) -> Option<Vec<Spanned<u8>>> {
    let mut kept: Vec<Spanned<u8>> = Vec::new();
    for protocol in protocols? {
        if kept.contains(&protocol) {
            source.error(
                &protocol.span(),
                "protocol",
                "is here twice; expected each protocol once",
            );
        } else {
            kept.push(protocol);
        }
    }
    Some(kept)
}

/// Ports mean something only in protocols that have them.
fn check_ports(
    table: &Section<'_, '_>,
    key: &str,
    protocols: &Option<Vec<Spanned<u8>>>,
    source: &mut Source<'_>,
) {
    const EXPECTED: &str = "protocol = \"tcp\", \"udp\", or both in a list";
    let span = table.key_span(key).unwrap_or(table.span.clone());
    match protocols {
        None => source.error(
            &span,
            key,
            format!("ports without a protocol; expected also {EXPECTED}"),
        ),
        Some(protocols) => {
            for protocol in protocols
                .iter()
                .filter(|protocol| !WITH_PORTS.contains(protocol.get_ref()))
            {
                let message = format!(
                    "protocol {} has no ports, but `{key}` is given; expected {EXPECTED}",
                    protocol.get_ref()
                );
                source.error(&protocol.span(), "protocol", message);
            }
        }
    }
}

struct Families {
    ipv4: bool,
    ipv6: bool,
}

/// The address family that everything in a rule agrees on; what does not is reported.
fn families(
    from: &Option<Vec<Spanned<AddressRange>>>,
    to: &Option<Vec<Spanned<AddressRange>>>,
    protocols: &Option<Vec<Spanned<u8>>>,
    is_nat: bool,
    source: &mut Source<'_>,
) -> Families {
    let mut decided: Option<(bool, String)> = None;
    let mut agree = |span, key: &str, is_ipv4: bool, because: String, source: &mut Source<'_>| match &decided
    {
        None => decided = Some((is_ipv4, because)),
        Some((family, first)) if *family != is_ipv4 => {
            let message =
                format!("{because} does not go with {first}; expected one address family in a rule");
            source.error(&span, key, message);
        }
        Some(_) => {}
    };
    for (key, list) in [("from", from), ("to", to)] {
        for range in list.iter().flatten() {
            let family = if range.get_ref().is_ipv4() { "IPv4" } else { "IPv6" };
            let because = format!("the {family} address in `{key}`");
            agree(range.span(), key, range.get_ref().is_ipv4(), because, source);
        }
    }
    for protocol in protocols.iter().flatten() {
        match *protocol.get_ref() {
            ICMP => agree(
                protocol.span(),
                "protocol",
                true,
                "icmp, which is IPv4's,".to_owned(),
                source,
            ),
            ICMPV6 => agree(
                protocol.span(),
                "protocol",
                false,
                "icmpv6, which is IPv6's,".to_owned(),
                source,
            ),
            _ => {}
        }
    }
    if is_nat && let Some((false, because)) = &decided {
        let range = from.iter().chain(to).flatten().next().map(Spanned::span);
        let span = range
            .or_else(|| protocols.iter().flatten().next().map(Spanned::span))
            .unwrap_or(0..0);
        let message = format!("{because} does not go with a nat channel, which translates IPv4 only");
        source.error(&span, "channel", message);
    }
    match decided {
        _ if is_nat => Families {
            ipv4: true,
            ipv6: false,
        },
        Some((is_ipv4, _)) => Families {
            ipv4: is_ipv4,
            ipv6: !is_ipv4,
        },
        None => Families {
            ipv4: true,
            ipv6: true,
        },
    }
}
