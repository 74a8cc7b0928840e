//! The configured rules as a rule set.

use std::collections::HashMap;
use std::net::Ipv4Addr;

use classifier::{Range, Rule, Word};

use super::{Claim, SetupError};
use crate::channel::ChannelId;
use crate::channel::nat::Filtering;
use crate::config::{ChannelKind, Config};
use crate::dispatch::dimensions::{
    DIMENSIONS, FIELDS, FIRST, Ipv4Dimensions, Ipv4Rule, Ipv6Dimensions, Ipv6Rule, WHOLE, dimension,
};
use crate::dispatch::{Action, OwnedBox, Registry, RuleNumber, RuleSet, RuleSetBuilder};
use crate::rules::{AddressRange, Families, FieldRange, PortRange, Rule as Configured, RuleBox, RuleList};

/// Makes rule sets of lists of rules, for the channels, interfaces and translators' addresses of one configuration. It can be sent to where
/// there is time for it.
#[derive(Clone, Debug)]
pub struct RuleCompiler {
    interfaces: Vec<String>,
    channels: HashMap<String, Target>,
    claims: Vec<Claim>,
}

/// Where rules send packets.
#[derive(Clone, Copy, Debug)]
struct Target {
    channel: ChannelId,
    is_nat: bool,
    forwards: bool,
}

impl RuleCompiler {
    /// For a configuration whose channels have these numbers, `drop` and `pass` among them.
    pub fn new<'c>(
        config: &Config,
        channels: impl IntoIterator<Item = (&'c str, ChannelId)>,
        claims: &[Claim],
    ) -> Self {
        let target = |(name, channel): (&str, ChannelId)| {
            let kind = config.channel(name).map(|channel| &channel.kind);
            let target = Target {
                channel,
                is_nat: matches!(kind, Some(ChannelKind::Nat(_))),
                forwards: kind == Some(&ChannelKind::Forward),
            };
            (name.to_owned(), target)
        };
        Self {
            interfaces: config.interface_names().into_iter().map(str::to_owned).collect(),
            channels: channels.into_iter().map(target).collect(),
            claims: claims.to_vec(),
        }
    }

    /// The same for other addresses of the translators.
    pub fn with_claims(&self, claims: &[Claim]) -> Self {
        Self {
            claims: claims.to_vec(),
            ..self.clone()
        }
    }

    /// Makes the rule set: the rules; for each translator, that what is sent to its external addresses is its own, from inside behind
    /// the rules, from outside before those that do not say where packets come from; and for each rule that forwards, that
    /// what comes back is forwarded too if no other rule matches. Packets that no rule matches go to the kernel. Tells where
    /// the boxes of each rule are.
    ///
    /// # Errors
    /// If a rule names a channel that is not there, or there are more rules than the classifier can take.
    pub fn compile<'r>(
        &self,
        rules: impl Iterator<Item = (RuleNumber, &'r Configured)>,
    ) -> Result<(RuleSet, Vec<OwnedBox>), SetupError> {
        let (mut made, ways_back) = self.boxes(rules)?;
        self.claim(&mut made);
        made.append(ways_back);
        Ok(made.build(self.find("pass")?.channel)?)
    }

    /// The boxes of rules that are added to a set that was [compiled](Self::compile).
    ///
    /// # Errors
    /// If a rule names a channel that is not there.
    pub fn compile_more<'r>(
        &self,
        rules: impl Iterator<Item = (RuleNumber, &'r Configured)>,
    ) -> Result<RuleSetBuilder, SetupError> {
        let (mut made, ways_back) = self.boxes(rules)?;
        made.append(ways_back);
        Ok(made)
    }

