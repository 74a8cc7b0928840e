//! From what the ways through chains come to, to rules.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use super::flatten::{Flat, FlattenError};
use super::translation::Forward;
use super::{
    Cause, ChainRule, Chains, Decision, Hook, ImportOptions, Outcome, Refusal, Region, Translations, flatten,
};
use crate::config::{ConfigError, MAX_PROBLEMS, Problem};
use crate::rules::{Loaded, MAX_COMMENT, MAX_TOTAL_BOXES, Name, Rule, check};

/// Between the priorities of rules that lead to different channels there is room for others.
const PRIORITY_STEP: u32 = 10;

/// What is made of one set of chains after the other.
pub(crate) struct Writer<'o> {
    file: Arc<Path>,
    options: &'o ImportOptions,
    import: Loaded,
    translations: Translations,
    refused: Vec<Problem>,
    boxes: u64,
}

/// Makes rules of chains: all packets of a region, as they would be forwarded.
pub(crate) fn write(
    file: &Arc<Path>,
    options: &ImportOptions,
    parts: &[(Chains, Region)],
    lenient: bool,
    (refused, warnings): (Vec<Problem>, Vec<Problem>),
) -> Result<Loaded, ConfigError> {
    let mut writer = Writer {
        file: file.clone(),
        options,
        import: Loaded {
            warnings,
            ..Loaded::default()
        },
        translations: Translations::new(&options.nat),
        refused,
        boxes: 0,
    };
    for (chains, region) in parts {
        writer.forward(chains, region);
    }
    // Forwards belong to channels that translate sources, so those come first.
    for (chains, region) in parts {
        writer.destinations(chains, region);
    }
    writer.end(lenient)
}

impl Writer<'_> {
    /// The rules for what is forwarded.
    fn forward(&mut self, chains: &Chains, region: &Region) {
        if chains.forward.is_empty() {
            return;
        }
        let Some(flat) = self.follow(chains, &chains.forward, region) else {
            return;
        };
        self.remark(chains, &flat.met);
        let mut before: Option<&Region> = None;
        for decision in &flat.decisions {
            if before == Some(&decision.region) {
                continue;
            }
            before = Some(&decision.region);
            let channel = match &decision.outcome {
                Outcome::Accept => self.options.accept.clone(),
                Outcome::Drop => "drop".into(),
                Outcome::Source(source) => self.translations.channel(source),
                // Destinations are translated by hooks of their own.
                Outcome::Destination(_) => continue,
            };
            self.rules(chains, decision, &channel);
        }
    }

    fn rules(&mut self, chains: &Chains, decision: &Decision, channel: &Name) {
        for mut rule in decision.region.rules(channel) {
            let hook = |hook: usize| chains.forward.get(hook);
            let (place, comment) = match decision.cause {
                Cause::Rule { chain, rule } => {
                    let from = &chains.chains[chain].rules[rule];
                    (Some(&from.place), from.comment.clone())
                }
                Cause::Policy { hook: number } => {
                    let chain = hook(number).map(|hook| &chains.chains[hook.chain].name);
                    let comment = chain.map(|name| format!("policy of {name}"));
                    (
                        hook(number).map(|hook| &hook.place),
                        comment.and_then(|text| as_comment(&text)),
                    )
                }
            };
            rule.place = place.cloned().unwrap_or_default();
            rule.comment = comment;
            let before = self.import.rules.rules.last();
            rule.priority = match before {
                None => PRIORITY_STEP,
                Some(before) if before.channel == rule.channel => before.priority,
                Some(before) => before.priority.saturating_add(PRIORITY_STEP),
            };
            if let Some(fault) = check(&rule).into_iter().next() {
                self.refuse_decision(chains, decision, fault.message);
                return;
            }
            self.add(rule);
        }
    }

    fn add(&mut self, rule: Rule) {
        let before = self.boxes;
        self.boxes = self.boxes.saturating_add(rule.boxes());
        if self.boxes <= MAX_TOTAL_BOXES {
            self.import.rules.rules.push(rule);
        } else if before <= MAX_TOTAL_BOXES {
            let message = format!(
                "the rules up to here make more than {MAX_TOTAL_BOXES} single rules; expected fewer, or shorter lists"
            );
            self.refused
                .push(Problem::at(&self.file, rule.place.position, message));
        }
    }

    fn refuse_decision(&mut self, chains: &Chains, decision: &Decision, message: String) {
        let problem = match decision.cause {
            Cause::Rule { chain, rule } => chains.chains[chain].rules[rule].problem(&Refusal::from(message)),
            Cause::Policy { .. } => Problem::of_file(&self.file, message),
        };
        if !self.refused.contains(&problem) {
            self.refused.push(problem);
        }
    }

    /// The forwards of channels for what is sent to external addresses.
    fn destinations(&mut self, chains: &Chains, region: &Region) {
        if chains.destinations.is_empty() {
            return;
        }
        let Some(flat) = self.follow(chains, &chains.destinations, region) else {
            return;
        };
        self.remark(chains, &flat.met);
        for (number, decision) in flat.decisions.iter().enumerate() {
            let Outcome::Destination(to) = &decision.outcome else {
                continue;
            };
            let forward = Forward::new(&decision.region, to).and_then(|forward| {
                self.check_forward(chains, &flat.decisions[..number], decision, &forward)?;
                self.translations.forward(forward)
            });
            if let Err(message) = forward {
                self.refuse_decision(chains, decision, message);
            }
        }
    }

    /// Whether all that a forward lets in would have come to it and through the filter.
    fn check_forward(
        &mut self,
        chains: &Chains,
        before: &[Decision],
        decision: &Decision,
        forward: &Forward,
    ) -> Result<(), String> {
        let mut everywhere = decision.region.interfaces().is_none();
        for other in before
            .iter()
            .filter(|other| other.region.and(&decision.region).is_some())
        {
            match &other.outcome {
                Outcome::Destination(_) => {
                    return Err(
                        "another rule translates some of these packets before; expected one rule for a port"
                            .into(),
                    );
                }
                _ if other.region.interfaces().is_some() => everywhere = false,
                _ => {
                    let message = "some of these packets are excepted by rules before; a port forward has no exceptions";
                    return Err(message.to_owned());
                }
            }
        }
        let inside = forward.translated(&decision.region);
        if let Some(flat) = self.follow(chains, &chains.forward, &inside) {
            let all = flat
                .decisions
                .iter()
                .position(|filter| filter.region == inside && !matches!(filter.outcome, Outcome::Drop));
            let until = all.unwrap_or(flat.decisions.len());
            let dropping = flat.decisions[..until]
                .iter()
                .find(|filter| filter.outcome == Outcome::Drop);
            if let Some(dropping) = dropping {
                let by = match dropping.cause {
                    Cause::Rule { chain, rule } => place_of(&chains.chains[chain].rules[rule]),
                    Cause::Policy { hook } => format!("policy of {}", name_of(chains, &chains.forward[hook])),
                };
                return Err(format!(
                    "the filter drops some of what is forwarded here ({by}), and a port forward lets in all; expected \
                     the filter to accept it"
                ));
            }
        }
        if !everywhere && let Cause::Rule { chain, rule } = decision.cause {
            let from = &chains.chains[chain].rules[rule];
            let note = "the port forward holds for what comes in by any interface, also from inside hosts"
                .to_owned();
            let note = from.problem(&Refusal::from(note));
            if !self.import.warnings.contains(&note) {
                self.import.warnings.push(note);
            }
        }
        Ok(())
    }

    fn follow(&mut self, chains: &Chains, hooks: &[Hook], region: &Region) -> Option<Flat> {
        match flatten(chains, hooks, region.clone()) {
            Ok(flat) => Some(flat),
            Err(error) => {
                let place = match error {
                    FlattenError::Deep { chain } => chains.chains[chain].name.clone(),
                    FlattenError::Long => hooks
                        .first()
                        .map(|hook| name_of(chains, hook))
                        .unwrap_or_default(),
                };
                let problem = Problem::of_key(&self.file, &format!("chain {place}"), &error.to_string());
                // Nothing can be left out to make it right.
                self.boxes = u64::MAX;
                self.refused.push(problem);
                None
            }
        }
    }

    /// What there is to say about the rules that packets meet.
    fn remark(&mut self, chains: &Chains, met: &[(usize, usize)]) {
        for &(chain, rule) in met {
            let rule = &chains.chains[chain].rules[rule];
            if let Err(refusal) = &rule.body {
                self.refused.push(rule.problem(refusal));
            }
            for note in &rule.notes {
                self.import
                    .warnings
                    .push(rule.problem(&Refusal::from(note.clone())));
            }
        }
    }

    fn end(mut self, lenient: bool) -> Result<Loaded, ConfigError> {
        let by_place = |problems: Vec<Problem>| {
            let mut sorted: BTreeMap<_, Vec<Problem>> = BTreeMap::new();
            for problem in problems {
                sorted.entry(problem.position).or_default().push(problem);
            }
            sorted.into_values().flatten().collect::<Vec<_>>()
        };
        let refused = by_place(self.refused);
        self.import.warnings = by_place(self.import.warnings);
        if !refused.is_empty() && (!lenient || self.boxes > MAX_TOTAL_BOXES) {
            return Err(refusal(&self.file, refused));
        }
        self.import.left_out = refused;
        self.import.channels = self.translations.text();
        collect_sets(&mut self.import);
        Ok(self.import)
    }
}

