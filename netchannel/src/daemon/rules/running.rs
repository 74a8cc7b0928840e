//! The rules that are in force, and what to say of them.

use std::time::SystemTime;

use crate::dispatch::RuleNumber;
use crate::rules::RuleList;

/// Rules that are, or were, in force. It never changes: a change of the rules makes another one.
#[derive(Debug)]
pub(crate) struct Running {
    /// The rules, in the order in which they are tried, and their sets.
    pub(crate) list: RuleList,
    /// The rules' numbers.
    pub(crate) numbers: Vec<RuleNumber>,
    /// From 1 on, one more with each change.
    pub(crate) version: u64,
    /// Who loaded them: a file's name, say.
    pub(crate) source: String,
    /// When they were loaded.
    pub(crate) since: SystemTime,
}

impl Running {
    /// The place of the rule of this number.
    pub(crate) fn place_of(&self, number: RuleNumber) -> Option<usize> {
        self.numbers.iter().position(|known| *known == number)
    }
}