    /// The boxes of rules, and those of what comes back.
    fn boxes<'r>(
        &self,
        rules: impl Iterator<Item = (RuleNumber, &'r Configured)>,
    ) -> Result<(RuleSetBuilder, RuleSetBuilder), SetupError> {
        let mut made = RuleSetBuilder::default();
        let mut ways_back = RuleSetBuilder::default();
        for (number, rule) in rules {
            let target = self.find(&rule.channel)?;
            let action = Action {
                channel: target.channel,
                parameter: rule.filtering.map_or(0, Filtering::parameter),
                rule: number,
            };
            let mut families = rule.families();
            families.ipv6 &= !target.is_nat;
            for rule_box in rule.expand(&self.interfaces) {
                push(&mut made, &rule_box, families, (rule.priority, action), number);
                if families.ipv4 && names_outside_hosts(&rule_box) {
                    for claim in &self.claims {
                        push_for_claim(&mut made, &rule_box, action, claim);
                    }
                }
                if target.forwards {
                    let action = Action::from(target.channel);
                    let last = (u32::MAX, action);
                    push(&mut ways_back, &way_back(rule_box), families, last, number);
                }
            }
        }
        Ok((made, ways_back))
    }

    /// Whether a channel of this name forwards packets as they are, so that rules are also about what comes back.
    pub fn forwards(&self, channel: &str) -> bool {
        self.channels.get(channel).is_some_and(|target| target.forwards)
    }

    fn find(&self, name: &str) -> Result<Target, SetupError> {
        let target = self.channels.get(name).copied();
        target.ok_or_else(|| SetupError::NoChannel(name.to_owned()))
    }

    /// Gives translators what is sent to their addresses. They may share an address if their ports differ: what has no port goes to
    /// the first of them.
    fn claim(&self, made: &mut RuleSetBuilder) {
        let to_claim = |claim: &Claim, priority| {
            let mut rule = Rule::any::<Ipv4Dimensions>(priority, Action::from(claim.channel));
            let (first, last) = (claim.addresses.start(), claim.addresses.end());
            rule.ranges[dimension::DESTINATION_ADDRESS] = range(first.to_bits(), last.to_bits());
            rule
        };
        for claim in &self.claims {
            for ports in &claim.ports {
                let mut rule = to_claim(claim, u32::MAX - 1);
                rule.ranges[dimension::DESTINATION_PORT] =
                    range((*ports.start()).into(), (*ports.end()).into());
                made.push_answer(rule, RuleNumber::NONE);
            }
        }
        for claim in &self.claims {
            made.push_answer(to_claim(claim, u32::MAX), RuleNumber::NONE);
            made.push_ipv4(to_claim(claim, u32::MAX), RuleNumber::NONE);
        }
    }
}

/// Makes the rule set of a list whose rules are numbered by their places; see [`RuleCompiler::compile`].
///
/// # Errors
/// As [`RuleCompiler::compile`].
pub fn rule_set(
    config: &Config,
    list: &RuleList,
    channels: &Registry,
    claims: &[Claim],
) -> Result<RuleSet, SetupError> {
    let compiler = RuleCompiler::new(config, channels.ids(), claims);
    let (rules, _) = compiler.compile((0..).map(RuleNumber).zip(list.iter()))?;
    Ok(rules)
}

/// Whether a box says where packets come from, by address or interface, and not just that they may come from anywhere: such a one
/// holds for what comes to a translator's address too.
fn names_outside_hosts(rule_box: &RuleBox<'_>) -> bool {
    let anywhere = AddressRange::V4(Ipv4Addr::UNSPECIFIED, Ipv4Addr::BROADCAST);
    let names_interface = rule_box.fields[dimension::INTERFACE - dimension::FIVE_TUPLE].is_some();
    names_interface || rule_box.from.is_some_and(|from| from != anywhere)
}

/// The part of a box that is about these addresses.
fn push_for_claim(made: &mut RuleSetBuilder, rule_box: &RuleBox<'_>, action: Action, claim: &Claim) {
    let (mut first, mut last) = (*claim.addresses.start(), *claim.addresses.end());
    match rule_box.to {
        Some(AddressRange::V4(from, to)) => (first, last) = (first.max(from), last.min(to)),
        Some(AddressRange::V6(..)) => return,
        None => {}
    }
    if first > last {
        return;
    }
    let rule_box = RuleBox {
        to: Some(AddressRange::V4(first, last)),
        ..*rule_box
    };
    made.push_answer(ipv4_rule(&rule_box, rule_box.rule.priority, action), action.rule);
}

