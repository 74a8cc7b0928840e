//! Sets that change under readers, each of whose sections must see one of the states that there were.
//!
//! The writer numbers its changes, and writes down what a list of the rules answers to some keys from which
//! change on. A reader knows between which two numbers its section began; one of the states between them must
//! have given all of the section's answers.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::thread;

use classifier::live::{Reader, Writer};
use classifier::{Ipv4FiveTuple, Ipv4Key, Ipv4Rule, Lookup, Match, RuleId};

use crate::draw::{Draw, Style, below};
use crate::{Round, matches};

const READERS: u64 = 3;
const KEYS: usize = 96;

/// With more states to choose from a section is not checked: its reader was interrupted as it entered.
const MOST_STATES: u64 = 10_000;

type Answer = Option<(u32, u32)>;

fn answer(found: Option<&Match<u32>>) -> Answer {
    found.map(|found| (found.priority, found.action))
}

/// What is answered from which state on.
struct Since<T> {
    states: Mutex<Vec<(u64, T)>>,
}

impl<T: Copy + PartialEq> Since<T> {
    fn new(first: T) -> Self {
        Self {
            states: Mutex::new(vec![(0, first)]),
        }
    }

    fn note(&self, state: u64, value: T) {
        let mut states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        if states.last().is_some_and(|&(_, last)| last != value) {
            states.push((state, value));
        }
    }

    /// Leaves those of the candidates, of which the first is that state, that gave that answer.
    fn retain(&self, first: u64, candidates: &mut [bool], value: T) {
        let states = self.states.lock().unwrap_or_else(PoisonError::into_inner);
        let mut place = states.partition_point(|&(state, _)| state <= first) - 1;
        for (candidate, state) in candidates.iter_mut().zip(first..) {
            if states.get(place + 1).is_some_and(|&(next, _)| next <= state) {
                place += 1;
            }
            *candidate &= states[place].1 == value;
        }
    }
}

/// What writer and readers share.
struct Journal {
    keys: Vec<Ipv4Key>,
    answers: Vec<Since<Answer>>,
    lengths: Since<usize>,
    /// The change that is being made, and the last that is visible.
    started: AtomicU64,
    completed: AtomicU64,
    stop: AtomicBool,
    sections: AtomicU64,
    unchecked: AtomicU64,
}

pub(crate) fn run<C: Writer<u32, 5, Action = u32>>(round: &Round, mut writer: C) {
    let rules = [300, 3_000, 40_000][below(round.seed, 3)];
    let style = round.pick(&Style::SPLITTABLE);
    let mut draw = Draw::new(round.seed, style, rules);
    round.say(format_args!(
        "{READERS} readers, about {rules} rules, {style:?}, {} priorities",
        draw.priorities()
    ));
    let empty = writer.memory();
    // Rules that are inserted more often than others, and whose keys are asked for.
    let favourites: Vec<_> = (0..KEYS).map(|_| draw.rule::<Ipv4FiveTuple, 5>(0)).collect();
    let keys: Vec<_> = favourites
        .iter()
        .map(|rule| draw.key::<Ipv4FiveTuple, 5>(Some(rule)))
        .collect();
    let journal = Journal {
        answers: keys.iter().map(|_| Since::new(None)).collect(),
        keys,
        lengths: Since::new(0),
        started: AtomicU64::new(0),
        completed: AtomicU64::new(0),
        stop: AtomicBool::new(false),
        sections: AtomicU64::new(0),
        unchecked: AtomicU64::new(0),
    };
    thread::scope(|scope| {
        let readers: Vec<_> = (0..READERS)
            .map(|number| {
                let reader = writer.reader();
                let draw = Draw::new(round.seed ^ (number + 1) << 56, Style::Mixed, 1);
                let journal = &journal;
                thread::Builder::new()
                    .name(format!("reader {number}"))
                    .spawn_scoped(scope, move || read(reader, draw, journal))
                    .expect("threads can be made")
            })
            .collect();
        let mut changes = Changes {
            writer: &mut writer,
            draw,
            favourites,
            live: Vec::new(),
            matching: vec![BTreeSet::new(); KEYS],
            journal: &journal,
            state: 0,
            drawn: 0,
        };
        for change in 0..rules * 8 {
            // A reader that found something has ended.
            if change % 64 == 0 && (round.is_over() || readers.iter().any(|reader| reader.is_finished())) {
                break;
            }
            changes.change(rules);
            // On few cores, readers get to run between any two changes.
            if changes.draw.chance(10) {
                thread::yield_now();
            }
        }
        let sections = || journal.sections.load(SeqCst);
        round.say(format_args!(
            "{} changes, {} rules, {} sections, {} of them unchecked",
            changes.state,
            changes.live.len(),
            sections(),
            journal.unchecked.load(SeqCst)
        ));
        while !changes.live.is_empty() {
            changes.remove();
        }
        journal.stop.store(true, SeqCst);
        for reader in readers {
            // Waits for the end of the thread, and of what it has allocated.
            if let Err(panic) = reader.join() {
                std::panic::resume_unwind(panic);
            }
        }
        assert!(sections() > 0, "no reader ran while the writer did");
    });
    // What sections held up may go now.
    writer.clear();
    assert_eq!(writer.memory(), empty, "memory() when empty");
}

