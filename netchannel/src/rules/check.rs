//! What must hold of a rule, whatever it was written in.

use std::collections::BTreeMap;

use super::boxes::MAX_RULE_BOXES;
use super::rule::{Rule, Values};
use super::values::{AddressRange, ICMP, ICMPV6, PROTOCOLS, PortRange, WITH_PORTS, protocol_name};
use crate::channel::nat::{Filtering, MappingBehavior, PerProtocol, Protocol};
use crate::config::{
    ChannelKind, Config, MAX_CHANNEL_NAME, MAX_INTERFACE_NAME, MAX_INTERFACES, RESERVED_CHANNELS,
};
use crate::dispatch::dimensions::{FIELDS, Field, LATER, dimension};
use crate::text::{nearest, one_of, quoted};

/// The longest comment, in bytes.
pub const MAX_COMMENT: usize = 256;

/// A part of a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Part {
    /// The rule as a whole.
    Whole,
    /// Its priority.
    Priority,
    /// Source addresses.
    From,
    /// Destination addresses.
    To,
    /// Protocols.
    Protocol,
    /// Source ports.
    SourcePorts,
    /// Destination ports.
    DestinationPorts,
    /// Arrival interfaces.
    Interface,
    /// TCP flags.
    TcpFlags,
    /// A further field, by its index in [`FIELDS`].
    Field(usize),
    /// The channel.
    Channel,
    /// The filtering.
    Filtering,
    /// The comment.
    Comment,
}

/// One thing that is wrong with a rule.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The part that is wrong.
    pub part: Part,
    /// Which of the part's listed values; `None` for all of them, or one of a set.
    pub index: Option<usize>,
    /// What was found and what was expected.
    pub message: String,
}

impl Fault {
    fn of(part: Part, message: impl Into<String>) -> Self {
        Self {
            part,
            index: None,
            message: message.into(),
        }
    }

    fn at(part: Part, index: usize, message: impl Into<String>) -> Self {
        Self {
            part,
            index: Some(index),
            message: message.into(),
        }
    }
}

/// The IP versions whose packets can match a rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Families {
    /// IPv4 packets.
    pub ipv4: bool,
    /// IPv6 packets.
    pub ipv6: bool,
}

impl Rule {
    /// The IP versions whose packets can match, by addresses and protocols: those of the first that tells. A translator takes IPv4 only, whatever
    /// this says.
    pub fn families(&self) -> Families {
        let of_address = self
            .from
            .iter()
            .chain(self.to.iter())
            .next()
            .map(AddressRange::is_ipv4);
        let of_protocol = || {
            self.protocols.iter().find_map(|protocol| match *protocol {
                ICMP => Some(true),
                ICMPV6 => Some(false),
                _ => None,
            })
        };
        match of_address.or_else(of_protocol) {
            Some(is_ipv4) => Families {
                ipv4: is_ipv4,
                ipv6: !is_ipv4,
            },
            None => Families {
                ipv4: true,
                ipv6: true,
            },
        }
    }
}

/// What is wrong with a rule by itself; nothing, if it is good.
pub fn check(rule: &Rule) -> Vec<Fault> {
    let mut faults = Vec::new();
    let boxes = rule.boxes();
    if boxes > MAX_RULE_BOXES {
        faults.push(Fault::of(
            Part::Whole,
            format!(
                "the lists of this rule make {boxes} single rules; expected at most {MAX_RULE_BOXES}: use prefixes or \
                 ranges in place of lists"
            ),
        ));
        // What else is wrong with so many values would take long to find out.
        return faults;
    }
    let both = [
        (Part::SourcePorts, &rule.source_ports),
        (Part::DestinationPorts, &rule.destination_ports),
    ];
    for (part, ports) in both {
        check_ports(rule, part, ports, &mut faults);
    }
    if rule.interfaces.len() > MAX_INTERFACES {
        let message = format!("names more than {MAX_INTERFACES} interfaces; expected fewer, or any");
        faults.push(Fault::of(Part::Interface, message));
        return faults;
    }
    for (index, name) in rule.interfaces.iter().enumerate() {
        if rule.interfaces[..index].contains(name) {
            let message = "is here twice; expected each interface once";
            faults.push(Fault::at(Part::Interface, index, message));
        }
    }
    for (index, protocol) in rule.protocols.iter().enumerate() {
        if rule.protocols[..index].contains(protocol) {
            let message = "is here twice; expected each protocol once";
            faults.push(Fault::at(Part::Protocol, index, message));
        }
    }
    check_fields(rule, &mut faults);
    check_families(rule, &mut faults);
    check_names(rule, &mut faults);
    if let Some(comment) = &rule.comment
        && (comment.len() > MAX_COMMENT || comment.chars().any(char::is_control))
    {
        let message = format!("a comment has at most {MAX_COMMENT} bytes and no control characters");
        faults.push(Fault::of(Part::Comment, message));
    }
    faults
}

