//! Changes of few rules: where they can be had so, the worker's rule set is changed in place, in microseconds however large it is.

use std::sync::Arc;
use std::time::Instant;

use super::change::{Next, check_boxes};
use super::running::Running;
use super::swap::Unchanged;
use super::{Changed, Changing, RuleStore, RulesError};
use crate::dispatch::RuleNumber;
use crate::rules::{Name, Rule};
use crate::setup::RuleCompiler;

/// Boxes that are changed in place at most: packets wait meanwhile.
const IN_PLACE: u64 = 1024;

/// What to change.
#[derive(Debug, Default)]
pub(in crate::daemon) struct Edit {
    /// Places of rules that go, each once.
    pub(in crate::daemon) remove: Vec<usize>,
    /// Rules that come.
    pub(in crate::daemon) add: Vec<Addition>,
}

/// A rule that comes.
#[derive(Debug)]
pub(in crate::daemon) struct Addition {
    /// The rule.
    pub(in crate::daemon) rule: Rule,
    /// The place of a rule that goes, whose place among those of its priority it takes; the last place, if the priority is another.
    pub(in crate::daemon) at: Option<usize>,
}

impl RuleStore {
    pub(super) fn change_some(
        &self,
        changing: &mut Changing,
        edit: Edit,
        source: &str,
    ) -> Result<Changed, RulesError> {
        let start = Instant::now();
        let running = self.running();
        self.check(edit.add.iter().map(|addition| &addition.rule))?;
        let boxes: u64 = running.iter().map(Rule::boxes).sum();
        let added: u64 = edit.add.iter().map(|addition| addition.rule.boxes()).sum();
        check_boxes(boxes.saturating_add(added))?;
        let removed: u64 = edit
            .remove
            .iter()
            .map(|&place| running.rules[place].boxes())
            .sum();

        self.free_numbers(changing);
        let gone: Vec<RuleNumber> = edit.remove.iter().map(|&place| running.numbers[place]).collect();
        let mut reused = Vec::new();
        let additions = edit.add.into_iter().map(|addition| {
            let number = changing.numbers.take(running.rules.len(), &mut reused);
            (number, addition)
        });
        let additions: Vec<(RuleNumber, Addition)> = additions.collect();
        let numbers: Vec<RuleNumber> = additions.iter().map(|(number, _)| *number).collect();
        let (rules, numbers_of_all, are_last) = edited(&running, &edit.remove, additions);
        let next = Next {
            rules,
            numbers: numbers_of_all,
            sets: running.sets.clone(),
            reused,
            gone,
            added: numbers.len(),
        };
        let is_large = added.saturating_add(removed) > IN_PLACE;
        if is_large
            || !are_last
            || !ways_back_are_last(&changing.compiler, &next.rules, &next.numbers, &numbers)
        {
            return self.make(changing, next, source, start);
        }
        let outcome = self.change_in_place(changing, &next, &numbers);
        match outcome {
            Ok(generations) => Ok(self.finish(changing, next, generations, source, start)),
            Err(unchanged) => Err(self.retreat(changing, &next, unchanged)),
        }
    }

    fn change_in_place(
        &self,
        changing: &mut Changing,
        next: &Next,
        added: &[RuleNumber],
    ) -> Result<Vec<u32>, Unchanged> {
        let is_new = |(number, _): &(RuleNumber, &Rule)| added.contains(number);
        let all = || {
            let rules = next.rules.iter().map(|rule| &**rule);
            next.numbers.iter().copied().zip(rules)
        };
        let (mut add, mut remove) = (Vec::new(), Vec::new());
        for placed in &changing.placed {
            add.push(changing.compiler.compile_more(all().filter(is_new))?);
            let gone = next.gone.iter().flat_map(|number| placed.of(*number));
            remove.push(gone.copied().collect());
        }
        self.prepare(changing, next)?;
        let (generations, added) = self.change_boxes(changing, add, remove)?;
        for (placed, added) in changing.placed.iter_mut().zip(added) {
            for number in &next.gone {
                placed.forget(*number);
            }
            placed.add(added);
        }
        Ok(generations)
    }
}

/// Whether what comes back of the rules that came is decided by theirs, behind those of all others, as in a set that is made anew.
fn ways_back_are_last(
    compiler: &RuleCompiler,
    rules: &[Arc<Rule>],
    numbers: &[RuleNumber],
    added: &[RuleNumber],
) -> bool {
    let mut behind: Option<&Name> = None;
    let mut are_mixed = false;
    for (rule, number) in rules.iter().zip(numbers).rev() {
        if !compiler.forwards(&rule.channel) {
            continue;
        }
        // Where one channel takes them all, their order does not matter.
        let is_other = behind.is_some_and(|behind| *behind != rule.channel);
        if (is_other || are_mixed) && added.contains(number) {
            return false;
        }
        are_mixed |= is_other;
        behind.get_or_insert(&rule.channel);
    }
    true
}

