//! Any structure, made changeable under readers by keeping it twice.

use std::fmt;

use super::pair::{Pair, PairReader, PairSection};
use super::{Reader, Writer};
use crate::classify::{Classifier, InsertError, Lookup};
use crate::key::Key;
use crate::rule::{Match, Rule, RuleId};
use crate::word::Word;

/// Two copies of a structure: readers see one, while the writer changes the other and then shows them
/// that ("left-right", Ramalhete and Correia 2013, with the sections of
/// [`reclaim`](crate::reclaim) instead of reader counters).
///
/// Lookups cost what they cost in the structure, and never wait. Changes and memory cost twice as much.
/// A change waits for the sections that were open when the change before it was published, which is for
/// ever in a thread that has one of them open itself.
pub struct Mirrored<C> {
    pair: Pair<C>,
    /// What the hidden copy lacks.
    behind: Option<Change>,
}

/// What was done to the published copy, and not yet to the other.
#[derive(Debug, Clone, Copy)]
enum Change {
    Insert(RuleId),
    Remove(RuleId),
    Clear,
    /// Anything: copy the whole structure.
    Unknown,
}

impl<C: Clone> Mirrored<C> {
    /// Keeps this structure twice.
    pub fn new(structure: C) -> Self {
        Self {
            pair: Pair::new([structure.clone(), structure]),
            behind: None,
        }
    }

    /// Brings the copy that readers don't see up to date. Waits for sections that still see it.
    fn catch_up<W: Word, const D: usize>(&mut self)
    where
        C: Classifier<W, D>,
        C::Action: Clone,
    {
        let Some(change) = self.behind else { return };
        // Should the structure panic, the copy is made anew.
        self.behind = Some(Change::Unknown);
        let (published, hidden) = self.pair.change();
        let same = match change {
            Change::Insert(id) => published.get(id).is_some_and(|rule| {
                let Rule {
                    ranges,
                    priority,
                    action,
                } = rule;
                hidden.insert(Rule::new(ranges, priority, action.clone())) == Ok(id)
            }),
            Change::Remove(id) => hidden.remove(id).is_some(),
            Change::Clear => {
                hidden.clear();
                true
            }
            Change::Unknown => false,
        };
        if !same {
            hidden.clone_from(published);
        }
        self.behind = None;
    }

    /// Shows readers the copy that was just changed.
    fn publish<W: Word, const D: usize>(&mut self, change: Change)
    where
        C: Classifier<W, D>,
        C::Action: Clone,
    {
        self.pair.publish();
        self.behind = Some(change);
        // Mostly nobody is in the way, and then the next change has nothing to wait for.
        if self.pair.is_left() {
            self.catch_up();
        }
    }

    /// Changes the hidden copy, and publishes it if the closure says what it did.
    fn change<W: Word, const D: usize, T>(&mut self, change: impl FnOnce(&mut C) -> (T, Option<Change>)) -> T
    where
        C: Classifier<W, D>,
        C::Action: Clone,
    {
        self.catch_up();
        self.behind = Some(Change::Unknown);
        let (result, done) = change(self.pair.change().1);
        match done {
            Some(done) => self.publish(done),
            None => self.behind = None,
        }
        result
    }
}

impl<C: Clone + Default> Default for Mirrored<C> {
    fn default() -> Self {
        Self::new(C::default())
    }
}

impl<W: Word, const D: usize, C: Lookup<W, D>> Lookup<W, D> for Mirrored<C> {
    type Action = C::Action;

    fn lookup(&self, key: &Key<W, D>) -> Option<&Match<C::Action>> {
        self.pair.published().lookup(key)
    }

    fn lookup_batch<'rules>(
        &'rules self,
        keys: &[Key<W, D>],
        results: &mut [Option<&'rules Match<C::Action>>],
    ) {
        self.pair.published().lookup_batch(keys, results);
    }

