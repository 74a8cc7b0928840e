//! All that is said of one packet, for people and programs.

use serde::{Deserialize, Serialize};

use super::{Decider, Flow, Narrowing, World, narrow, translation};
use crate::config::ChannelKind;
use crate::rules::{Rule, RuleList, text};

/// A rule as reports show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShownRule {
    /// Its number, of a rule in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub number: Option<u32>,
    /// The file that it is in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<String>,
    /// Its line there, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub line: Option<u32>,
    /// Its column, from 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<u32>,
    /// The rule in its native form.
    pub text: String,
}

impl ShownRule {
    /// A rule that is in no force.
    pub fn of(rule: &Rule) -> Self {
        Self {
            number: None,
            file: rule.place.file.as_ref().map(|file| file.display().to_string()),
            line: rule.place.position.map(|position| position.line),
            column: rule.place.position.map(|position| position.column),
            text: text::rule_text(rule),
        }
    }

    /// Number and place, as far as it has them.
    pub fn place(&self) -> String {
        let place = match (&self.file, self.line, self.column) {
            (Some(file), Some(line), Some(column)) => Some(format!("{file}:{line}:{column}")),
            (Some(file), ..) => Some(file.clone()),
            _ => None,
        };
        match (self.number, place) {
            (Some(number), Some(place)) => format!("rule {number}, {place}"),
            (Some(number), None) => format!("rule {number}"),
            (None, Some(place)) => place,
            (None, None) => "a rule of no file".to_owned(),
        }
    }
}

/// What becomes of a packet, and why.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Explanation {
    /// The packet.
    pub flow: String,
    /// The channel that it goes to.
    pub channel: String,
    /// nat, forward, drop, pass or custom; nothing if it is not known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kind: Option<String>,
    /// rule, claim, way_back or nothing.
    pub by: String,
    /// The rule that wins, or that a way back belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rule: Option<ShownRule>,
    /// Other rules that match, in the order in which they are tried.
    pub others: Vec<ShownRule>,
    /// What a translator would do, in sentences.
    pub translation: Vec<String>,
    /// What each dimension leaves of the rules, if that was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub dimensions: Vec<Narrowing>,
}

/// Says what becomes of a packet by these rules; `show` says how a rule of the list is shown.
pub fn explain(
    world: &World<'_>,
    list: &RuleList,
    mut flow: Flow,
    is_verbose: bool,
    show: impl Fn(usize) -> ShownRule,
) -> Explanation {
    world.complete(&mut flow);
    let decision = world.decide(list, &flow);
    let (by, rule) = match decision.by {
        Decider::Rule(rule) => ("rule", Some(rule)),
        Decider::WayBack(rule) => ("way_back", Some(rule)),
        Decider::Claim => ("claim", None),
        Decider::Nothing => ("nothing", None),
    };
    let others = decision.matching.iter().copied();
    let others = others.filter(|other| Some(*other) != rule).map(&show).collect();
    let kind = match (decision.channel.as_str(), world.config) {
        (name @ ("drop" | "pass"), _) => Some(name),
        (name, Some(config)) => config.channel(name).map(|channel| match channel.kind {
            ChannelKind::Nat(_) => "nat",
            ChannelKind::Forward => "forward",
            ChannelKind::Custom => "custom",
        }),
        (_, None) => None,
    };
    let translated = world
        .config
        .map(|config| translation(config, &decision.channel, &flow));
    let dimensions = if is_verbose {
        narrow(list, &flow, &interfaces(world, list))
    } else {
        Vec::new()
    };
    Explanation {
        flow: flow.to_string(),
        kind: kind.map(str::to_owned),
        by: by.to_owned(),
        rule: rule.map(show),
        others,
        translation: translated.unwrap_or_default(),
        dimensions,
        channel: decision.channel,
    }
}

/// The names of all interfaces: of the configuration, or those that rules name.
fn interfaces<'l>(world: &World<'l>, list: &'l RuleList) -> Vec<&'l str> {
    match world.config {
        Some(config) => config.interface_names(),
        None => {
            let names = list
                .iter()
                .flat_map(|rule| rule.interfaces.iter().map(AsRef::as_ref));
            let names: std::collections::BTreeSet<&str> = names.collect();
            names.into_iter().collect()
        }
    }
}
