//! Answers about the rules in force.

use serde::{Deserialize, Serialize};

/// A load that was begun.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Load {
    /// Its number, for the requests that follow.
    pub load: u64,
}

/// What a change of the rules did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesChanged {
    /// The version of the rules in force now.
    pub version: u64,
    /// How many rules there are.
    pub rules: u64,
    /// Rules that were not there before.
    pub added: u64,
    /// Rules that are there no more.
    pub removed: u64,
    /// How long the change took, in microseconds.
    pub microseconds: u64,
    /// Seconds in which it must be confirmed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub confirm_within: Option<u64>,
    /// The rules that were added, deleted or replaced, where it was a few of them: with their numbers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub touched: Vec<RuleEntry>,
}

/// The rules in force, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesState {
    /// One more with each change, from 1 at the start.
    pub version: u64,
    /// How many rules there are.
    pub rules: u64,
    /// Where they come from: a file's name, say.
    pub source: String,
    /// When they came, in seconds since 1970.
    pub since: u64,
    /// How many changes can be undone.
    pub former: u64,
    /// Whether they wait for confirmation.
    pub is_on_trial: bool,
}

/// Some of the rules in force.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RulesPage {
    /// The version of the rules. A listing is of one version, also if the rules change meanwhile.
    pub version: u64,
    /// The sets, as text; on the first page.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub sets: String,
    /// Rules in the order in which they are tried.
    pub rules: Vec<RuleEntry>,
    /// Where to go on; nothing on the last page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One rule.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuleEntry {
    /// Its number: it stays as long as the rule is in force.
    pub number: u32,
    /// Its priority.
    pub priority: u32,
    /// The channel.
    pub channel: String,
    /// The rule in its native form.
    pub text: String,
    /// File, line and column, if it has any.
    pub place: String,
}
