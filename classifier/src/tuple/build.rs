//! Making a generation from all rules at once.
#![allow(unsafe_code)]

use super::account::{Account, CROWD};
use super::arena::Arena;
use super::bucket::{Bucket, MAX_RUN, TAG_BITS, tag_bit};
use super::compare::Instructions;
use super::entry::Entry;
use super::home::{Home, Homes, MAX_TABLES};
use super::listing::Listing;
use super::plan::{MAX_COPIES, plan};
use super::random::Random;
use super::residual::{Resident, Residual};
use super::shape::Shape;
use super::space::Space;
use super::state::{Group, MAX_GROUP, State, Table};
use crate::range::Range;
use crate::schema::Schema;
use crate::word::Word;

/// Free places of a new arena, at least: for small sets.
const MIN_SLACK: usize = 256;

/// In place of the index of a table: none takes the rule.
const RESIDUAL: u8 = u8::MAX;

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

/// A new generation, and the writer's account of it.
pub(super) struct Built<W, A, const D: usize> {
    pub(super) state: Box<State<W, A, D>>,
    pub(super) account: Account,
}

impl<W: Word, A: Copy, const D: usize> Built<W, A, D> {
    /// A generation without rules.
    pub(super) fn empty(instructions: Instructions) -> Self {
        let space = Space::new(0, MIN_SLACK);
        Self {
            state: Box::new(State::new(
                Vec::new(),
                Vec::new(),
                Arena::new(MIN_SLACK),
                Residual::new(&[]),
                instructions,
            )),
            account: Account::new(space, Vec::new(), Homes::new(0), 0),
        }
    }
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
    #[inline(always)]
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

    /// The home of the rule, one of whose entries has that index.
    pub(super) fn home(&self, number: u8, index: u32) -> Home {
        Home::Table {
            number,
            index,
            twice: self.count > 1,
        }
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

/// Builds the tables that suit these rules best. `None` if it was `cancelled` meanwhile.
pub(super) fn build<S: Schema<D>, A: Copy, const D: usize>(
    rules: &Listing<S::Word, A, D>,
    instructions: Instructions,
    cancelled: &dyn Fn() -> bool,
) -> Option<Built<S::Word, A, D>> {
    let Assigned {
        mut tables,
        counts,
        of_rule,
    } = assign_all::<S, D>(&rules.ranges, cancelled)?;

    // By their best rule: so a key whose answer is better than a table's best needs none behind it.
    let mut best = vec![u32::MAX; tables.len()];
    for (found, &table) in rules.found.iter().zip(&of_rule).rev() {
        if table != RESIDUAL {
            best[table as usize] = found.priority;
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

    let entries = || counts.iter().flatten().map(|&count| usize::from(count));
    let (used, crowd) = (
        entries().sum(),
        entries().map(|count| count.saturating_sub(CROWD)).sum(),
    );
    let capacity = used + (rules.len() / 2).max(MIN_SLACK);
    let arena = Arena::new(capacity);
    let slots = rules.found.iter().map(|found| found.id.slot()).max();
    let mut homes = Homes::new(slots.map_or(0, |slot| slot as usize + 1));
    fill(&arena, &tables, counts, rules, &of_rule, &offers, &mut homes);
    let residual = rules
        .iter()
        .zip(&of_rule)
        .filter(|(_, table)| **table == RESIDUAL);
    let residents: Vec<_> = residual
        .map(|((ranges, found), _)| Resident::new(ranges, found))
        .collect();
    let mut state = State::new(tables, Vec::new(), arena, Residual::new(&residents), instructions);
    state.groups = group(&state, &rules.ranges, &best);
    Some(Built {
        state: Box::new(state),
        account: Account::new(Space::new(used, capacity), offers, homes, crowd),
    })
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
/// them. `None` if it was `cancelled` meanwhile.
fn assign_all<S: Schema<D>, const D: usize>(
    rules: &[[Range<S::Word>; D]],
    cancelled: &dyn Fn() -> bool,
) -> Option<Assigned<S::Word, D>> {
    let mut assigned = Assigned {
        tables: Vec::new(),
        counts: Vec::new(),
        of_rule: vec![RESIDUAL; rules.len()],
    };
    let mut rest: Vec<u32> = (0..rules.len() as u32).collect();
    while rest.len() > MIN_REST && assigned.tables.len() < MAX_TABLES {
        if cancelled() {
            return None;
        }
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
    (!cancelled()).then_some(assigned)
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

/// Writes the entries of all rules, in their order in each bucket, and notes where they are.
fn fill<W: Word, A: Copy, const D: usize>(
    arena: &Arena<Entry<W, A, D>>,
    tables: &[Table<W, D>],
    counts: Vec<Vec<u8>>,
    rules: &Listing<W, A, D>,
    of_rule: &[u8],
    offers: &[u8],
    homes: &mut Homes,
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
    for ((ranges, found), &number) in rules.iter().zip(of_rule) {
        let slot = found.id.slot();
        if number == RESIDUAL {
            homes.set(slot, Home::Residual);
            continue;
        }
        let number = offers[number as usize];
        let (table, starts) = (&tables[number as usize], &starts[number as usize]);
        let Some(places) = Places::of(table, ranges) else {
            continue;
        };
        for (place, tags) in places.iter() {
            let before = table.bucket(place);
            let count = before.count();
            let start = starts[(place >> TAG_BITS) as usize];
            let index = start + count as u32;
            // SAFETY: the places of all buckets are disjoint, as many as were counted, and below the
            // capacity; nobody reads the arena yet.
            unsafe { arena.write(index as usize, Entry::new(ranges, *found)) };
            homes.set(slot, places.home(number, index));
            // The first entry is the best.
            let best = if count == 0 {
                found.priority
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

    let group_cost = if state.prefetches_entries {
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