/// What is wrong with a file, as far as it is kept.
pub(crate) fn refusal(file: &Path, mut problems: Vec<Problem>) -> ConfigError {
    let more = problems.len().saturating_sub(MAX_PROBLEMS);
    problems.truncate(MAX_PROBLEMS);
    ConfigError {
        file: file.to_owned(),
        problems,
        more,
    }
}

/// The sets that rules name are the list's.
fn collect_sets(import: &mut Loaded) {
    let list = &mut import.rules;
    for rule in &list.rules {
        for set in rule.from.sets.iter().chain(&rule.to.sets) {
            if !list.address_sets.iter().any(|known| Arc::ptr_eq(known, set)) {
                list.address_sets.push(set.clone());
            }
        }
        for set in rule.source_ports.sets.iter().chain(&rule.destination_ports.sets) {
            if !list.port_sets.iter().any(|known| Arc::ptr_eq(known, set)) {
                list.port_sets.push(set.clone());
            }
        }
    }
}

/// Text as a comment of a rule: without control characters, and cut if it is long.
pub(crate) fn as_comment(text: &str) -> Option<Name> {
    let mut comment: String = text.chars().filter(|c| !c.is_control()).collect();
    let mut end = comment.len().min(MAX_COMMENT);
    while !comment.is_char_boundary(end) {
        end -= 1;
    }
    comment.truncate(end);
    (!comment.trim().is_empty()).then(|| comment.trim().into())
}

fn name_of(chains: &Chains, hook: &Hook) -> String {
    chains.chains[hook.chain].name.clone()
}

fn place_of(rule: &ChainRule) -> String {
    match &rule.context {
        Some(context) => context.to_string(),
        None => rule
            .place
            .position
            .map_or_else(String::new, |position| format!("line {}", position.line)),
    }
}
