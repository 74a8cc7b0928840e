//! What came of reading rules.

use super::RuleList;
use crate::config::Problem;

/// Rules that were read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The rules and sets.
    pub rules: RuleList,
    /// What can be used but is probably not meant.
    pub warnings: Vec<Problem>,
    /// What was left out, because rules can't say it.
    pub left_out: Vec<Problem>,
}

impl From<(RuleList, Vec<Problem>)> for Loaded {
    fn from((rules, warnings): (RuleList, Vec<Problem>)) -> Self {
        Self {
            rules,
            warnings,
            left_out: Vec::new(),
        }
    }
}
