//! Making a generation from all rules at once.
#![allow(unsafe_code)]

use super::arena::Arena;
use super::bucket::{Bucket, MAX_RUN, TAG_BITS, tag_bit};
use super::compare::Instructions;
use super::entry::Entry;
use super::plan::{MAX_COPIES, plan};
use super::random::Random;
use super::residual::{Resident, Residual};
use super::shape::Shape;
use super::space::Space;
use super::state::{Group, MAX_GROUP, State, Table, Version};
use super::store::{RESIDUAL, Store};
use crate::range::Range;
use crate::schema::Schema;
use crate::word::Word;

/// Free places of a new arena, at least: for small sets.
const MIN_SLACK: usize = 256;

/// The most tables.
const MAX_TABLES: usize = 32;

/// So few rules are not worth another table.
const MIN_REST: usize = 8;

/// The most entries of a bucket as long as there are other tables to choose.
const COMFORTABLE_RUN: usize = 48;

/// Keys that the grouping of the tables is measured on.
const KEYS: usize = 256;

/// Keys of a burst, for which a group of tables is asked or not.
const BURST: i32 = 32;

/// What one more group costs a lookup, in questions to a table: mostly mispredicted ends of loops.
const GROUP_COST: f64 = 0.4;

/// The same for sets that are not in the caches: each group waits for memory anew.
const LARGE_GROUP_COST: f64 = 1.5;

/// A new generation, and what the writer needs to know to change it.
pub(super) struct Built<W, A, const D: usize> {
    pub(super) state: State<W, A, D>,
    pub(super) space: Space,
    /// The tables, in the order in which they are offered a rule.
    pub(super) offers: Vec<u8>,
}

/// The buckets of a table that a rule belongs in: at most [`MAX_COPIES`].
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Places {
    /// Any place of each bucket, and the tags of all the rule's places there.
    places: [(u64, u16); MAX_COPIES as usize],
    count: usize,
}

impl Places {
    /// The rule's places in a table, if they are few enough for it to be there.
    #[inline]
    pub(super) fn of<W: Word, const D: usize>(table: &Table<W, D>, ranges: &[Range<W>; D]) -> Option<Self> {
        let copies = table.shape.copies(ranges);
        if copies > MAX_COPIES {
            return None;
        }
        let mut places = Self::default();
        if copies == 1 {
            places.add(table.place(table.shape.hash(&ranges.map(|range| range.low()))));
            return Some(places);
        }
        table
            .shape
            .each_hash(ranges, |hash| places.add(table.place(hash)));
        Some(places)
    }

    #[inline]
    fn add(&mut self, place: u64) {
        let tag = tag_bit(place);
        for (other, tags) in &mut self.places[..self.count] {
            if *other >> TAG_BITS == place >> TAG_BITS {
                *tags |= tag;
                return;
            }
        }
        self.places[self.count] = (place, tag);
        self.count += 1;
    }

    /// Each bucket's place and the tags there.
    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, u16)> {
        self.places[..self.count].iter().copied()
    }

    /// The tags in the bucket of that place.
    pub(super) fn tags_at(&self, place: u64) -> u16 {
        self.iter()
            .filter(|(other, _)| other >> TAG_BITS == place >> TAG_BITS)
            .fold(0, |all, (_, tags)| all | tags)
    }
}

