//! What came of reading rules.

use std::path::Path;

use super::{MAX_TOTAL_BOXES, Names, Rule, RuleList};
use crate::config::{ConfigError, MAX_PROBLEMS, Problem};

/// Rules that were read.
#[derive(Clone, Debug, Default)]
pub struct Loaded {
    /// The rules and sets.
    pub rules: RuleList,
    /// What can be used but is probably not meant.
    pub warnings: Vec<Problem>,
    /// What was left out, because rules can't say it.
    pub left_out: Vec<Problem>,
    /// The channels that the rules lead to and a configuration needs, as its text; empty for formats that do not say what channels do.
    pub channels: String,
}

impl From<(RuleList, Vec<Problem>)> for Loaded {
    fn from((rules, warnings): (RuleList, Vec<Problem>)) -> Self {
        Self {
            rules,
            warnings,
            left_out: Vec::new(),
            channels: String::new(),
        }
    }
}

impl RuleList {
    /// Checks that the rules fit a configuration: the channels and interfaces that they name, and how many single rules their lists make.
    ///
    /// # Errors
    /// Everything that is wrong, with the place of the rule; `file` is the name of what has no place.
    pub fn check_with(&self, names: &Names, file: &Path) -> Result<(), ConfigError> {
        let mut error = ConfigError {
            file: file.to_owned(),
            problems: Vec::new(),
            more: 0,
        };
        let mut wrong = |rule: &Rule, message: String| {
            if error.problems.len() < MAX_PROBLEMS {
                let file = rule.place.file.as_deref().unwrap_or(file);
                error
                    .problems
                    .push(Problem::at(file, rule.place.position, message));
            } else {
                error.more += 1;
            }
        };
        let mut boxes: u64 = 0;
        for rule in &self.rules {
            for fault in names.check(rule) {
                wrong(rule, fault.message);
            }
            let before = boxes;
            boxes = boxes.saturating_add(rule.boxes());
            if before <= MAX_TOTAL_BOXES && boxes > MAX_TOTAL_BOXES {
                let message = format!(
                    "the lists of all rules up to this one make more than {MAX_TOTAL_BOXES} single rules; expected fewer \
                     or shorter lists"
                );
                wrong(rule, message);
            }
        }
        if error.problems.is_empty() {
            Ok(())
        } else {
            Err(error)
        }
    }
}
