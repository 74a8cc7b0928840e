//! Which channel a new flow belongs to: the classifier, once for IPv4 and once for IPv6.

use std::net::IpAddr;

use classifier::trie::{Ipv4Trie, Ipv6Trie};
use classifier::{Classifier, InsertError, Ipv4Key, Ipv4Rule, Ipv6Key, Ipv6Rule, Lookup};

use super::flow_table::FlowKey;
use crate::channel::ChannelId;
use crate::interface::Role;

/// The rules of both families. What no rule matches goes to `otherwise`.
#[derive(Debug)]
pub struct RuleSet {
    ipv4: Ipv4Trie<ChannelId>,
    ipv6: Ipv6Trie<ChannelId>,
    /// For packets from outside, tried before the others.
    answers: Ipv4Trie<ChannelId>,
    otherwise: ChannelId,
}

impl RuleSet {
    /// A set without rules.
    pub fn new(otherwise: ChannelId) -> Self {
        Self {
            ipv4: Ipv4Trie::new(),
            ipv6: Ipv6Trie::new(),
            answers: Ipv4Trie::new(),
            otherwise,
        }
    }

    /// Adds a rule for IPv4, behind those of the same priority.
    ///
    /// # Errors
    /// See [`InsertError`].
    pub fn insert_ipv4(&mut self, rule: Ipv4Rule<ChannelId>) -> Result<(), InsertError> {
        self.ipv4.insert(rule).map(drop)
    }

    /// Adds a rule for IPv6, behind those of the same priority.
    ///
    /// # Errors
    /// See [`InsertError`].
    pub fn insert_ipv6(&mut self, rule: Ipv6Rule<ChannelId>) -> Result<(), InsertError> {
        self.ipv6.insert(rule).map(drop)
    }

    /// Adds a rule for what comes in by an outside interface, to be tried before all that are for both sides: a translator's answers
    /// come to ports drawn by lot, which no rule about ports may take for a service's.
    ///
    /// # Errors
    /// See [`InsertError`].
    pub fn insert_answer(&mut self, rule: Ipv4Rule<ChannelId>) -> Result<(), InsertError> {
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

    /// The channel of a flow that comes in by an interface of this role.
    pub fn decide(&self, key: &FlowKey, role: Role) -> ChannelId {
        let (source_port, destination_port, protocol) = (key.source_port, key.destination_port, key.protocol);
        let found = match (key.source, key.destination) {
            (IpAddr::V4(source), IpAddr::V4(destination)) => {
                let key = Ipv4Key::five_tuple(source, destination, source_port, destination_port, protocol);
                let answer = match role {
                    Role::Inside => None,
                    Role::Outside => self.answers.lookup(&key),
                };
                answer
                    .or_else(|| self.ipv4.lookup(&key))
                    .map(|found| found.action)
            }
            (IpAddr::V6(source), IpAddr::V6(destination)) => {
                let key = Ipv6Key::five_tuple(source, destination, source_port, destination_port, protocol);
                self.ipv6.lookup(&key).map(|found| found.action)
            }
            _ => None,
        };
        found.unwrap_or(self.otherwise)
    }
}
