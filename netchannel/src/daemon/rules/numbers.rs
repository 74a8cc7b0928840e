//! Numbers for rules: a rule keeps its number as long as it is loaded, and a number is not given to another rule while flows count
//! for the former one.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::Arc;

use crate::dispatch::RuleNumber;
use crate::rules::Rule;

/// Numbers are taken again only when so many more were given than there are rules: until then whoever has seen one in a list can rely
/// on it.
const SPARE: usize = 65_536;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Numbers {
    /// All below were given.
    next: u32,
    /// Those of rules that are gone, in the order of the generations of the flow tables that do not know them any more.
    retired: VecDeque<Retired>,
    /// No flow counts for these.
    free: VecDeque<RuleNumber>,
}

#[derive(Debug)]
struct Retired {
    /// For each worker: no flow that it decided since has one of the numbers.
    generations: Vec<u32>,
    numbers: Vec<RuleNumber>,
}

/// Numbers for the rules of a list.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Assigned {
    /// The rules; those that were there before share their memory.
    pub(super) rules: Vec<Arc<Rule>>,
    /// One for each rule, in their order.
    pub(super) numbers: Vec<RuleNumber>,
    /// Those among them whose counters are another rule's.
    pub(super) reused: Vec<RuleNumber>,
    /// Those of rules that are not in the list any more.
    pub(super) gone: Vec<RuleNumber>,
    /// Rules that were not there before.
    pub(super) added: usize,
}

impl Numbers {
    /// Gives each rule of `list` the number that it has in `running`, or one that nobody has.
    pub(super) fn assign(
        &mut self,
        list: Vec<Arc<Rule>>,
        running: &[Arc<Rule>],
        numbers: &[RuleNumber],
    ) -> Assigned {
        // Most of a list that is loaded again stands where it stood.
        let equal = |(new, known): &(&Arc<Rule>, &Arc<Rule>)| new == known;
        let first = list.iter().zip(running).take_while(equal).count();
        let ends = list[first..].iter().rev().zip(running[first..].iter().rev());
        let last = ends.take_while(equal).count();
        let moved_by = list.len() as isize - running.len() as isize;
        let mut known: HashMap<&Rule, VecDeque<usize>, ahash::RandomState> = HashMap::default();
        for (place, rule) in running.iter().enumerate().take(running.len() - last).skip(first) {
            known.entry(rule).or_default().push_back(place);
        }
        let rules = list.len();
        let mut assigned = Assigned {
            rules: Vec::with_capacity(rules),
            numbers: Vec::with_capacity(rules),
            reused: Vec::new(),
            gone: Vec::new(),
            added: 0,
        };
        for (index, rule) in list.into_iter().enumerate() {
            let place = if index < first {
                Some(index)
            } else if index >= rules - last {
                index.checked_add_signed(-moved_by)
            } else {
                known.get_mut(&*rule).and_then(VecDeque::pop_front)
            };
            match place {
                Some(place) => {
                    let former = &running[place];
                    let is_same = former.place == rule.place;
                    assigned
                        .rules
                        .push(if is_same { Arc::clone(former) } else { rule });
                    assigned.numbers.push(numbers[place]);
                }
                None => {
                    assigned.rules.push(rule);
                    assigned.numbers.push(self.take(rules, &mut assigned.reused));
                    assigned.added += 1;
                }
            }
        }
        let gone = known.into_values().flatten();
        assigned.gone = gone.map(|place| numbers[place]).collect();
        assigned
    }

    /// A number for a new rule of a list of so many; one whose counters are another rule's is noted in `reused` too.
    pub(super) fn take(&mut self, rules: usize, reused: &mut Vec<RuleNumber>) -> RuleNumber {
        let is_plenty = self.next as usize >= 2 * rules + SPARE;
        if is_plenty && let Some(number) = self.free.pop_front() {
            reused.push(number);
            return number;
        }
        let number = RuleNumber(self.next);
        self.next += 1;
        number
    }

    /// A list came to nothing: its numbers are free again, but for those that are in force.
    pub(super) fn give_back(&mut self, numbers: &[RuleNumber], in_force: &[RuleNumber]) {
        let kept: HashSet<&RuleNumber, ahash::RandomState> = in_force.iter().collect();
        self.free
            .extend(numbers.iter().filter(|number| !kept.contains(number)));
    }

    /// These are not used by flows that are decided from these generations of the workers' flow tables on.
    pub(super) fn retire(&mut self, numbers: Vec<RuleNumber>, generations: Vec<u32>) {
        if !numbers.is_empty() {
            self.retired.push_back(Retired { generations, numbers });
        }
    }

    /// The generations, one for each worker, that have to be swept for the next numbers to be free.
    pub(super) fn waits_for(&self) -> Option<&[u32]> {
        self.retired.front().map(|retired| &retired.generations[..])
    }

    /// No flow that was decided before those generations is left.
    pub(super) fn free_oldest(&mut self) {
        if let Some(retired) = self.retired.pop_front() {
            self.free.extend(retired.numbers);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rule(priority: u32) -> Arc<Rule> {
        Arc::new(Rule {
            priority,
            ..Rule::any("drop")
        })
    }

    proptest! {
        /// Whatever lists follow each other: equal rules keep their numbers, no two rules share one, and none is given again before
        /// it is free.
        #[test]
        fn rules_keep_their_numbers_and_share_none(
            lists in proptest::collection::vec((proptest::collection::vec(0..12_u32, 0..30), any::<bool>()), 1..30),
        ) {
            let mut numbers = Numbers::default();
            let (mut running, mut given): (Vec<Arc<Rule>>, Vec<RuleNumber>) = (Vec::new(), Vec::new());
            let mut in_flows: HashSet<RuleNumber> = HashSet::new();
            for (generation, (list, swept)) in lists.into_iter().enumerate() {
                let list: Vec<Arc<Rule>> = list.into_iter().map(rule).collect();
                let assigned = numbers.assign(list.clone(), &running, &given);
                let distinct: HashSet<_> = assigned.numbers.iter().copied().collect();
                prop_assert_eq!(distinct.len(), list.len());
                let former: HashSet<_> = given.iter().copied().collect();
                for priority in 0..12 {
                    let of = |rules: &[Arc<Rule>], numbers: &[RuleNumber]| {
                        let all = rules.iter().zip(numbers).filter(|(it, _)| it.priority == priority);
                        all.map(|(_, number)| *number).collect::<HashSet<_>>()
                    };
                    let (before, after) = (of(&running, &given), of(&list, &assigned.numbers));
                    prop_assert_eq!(before.intersection(&after).count(), before.len().min(after.len()));
                }
                prop_assert!(distinct.difference(&former).all(|number| !in_flows.contains(number)));
                in_flows.extend(assigned.gone.iter().copied());
                numbers.retire(assigned.gone, vec![generation as u32]);
                prop_assert_eq!(&assigned.rules, &list);
                (running, given) = (list, assigned.numbers);
                while swept && numbers.waits_for().is_some() {
                    numbers.free_oldest();
                    in_flows.clear();
                }
            }
        }
    }

    #[test]
    fn numbers_are_taken_again_when_there_are_plenty() {
        let mut numbers = Numbers::default();
        let (mut running, mut given) = (Vec::new(), Vec::new());
        for load in 0..200_000_u32 {
            let list = vec![rule(load)];
            let assigned = numbers.assign(list.clone(), &running, &given);
            numbers.retire(assigned.gone, vec![load]);
            numbers.free_oldest();
            (running, given) = (list, assigned.numbers);
        }
        assert!(numbers.next as usize <= SPARE + 3, "{}", numbers.next);
    }
}
