//! Which channel a new flow belongs to: the classifier, once for IPv4 and once for IPv6.

use std::net::IpAddr;

use classifier::live::Writer;
use classifier::tuple::Tuple;
use classifier::{Classifier, InsertError, Lookup, Rule, RuleId};

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

/// One of the classifiers of a rule set.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Table {
    Ipv4,
    Ipv6,
    Answers,
}

/// A box that is in a rule set, to be taken out again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct BoxId {
    table: Table,
    id: RuleId,
}

/// Which box was made for which rule.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OwnedBox {
    /// The rule; [`RuleNumber::NONE`] for what is no rule's.
    pub owner: RuleNumber,
    /// The box.
    pub id: BoxId,
}

/// Boxes of one classifier, each with the rule that it is made for.
#[derive(Debug)]
struct Boxes<W, const D: usize> {
    rules: Vec<Rule<W, D, Action>>,
    owners: Vec<RuleNumber>,
}

impl<W, const D: usize> Default for Boxes<W, D> {
    fn default() -> Self {
        Self {
            rules: Vec::new(),
            owners: Vec::new(),
        }
    }
}

impl<W, const D: usize> Boxes<W, D> {
    fn push(&mut self, rule: Rule<W, D, Action>, owner: RuleNumber) {
        self.rules.push(rule);
        self.owners.push(owner);
    }

    fn append(&mut self, more: &mut Self) {
        self.rules.append(&mut more.rules);
        self.owners.append(&mut more.owners);
    }

    /// Numbers of rules are below this.
    fn numbers(&self) -> usize {
        let numbers = self.rules.iter().map(|rule| match rule.action.rule {
            RuleNumber::NONE => 0,
            RuleNumber(number) => number as usize + 1,
        });
        numbers.max().unwrap_or(0)
    }
}

/// Boxes that go into a [`RuleSet`] together: as a set of their own, which is faster than one at a time, for the classifier chooses its
/// tables for all of them; or behind those of a set that is there.
#[derive(Debug, Default)]
pub struct RuleSetBuilder {
    ipv4: Boxes<u32, DIMENSIONS>,
    ipv6: Boxes<u128, DIMENSIONS>,
    answers: Boxes<u32, DIMENSIONS>,
}

impl RuleSetBuilder {
    /// As [`RuleSet::insert_ipv4`]; `owner` is the rule that the box is made for.
    pub fn push_ipv4(&mut self, rule: Ipv4Rule<Action>, owner: RuleNumber) {
        self.ipv4.push(rule, owner);
    }

    /// As [`RuleSet::insert_ipv6`].
    pub fn push_ipv6(&mut self, rule: Ipv6Rule<Action>, owner: RuleNumber) {
        self.ipv6.push(rule, owner);
    }

    /// As [`RuleSet::insert_answer`].
    pub fn push_answer(&mut self, rule: Ipv4Rule<Action>, owner: RuleNumber) {
        self.answers.push(rule, owner);
    }

    /// Adds another one's boxes behind these.
    pub fn append(&mut self, mut more: Self) {
        self.ipv4.append(&mut more.ipv4);
        self.ipv6.append(&mut more.ipv6);
        self.answers.append(&mut more.answers);
    }

    /// How many boxes there are.
    pub fn len(&self) -> usize {
        self.ipv4.rules.len() + self.ipv6.rules.len() + self.answers.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn numbers(&self) -> usize {
        let numbers = self.ipv4.numbers().max(self.ipv6.numbers());
        numbers.max(self.answers.numbers())
    }

    /// Makes the set; what no rule matches goes to `otherwise`. Tells where the boxes are.
    ///
    /// # Errors
    /// See [`InsertError`].
    pub fn build(self, otherwise: ChannelId) -> Result<(RuleSet, Vec<OwnedBox>), InsertError> {
        let mut set = RuleSet::new(otherwise);
        set.rule_numbers = self.numbers();
        let mut placed = Vec::with_capacity(self.len());
        let mut place = |table, owners: Vec<RuleNumber>, ids: Vec<RuleId>| {
            let owned = owners.into_iter().zip(ids).map(|(owner, id)| OwnedBox {
                owner,
                id: BoxId { table, id },
            });
            placed.extend(owned);
        };
        place(Table::Ipv4, self.ipv4.owners, set.ipv4.replace(self.ipv4.rules)?);
        place(Table::Ipv6, self.ipv6.owners, set.ipv6.replace(self.ipv6.rules)?);
        place(
            Table::Answers,
            self.answers.owners,
            set.answers.replace(self.answers.rules)?,
        );
        Ok((set, placed))
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

    /// Adds boxes, each behind those of its priority, and takes others out; all, or none if there is an error. Tells where the new ones
    /// are. As long as both are few, this takes microseconds.
    ///
    /// # Errors
    /// See [`InsertError`].
    pub fn change(&mut self, add: RuleSetBuilder, remove: &[BoxId]) -> Result<Vec<OwnedBox>, InsertError> {
        let numbers = add.numbers();
        let mut placed = Vec::with_capacity(add.len());
        if let Err(error) = self.add(add, &mut placed) {
            for owned in placed {
                self.take_out(owned.id);
            }
            return Err(error);
        }
        for id in remove {
            self.take_out(*id);
        }
        self.rule_numbers = self.rule_numbers.max(numbers);
        Ok(placed)
    }

    fn add(&mut self, add: RuleSetBuilder, placed: &mut Vec<OwnedBox>) -> Result<(), InsertError> {
        let mut place = |table, owner, id| {
            placed.push(OwnedBox {
                owner,
                id: BoxId { table, id },
            });
        };
        for (rule, owner) in add.ipv4.rules.into_iter().zip(add.ipv4.owners) {
            place(Table::Ipv4, owner, self.ipv4.insert(rule)?);
        }
        for (rule, owner) in add.ipv6.rules.into_iter().zip(add.ipv6.owners) {
            place(Table::Ipv6, owner, self.ipv6.insert(rule)?);
        }
        for (rule, owner) in add.answers.rules.into_iter().zip(add.answers.owners) {
            place(Table::Answers, owner, self.answers.insert(rule)?);
        }
        Ok(())
    }

    /// Nothing, if it is gone already.
    fn take_out(&mut self, BoxId { table, id }: BoxId) {
        match table {
            Table::Ipv4 => drop(self.ipv4.remove(id)),
            Table::Ipv6 => drop(self.ipv6.remove(id)),
            Table::Answers => drop(self.answers.remove(id)),
        }
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
