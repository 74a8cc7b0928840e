//! Structures that get the same changes in one thread, and must give the same answers.

use std::fmt::Write;
use std::ops::Range;

use classifier::interval::Interval;
use classifier::linear::Linear;
use classifier::trie::Trie;
use classifier::tuple::{Instructions, Tuple};
use classifier::{Classifier, InsertError, Key, Match, Rule, RuleId, Schema, Word};

use crate::allocated::{allocated_elsewhere, allocated_here};
use crate::draw::{Draw, Style, below};
use crate::{Round, matches};

/// Memory for each [`Interval`], in bytes: little, so that insertions are refused too.
const INTERVAL_LIMIT: usize = 4 << 20;

/// From this size on, what a structure says that it uses is compared with what it allocated, in bytes.
const LARGE: usize = 1 << 20;

/// Rules in small sets.
const SMALL: Range<usize> = 200..2_000;

const KEYS: usize = 600;

type Answer = Option<(u32, u32)>;

/// Identity is the action, a number: sequences differ after refusals.
fn answer(found: Option<&Match<u32>>) -> Answer {
    found.map(|found| (found.priority, found.action))
}

/// A structure in the contest.
trait Contender<W: Word, const D: usize>: Classifier<W, D, Action = u32> {
    /// Whether it has threads of its own, that allocate memory.
    fn has_threads(&self) -> bool {
        false
    }

    /// Ends what these threads do.
    fn rest(&mut self) {}
}

impl<S: Schema<D>, const D: usize> Contender<S::Word, D> for Linear<S, u32, D> {}
impl<S: Schema<D>, const D: usize> Contender<S::Word, D> for Trie<S, u32, D> {}
impl<S: Schema<D>, const D: usize> Contender<S::Word, D> for Interval<S, u32, D> {}
impl<S: Schema<D>, const D: usize> Contender<S::Word, D> for Tuple<S, u32, D> {
    fn has_threads(&self) -> bool {
        true
    }

    fn rest(&mut self) {
        self.tune();
    }
}

struct Contestant<S: Schema<D>, const D: usize> {
    name: String,
    structure: Box<dyn Contender<S::Word, D>>,
    /// Those of the live rules, in their order.
    ids: Vec<RuleId>,
    /// What it says that it uses without rules, in bytes.
    empty: usize,
    /// What it has allocated in this thread, and had without rules, in bytes.
    held: isize,
    held_empty: isize,
}

impl<S: Schema<D>, const D: usize> Contestant<S, D> {
    fn new<C>(name: &str, make: impl FnOnce() -> C) -> Self
    where
        C: Contender<S::Word, D> + 'static,
    {
        let before = allocated_here();
        let structure: Box<dyn Contender<_, D>> = Box::new(make());
        let held = allocated_here() - before;
        Self {
            name: name.to_owned(),
            empty: structure.memory(),
            structure,
            ids: Vec::new(),
            held,
            held_empty: held,
        }
    }

    /// Does something to the structure, and notes what it allocates and frees by that.
    fn change<T>(&mut self, change: impl FnOnce(&mut dyn Contender<S::Word, D>) -> T) -> T {
        let before = allocated_here();
        let result = change(&mut *self.structure);
        self.held += allocated_here() - before;
        result
    }

    /// Nothing is left of the rules that were there.
    fn check_empty(&self) {
        assert!(self.structure.is_empty(), "{}", self.name);
        assert_eq!(
            self.structure.memory(),
            self.empty,
            "{}: memory() when empty",
            self.name
        );
    }
}

/// What structures say that they use is what they use, within a tenth, if that is much.
fn check_memory(names: &str, says: usize, uses: isize, rules: usize) {
    let uses = uses.unsigned_abs();
    if says.max(uses) > LARGE {
        assert!(
            says.abs_diff(uses) <= uses / 10,
            "{names}: memory() says {says} bytes, but {uses} are allocated for {rules} rules",
        );
    }
}

/// All structures, and small sets of every style.
pub(crate) fn all<S: Schema<D>, const D: usize>(round: &Round) {
    for style in Style::ALL {
        let mut contestants = unlimited::<S, D>();
        contestants.push(Contestant::new("trie", Trie::<S, u32, D>::new));
        contestants.push(Contestant::new("interval", || {
            Interval::<S, u32, D>::with_memory_limit(INTERVAL_LIMIT)
        }));
        contest(round, contestants, style, SMALL);
    }
    for style in Style::OFTEN_REFUSED {
        contest(round, unlimited::<S, D>(), style, SMALL);
    }
}

