//! A whole rule set as somebody wrote it: rules, and the sets that they name.

use std::sync::Arc;

use super::rule::{NamedSet, Rule};
use super::values::{AddressRange, PortRange};

/// Rules and named sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RuleList {
    /// The rules, in the order in which they were written.
    pub rules: Vec<Rule>,
    /// Sets of addresses, names unique among all sets; also those that no rule names.
    pub address_sets: Vec<Arc<NamedSet<AddressRange>>>,
    /// Sets of ports.
    pub port_sets: Vec<Arc<NamedSet<PortRange>>>,
}

impl RuleList {
    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// The rules.
    pub fn iter(&self) -> impl Iterator<Item = &Rule> {
        self.rules.iter()
    }

    /// The same with the rules in the order in which they are tried: by priority number, then as they were written.
    pub fn in_order(mut self) -> Self {
        self.rules.sort_by_key(|rule| rule.priority);
        self
    }

    /// The sets alone.
    pub(crate) fn clone_sets(&self) -> Self {
        Self {
            rules: Vec::new(),
            address_sets: self.address_sets.clone(),
            port_sets: self.port_sets.clone(),
        }
    }

    /// The set of addresses of this name.
    pub fn address_set(&self, name: &str) -> Option<&Arc<NamedSet<AddressRange>>> {
        self.address_sets.iter().find(|set| *set.name == *name)
    }

    /// The set of ports of this name.
    pub fn port_set(&self, name: &str) -> Option<&Arc<NamedSet<PortRange>>> {
        self.port_sets.iter().find(|set| *set.name == *name)
    }
}

impl From<Vec<Rule>> for RuleList {
    fn from(rules: Vec<Rule>) -> Self {
        Self {
            rules,
            ..Self::default()
        }
    }
}
