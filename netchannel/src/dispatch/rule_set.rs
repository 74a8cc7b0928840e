//! Which channel a new flow belongs to: the classifier, once for IPv4 and once for IPv6.

use std::net::IpAddr;

use classifier::live::Writer;
use classifier::tuple::Tuple;
use classifier::{Classifier, InsertError, Lookup, Rule};

use super::dimensions::{Arrival, DIMENSIONS, Ipv4Dimensions, Ipv4Rule, Ipv6Dimensions, Ipv6Rule};
use super::rule_counters::RuleNumber;
use crate::channel::ChannelId;
use crate::interface::Role;

/// What a rule does with its packets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Action {
    /// The channel that they go to.
    pub channel: ChannelId,
    /// What the rule says to the channel about them, in the channel's own terms; 0 for nothing.
    pub parameter: u8,
    /// The rule.
    pub rule: RuleNumber,
}

impl From<ChannelId> for Action {
    fn from(channel: ChannelId) -> Self {
        Self {
            channel,
            parameter: 0,
            rule: RuleNumber::NONE,
        }
    }
}

/// The rules of both families. What no rule matches goes to `otherwise`.
#[derive(Debug)]
pub struct RuleSet {
    ipv4: Tuple<Ipv4Dimensions, Action, DIMENSIONS>,
    ipv6: Tuple<Ipv6Dimensions, Action, DIMENSIONS>,
    /// For packets from outside, tried before the others.
    answers: Tuple<Ipv4Dimensions, Action, DIMENSIONS>,
    otherwise: ChannelId,
    /// Numbers of rules are below this.
    rule_numbers: usize,
}

/// Rules that become a [`RuleSet`] all at once, which is faster than one at a time: the classifier chooses its tables for all of them.
#[derive(Debug, Default)]
pub struct RuleSetBuilder {
    ipv4: Vec<Ipv4Rule<Action>>,
    ipv6: Vec<Ipv6Rule<Action>>,
    answers: Vec<Ipv4Rule<Action>>,
}

impl RuleSetBuilder {
    /// As [`RuleSet::insert_ipv4`].
    pub fn push_ipv4(&mut self, rule: Ipv4Rule<Action>) {
        self.ipv4.push(rule);
    }

    /// As [`RuleSet::insert_ipv6`].
    pub fn push_ipv6(&mut self, rule: Ipv6Rule<Action>) {
        self.ipv6.push(rule);
    }

    /// As [`RuleSet::insert_answer`].
    pub fn push_answer(&mut self, rule: Ipv4Rule<Action>) {
        self.answers.push(rule);
    }

    /// Adds another one's rules behind these.
    pub fn append(&mut self, mut more: Self) {
        self.ipv4.append(&mut more.ipv4);
        self.ipv6.append(&mut more.ipv6);
        self.answers.append(&mut more.answers);
    }

    /// Makes the set; what no rule matches goes to `otherwise`.
    ///
    /// # Errors
    /// See [`InsertError`].
    pub fn build(self, otherwise: ChannelId) -> Result<RuleSet, InsertError> {
        let numbers = |action: &Action| match action.rule {
            RuleNumber::NONE => 0,
            RuleNumber(number) => number as usize + 1,
        };
        let of_ipv4 = self.ipv4.iter().chain(&self.answers);
        let of_ipv4 = of_ipv4.map(|rule| numbers(&rule.action)).max();
        let of_ipv6 = self.ipv6.iter().map(|rule| numbers(&rule.action)).max();
        let mut rules = RuleSet::new(otherwise);
        rules.rule_numbers = of_ipv4.max(of_ipv6).unwrap_or(0);
        rules.ipv4.replace(self.ipv4)?;
        rules.ipv6.replace(self.ipv6)?;
        rules.answers.replace(self.answers)?;
        Ok(rules)
    }
}

impl RuleSet {
    /// A set without rules.
    pub fn new(otherwise: ChannelId) -> Self {
        Self {
            ipv4: Tuple::new(),
            ipv6: Tuple::new(),
            answers: Tuple::new(),
            otherwise,
            rule_numbers: 0,
        }
    }

    /// Adds a rule for IPv4, behind those of the same priority.
    ///
    /// # Errors
    /// See [`InsertError`].
    pub fn insert_ipv4(&mut self, rule: Ipv4Rule<impl Into<Action>>) -> Result<(), InsertError> {
        let rule = self.acting(rule);
        self.ipv4.insert(rule).map(drop)
    }

    /// Adds a rule for IPv6, behind those of the same priority.
    ///
    /// # Errors
    /// See [`InsertError`].
    pub fn insert_ipv6(&mut self, rule: Ipv6Rule<impl Into<Action>>) -> Result<(), InsertError> {
        let rule = self.acting(rule);
        self.ipv6.insert(rule).map(drop)
    }

    /// Adds a rule for what comes in by an outside interface, to be tried before all that are for both sides: a translator's answers
    /// come to ports drawn by lot, which no rule about ports may take for a service's.
    ///
    /// # Errors
    /// See [`InsertError`].
    pub fn insert_answer(&mut self, rule: Ipv4Rule<impl Into<Action>>) -> Result<(), InsertError> {
        let rule = self.acting(rule);
        self.answers.insert(rule).map(drop)
    }

    /// Rules of all kinds.
    pub fn len(&self) -> usize {
        self.ipv4.len() + self.ipv6.len() + self.answers.len()
    }

    /// Whether there is no rule.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the classifier of each kind of rules has: name, rules, bytes.
    pub fn memory(&self) -> [(&'static str, usize, usize); 3] {
        [
            ("ipv4", self.ipv4.len(), self.ipv4.memory()),
            ("ipv6", self.ipv6.len(), self.ipv6.memory()),
            ("answers", self.answers.len(), self.answers.memory()),
        ]
    }

    /// What to do with the flow that this packet opens, which came in by an interface of this role.
    pub fn decide(&self, packet: &Arrival<'_>, role: Role) -> Action {
        let found = match (packet.headers.source, packet.headers.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let key = packet.key(source.to_bits(), destination.to_bits());
                let answer = match role {
                    Role::Inside => None,
                    Role::Outside => self.answers.lookup(&key),
                };
                answer
                    .or_else(|| self.ipv4.lookup(&key))
                    .map(|found| found.action)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let key = packet.key(source.to_bits(), destination.to_bits());
                self.ipv6.lookup(&key).map(|found| found.action)
            }
            _ => None,
        };
        found.unwrap_or(self.otherwise.into())
    }

    /// Numbers that rules have are below this.
    pub(crate) fn rule_numbers(&self) -> usize {
        self.rule_numbers
    }

    fn acting<W, const D: usize>(&mut self, rule: Rule<W, D, impl Into<Action>>) -> Rule<W, D, Action> {
        let action = rule.action.into();
        if action.rule != RuleNumber::NONE {
            self.rule_numbers = self.rule_numbers.max(action.rule.0 as usize + 1);
        }
        Rule {
            ranges: rule.ranges,
            priority: rule.priority,
            action,
        }
    }
}