/// Names have a length that channels and interfaces can have.
fn check_names(rule: &Rule, faults: &mut Vec<Fault>) {
    for (index, name) in rule.interfaces.iter().enumerate() {
        if name.is_empty() || name.len() > MAX_INTERFACE_NAME {
            let message = format!(
                "{} is not the name of an interface, which has 1 to {MAX_INTERFACE_NAME} bytes",
                quoted(name)
            );
            faults.push(Fault::at(Part::Interface, index, message));
        }
    }
    if rule.channel.is_empty() || rule.channel.len() > MAX_CHANNEL_NAME {
        let message = format!(
            "{} is not the name of a channel, which has 1 to {MAX_CHANNEL_NAME} bytes",
            quoted(&rule.channel)
        );
        faults.push(Fault::of(Part::Channel, message));
    }
}

/// Ports mean something only in protocols that have them.
fn check_ports(rule: &Rule, part: Part, ports: &Values<PortRange>, faults: &mut Vec<Fault>) {
    if ports.is_any() {
        return;
    }
    let with_ports = || names_of(&WITH_PORTS);
    if rule.protocols.is_empty() {
        let message = format!(
            "ports without a protocol; expected also a protocol that has ports: {}",
            with_ports()
        );
        faults.push(Fault::of(part, message));
    }
    for (index, protocol) in rule.protocols.iter().enumerate() {
        if !WITH_PORTS.contains(protocol) {
            let message = format!(
                "protocol {} has no ports, which the rule names; expected only {}",
                protocol_name(*protocol),
                with_ports()
            );
            faults.push(Fault::at(Part::Protocol, index, message));
        }
    }
    if ports.len() < 2 {
        return;
    }
    let mut sorted: Vec<(PortRange, usize)> = ports.iter().copied().zip(0..).collect();
    sorted.sort_unstable();
    for pair in sorted.windows(2) {
        if let [(before, _), (after, index)] = pair
            && before.overlaps(after)
        {
            let message = format!("\"{after}\" overlaps \"{before}\"; expected each port once");
            faults.push(Fault {
                part,
                index: (*index < ports.listed.len()).then_some(*index),
                message,
            });
        }
    }
}

/// A field of a transport header means something only in protocols that have it.
fn check_fields(rule: &Rule, faults: &mut Vec<Fault>) {
    const TCP_FLAGS: usize = dimension::TCP_FLAGS - dimension::FIVE_TUPLE;
    const FRAGMENT: usize = dimension::FRAGMENT - dimension::FIVE_TUPLE;
    let flags = (!rule.tcp_flags.is_empty()).then_some((Part::TcpFlags, &FIELDS[TCP_FLAGS]));
    let others = rule
        .fields
        .iter()
        .map(|(index, _)| (Part::Field(index), &FIELDS[index]));
    let mut of_transport = None;
    for (part, field) in flags.into_iter().chain(others) {
        if !field.protocols.is_empty() {
            check_protocols(rule, part, field, faults);
            of_transport = Some(field.key);
        }
    }
    for (field, values) in rule.fields.iter() {
        let part = Part::Field(field);
        let mut sorted: Vec<_> = values.iter().copied().zip(0..).collect();
        sorted.sort_unstable();
        for pair in sorted.windows(2) {
            if let [(before, _), (after, index)] = pair
                && after.first <= before.last
            {
                let message = "overlaps another value of the list; expected each value once";
                faults.push(Fault::at(part, *index, message));
            }
        }
        if field == FRAGMENT
            && let Some(key) = of_transport
            && let Some(index) = values.iter().position(|range| range.last == LATER)
        {
            let message = format!("later fragments have no `{key}`; expected \"whole\" or \"first\"");
            faults.push(Fault::at(part, index, message));
        }
    }
}

fn check_protocols(rule: &Rule, part: Part, field: &Field, faults: &mut Vec<Fault>) {
    let expected = || names_of(field.protocols);
    if rule.protocols.is_empty() {
        let message = format!("needs a protocol; expected also the protocol {}", expected());
        faults.push(Fault::of(part, message));
    }
    for (index, protocol) in rule.protocols.iter().enumerate() {
        if !field.protocols.contains(protocol) {
            let message = format!(
                "protocol {} has no `{}`, which the rule names; expected only {}",
                protocol_name(*protocol),
                field.key,
                expected()
            );
            faults.push(Fault::at(Part::Protocol, index, message));
        }
    }
}

fn names_of(protocols: &[u8]) -> String {
    one_of(
        PROTOCOLS
            .iter()
            .filter(|(_, number)| protocols.contains(number))
            .map(|(name, _)| *name),
    )
}

/// Everything in a rule agrees on one address family.
fn check_families(rule: &Rule, faults: &mut Vec<Fault>) {
    let mut decided: Option<(Part, bool)> = None;
    let mut agree = |part, index: Option<usize>, is_ipv4: bool| match decided {
        None => decided = Some((part, is_ipv4)),
        Some((first, family)) if family != is_ipv4 => {
            let message = format!(
                "{} does not go with {}; expected one address family in a rule",
                says_family(part, is_ipv4),
                says_family(first, family)
            );
            faults.push(Fault { part, index, message });
        }
        Some(_) => {}
    };
    for (part, values) in [(Part::From, &rule.from), (Part::To, &rule.to)] {
        for (index, range) in values.iter().enumerate() {
            let index = (index < values.listed.len()).then_some(index);
            agree(part, index, range.is_ipv4());
        }
    }
    for (index, protocol) in rule.protocols.iter().enumerate() {
        if matches!(*protocol, ICMP | ICMPV6) {
            agree(Part::Protocol, Some(index), *protocol == ICMP);
        }
    }
}

