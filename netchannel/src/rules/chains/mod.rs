//! Chains of rules, as the kernel's packet filters have them, made into the rules of a list.
//!
//! The kernel asks chains at hooks, one after the other, and chains jump to others. A list of rules is asked from its front, and the
//! first that matches decides. [`flatten`] follows every way through the chains with the packets that can go it, and gives what it
//! comes to in the order in which the kernel would.

mod flatten;
pub(crate) mod names;
mod options;
mod region;
mod said;
mod spans;
#[cfg(test)]
pub(crate) mod tests;
mod translation;
mod write;

use std::collections::BTreeSet;
use std::ops::Range;
use std::path::Path;

pub(crate) use flatten::{Cause, Decision, Outcome, flatten};
pub use options::{ImportOptions, RouteError, WayOut};
pub(crate) use region::{
    AnySet, Dimension, Family, Region, addresses, highest_value, later_fragments, not_later_fragments,
    numbers,
};
pub(crate) use spans::Spans;
pub(crate) use translation::{Destination, External, Source, Translations};
pub(crate) use write::{as_comment, refusal, write};

use super::{Name, Place};
use crate::config::Problem;

/// Chains, and the hooks that ask them.
#[derive(Clone, Debug, Default)]
pub(crate) struct Chains {
    pub(crate) chains: Vec<Chain>,
    /// What forwarded packets meet, in this order.
    pub(crate) forward: Vec<Hook>,
    /// Where destinations are translated, in this order.
    pub(crate) destinations: Vec<Hook>,
}

impl Chains {
    /// What there is to say about rules that no packet meets which is forwarded, if there are some.
    pub(crate) fn unmet(&self) -> Option<String> {
        let hooks = self.forward.iter().chain(&self.destinations);
        let mut next: Vec<usize> = hooks.map(|hook| hook.chain).collect();
        let mut met: BTreeSet<usize> = BTreeSet::new();
        while let Some(chain) = next.pop() {
            if met.insert(chain) {
                let bodies = self.chains[chain].rules.iter().flat_map(|rule| &rule.body);
                next.extend(bodies.flat_map(|body| &body.branches).filter_map(
                    |branch| match branch.verdict {
                        Verdict::Jump(target) | Verdict::Goto(target) => Some(target),
                        _ => None,
                    },
                ));
            }
        }
        let chains = self.chains.iter().enumerate();
        let unmet: Vec<&Chain> = chains
            .filter(|(number, chain)| !met.contains(number) && !chain.rules.is_empty())
            .map(|(_, chain)| chain)
            .collect();
        let rules: usize = unmet.iter().map(|chain| chain.rules.len()).sum();
        let names: Vec<&str> = unmet.iter().map(|chain| chain.name.as_str()).collect();
        (rules > 0).then(|| {
            format!(
                "not met by what is forwarded, and no rules here ({rules} in {}): the box's own traffic stays the kernel's",
                names.join(", ")
            )
        })
    }
}

/// A chain that packets meet by themselves, and what becomes of those that get to its end.
#[derive(Clone, Debug)]
pub(crate) struct Hook {
    pub(crate) chain: usize,
    pub(crate) accepts: bool,
    /// The packets that it is asked about, if not all.
    pub(crate) family: Option<Family>,
    pub(crate) place: Place,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Chain {
    /// As a person would call it: `FORWARD`, `inet filter forward`.
    pub(crate) name: String,
    pub(crate) rules: Vec<ChainRule>,
}

#[derive(Clone, Debug)]
pub(crate) struct ChainRule {
    pub(crate) place: Place,
    /// Where it stands, if there are no lines.
    pub(crate) context: Option<Name>,
    /// Its line.
    pub(crate) source: Option<Name>,
    pub(crate) comment: Option<Name>,
    /// What whoever imports it should know.
    pub(crate) notes: Vec<String>,
    /// What it does with which packets, tried in this order; or why that can't be said in rules.
    pub(crate) body: Result<Body, Refusal>,
}

impl ChainRule {
    /// Something about the rule.
    pub(crate) fn problem(&self, refusal: &Refusal) -> Problem {
        let file = self.place.file.as_deref().unwrap_or(Path::new(""));
        match (&self.source, self.place.position, &self.context) {
            (Some(line), Some(position), _) => {
                let at = refusal.at.clone().unwrap_or(0..line.len());
                Problem::in_line(file, position.line, line, &at, &refusal.message)
            }
            (_, _, Some(context)) => Problem::of_key(file, context, &refusal.message),
            _ => Problem::of_file(file, &refusal.message),
        }
    }
}

/// Why a rule can't be said, and the place in its line that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) at: Option<Range<usize>>,
}

impl From<String> for Refusal {
    fn from(message: String) -> Self {
        Self { message, at: None }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Body {
    /// Packets that it does not take: those that came in by one of these.
    pub(crate) unless_interfaces: BTreeSet<Name>,
    /// Nor those of these protocols.
    pub(crate) unless_protocols: Spans,
    /// Those with different verdicts take different packets.
    pub(crate) branches: Vec<Branch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Branch {
    pub(crate) region: Region,
    pub(crate) verdict: Verdict,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// On to the next hook.
    Accept,
    Drop,
    /// Back to behind the jump.
    Return,
    /// To a chain and, from its end, on to the next rule.
    Jump(usize),
    /// To a chain and, from its end, to behind the jump that led here.
    Goto(usize),
    /// Translate the source, and accept.
    Source(Source),
    /// Translate the destination, and accept.
    Destination(Destination),
}
