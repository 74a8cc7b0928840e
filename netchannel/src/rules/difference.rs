//! What two rule lists differ in.

use std::collections::HashMap;

use ahash::RandomState;

use super::{NamedSet, Rule, RuleList, text};

/// What was changed from one list to another; rules in the order in which they are tried.
///
/// Rules are the same if their texts are: one that names a set stays the same if the set has other values, and the set is among those that
/// changed.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Difference<'l> {
    /// Names of sets that only the first list has.
    pub removed_sets: Vec<&'l str>,
    /// Names of sets that only the second list has.
    pub added_sets: Vec<&'l str>,
    /// Names of sets of both lists with other values.
    pub changed_sets: Vec<&'l str>,
    /// Rules that only the first list has.
    pub removed: Vec<&'l Rule>,
    /// Rules that only the second list has.
    pub added: Vec<&'l Rule>,
    /// Rules that are the same but for their priorities, in the first list and in the second.
    pub moved: Vec<(&'l Rule, &'l Rule)>,
    /// Rules of the second list that are in the first with the same priority, but in another order among the others: as few as can be.
    pub reordered: Vec<&'l Rule>,
}

impl Difference<'_> {
    /// Whether the lists are the same.
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// Compares two lists. Time is that of sorting them.
pub fn difference<'l>(first: &'l RuleList, second: &'l RuleList) -> Difference<'l> {
    let mut found = Difference::default();
    compare_sets(&first.address_sets, &second.address_sets, &mut found);
    compare_sets(&first.port_sets, &second.port_sets, &mut found);
    compare_rules(first, second, &mut found);
    found
}

fn compare_sets<'l, T: PartialEq>(
    first: &'l [std::sync::Arc<NamedSet<T>>],
    second: &'l [std::sync::Arc<NamedSet<T>>],
    found: &mut Difference<'l>,
) {
    let by_name = |sets: &'l [std::sync::Arc<NamedSet<T>>]| -> HashMap<&'l str, &'l NamedSet<T>> {
        sets.iter().map(|set| (&*set.name, &**set)).collect()
    };
    let (old, new) = (by_name(first), by_name(second));
    for set in first {
        match new.get(&*set.name) {
            None => found.removed_sets.push(&set.name),
            Some(other) if other.values != set.values => found.changed_sets.push(&set.name),
            Some(_) => {}
        }
    }
    let added = second.iter().map(|set| &*set.name);
    found
        .added_sets
        .extend(added.filter(|name| !old.contains_key(name)));
}

/// Places of equal texts, the last first.
type Places = HashMap<String, Vec<usize>, RandomState>;

fn compare_rules<'l>(first: &'l RuleList, second: &'l RuleList, found: &mut Difference<'l>) {
    let (first, second) = (in_order(first), in_order(second));
    let mut partner: Vec<Option<usize>> = vec![None; first.len()];
    let mut is_taken = vec![false; second.len()];
    // First those that are wholly the same, then those that are but for their priorities.
    pair(&first, &second, &mut partner, &mut is_taken, text::rule_text);
    let same = partner.clone();
    pair(
        &first,
        &second,
        &mut partner,
        &mut is_taken,
        text_without_priority,
    );

    for (place, rule) in first.iter().enumerate() {
        match partner[place] {
            None => found.removed.push(rule),
            Some(other) if same[place].is_none() => found.moved.push((rule, second[other])),
            Some(_) => {}
        }
    }
    let added = second.iter().zip(&is_taken).filter(|(_, taken)| !**taken);
    found.added.extend(added.map(|(rule, _)| rule));

    let places: Vec<usize> = same.into_iter().flatten().collect();
    let kept = longest_ascending(&places);
    let mut reordered: Vec<usize> = places
        .iter()
        .zip(kept)
        .filter(|(_, kept)| !kept)
        .map(|(place, _)| *place)
        .collect();
    reordered.sort_unstable();
    found
        .reordered
        .extend(reordered.into_iter().map(|place| second[place]));
}

fn in_order(list: &RuleList) -> Vec<&Rule> {
    let mut rules: Vec<&Rule> = list.rules.iter().collect();
    rules.sort_by_key(|rule| rule.priority);
    rules
}

fn text_without_priority(rule: &Rule) -> String {
    let mut rule = rule.clone();
    rule.priority = 0;
    text::rule_text(&rule)
}

