//! The configured rules as a rule set.

use std::net::Ipv4Addr;

use classifier::{Ipv4FiveTuple, Ipv4Rule, Ipv6FiveTuple, Ipv6Rule, Range, Rule, Word, dimension};

use super::SetupError;
use crate::channel::ChannelId;
use crate::config::{AddressRange, Config, PortRange, RuleBox};
use crate::dispatch::{Registry, RuleSet};

/// Makes the rule set: the configured rules, and behind them, for each translator, that what is sent to its external
/// addresses is its own. Packets that no rule matches go to the kernel.
///
/// # Errors
/// If a rule names a channel that is not registered, or is more than the classifier can take.
pub fn rule_set(
    config: &Config,
    channels: &Registry,
    claims: &[(ChannelId, Vec<Ipv4Addr>)],
) -> Result<RuleSet, SetupError> {
    let pass = find(channels, "pass")?;
    let mut rules = RuleSet::new(pass);
    for rule_box in config.rule_boxes() {
        let channel = find(channels, &rule_box.rule.channel)?;
        let in_the_file = |source| SetupError::Rule {
            position: rule_box.rule.position,
            source,
        };
        if rule_box.rule.ipv4 {
            rules
                .insert_ipv4(ipv4_rule(&rule_box, channel))
                .map_err(in_the_file)?;
        }
        if rule_box.rule.ipv6 {
            rules
                .insert_ipv6(ipv6_rule(&rule_box, channel))
                .map_err(in_the_file)?;
        }
    }
    for (channel, addresses) in claims {
        for &address in addresses {
            let mut rule = Rule::any::<Ipv4FiveTuple>(u32::MAX, *channel);
            rule.ranges[dimension::DESTINATION_ADDRESS] = Range::exact(address.to_bits());
            // An address and no more always fits.
            let _ = rules.insert_ipv4(rule);
        }
    }
    Ok(rules)
}

fn find(channels: &Registry, name: &str) -> Result<ChannelId, SetupError> {
    channels
        .find(name)
        .ok_or_else(|| SetupError::NoChannel(name.to_owned()))
}

fn ipv4_rule(rule_box: &RuleBox<'_>, channel: ChannelId) -> Ipv4Rule<ChannelId> {
    let mut rule = Rule::any::<Ipv4FiveTuple>(rule_box.rule.priority, channel);
    let sides = [
        (dimension::SOURCE_ADDRESS, rule_box.from),
        (dimension::DESTINATION_ADDRESS, rule_box.to),
    ];
    for (side, addresses) in sides {
        if let Some(AddressRange::V4(first, last)) = addresses {
            rule.ranges[side] = range(first.to_bits(), last.to_bits());
        }
    }
    set_ports_and_protocol(&mut rule, rule_box);
    rule
}

fn ipv6_rule(rule_box: &RuleBox<'_>, channel: ChannelId) -> Ipv6Rule<ChannelId> {
    let mut rule = Rule::any::<Ipv6FiveTuple>(rule_box.rule.priority, channel);
    let sides = [
        (dimension::SOURCE_ADDRESS, rule_box.from),
        (dimension::DESTINATION_ADDRESS, rule_box.to),
    ];
    for (side, addresses) in sides {
        if let Some(AddressRange::V6(first, last)) = addresses {
            rule.ranges[side] = range(first.to_bits(), last.to_bits());
        }
    }
    set_ports_and_protocol(&mut rule, rule_box);
    rule
}

fn set_ports_and_protocol<W: Word + From<u16>>(rule: &mut Rule<W, 5, ChannelId>, rule_box: &RuleBox<'_>) {
    let ports = |ports: PortRange| range(W::from(ports.first), W::from(ports.last));
    rule.ranges[dimension::SOURCE_PORT] = ports(rule_box.source_ports);
    rule.ranges[dimension::DESTINATION_PORT] = ports(rule_box.destination_ports);
    if let Some(protocol) = rule_box.protocol {
        rule.ranges[dimension::PROTOCOL] = Range::exact(W::from(u16::from(protocol)));
    }
}

/// Ranges of a configuration have their first value first.
fn range<W: Word>(first: W, last: W) -> Range<W> {
    Range::new(first, last).unwrap_or(Range::exact(first))
}