/// The box for the packets that answer those in this one. They come by another interface, and what they have in the further fields
/// is not known.
fn way_back(rule_box: RuleBox<'_>) -> RuleBox<'_> {
    RuleBox {
        from: rule_box.to,
        to: rule_box.from,
        source_ports: rule_box.destination_ports,
        destination_ports: rule_box.source_ports,
        fields: [None; FIELDS.len()],
        ..rule_box
    }
}

/// The IP versions that a rule of a configuration is for.
pub(crate) fn families(config: &Config, rule: &Configured) -> Families {
    let mut families = rule.families();
    let channel = config.channel(&rule.channel);
    families.ipv6 &= !channel.is_some_and(|channel| matches!(channel.kind, ChannelKind::Nat(_)));
    families
}

fn push(
    made: &mut RuleSetBuilder,
    rule_box: &RuleBox<'_>,
    families: Families,
    (priority, action): (u32, Action),
    owner: RuleNumber,
) {
    if families.ipv4 {
        made.push_ipv4(ipv4_rule(rule_box, priority, action), owner);
    }
    if families.ipv6 {
        made.push_ipv6(ipv6_rule(rule_box, priority, action), owner);
    }
}

pub(super) fn ipv4_rule(rule_box: &RuleBox<'_>, priority: u32, action: Action) -> Ipv4Rule<Action> {
    let mut rule = Rule::any::<Ipv4Dimensions>(priority, action);
    set_dimensions(&mut rule, rule_box, |addresses| match addresses {
        AddressRange::V4(first, last) => Some(range(first.to_bits(), last.to_bits())),
        AddressRange::V6(..) => None,
    });
    rule
}

pub(super) fn ipv6_rule(rule_box: &RuleBox<'_>, priority: u32, action: Action) -> Ipv6Rule<Action> {
    let mut rule = Rule::any::<Ipv6Dimensions>(priority, action);
    set_dimensions(&mut rule, rule_box, |addresses| match addresses {
        AddressRange::V6(first, last) => Some(range(first.to_bits(), last.to_bits())),
        AddressRange::V4(..) => None,
    });
    rule
}

/// Narrows a rule to a box; `bits` are those of addresses of the rule's family.
fn set_dimensions<W: Word + From<u32>, A>(
    rule: &mut Rule<W, DIMENSIONS, A>,
    rule_box: &RuleBox<'_>,
    bits: impl Fn(AddressRange) -> Option<Range<W>>,
) {
    let sides = [
        (dimension::SOURCE_ADDRESS, rule_box.from),
        (dimension::DESTINATION_ADDRESS, rule_box.to),
    ];
    for (side, addresses) in sides {
        if let Some(addresses) = addresses.and_then(&bits) {
            rule.ranges[side] = addresses;
        }
    }
    let ports = |ports: PortRange| range(W::from(u32::from(ports.first)), W::from(u32::from(ports.last)));
    rule.ranges[dimension::SOURCE_PORT] = ports(rule_box.source_ports);
    rule.ranges[dimension::DESTINATION_PORT] = ports(rule_box.destination_ports);
    if let Some(protocol) = rule_box.protocol {
        rule.ranges[dimension::PROTOCOL] = Range::exact(W::from(u32::from(protocol)));
    }
    let given = |(index, values): (usize, &Option<FieldRange>)| values.map(|values| (index, values));
    for (index, values) in rule_box.fields.iter().enumerate().filter_map(given) {
        rule.ranges[dimension::FIVE_TUPLE + index] = range(W::from(values.first), W::from(values.last));
        if !FIELDS[index].protocols.is_empty() {
            // Later fragments don't have the header that is asked for. The fragment's own field comes last and may say more.
            rule.ranges[dimension::FRAGMENT] = range(W::from(WHOLE), W::from(FIRST));
        }
    }
}

/// Ranges of a configuration have their first value first.
fn range<W: Word>(first: W, last: W) -> Range<W> {
    Range::new(first, last).unwrap_or(Range::exact(first))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::ops::RangeInclusive;

    use crate::channel::{Drop, Forward, Pass};
    use crate::dispatch::dimensions::Arrival;
    use crate::interface::{InterfaceId, Role};
    use crate::packet::{Fragment, Headers, Transport, VlanTags};

    const TEXT: &str = r#"
        [[interface]]
        name = "lan"
        role = "inside"
        [[interface]]
        name = "wan"
        role = "outside"
        [[channel]]
        name = "routed"
        type = "forward"
        [[rule]]
        priority = 1
        from = "10.0.0.0/24"
        to = "192.0.2.0/24"
        protocol = "tcp"
        destination_ports = "80"
        channel = "routed"
        [[rule]]
        priority = 2
        from = "192.0.2.66"
        channel = "drop"
    "#;

    /// Ports of one external address.
    fn claimed(channel: ChannelId, ports: &[RangeInclusive<u16>]) -> Claim {
        let external = Ipv4Addr::new(198, 51, 100, 7);
        Claim {
            channel,
            name: String::new(),
            addresses: external..=external,
            ports: ports.to_vec(),
            is_whole: false,
            interface: None,
        }
    }

    fn headers(source: &str, source_port: u16, destination: &str, destination_port: u16) -> Headers {
        Headers {
            vlan: VlanTags::default(),
            network: 14,
            transport_start: 34,
            end: 54,
            source: source.parse().unwrap(),
            destination: destination.parse().unwrap(),
            protocol: 6,
            ttl: 64,
            fragment: Fragment::Whole,
            dont_fragment: true,
            transport: Transport::Tcp {
                source: source_port,
                destination: destination_port,
                flags: 0x02,
            },
        }
    }

    fn decide(rules: &RuleSet, headers: &Headers, role: Role) -> ChannelId {
        decide_by(rules, headers, role).channel
    }

    fn decide_by(rules: &RuleSet, headers: &Headers, role: Role) -> Action {
        let arrival = Arrival {
            frame: &[],
            headers,
            interface: InterfaceId(u16::from(role == Role::Outside)),
        };
        rules.decide(&arrival, role)
    }

    #[test]
    fn rules_decide_in_their_order_and_what_comes_back_of_a_forwarded_flow_is_forwarded() {
        let config = Config::parse(TEXT, "test.toml").unwrap();
        let mut channels = Registry::new();
        let drop = channels.register("drop", Box::new(Drop)).unwrap();
        let pass = channels.register("pass", Box::new(Pass)).unwrap();
        let routed = channels.register("routed", Box::new(Forward)).unwrap();
        let rules = rule_set(&config, &config.rules, &channels, &[claimed(drop, &[])]).unwrap();
        let decide = |source, source_port, destination, destination_port| {
            let role = if destination == "192.0.2.1" {
                Role::Inside
            } else {
                Role::Outside
            };
            let headers = headers(source, source_port, destination, destination_port);
            decide(&rules, &headers, role)
        };
        assert_eq!(decide("10.0.0.2", 5000, "192.0.2.1", 80), routed);
        assert_eq!(decide("192.0.2.1", 80, "10.0.0.2", 5000), routed);
        // The way back gives way to rules that say otherwise.
        assert_eq!(decide("192.0.2.66", 80, "10.0.0.2", 5000), drop);
        assert_eq!(decide("10.0.0.2", 5000, "192.0.2.1", 81), pass);
        assert_eq!(decide("192.0.2.1", 81, "10.0.0.2", 5000), pass);
        assert_eq!(decide("203.0.113.1", 81, "198.51.100.7", 5000), drop);
        assert_eq!(decide("fd00::1", 80, "fd00::2", 5000), pass);
    }

    #[test]
    fn actions_name_the_rule_that_decided() {
        let config = Config::parse(TEXT, "test.toml").unwrap();
        let mut channels = Registry::new();
        let drop = channels.register("drop", Box::new(Drop)).unwrap();
        channels.register("pass", Box::new(Pass)).unwrap();
        channels.register("routed", Box::new(Forward)).unwrap();
        let rules = rule_set(&config, &config.rules, &channels, &[claimed(drop, &[])]).unwrap();
        let rule = |source, source_port, destination, destination_port| {
            let headers = headers(source, source_port, destination, destination_port);
            decide_by(&rules, &headers, Role::Outside).rule
        };
        assert_eq!(rule("10.0.0.2", 5000, "192.0.2.1", 80), RuleNumber(0));
        assert_eq!(rule("192.0.2.66", 80, "10.0.0.2", 5000), RuleNumber(1));
        // To a translator's address, but from where a rule says.
        assert_eq!(rule("192.0.2.66", 80, "198.51.100.7", 5000), RuleNumber(1));
        // A way back, a translator's answer, and what no rule matches.
        assert_eq!(rule("192.0.2.1", 80, "10.0.0.2", 5000), RuleNumber::NONE);
        assert_eq!(rule("203.0.113.1", 80, "198.51.100.7", 5000), RuleNumber::NONE);
        assert_eq!(rule("fd00::1", 80, "fd00::2", 5000), RuleNumber::NONE);
    }

    const SHARING: &str = r#"
        [[interface]]
        name = "lan"
        role = "inside"
        [[interface]]
        name = "wan"
        role = "outside"
        [[channel]]
        name = "first"
        type = "nat"
        external = "wan"
        ports = ["1024-1999", "4000-4999"]
        [[channel]]
        name = "second"
        type = "nat"
        external = "wan"
        ports = "2000-2999"
        [[rule]]
        from = "10.0.0.0/25"
        channel = "first"
        [[rule]]
        from = "10.0.0.128/25"
        channel = "second"
        [[rule]]
        priority = 1000
        from = "0.0.0.0/0"
        channel = "drop"
        [[rule]]
        from = "203.0.113.0/24"
        channel = "drop"
        [[rule]]
        from = "203.0.114.0/24"
        to = "10.0.0.1"
        channel = "drop"
    "#;

    #[test]
    fn translators_get_their_answers_by_port_unless_a_rule_names_where_they_come_from() {
        let config = Config::parse(SHARING, "test.toml").unwrap();
        let mut channels = Registry::new();
        let drop = channels.register("drop", Box::new(Drop)).unwrap();
        channels.register("pass", Box::new(Pass)).unwrap();
        let first = channels.register("first", Box::new(Forward)).unwrap();
        let second = channels.register("second", Box::new(Forward)).unwrap();
        let claims = [
            claimed(first, &[1024..=1999, 4000..=4999]),
            claimed(second, &[2000..=2999]),
        ];
        let rules = rule_set(&config, &config.rules, &channels, &claims).unwrap();
        let from_outside = |port| {
            decide(
                &rules,
                &headers("192.0.2.1", 80, "198.51.100.7", port),
                Role::Outside,
            )
        };
        let decided = [1024, 1999, 2000, 2999, 4000, 4999].map(from_outside);
        assert_eq!(decided, [first, first, second, second, first, first]);
        let from = |source| decide(&rules, &headers(source, 80, "198.51.100.7", 2000), Role::Outside);
        assert_eq!(["203.0.113.9", "203.0.114.9"].map(from), [drop, second]);
        // Without a port, and beyond all ports.
        assert_eq!([0, 3000].map(from_outside), [first, first]);
        let from_inside = |source| decide(&rules, &headers(source, 5000, "198.51.100.7", 2000), Role::Inside);
        let decided = ["10.0.0.1", "10.0.0.200", "10.9.9.9"].map(from_inside);
        assert_eq!(decided, [first, second, drop]);
    }
}