/// The structures that refuse no rule, the oracle first.
fn unlimited<S: Schema<D>, const D: usize>() -> Vec<Contestant<S, D>> {
    let mut contestants = vec![Contestant::<S, D>::new("linear", Linear::<S, u32, D>::new)];
    for instructions in Instructions::ALL.into_iter().filter(|kind| kind.is_available()) {
        contestants.push(Contestant::new(&format!("tuple with {instructions:?}"), || {
            Tuple::<S, u32, D>::with_instructions(instructions)
        }));
    }
    contestants
}

/// The two structures for large sets.
pub(crate) fn large<S: Schema<D>, const D: usize>(round: &Round, rules: Range<usize>) {
    let contestants = vec![
        Contestant::<S, D>::new("trie", Trie::<S, u32, D>::new),
        Contestant::new("tuple", Tuple::<S, u32, D>::new),
    ];
    contest(round, contestants, round.pick(&Style::ANY_SIZE), rules);
}

/// The set grows, changes, and shrinks to nothing.
fn contest<S: Schema<D>, const D: usize>(
    round: &Round,
    contestants: Vec<Contestant<S, D>>,
    style: Style,
    rules: Range<usize>,
) {
    let rules = rules.start + below(round.seed, rules.len());
    let draw = Draw::new(round.seed, style, rules);
    round.say(format_args!(
        "{D} dimensions of {:?} bits, {rules} rules, {style:?}, {} priorities",
        S::WIDTHS,
        draw.priorities(),
    ));
    let mut contest = Contest::<S, D> {
        draw,
        contestants,
        live: Vec::new(),
        drawn: 0,
        refused: 0,
        lookups: 0,
        elsewhere: allocated_elsewhere(),
    };
    let step = rules / 8;
    for _ in 0..8 {
        contest.phase(round, step, 5);
    }
    round.say(format_args!("grown: {}", contest.report()));
    for _ in 0..4 {
        contest.phase(round, step, 50);
    }
    round.say(format_args!("changed: {}", contest.report()));
    while !contest.live.is_empty() {
        contest.shrink(step.max(1));
    }
    contest.check_empty();
    round.say(format_args!("emptied: {}", contest.report()));
    // All at once as well.
    contest.phase(round, rules.min(1_000), 5);
    for contestant in &mut contest.contestants {
        contestant.change(|structure| structure.clear());
    }
    contest.check_empty();
}

struct Contest<S: Schema<D>, const D: usize> {
    draw: Draw,
    contestants: Vec<Contestant<S, D>>,
    live: Vec<Rule<S::Word, D, u32>>,
    drawn: u32,
    refused: usize,
    lookups: usize,
    /// What other threads had allocated at the start, in bytes.
    elsewhere: isize,
}

impl<S: Schema<D>, const D: usize> Contest<S, D> {
    /// So many changes, so many percent of which are removals; then all answers are compared.
    fn phase(&mut self, round: &Round, changes: usize, removals: u32) {
        for change in 0..changes {
            if change % 1024 == 0 && round.is_over() {
                return;
            }
            if self.draw.chance(removals) && !self.live.is_empty() {
                self.remove();
            } else {
                self.insert();
            }
        }
        self.compare();
    }

    fn shrink(&mut self, changes: usize) {
        for _ in 0..changes.min(self.live.len()) {
            self.remove();
        }
        self.compare();
    }

    fn insert(&mut self) {
        let rule = self.draw.rule::<S, D>(self.drawn);
        self.drawn += 1;
        for index in 0..self.contestants.len() {
            let contestant = &mut self.contestants[index];
            match contestant.change(|structure| structure.insert(rule)) {
                Ok(id) => contestant.ids.push(id),
                Err(InsertError::TooManyPrefixes { .. } | InsertError::OutOfMemory { .. }) => {
                    // Then nobody has it.
                    for before in &mut self.contestants[..index] {
                        let id = before.ids.pop().expect("it was just inserted");
                        assert_eq!(before.change(|structure| structure.remove(id)), Some(rule));
                    }
                    self.refused += 1;
                    return;
                }
                Err(error) => panic!("{}: {error}", contestant.name),
            }
        }
        self.live.push(rule);
    }

    fn remove(&mut self) {
        let place = self.draw.below(self.live.len());
        let rule = self.live.swap_remove(place);
        for contestant in &mut self.contestants {
            let id = contestant.ids.swap_remove(place);
            let removed = contestant.change(|structure| structure.remove(id));
            assert_eq!(removed, Some(rule), "{}", contestant.name);
        }
    }