/// The rules after a change, with their numbers; and whether all that came are behind those of their priority, where an insertion
/// into the worker's rule set puts them.
fn edited(
    running: &Running,
    remove: &[usize],
    additions: Vec<(RuleNumber, Addition)>,
) -> (Vec<Arc<Rule>>, Vec<RuleNumber>, bool) {
    let mut rules: Vec<Option<Arc<Rule>>> = running.rules.iter().cloned().map(Some).collect();
    let mut numbers = running.numbers.clone();
    for &place in remove {
        rules[place] = None;
    }
    let mut are_last = true;
    let mut behind = Vec::new();
    for (number, Addition { rule, at }) in additions {
        // The implicit rules are behind all others.
        are_last &= rule.priority < u32::MAX - 1;
        match at.filter(|&place| running.rules[place].priority == rule.priority) {
            Some(place) => {
                let next = running.rules.get(place + 1);
                are_last &= next.is_none_or(|next| next.priority != rule.priority);
                rules[place] = Some(Arc::new(rule));
                numbers[place] = number;
            }
            None => behind.push((number, Arc::new(rule))),
        }
    }
    let kept = rules.into_iter().zip(numbers);
    let kept = kept.filter_map(|(rule, number)| rule.map(|rule| (number, rule)));
    let mut all: Vec<(RuleNumber, Arc<Rule>)> = kept.collect();
    for (number, rule) in behind {
        let place = all.partition_point(|(_, known)| known.priority <= rule.priority);
        all.insert(place, (number, rule));
    }
    let (numbers, rules) = all.into_iter().unzip();
    (rules, numbers, are_last)
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use proptest::prelude::*;

    use super::super::placed::Placed;
    use super::*;
    use crate::channel::{ChannelId, Drop, Forward, Pass};
    use crate::config::Config;
    use crate::dispatch::dimensions::Arrival;
    use crate::dispatch::{Action, Registry, RuleSet};
    use crate::interface::{InterfaceId, Role};
    use crate::packet::{Fragment, Headers, Transport, VlanTags};
    use crate::rules::{RuleList, text};
    use crate::setup::Claim;

    const CONFIGURATION: &str = r#"
        [[interface]]
        name = "lan"
        role = "inside"
        [[interface]]
        name = "wan"
        role = "outside"
        [[channel]]
        name = "routed"
        type = "forward"
        [[channel]]
        name = "other"
        type = "forward"
    "#;

    /// Rules that overlap, in few priorities.
    fn rule() -> impl Strategy<Value = Rule> {
        let addresses =
            proptest::sample::select(&["any", "10.0.0.0/30", "10.0.0.1", "192.0.2.0/30", "192.0.2.1"][..]);
        let port = proptest::sample::select(&["", "port 1", "port 1-2"][..]);
        let on = proptest::sample::select(&["", "on lan", "on wan"][..]);
        let action = proptest::sample::select(&["drop", "pass", "use routed", "use other"][..]);
        let priority = proptest::sample::select(&[1, 2, u32::MAX][..]);
        let parts = (priority, addresses.clone(), addresses, port, on, action);
        parts.prop_map(|(priority, from, to, port, on, action)| {
            let text = format!("priority {priority} tcp from {from} to {to} {port} {on} {action}");
            text::parse_rules(&text, &RuleList::default()).unwrap().remove(0)
        })
    }

    #[derive(Clone, Debug)]
    enum Step {
        Add(Vec<Rule>),
        Remove(Vec<proptest::sample::Index>),
        Replace(proptest::sample::Index, Box<Rule>),
    }

    fn step() -> impl Strategy<Value = Step> {
        prop_oneof![
            proptest::collection::vec(rule(), 1..3).prop_map(Step::Add),
            proptest::collection::vec(any::<proptest::sample::Index>(), 1..3).prop_map(Step::Remove),
            (any::<proptest::sample::Index>(), rule())
                .prop_map(|(at, rule)| Step::Replace(at, Box::new(rule))),
        ]
    }

    fn running(rules: Vec<Arc<Rule>>, numbers: Vec<RuleNumber>) -> Running {
        Running {
            rules,
            numbers,
            sets: RuleList::default(),
            version: 1,
            source: String::new(),
            since: SystemTime::UNIX_EPOCH,
        }
    }

    /// What a set does with all kinds of packets.
    fn decisions(rules: &RuleSet) -> Vec<Action> {
        let mut all = Vec::new();
        for (interface, role) in [(0, Role::Inside), (1, Role::Outside)] {
            for (source, destination) in [
                ("10.0.0.1", "192.0.2.1"),
                ("192.0.2.1", "10.0.0.2"),
                ("192.0.2.2", "198.51.100.7"),
            ] {
                for port in 1..=3 {
                    let headers = Headers {
                        vlan: VlanTags::default(),
                        network: 14,
                        transport_start: 34,
                        end: 54,
                        source: source.parse().unwrap(),
                        destination: destination.parse().unwrap(),
                        protocol: 6,
                        ttl: 64,
                        fragment: Fragment::Whole,
                        dont_fragment: true,
                        transport: Transport::Tcp {
                            source: port,
                            destination: port,
                            flags: 0x02,
                        },
                    };
                    let arrival = Arrival {
                        frame: &[],
                        headers: &headers,
                        interface: InterfaceId(interface),
                    };
                    all.push(rules.decide(&arrival, role));
                }
            }
        }
        all
    }

    fn compiler() -> RuleCompiler {
        let config = Config::parse(CONFIGURATION, "test.toml").unwrap();
        let mut channels = Registry::new();
        channels.register("drop", Box::new(Drop)).unwrap();
        channels.register("pass", Box::new(Pass)).unwrap();
        channels.register("routed", Box::new(Forward)).unwrap();
        channels.register("other", Box::new(Forward)).unwrap();
        let external = std::net::Ipv4Addr::new(198, 51, 100, 7);
        let claim = Claim {
            channel: ChannelId(2),
            name: String::new(),
            addresses: external..=external,
            ports: vec![2..=3],
            is_whole: false,
            interface: None,
        };
        RuleCompiler::new(&config, channels.ids(), &[claim])
    }

    proptest! {
        /// Whatever is added, deleted and replaced: the set that is changed in place decides as one that is made of all rules anew, and the
        /// rules are in the order that was promised.
        #[test]
        fn a_set_that_is_changed_in_place_decides_as_a_new_one(steps in proptest::collection::vec(step(), 1..12)) {
            let compiler = compiler();
            let (mut set, boxes) = compiler.compile(std::iter::empty()).unwrap();
            let mut placed = Placed::from(boxes);
            let mut now = running(Vec::new(), Vec::new());
            let mut next_number = 0..;
            for step in steps {
                let count = now.rules.len();
                let (remove, add) = match step {
                    Step::Add(rules) => (vec![], rules.into_iter().map(|rule| Addition { rule, at: None }).collect()),
                    Step::Remove(_) | Step::Replace(..) if count == 0 => continue,
                    Step::Remove(places) => {
                        let mut places: Vec<usize> = places.iter().map(|place| place.index(count)).collect();
                        places.sort_unstable();
                        places.dedup();
                        (places, vec![])
                    }
                    Step::Replace(place, rule) => {
                        let place = place.index(count);
                        let addition = Addition {
                            rule: *rule,
                            at: Some(place),
                        };
                        (vec![place], vec![addition])
                    }
                };
                let expected = model(&now, &remove, &add);
                let additions: Vec<(RuleNumber, Addition)> = add
                    .into_iter()
                    .map(|addition| (RuleNumber(next_number.next().unwrap()), addition))
                    .collect();
                let added: Vec<RuleNumber> = additions.iter().map(|(number, _)| *number).collect();
                let gone: Vec<RuleNumber> = remove.iter().map(|&place| now.numbers[place]).collect();
                let (rules, numbers, are_last) = edited(&now, &remove, additions);
                now = running(rules, numbers);
                prop_assert_eq!(now.iter().cloned().collect::<Vec<_>>(), expected);
                let (anew, anew_boxes) = compiler.compile(now.numbered()).unwrap();
                if are_last && ways_back_are_last(&compiler, &now.rules, &now.numbers, &added) {
                    let more = now.numbered().filter(|(number, _)| added.contains(number));
                    let more = compiler.compile_more(more).unwrap();
                    let boxes: Vec<_> = gone.iter().flat_map(|number| placed.of(*number)).copied().collect();
                    placed.add(set.change(more, &boxes).unwrap());
                    gone.iter().for_each(|number| placed.forget(*number));
                    prop_assert_eq!(set.len(), anew.len());
                } else {
                    (set, placed) = (anew, Placed::from(anew_boxes));
                    continue;
                }
                prop_assert_eq!(decisions(&set), decisions(&anew));
            }
        }
    }

    /// The rules after a change, the plain way.
    fn model(running: &Running, remove: &[usize], add: &[Addition]) -> Vec<Rule> {
        let mut rules: Vec<Option<Rule>> = running.iter().cloned().map(Some).collect();
        remove.iter().for_each(|&place| rules[place] = None);
        let mut behind = Vec::new();
        for Addition { rule, at } in add {
            match at {
                Some(place) if running.rules[*place].priority == rule.priority => {
                    rules[*place] = Some(rule.clone())
                }
                _ => behind.push(rule.clone()),
            }
        }
        let mut rules: Vec<Rule> = rules.into_iter().flatten().chain(behind).collect();
        rules.sort_by_key(|rule| rule.priority);
        rules
    }
}
