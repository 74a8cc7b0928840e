//! What `nft -j list ruleset` prints: tables of the families `ip`, `ip6` and `inet`.
//!
//! Chains at the hook `forward`, and filters at `prerouting` and `postrouting`, become rules; `nat` chains become rules that lead to channels
//! that translate, and their port forwards. `docs/import.md` says what becomes of each expression, and what is refused.

mod matches;
mod schema;
mod selector;
mod statements;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use self::matches::{Context, Named, Sets};
use self::schema::{Ruleset, single};
use super::chains::{
    Chain, ChainRule, Chains, Family, Hook, ImportOptions, Region, as_comment, refusal, write,
};
use super::{Loaded, Name, Place};
use crate::config::{ConfigError, Problem};

/// Makes rules of what `nft -j list ruleset` printed.
///
/// # Errors
/// If something can't be said in rules and is not to be left out; and if it is no such text, or can't be followed.
pub fn read(file: &Path, text: &str, options: &ImportOptions, lenient: bool) -> Result<Loaded, ConfigError> {
    let ruleset: Ruleset = serde_json::from_str(text).map_err(|error| {
        let message = format!("{error}; expected what nft -j list ruleset prints");
        ConfigError::unreadable(file, message)
    })?;
    let mut reader = Reader {
        file: file.into(),
        options,
        refused: Vec::new(),
        notes: Vec::new(),
    };
    let objects = reader.objects(&ruleset.nftables);
    reader.chains(&objects, lenient)
}

/// All objects of a rule set, by what they are.
#[derive(Default)]
struct Objects {
    chains: Vec<schema::Chain>,
    rules: Vec<schema::Rule>,
    sets: Sets,
}

struct Reader<'o> {
    file: Arc<Path>,
    options: &'o ImportOptions,
    refused: Vec<Problem>,
    notes: Vec<Problem>,
}

/// When chains of a hook are asked, among those that forwarded packets meet.
fn hook_order(hook: &str) -> Option<u8> {
    ["prerouting", "forward", "postrouting"]
        .iter()
        .zip(0..)
        .find(|(name, _)| **name == hook)
        .map(|(_, order)| order)
}

fn family(text: &str) -> Option<Option<Family>> {
    match text {
        "ip" => Some(Some(Family::Ipv4)),
        "ip6" => Some(Some(Family::Ipv6)),
        "inet" => Some(None),
        _ => None,
    }
}