    /// Singly and in batches, all structures answer the same.
    fn compare(&mut self) {
        let keys: Vec<Key<S::Word, D>> = (0..KEYS)
            .map(|_| {
                let near = (!self.live.is_empty() && self.draw.chance(80))
                    .then(|| self.live[self.draw.below(self.live.len())]);
                self.draw.key::<S, D>(near.as_ref())
            })
            .collect();
        let batch = [1, 7, 32, 256][self.draw.below(4)];
        let first: Vec<Answer> = keys
            .iter()
            .map(|key| answer(self.contestants[0].structure.lookup(key)))
            .collect();
        for contestant in &self.contestants {
            let structure = &*contestant.structure;
            assert_eq!(structure.len(), self.live.len(), "{}", contestant.name);
            let mut results = vec![None; keys.len()];
            for (keys, results) in keys.chunks(batch).zip(results.chunks_mut(batch)) {
                structure.lookup_batch(keys, results);
            }
            for ((key, result), expected) in keys.iter().zip(results).zip(&first) {
                assert_eq!(
                    answer(result),
                    *expected,
                    "{} {key:?} in a batch",
                    contestant.name
                );
                assert_eq!(
                    answer(structure.lookup(key)),
                    *expected,
                    "{} {key:?}",
                    contestant.name
                );
            }
        }
        self.check_memory();
        self.lookups += 2 * KEYS * self.contestants.len();
        self.compare_with_list(&keys, &first);
    }

    /// What the structures say about memory is true. What was allocated by threads of theirs is counted for all
    /// that have some.
    fn check_memory(&mut self) {
        for contestant in &mut self.contestants {
            contestant.change(|structure| structure.rest());
        }
        let (mut says, mut uses) = (0, allocated_elsewhere() - self.elsewhere);
        for contestant in &self.contestants {
            if contestant.structure.has_threads() {
                says += contestant.structure.memory();
                uses += contestant.held;
            } else {
                let memory = contestant.structure.memory();
                check_memory(&contestant.name, memory, contestant.held, self.live.len());
            }
        }
        check_memory("those with threads", says, uses, self.live.len());
    }

    /// Nothing is left of the rules that were there.
    fn check_empty(&self) {
        let mut elsewhere = allocated_elsewhere() - self.elsewhere;
        for contestant in &self.contestants {
            contestant.check_empty();
            let held = contestant.held - contestant.held_empty;
            if contestant.structure.has_threads() {
                elsewhere += held;
            } else {
                assert_eq!(held, 0, "{}: allocated when empty", contestant.name);
            }
        }
        assert_eq!(elsewhere, 0, "allocated by those with threads when empty");
    }

    /// And the same as going through a list of the rules, for a few keys and the more the fewer rules.
    fn compare_with_list(&mut self, keys: &[Key<S::Word, D>], answers: &[Answer]) {
        let sample = (200_000 / (self.live.len() + 1)).clamp(3, KEYS);
        for (index, (key, found)) in keys.iter().zip(answers).take(sample).enumerate() {
            let mut all: Vec<_> = self
                .live
                .iter()
                .filter(|rule| matches(rule, key))
                .map(|rule| (rule.priority, rule.action))
                .collect();
            // Actions count up, as insertions do.
            all.sort_unstable();
            assert_eq!(all.first(), found.as_ref(), "{key:?} in the list");
            if index < 16 {
                for contestant in &self.contestants {
                    let found = contestant.structure.all_matches(key);
                    let found = found.into_iter().map(|found| (found.priority, found.action));
                    assert!(
                        found.eq(all.iter().copied()),
                        "{}: all of {key:?}",
                        contestant.name
                    );
                }
            }
        }
        if let Some(place) = self.live.len().checked_sub(1) {
            let place = self.draw.below(place + 1);
            for contestant in &self.contestants {
                let rule = self.live[place];
                let found = contestant.structure.get(contestant.ids[place]);
                let found = found.map(|rule| Rule::new(rule.ranges, rule.priority, *rule.action));
                assert_eq!(found, Some(rule), "{}", contestant.name);
            }
        }
    }

    fn report(&self) -> String {
        let mut report = format!(
            "{} rules ({} drawn, {} refused), {} lookups, MB:",
            self.live.len(),
            self.drawn,
            self.refused,
            self.lookups
        );
        for contestant in &self.contestants {
            let megabytes = contestant.structure.memory() as f64 / 1e6;
            write!(report, " {} {megabytes:.1}", contestant.name).expect("strings take all");
        }
        report
    }
}