/// Gives each rule of the first list that has none yet a partner of the second with the same text.
fn pair(
    first: &[&Rule],
    second: &[&Rule],
    partner: &mut [Option<usize>],
    is_taken: &mut [bool],
    text_of: impl Fn(&Rule) -> String,
) {
    let mut places = Places::default();
    for (place, rule) in second.iter().enumerate().rev() {
        if !is_taken[place] {
            places.entry(text_of(rule)).or_default().push(place);
        }
    }
    for (rule, partner) in first.iter().zip(partner) {
        if partner.is_none()
            && let Some(place) = places.get_mut(&text_of(rule)).and_then(Vec::pop)
        {
            *partner = Some(place);
            is_taken[place] = true;
        }
    }
}

/// Which numbers, of different ones, make up a longest ascending sequence.
fn longest_ascending(numbers: &[usize]) -> Vec<bool> {
    // The place of the smallest last number of a sequence of each length, and for each place the one before it.
    let mut ends: Vec<usize> = Vec::new();
    let mut before: Vec<Option<usize>> = Vec::with_capacity(numbers.len());
    for (place, number) in numbers.iter().enumerate() {
        let length = ends.partition_point(|end| numbers[*end] < *number);
        before.push(length.checked_sub(1).map(|length| ends[length]));
        match ends.get_mut(length) {
            Some(end) => *end = place,
            None => ends.push(place),
        }
    }
    let mut kept = vec![false; numbers.len()];
    let mut next = ends.last().copied();
    while let Some(place) = next {
        kept[place] = true;
        next = before[place];
    }
    kept
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::rules::random;

    fn list(text: &str) -> RuleList {
        text::parse(text, "t").unwrap().rules
    }

    fn texts(rules: &[&Rule]) -> Vec<String> {
        rules.iter().map(|rule| text::rule_text(rule)).collect()
    }

    #[test]
    fn what_was_changed_is_told() {
        let first = list(
            "set a = 1\nset b = 2\nset c = 10.0.0.1\npriority 1 tcp to port {@a, @b} drop\npriority 2 from @c drop\n\
             priority 3 udp drop\npriority 3 gre drop\npriority 3 esp drop\npass",
        );
        let second = list(
            "set a = 1\nset b = 3\nset d = 10.0.0.1\npriority 1 tcp to port {@a, @b} drop\npriority 2 from @d drop\n\
             priority 3 esp drop\npriority 3 udp drop\npriority 3 gre drop\npriority 9 pass",
        );
        let found = difference(&first, &second);
        assert_eq!(
            (&*found.removed_sets, &*found.added_sets, &*found.changed_sets),
            (&["c"][..], &["d"][..], &["b"][..])
        );
        assert_eq!(texts(&found.removed), ["priority 2 from @c drop"]);
        assert_eq!(texts(&found.added), ["priority 2 from @d drop"]);
        let moved: Vec<(u32, u32)> = found
            .moved
            .iter()
            .map(|(old, new)| (old.priority, new.priority))
            .collect();
        assert_eq!(moved, [(100, 9)]);
        assert_eq!(texts(&found.reordered), ["priority 3 esp drop"]);
        assert!(!found.is_none() && difference(&first, &first).is_none());
    }

    #[test]
    fn a_rule_that_is_there_twice_counts_twice() {
        let found_in = (list("drop\ndrop\npass"), list("drop\npass"));
        let found = difference(&found_in.0, &found_in.1);
        assert_eq!(
            (texts(&found.removed), found.added.len()),
            (vec!["priority 100 drop".to_owned()], 0)
        );
    }

    proptest! {
        #[test]
        fn sequences_ascend_and_are_longest(numbers in Just((0..9_usize).collect::<Vec<_>>()).prop_shuffle()) {
            let kept = longest_ascending(&numbers);
            let sequence: Vec<usize> = numbers.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(number, _)| *number).collect();
            prop_assert!(sequence.is_sorted());
            let longest = (0..1_u32 << numbers.len()).filter_map(|chosen| {
                let part: Vec<usize> = numbers.iter().enumerate().filter(|(place, _)| chosen & 1 << place != 0).map(|(_, number)| *number).collect();
                part.is_sorted().then_some(part.len())
            });
            prop_assert_eq!(longest.max(), Some(sequence.len()));
        }

        #[test]
        fn nothing_differs_from_itself(seed in any::<u64>()) {
            let list = random::list(seed);
            prop_assert!(difference(&list, &list.clone().in_order()).is_none());
            let nothing = RuleList::default();
            prop_assert_eq!(difference(&nothing, &list).added.len(), list.len());
            prop_assert_eq!(difference(&list, &nothing).removed.len(), list.len());
        }
    }
}