/// Builds the tables that suit these rules best. `inserted` is the number of all insertions so far.
pub(super) fn build<S: Schema<D>, A: Copy, const D: usize>(
    store: &mut Store<S::Word, A, D>,
    inserted: u64,
    instructions: Instructions,
) -> Built<S::Word, A, D> {
    let order = store.in_order();
    let ranges: Vec<_> = order.iter().map(|&slot| store.at(slot).rule.ranges).collect();
    let Assigned {
        mut tables,
        counts,
        of_rule,
    } = assign_all::<S, D>(&ranges);
    let mut residents = Vec::new();
    for ((&slot, ranges), &table) in order.iter().zip(&ranges).zip(&of_rule) {
        store.set_table(slot, table);
        if table == RESIDUAL {
            residents.push(Resident {
                ranges: *ranges,
                found: store.at(slot).found(slot),
                removed: 0,
            });
        }
    }

    // By their best rule: so a key whose answer is better than a table's best needs none behind it.
    let mut best = vec![u32::MAX; tables.len()];
    for &slot in order.iter().rev() {
        let stored = store.at(slot);
        if stored.table != RESIDUAL {
            best[stored.table as usize] = stored.rule.priority;
        }
    }
    let mut by_best: Vec<usize> = (0..tables.len()).collect();
    by_best.sort_by_key(|&table| best[table]);
    let mut offers = vec![0u8; tables.len()];
    for (place, &table) in by_best.iter().enumerate() {
        offers[table] = place as u8;
    }
    let mut unsorted: Vec<_> = tables.drain(..).zip(counts).map(Some).collect();
    let (tables, counts): (Vec<_>, Vec<_>) =
        by_best.iter().filter_map(|&table| unsorted[table].take()).unzip();
    best.sort_unstable();

    let used = counts.iter().flatten().map(|&count| usize::from(count)).sum();
    let capacity = used + (order.len() / 2).max(MIN_SLACK);
    let arena = Arena::new(capacity);
    fill(&arena, &tables, counts, &order, &offers, store);
    let mut state = State::new(
        tables,
        Vec::new(),
        arena,
        Residual::new(&residents),
        Version::new(inserted, order.len()),
        instructions,
    );
    state.groups = group(&state, &ranges, &best);
    Built {
        state,
        space: Space::new(used, capacity),
        offers,
    }
}

/// Which rules go where.
struct Assigned<W, const D: usize> {
    tables: Vec<Table<W, D>>,
    /// How many entries each bucket has.
    counts: Vec<Vec<u8>>,
    /// For each rule the index of its table, or [`RESIDUAL`].
    of_rule: Vec<u8>,
}

/// Chooses tables for the rules, round by round, until few rules are left or no table is worth its cost for
/// them.
fn assign_all<S: Schema<D>, const D: usize>(rules: &[[Range<S::Word>; D]]) -> Assigned<S::Word, D> {
    let mut assigned = Assigned {
        tables: Vec::new(),
        counts: Vec::new(),
        of_rule: vec![RESIDUAL; rules.len()],
    };
    let mut rest: Vec<u32> = (0..rules.len() as u32).collect();
    while rest.len() > MIN_REST && assigned.tables.len() < MAX_TABLES {
        let rest_ranges: Vec<_> = rest.iter().map(|&rule| rules[rule as usize]).collect();
        let mut shapes = plan::<S, D>(&rest_ranges);
        shapes.truncate(MAX_TABLES - assigned.tables.len());
        let first = assigned.tables.len();
        let tables = make_tables(&shapes, &rest_ranges);
        assigned
            .counts
            .extend(tables.iter().map(|table| vec![0; table.size()]));
        assigned.tables.extend(tables);
        let before = rest.len();
        rest.retain(|&rule| !assigned.assign(rule, &rules[rule as usize], first, COMFORTABLE_RUN));
        if rest.len() == before {
            break;
        }
    }
    rest.retain(|&rule| !assigned.assign(rule, &rules[rule as usize], 0, MAX_RUN));
    assigned
}

impl<W: Word, const D: usize> Assigned<W, D> {
    /// Puts a rule into the first table from `first` on whose buckets have room for it. False if none has.
    fn assign(&mut self, rule: u32, ranges: &[Range<W>; D], first: usize, run: usize) -> bool {
        for (index, table) in self.tables.iter().enumerate().skip(first) {
            let Some(places) = Places::of(table, ranges) else {
                continue;
            };
            let counts = &mut self.counts[index];
            let bucket = |place: u64| (place >> TAG_BITS) as usize;
            if places
                .iter()
                .all(|(place, _)| usize::from(counts[bucket(place)]) < run)
            {
                for (place, _) in places.iter() {
                    counts[bucket(place)] += 1;
                }
                self.of_rule[rule as usize] = index as u8;
                return true;
            }
        }
        false
    }
}

/// Tables of these shapes, each of the size for the rules that it is the first to fit.
fn make_tables<W: Word, const D: usize>(shapes: &[Shape<W, D>], rules: &[[Range<W>; D]]) -> Vec<Table<W, D>> {
    let mut entries = vec![0usize; shapes.len()];
    for ranges in rules {
        for (shape, entries) in shapes.iter().zip(&mut entries) {
            let copies = shape.copies(ranges);
            if copies <= MAX_COPIES {
                *entries += copies as usize;
                break;
            }
        }
    }
    shapes
        .iter()
        .zip(entries)
        .map(|(shape, entries)| Table::new(*shape, entries))
        .collect()
}