    fn all_matches(&self, key: &Key<W, D>) -> Vec<&Match<C::Action>> {
        self.pair.published().all_matches(key)
    }

    fn get(&self, id: RuleId) -> Option<Rule<W, D, &C::Action>> {
        self.pair.published().get(id)
    }

    fn len(&self) -> usize {
        self.pair.published().len()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.pair.published().memory() + self.pair.hidden().memory()
    }
}

impl<W: Word, const D: usize, C> Classifier<W, D> for Mirrored<C>
where
    C: Classifier<W, D> + Clone,
    C::Action: Clone,
{
    fn insert(&mut self, rule: Rule<W, D, C::Action>) -> Result<RuleId, InsertError> {
        self.change(|copy| {
            let result = copy.insert(rule);
            (result, result.ok().map(Change::Insert))
        })
    }

    fn remove(&mut self, id: RuleId) -> Option<Rule<W, D, C::Action>> {
        self.change(|copy| {
            let removed = copy.remove(id);
            let done = removed.is_some().then_some(Change::Remove(id));
            (removed, done)
        })
    }

    fn clear(&mut self) {
        self.change(|copy| {
            copy.clear();
            ((), Some(Change::Clear))
        });
    }
}

impl<W: Word, const D: usize, C> Writer<W, D> for Mirrored<C>
where
    C: Classifier<W, D> + Clone + Send + Sync,
    C::Action: Clone,
{
    type Reader = MirroredReader<C>;

    fn reader(&self) -> MirroredReader<C> {
        MirroredReader {
            pair: self.pair.reader(),
        }
    }

    fn replace(&mut self, rules: Vec<Rule<W, D, C::Action>>) -> Result<Vec<RuleId>, InsertError> {
        self.catch_up();
        self.behind = Some(Change::Unknown);
        let hidden = self.pair.change().1;
        hidden.clear();
        let result: Result<_, _> = rules.into_iter().map(|rule| hidden.insert(rule)).collect();
        if result.is_ok() {
            self.publish(Change::Unknown);
        } else {
            self.catch_up();
        }
        result
    }
}

impl<C: fmt::Debug> fmt::Debug for Mirrored<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Mirrored").field(self.pair.published()).finish()
    }
}

/// A reader of a [`Mirrored`] structure.
pub struct MirroredReader<C> {
    pair: PairReader<C>,
}

impl<W: Word, const D: usize, C: Lookup<W, D>> Reader<W, D> for MirroredReader<C> {
    type Action = C::Action;
    type Section<'a>
        = MirroredSection<'a, C>
    where
        Self: 'a;

    #[inline]
    fn enter(&mut self) -> MirroredSection<'_, C> {
        MirroredSection {
            pair: self.pair.enter(),
        }
    }
}

/// One state of a [`Mirrored`] structure.
pub struct MirroredSection<'reader, C> {
    pair: PairSection<'reader, C>,
}

impl<W: Word, const D: usize, C: Lookup<W, D>> Lookup<W, D> for MirroredSection<'_, C> {
    type Action = C::Action;

    fn lookup(&self, key: &Key<W, D>) -> Option<&Match<C::Action>> {
        self.pair.copy().lookup(key)
    }

    fn lookup_batch<'rules>(
        &'rules self,
        keys: &[Key<W, D>],
        results: &mut [Option<&'rules Match<C::Action>>],
    ) {
        self.pair.copy().lookup_batch(keys, results);
    }

    fn all_matches(&self, key: &Key<W, D>) -> Vec<&Match<C::Action>> {
        self.pair.copy().all_matches(key)
    }

    fn get(&self, id: RuleId) -> Option<Rule<W, D, &C::Action>> {
        self.pair.copy().get(id)
    }

    fn len(&self) -> usize {
        self.pair.copy().len()
    }

    /// Of the copy that the section sees.
    fn memory(&self) -> usize {
        size_of::<Self>() + self.pair.copy().memory()
    }
}
