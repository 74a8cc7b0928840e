//! What becomes of a packet by rules, and by what translators and channels that forward add to them.

use std::net::IpAddr;

use super::flow::Flow;
use super::matching::matching;
use crate::config::{ChannelKind, Config, Role};
use crate::rules::{Rule, RuleList};
use crate::setup::{self, Claim};

/// What decides.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decider {
    /// A rule, by its place in the list.
    Rule(usize),
    /// The destination is an external address of a translator.
    Claim,
    /// It comes back of what a rule forwards, by its place in the list.
    WayBack(usize),
    /// No rule matches: the packet is the kernel's.
    Nothing,
}

/// What becomes of a packet that opens a flow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision {
    /// The channel that it goes to.
    pub channel: String,
    /// What decides.
    pub by: Decider,
    /// The rules that match, by their places in the list, in the order in which they are tried.
    pub matching: Vec<usize>,
}

/// What rules stand in: a configuration, or nothing but themselves.
#[derive(Debug)]
pub struct World<'c> {
    /// The configuration, if there is one.
    pub config: Option<&'c Config>,
    claims: Vec<Claim>,
}

impl<'c> World<'c> {
    /// That of a configuration. Of external addresses, those are known that it gives by number, not those of interfaces.
    pub fn new(config: Option<&'c Config>) -> Self {
        Self {
            config,
            claims: config.map(setup::numbered_claims).unwrap_or_default(),
        }
    }

    /// That of a running daemon, whose translators have these addresses.
    pub(crate) fn running(config: &'c Config, claims: Vec<Claim>) -> Self {
        Self {
            config: Some(config),
            claims,
        }
    }

    #[cfg(test)]
    pub(super) fn claims(&self) -> &[Claim] {
        &self.claims
    }

    /// What there is for a flow that does not tell by which interface it came: the inside interface whose prefixes hold the source, else the
    /// first outside interface. Nothing without a configuration.
    pub fn complete(&self, flow: &mut Flow) {
        let Some(config) = self.config.filter(|_| flow.interface.is_none()) else {
            return;
        };
        let holds = |interface: &&crate::config::Interface| {
            let mut prefixes = interface.prefixes.iter().flatten();
            interface.role == Role::Inside && prefixes.any(|prefix| prefix.contains(&flow.source))
        };
        let mut interfaces = config.interfaces.iter();
        let outside = || {
            config
                .interfaces
                .iter()
                .find(|interface| interface.role == Role::Outside)
        };
        let found = interfaces.find(holds).or_else(outside);
        flow.interface = found.map(|interface| interface.name.as_str().into());
    }

    fn is_nat(&self, channel: &str) -> bool {
        let kind = self
            .config
            .and_then(|config| config.channel(channel))
            .map(|channel| &channel.kind);
        matches!(kind, Some(ChannelKind::Nat(_)))
    }

    fn forwards(&self, channel: &str) -> bool {
        let kind = self
            .config
            .and_then(|config| config.channel(channel))
            .map(|channel| &channel.kind);
        kind == Some(&ChannelKind::Forward)
    }

    /// What becomes of a packet, as [`RuleSet::decide`](crate::dispatch::RuleSet::decide) says of the same rules.
    pub fn decide(&self, list: &RuleList, flow: &Flow) -> Decision {
        let rules = &list.rules;
        let mut matching = matching(rules, flow);
        // Translators are for IPv4.
        matching.retain(|&rule| flow.source.is_ipv4() || !self.is_nat(&rules[rule].channel));
        let (channel, by) = self
            .answer(rules, flow, &matching)
            .unwrap_or_else(|| self.any_side(rules, flow, &matching));
        Decision {
            channel,
            by,
            matching,
        }
    }

    /// The claims that a destination is among.
    fn claims_of(&self, flow: &Flow) -> impl Iterator<Item = &Claim> {
        let destination = match flow.destination {
            IpAddr::V4(address) => Some(address),
            IpAddr::V6(_) => None,
        };
        self.claims
            .iter()
            .filter(move |claim| destination.is_some_and(|address| claim.addresses.contains(&address)))
    }

    /// What is asked first about packets from outside: rules that name where they come from, as far as they are for external addresses,
    /// and who has these.
    fn answer(&self, rules: &[Rule], flow: &Flow, matching: &[usize]) -> Option<(String, Decider)> {
        let interface = self.config?.interface(flow.interface.as_deref()?)?;
        if interface.role == Role::Inside {
            return None;
        }
        let first = self.claims_of(flow).next()?;
        let named = matching
            .iter()
            .copied()
            .find(|&rule| names_where_from(&rules[rule], flow));
        let by_port = self.claims_of(flow).find(|claim| {
            claim
                .ports
                .iter()
                .any(|ports| ports.contains(&flow.destination_port))
        });
        // Claims of ports have the last priority but one, and come behind rules that have it.
        let is_before = |rule: &usize| by_port.is_none() || rules[*rule].priority < u32::MAX;
        Some(match (named.filter(is_before), by_port) {
            (Some(rule), _) => (rules[rule].channel.to_string(), Decider::Rule(rule)),
            (None, Some(claim)) => (claim.name.clone(), Decider::Claim),
            (None, None) => (first.name.clone(), Decider::Claim),
        })
    }

    fn any_side(&self, rules: &[Rule], flow: &Flow, matching: &[usize]) -> (String, Decider) {
        if let Some(&rule) = matching.first() {
            return (rules[rule].channel.to_string(), Decider::Rule(rule));
        }
        if let Some(claim) = self.claims_of(flow).next() {
            return (claim.name.clone(), Decider::Claim);
        }
        let back = flow.reversed();
        let forwarding = rules
            .iter()
            .position(|rule| self.forwards(&rule.channel) && rule.takes_tuple(&back));
        match forwarding {
            Some(rule) => (rules[rule].channel.to_string(), Decider::WayBack(rule)),
            None => ("pass".to_owned(), Decider::Nothing),
        }
    }
}

/// Whether a rule that takes a packet names where it comes from, and not just that it may come from anywhere.
fn names_where_from(rule: &Rule, flow: &Flow) -> bool {
    use crate::rules::AddressRange;
    let anywhere = AddressRange::V4(std::net::Ipv4Addr::UNSPECIFIED, std::net::Ipv4Addr::BROADCAST);
    let names = |range: &AddressRange| *range != anywhere && range.contains(flow.source);
    !rule.interfaces.is_empty() || rule.from.iter().any(names)
}

impl Flow {
    /// What would answer it.
    fn reversed(&self) -> Flow {
        Flow {
            source: self.destination,
            destination: self.source,
            source_port: self.destination_port,
            destination_port: self.source_port,
            ..self.clone()
        }
    }
}
