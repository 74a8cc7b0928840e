//! A sorted list of rules, searched from the front: slow, and simple enough to be believed. Every other
//! structure is checked against it.

use std::marker::PhantomData;

use crate::classify::{Classifier, InsertError, Lookup, check_ranges};
use crate::key::Key;
use crate::range::Range;
use crate::rule::{Match, Rule, RuleId, covers};
use crate::schema::{Ipv4FiveTuple, Ipv6FiveTuple, Schema, check_widths};

/// Rules in their total order. Lookup, insertion and removal are O(*N*).
#[derive(Debug, Clone)]
pub struct Linear<S: Schema<D>, A, const D: usize> {
    rules: Vec<Stored<S, A, D>>,
    next_sequence: u64,
    schema: PhantomData<S>,
}

/// Linear search over IPv4 five-tuples.
pub type Ipv4Linear<A> = Linear<Ipv4FiveTuple, A, 5>;

/// Linear search over IPv6 five-tuples.
pub type Ipv6Linear<A> = Linear<Ipv6FiveTuple, A, 5>;

#[derive(Debug, Clone)]
struct Stored<S: Schema<D>, A, const D: usize> {
    ranges: [Range<S::Word>; D],
    found: Match<A>,
}

impl<S: Schema<D>, A, const D: usize> Linear<S, A, D> {
    /// No rules.
    pub fn new() -> Self {
        const { check_widths::<S, D>() }
        Self {
            rules: Vec::new(),
            next_sequence: 0,
            schema: PhantomData,
        }
    }
}

impl<S: Schema<D>, A, const D: usize> Default for Linear<S, A, D> {
    fn default() -> Self {
        Self::new()
    }
}

impl<S: Schema<D>, A, const D: usize> Lookup<S::Word, D> for Linear<S, A, D> {
    type Action = A;

    fn lookup(&self, key: &Key<S::Word, D>) -> Option<&Match<A>> {
        self.rules
            .iter()
            .find(|rule| covers(&rule.ranges, key))
            .map(|rule| &rule.found)
    }

    fn all_matches(&self, key: &Key<S::Word, D>) -> Vec<&Match<A>> {
        self.rules
            .iter()
            .filter(|rule| covers(&rule.ranges, key))
            .map(|rule| &rule.found)
            .collect()
    }

    fn get(&self, id: RuleId) -> Option<Rule<S::Word, D, &A>> {
        let rule = self.rules.iter().find(|rule| rule.found.id == id)?;
        Some(Rule::new(rule.ranges, rule.found.priority, &rule.found.action))
    }

    fn len(&self) -> usize {
        self.rules.len()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.rules.capacity() * size_of::<Stored<S, A, D>>()
    }
}

impl<S: Schema<D>, A, const D: usize> Classifier<S::Word, D> for Linear<S, A, D> {
    fn insert(&mut self, rule: Rule<S::Word, D, A>) -> Result<RuleId, InsertError> {
        check_ranges::<S, D>(&rule.ranges)?;
        let id = RuleId::new(self.next_sequence, 0);
        self.next_sequence += 1;
        let found = Match {
            id,
            priority: rule.priority,
            action: rule.action,
        };
        let place = self
            .rules
            .partition_point(|other| other.found.rank() < found.rank());
        self.rules.insert(
            place,
            Stored {
                ranges: rule.ranges,
                found,
            },
        );
        Ok(id)
    }

    fn remove(&mut self, id: RuleId) -> Option<Rule<S::Word, D, A>> {
        let place = self.rules.iter().position(|rule| rule.found.id == id)?;
        let Stored { ranges, found } = self.rules.remove(place);
        if self.rules.is_empty() {
            self.rules = Vec::new();
        }
        Some(Rule::new(ranges, found.priority, found.action))
    }

    fn clear(&mut self) {
        self.rules = Vec::new();
    }
}

#[cfg(test)]
mod tests {
    use super::Ipv4Linear;
    use crate::{Classifier, InsertError, Ipv4FiveTuple, Ipv4Key, Lookup, Range, Rule, dimension};

    #[test]
    fn first_inserted_wins_among_equals() -> Result<(), InsertError> {
        let mut rules = Ipv4Linear::new();
        let worse = rules.insert(Rule::any::<Ipv4FiveTuple>(7, 'w'))?;
        let first = rules.insert(Rule::any::<Ipv4FiveTuple>(5, 'a'))?;
        let second = rules.insert(Rule::any::<Ipv4FiveTuple>(5, 'b'))?;
        let key = Ipv4Key::new([0; 5]);
        let order: Vec<_> = rules.all_matches(&key).iter().map(|found| found.id).collect();
        assert_eq!(order, [first, second, worse]);
        assert_eq!(rules.lookup(&key).map(|found| found.action), Some('a'));
        assert_eq!(rules.remove(first).map(|rule| rule.action), Some('a'));
        assert_eq!(rules.remove(first), None);
        assert_eq!(rules.lookup(&key).map(|found| found.action), Some('b'));
        assert_eq!(rules.get(worse), Some(Rule::any::<Ipv4FiveTuple>(7, &'w')));
        Ok(())
    }

    #[test]
    fn refuses_values_beyond_the_width() {
        let mut rules = Ipv4Linear::new();
        let mut rule = Rule::any::<Ipv4FiveTuple>(0, ());
        rule.ranges[dimension::PROTOCOL] = Range::exact(256);
        let error = InsertError::TooWide {
            dimension: 4,
            width: 8,
            high: 256,
        };
        assert_eq!(rules.insert(rule), Err(error));
        assert!(rules.is_empty());
    }
}