impl Reader<'_> {
    fn refuse(&mut self, context: String, message: impl Into<String>) {
        self.refused
            .push(Problem::of_key(&self.file, &context, &message.into()));
    }

    fn objects(&mut self, values: &[Value]) -> Objects {
        let mut objects = Objects::default();
        for (value, number) in values.iter().zip(1..) {
            let read = match single(value) {
                Some(("chain", chain)) => {
                    serde_json::from_value(chain.clone()).map(|chain| objects.chains.push(chain))
                }
                Some(("rule", rule)) => {
                    serde_json::from_value(rule.clone()).map(|rule| objects.rules.push(rule))
                }
                Some(("set" | "map", set)) => serde_json::from_value(set.clone()).map(|set: schema::Set| {
                    objects
                        .sets
                        .insert((set.family.clone(), set.table.clone(), set.name.clone()), set);
                }),
                // Counters, limits and the like are nothing without a rule that names them.
                Some(_) => Ok(()),
                None => {
                    self.refuse(
                        format!("object {number}"),
                        "is no object of nft; expected one with one key",
                    );
                    Ok(())
                }
            };
            if let Err(error) = read {
                self.refuse(format!("object {number}"), error.to_string());
            }
        }
        objects
    }

    fn chains(mut self, objects: &Objects, lenient: bool) -> Result<Loaded, ConfigError> {
        let mut chains = Chains::default();
        let mut by_table: HashMap<(&str, &str), HashMap<&str, usize>> = HashMap::new();
        for chain in &objects.chains {
            let names = by_table.entry((&chain.family, &chain.table)).or_default();
            names.insert(&chain.name, chains.chains.len());
            chains.chains.push(Chain {
                name: format!("{} {} {}", chain.family, chain.table, chain.name),
                rules: Vec::new(),
            });
        }
        let mut named = Named::new();
        let mut counts: BTreeMap<usize, usize> = BTreeMap::new();
        let none = HashMap::new();
        for rule in &objects.rules {
            let names = by_table
                .get(&(rule.family.as_str(), rule.table.as_str()))
                .unwrap_or(&none);
            let Some(&chain) = names.get(rule.chain.as_str()) else {
                let context = format!("{} {} {}", rule.family, rule.table, rule.chain);
                self.refuse(
                    context,
                    "there is no such chain in the file; expected its chain before a rule",
                );
                continue;
            };
            let count = counts.entry(chain).or_default();
            *count += 1;
            let handle = rule
                .handle
                .map_or_else(String::new, |handle| format!(" (handle {handle})"));
            let at: Name = format!("{}, rule {count}{handle}", chains.chains[chain].name).into();
            let context = Context {
                family: &rule.family,
                table: &rule.table,
                sets: &objects.sets,
                options: self.options,
            };
            let read = statements::read(&rule.statements, &context, names, &mut named);
            chains.chains[chain].rules.push(ChainRule {
                place: self.place(),
                context: Some(at),
                source: None,
                comment: rule.comment.as_deref().and_then(as_comment),
                notes: read.notes,
                body: read.body,
            });
        }
        self.hooks(objects, &mut chains);
        if let Some(unmet) = chains.unmet() {
            self.notes.push(Problem::of_file(&self.file, unmet));
        }
        if chains.forward.is_empty() && chains.destinations.is_empty() && self.refused.is_empty() {
            let message = "holds no chain at the hooks forward, prerouting or postrouting; expected what nft -j list ruleset prints";
            self.refused.push(Problem::of_file(&self.file, message));
            return Err(refusal(&self.file, self.refused));
        }
        write(
            &self.file,
            self.options,
            &[(chains, Region::default())],
            lenient,
            (self.refused, self.notes),
        )
    }

    fn place(&self) -> Place {
        Place {
            file: Some(self.file.clone()),
            position: None,
        }
    }

    /// The chains that forwarded packets meet, in the order of hooks and priorities.
    fn hooks(&mut self, objects: &Objects, chains: &mut Chains) {
        let mut hooks: Vec<(u8, i64, usize)> = Vec::new();
        for (number, chain) in objects.chains.iter().enumerate() {
            let Some(hook) = &chain.hook else { continue };
            let has_rules =
                !chains.chains[number].rules.is_empty() || chain.policy.as_deref() == Some("drop");
            let is_ip = family(&chain.family).is_some();
            match hook_order(hook) {
                Some(order) if is_ip => hooks.push((order, chain.priority.unwrap_or(0), number)),
                None if is_ip && ["input", "output"].contains(&hook.as_str()) => {}
                _ if !has_rules => {}
                _ => {
                    let name = chains.chains[number].name.clone();
                    let message = format!(
                        "rules do not do what chains of {} at the hook {hook} do",
                        chain.family
                    );
                    self.refuse(name, message);
                }
            }
        }
        hooks.sort_unstable();
        let mut translated = false;
        for (order, _, number) in hooks {
            let chain = &objects.chains[number];
            let is_nat = chain.kind.as_deref() == Some("nat");
            if order == 2 && translated && !is_nat && !chains.chains[number].rules.is_empty() {
                let name = chains.chains[number].name.clone();
                self.refuse(
                    name,
                    "filters packets whose sources are translated; expected it at the hook forward",
                );
                continue;
            }
            translated |= order == 2 && is_nat;
            let hook = Hook {
                chain: number,
                accepts: chain.policy.as_deref() != Some("drop"),
                family: family(&chain.family).flatten(),
                place: self.place(),
            };
            match order == 0 && is_nat {
                true => chains.destinations.push(hook),
                false => chains.forward.push(hook),
            }
        }
    }
}