/// What in a part of a rule tells the address family.
fn says_family(part: Part, is_ipv4: bool) -> String {
    let family = if is_ipv4 { "IPv4" } else { "IPv6" };
    match (part, is_ipv4) {
        (Part::From, _) => format!("the {family} address in `from`"),
        (Part::To, _) => format!("the {family} address in `to`"),
        (_, true) => "icmp, which is IPv4's,".to_owned(),
        (_, false) => "icmpv6, which is IPv6's,".to_owned(),
    }
}

/// The channels and interfaces of a configuration, which rules name.
#[derive(Clone, Debug, Default)]
pub struct Names {
    channels: BTreeMap<String, NamedChannel>,
    interfaces: Vec<String>,
}

#[derive(Clone, Copy, Debug)]
struct NamedChannel {
    is_nat: bool,
    /// What the mappings of a translator depend on, if that is known.
    mapping: Option<PerProtocol<MappingBehavior>>,
}

impl Names {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        let mut names = Self::default();
        for channel in &config.channels {
            let mapping = match &channel.kind {
                ChannelKind::Nat(nat) => Some(nat.mapping),
                ChannelKind::Forward | ChannelKind::Custom => None,
            };
            names.add_channel(&channel.name, mapping.is_some(), mapping);
        }
        for interface in &config.interfaces {
            names.add_interface(&interface.name);
        }
        names
    }

    pub(crate) fn add_channel(
        &mut self,
        name: &str,
        is_nat: bool,
        mapping: Option<PerProtocol<MappingBehavior>>,
    ) {
        self.channels
            .insert(name.to_owned(), NamedChannel { is_nat, mapping });
    }

    pub(crate) fn add_interface(&mut self, name: &str) {
        self.interfaces.push(name.to_owned());
    }

    /// Whether there is a translator of this name.
    pub fn is_nat(&self, channel: &str) -> bool {
        self.channels.get(channel).is_some_and(|channel| channel.is_nat)
    }

    /// Whether a rule names channels and interfaces that are there, and asks of its channel what that can do; nothing, if it is good.
    pub fn check(&self, rule: &Rule) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (index, name) in rule.interfaces.iter().enumerate() {
            if !self.interfaces.iter().any(|known| **known == **name) {
                let mut names: Vec<&str> = self.interfaces.iter().map(String::as_str).collect();
                names.sort_unstable();
                let message = format!(
                    "{} is not an [[interface]] of the configuration; expected {}",
                    quoted(name),
                    one_of(names.into_iter().take(20))
                );
                faults.push(Fault::at(Part::Interface, index, message));
            }
        }
        if !RESERVED_CHANNELS.contains(&&*rule.channel) && !self.channels.contains_key(&*rule.channel) {
            faults.push(Fault::of(Part::Channel, self.unknown_channel(&rule.channel)));
            return faults;
        }
        let channel = self.channels.get(&*rule.channel);
        if channel.is_some_and(|channel| channel.is_nat) && !rule.families().ipv4 {
            let message =
                "translates IPv4 only, and the rule is for IPv6; expected another channel, or IPv4 addresses";
            faults.push(Fault::of(Part::Channel, message));
        }
        if let Some(filtering) = rule.filtering {
            check_filtering(filtering, channel, &mut faults);
        }
        faults
    }

    /// What to say of a channel that is not there.
    fn unknown_channel(&self, name: &str) -> String {
        let known = || self.channels.keys().map(String::as_str).chain(RESERVED_CHANNELS);
        match nearest(name, known()) {
            Some(near) => format!("{} is not a channel, did you mean \"{near}\"?", quoted(name)),
            None => format!(
                "{} is not a channel; expected {}",
                quoted(name),
                one_of(known().take(20))
            ),
        }
    }
}

/// What filters in place of the channel's own filtering.
fn check_filtering(filtering: Filtering, channel: Option<&NamedChannel>, faults: &mut Vec<Fault>) {
    let Some(NamedChannel {
        is_nat: true,
        mapping,
    }) = channel
    else {
        let message = "is for translators; expected it only where the channel is of type \"nat\"";
        faults.push(Fault::of(Part::Filtering, message));
        return;
    };
    let too_open = |protocol| mapping.is_some_and(|mapping| filtering.is_too_open(mapping[protocol]));
    if too_open(Protocol::Tcp) || too_open(Protocol::Udp) {
        faults.push(Fault::of(Part::Filtering, TOO_OPEN));
    }
}

/// What is wrong with filtering that lets in hosts that mappings are not for.
pub(crate) const TOO_OPEN: &str = "lets in hosts that the mapping is not for, and answers to them would leave from another port; \
                                   expected it at least as dependent as `mapping`";
