//! Requests about the rules in force.

use serde::{Deserialize, Serialize};

impl RulesRequest {
    /// Whether it changes something.
    pub fn changes(&self) -> bool {
        match self {
            Self::Begin {}
            | Self::Part { .. }
            | Self::Abort { .. }
            | Self::Commit { .. }
            | Self::Add { .. }
            | Self::Delete { .. }
            | Self::Replace { .. }
            | Self::Confirm {}
            | Self::Undo {} => true,
            Self::State {} | Self::List { .. } | Self::Explain { .. } => false,
        }
    }
}

/// What is asked about rules: the value of `rules` in a request's line. Texts are in the native form (`docs/rules.md`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum RulesRequest {
    /// Begins a load: [`report::Load`](super::report::Load).
    Begin {},
    /// Adds a part of the text to a load; its end need not be that of a line.
    Part {
        /// The load.
        load: u64,
        /// The part.
        text: String,
    },
    /// The text is complete: its rules take the place of all that are in force, at one instant, or none does:
    /// [`report::RulesChanged`](super::report::RulesChanged).
    Commit {
        /// The load.
        load: u64,
        /// Where the text comes from, as it is to be shown.
        #[serde(default)]
        source: String,
        /// The former rules come back unless these are confirmed in this time, 1 to 86400 s.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm_within: Option<u64>,
    },
    /// Forgets a load that was begun: [`report::Load`](super::report::Load).
    Abort {
        /// The load.
        load: u64,
    },
    /// Adds rules, each behind those of its priority.
    Add {
        /// Rules, one a line; they may name sets of the rules in force.
        text: String,
        /// As in `Commit`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm_within: Option<u64>,
    },
    /// Deletes rules.
    Delete {
        /// Their numbers.
        numbers: Vec<u32>,
        /// The version of the rules that they were seen in; any, if there is none.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
        /// As in `Commit`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm_within: Option<u64>,
    },
    /// Puts a rule in the place of another one.
    Replace {
        /// The number of the former rule.
        number: u32,
        /// The rule.
        text: String,
        /// As in `Delete`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        version: Option<u64>,
        /// As in `Commit`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        confirm_within: Option<u64>,
    },
    /// Keeps rules that wait for confirmation: [`report::RulesState`](super::report::RulesState).
    Confirm {},
    /// Goes back to the rules before the last change: [`report::RulesChanged`](super::report::RulesChanged).
    Undo {},
    /// What is in force: [`report::RulesState`](super::report::RulesState).
    State {},
    /// What becomes of a packet, and why: [`Explanation`](crate::rules::explain::Explanation).
    Explain {
        /// The packet, as `netchannel rules explain` takes it: `tcp 10.0.0.5:1234 > 192.0.2.1:443 on lan0`.
        flow: String,
        /// Also how each dimension narrows the rules down.
        #[serde(default)]
        verbose: bool,
    },
    /// A page of the rules in the order in which they are tried: [`report::RulesPage`](super::report::RulesPage).
    List {
        /// The `next` of the page before.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        after: Option<String>,
    },
}