/// Writes the entries of all rules, in their order in each bucket, and puts the rules' tables in their new
/// numbers.
fn fill<W: Word, A: Copy, const D: usize>(
    arena: &Arena<Entry<W, A, D>>,
    tables: &[Table<W, D>],
    counts: Vec<Vec<u8>>,
    order: &[u32],
    offers: &[u8],
    store: &mut Store<W, A, D>,
) {
    // Where each bucket's entries begin.
    let mut next = 0u32;
    let starts: Vec<Vec<u32>> = counts
        .into_iter()
        .map(|counts| {
            counts
                .into_iter()
                .map(|count| {
                    let start = next;
                    next += u32::from(count);
                    start
                })
                .collect()
        })
        .collect();
    for &slot in order {
        let stored = *store.at(slot);
        if stored.table == RESIDUAL {
            continue;
        }
        let number = offers[stored.table as usize];
        store.set_table(slot, number);
        let (table, starts) = (&tables[number as usize], &starts[number as usize]);
        let Some(places) = Places::of(table, &stored.rule.ranges) else {
            continue;
        };
        for (place, tags) in places.iter() {
            let before = table.bucket(place);
            let count = before.count();
            let start = starts[(place >> TAG_BITS) as usize];
            let entry = Entry::new(&stored.rule.ranges, stored.found(slot));
            // SAFETY: the places of all buckets are disjoint, as many as were counted, and below the
            // capacity; nobody reads the arena yet.
            unsafe { arena.write(start as usize + count, entry) };
            // The first entry is the best.
            let best = if count == 0 {
                stored.rule.priority
            } else {
                // SAFETY: written above, for an earlier rule.
                unsafe { arena.get(start as usize) }.found.priority
            };
            table.set_bucket(place, Bucket::new(start, count + 1, before.tags() | tags, best));
        }
    }
}

/// Groups of tables that are asked together, such that the expected cost is lowest: asking many at once
/// saves time, and asking for few keys does, those whose answer is already better than a table's best.
fn group<W: Word, A: Copy, const D: usize>(
    state: &State<W, A, D>,
    rules: &[[Range<W>; D]],
    best: &[u32],
) -> Vec<Group> {
    let tables = state.tables.len();
    let mut random = Random::new(rules.len() as u64);
    let step = rules.len().div_ceil(KEYS).max(1);
    let keys: Vec<_> = rules
        .iter()
        .step_by(step)
        .map(|ranges| random.point(ranges))
        .collect();
    let mut answers = vec![u32::MAX; keys.len()];
    // The share of keys that have to ask each table.
    let mut asking = Vec::with_capacity(tables);
    for (table, &best) in state.tables.iter().zip(best) {
        let share = answers.iter().filter(|&&answer| answer >= best).count() as f64 / keys.len() as f64;
        asking.push(share);
        for (key, answer) in keys.iter().zip(&mut answers) {
            let place = table.place(table.shape.hash(key));
            // SAFETY: nobody else has the state yet.
            let found = unsafe { state.entries(table.bucket(place)) }.find(|entry| {
                entry
                    .ranges()
                    .iter()
                    .zip(key)
                    .all(|(range, &value)| range.contains(value))
            });
            if let Some(entry) = found {
                *answer = entry.found.priority.min(*answer);
            }
        }
    }

    let group_cost = if state.prefetch {
        LARGE_GROUP_COST
    } else {
        GROUP_COST
    };
    // The cheapest way to group the tables up to each.
    let mut cheapest = vec![(0.0, 0); tables + 1];
    for end in 1..=tables {
        let ways = (end.saturating_sub(MAX_GROUP)..end).map(|start| {
            let share: f64 = asking[start];
            let any = 1.0 - (1.0 - share).powi(BURST);
            let cost = cheapest[start].0 + share * (end - start) as f64 + any * group_cost;
            (cost, start)
        });
        cheapest[end] = ways.fold((f64::MAX, 0), |a, b| if b.0 < a.0 { b } else { a });
    }
    let mut groups = Vec::new();
    let mut end = tables;
    while end > 0 {
        let start = cheapest[end].1;
        groups.push(Group::new(end, best[start]));
        end = start;
    }
    groups.reverse();
    groups
}
