//! The rules that are in force, and what to say of them.

use std::sync::Arc;
use std::time::SystemTime;

use crate::dispatch::RuleNumber;
use crate::rules::{Rule, RuleList};

/// Rules that are, or were, in force. It never changes: a change of the rules makes another one, which shares the rules that stay.
#[derive(Debug)]
pub(crate) struct Running {
    /// The rules, in the order in which they are tried.
    pub(crate) rules: Vec<Arc<Rule>>,
    /// The rules' numbers.
    pub(crate) numbers: Vec<RuleNumber>,
    /// The sets; it has no rules.
    pub(crate) sets: RuleList,
    /// From 1 on, one more with each change.
    pub(crate) version: u64,
    /// Who loaded them: a file's name, say.
    pub(crate) source: String,
    /// When they were loaded.
    pub(crate) since: SystemTime,
}

impl Running {
    /// The rules.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Rule> + Clone {
        self.rules.iter().map(|rule| &**rule)
    }

    /// The rules with their numbers.
    pub(super) fn numbered(&self) -> impl Iterator<Item = (RuleNumber, &Rule)> {
        self.numbers.iter().copied().zip(self.iter())
    }

    /// Rules and sets, copied.
    pub(crate) fn list(&self) -> RuleList {
        RuleList {
            rules: self.iter().cloned().collect(),
            ..self.sets.clone()
        }
    }

    /// The place of the rule of this number.
    pub(crate) fn place_of(&self, number: RuleNumber) -> Option<usize> {
        self.numbers.iter().position(|known| *known == number)
    }
}