/// The writer, and what a list of its rules answers.
struct Changes<'run, C> {
    writer: &'run mut C,
    draw: Draw,
    favourites: Vec<Ipv4Rule<u32>>,
    live: Vec<(Ipv4Rule<u32>, RuleId)>,
    /// For each key priority and action of the rules that accept it: actions count up, as insertions do.
    matching: Vec<BTreeSet<(u32, u32)>>,
    journal: &'run Journal,
    state: u64,
    drawn: u32,
}

impl<C: Writer<u32, 5, Action = u32>> Changes<'_, C> {
    fn change(&mut self, rules: usize) {
        match self.draw.below(20_000) {
            0 => self.replace(rules),
            1 => self.clear(),
            _ if !self.live.is_empty() && self.draw.below(2 * rules) < self.live.len() => self.remove(),
            _ => self.insert(),
        }
    }

    fn rule(&mut self) -> Ipv4Rule<u32> {
        let action = self.drawn;
        self.drawn += 1;
        if self.draw.chance(10) {
            let place = self.draw.below(self.favourites.len());
            let priority = self.draw.below(50) as u32;
            return Ipv4Rule::new(self.favourites[place].ranges, priority, action);
        }
        self.draw.rule::<Ipv4FiveTuple, 5>(action)
    }

    /// Whether the rules that are there accept the keys.
    fn note(&mut self, rule: &Ipv4Rule<u32>, is_there: bool) {
        for (key, matching) in self.journal.keys.iter().zip(&mut self.matching) {
            if matches(rule, key) {
                if is_there {
                    matching.insert((rule.priority, rule.action));
                } else {
                    matching.remove(&(rule.priority, rule.action));
                }
            }
        }
    }

    /// Makes a change whose result is known already.
    fn make<T>(&mut self, length: usize, change: impl FnOnce(&mut C) -> T) -> T {
        self.state += 1;
        for (answers, matching) in self.journal.answers.iter().zip(&self.matching) {
            answers.note(self.state, matching.first().copied());
        }
        self.journal.lengths.note(self.state, length);
        self.journal.started.store(self.state, SeqCst);
        let result = change(self.writer);
        self.journal.completed.store(self.state, SeqCst);
        result
    }

    fn insert(&mut self) {
        let rule = self.rule();
        self.note(&rule, true);
        let id = self.make(self.live.len() + 1, |writer| writer.insert(rule));
        self.live.push((rule, id.expect("there is room")));
    }

    fn remove(&mut self) {
        let (rule, id) = self.live.swap_remove(self.draw.below(self.live.len()));
        self.note(&rule, false);
        let removed = self.make(self.live.len(), |writer| writer.remove(id));
        assert_eq!(removed, Some(rule));
    }

    fn clear(&mut self) {
        self.live.clear();
        self.matching.iter_mut().for_each(BTreeSet::clear);
        self.make(0, |writer| writer.clear());
    }

    fn replace(&mut self, rules: usize) {
        let rules: Vec<_> = (0..rules).map(|_| self.rule()).collect();
        self.live.clear();
        self.matching.iter_mut().for_each(BTreeSet::clear);
        for rule in &rules {
            self.note(rule, true);
        }
        let ids = self.make(rules.len(), |writer| writer.replace(rules.clone()));
        let ids = ids.expect("there is room");
        assert_eq!(ids.len(), rules.len());
        self.live.extend(rules.into_iter().zip(ids));
    }
}

/// A reader's life: sections, each of whose answers are those of one state, and none older than the one before.
fn read(mut reader: impl Reader<u32, 5, Action = u32>, mut draw: Draw, journal: &Journal) {
    let mut last = 0;
    while !journal.stop.load(SeqCst) {
        let first = journal.completed.load(SeqCst).max(last);
        let section = reader.enter();
        let end = journal.started.load(SeqCst);
        let start = draw.below(KEYS);
        let count = 1 + draw.below(KEYS - start);
        let keys = &journal.keys[start..start + count];
        let mut results = vec![None; count];
        // Sometimes the writer goes on meanwhile; what the section sees must not.
        if draw.chance(30) {
            thread::yield_now();
        }
        section.lookup_batch(keys, &mut results);
        if draw.chance(30) {
            thread::yield_now();
        }
        let answers: Vec<_> = results.iter().map(|found| answer(*found)).collect();
        for (key, found) in keys.iter().zip(&answers) {
            assert_eq!(
                answer(section.lookup(key)),
                *found,
                "{key:?} again in one section"
            );
        }
        let all = section.all_matches(&keys[0]);
        assert_eq!(
            answer(all.first().copied()),
            answers[0],
            "the best of all of {:?}",
            keys[0]
        );
        let length = section.len();
        drop(section);

        journal.sections.fetch_add(1, SeqCst);
        if end - first < MOST_STATES {
            let mut candidates = vec![true; (end - first + 1) as usize];
            journal.lengths.retain(first, &mut candidates, length);
            for (since, found) in journal.answers[start..].iter().zip(&answers) {
                since.retain(first, &mut candidates, *found);
            }
            let seen = candidates.iter().position(|&candidate| candidate);
            let seen = seen.unwrap_or_else(|| {
                panic!(
                    "no state from {first} to {end} has {length} rules and answers {answers:?} to {keys:?}"
                )
            });
            last = first + seen as u64;
        } else {
            journal.unchecked.fetch_add(1, SeqCst);
        }
        // Lets the writer run, on few cores, while this reader holds nothing up.
        thread::yield_now();
    }
}
