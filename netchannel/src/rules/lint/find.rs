//! Going through all rules.

use std::collections::{BTreeSet, HashMap};
use std::ops::Range;

use super::bounds::{self, Bounds, Point};
use super::tree::{Budget, Item, Tree};
use crate::channel::nat::Filtering;
use crate::config::Config;
use crate::rules::{Families, Rule, RuleList, Values};
use crate::setup;

/// Nodes and boxes that are looked at for each rule and question at most.
const WORK: u64 = 200_000;

/// The most parts of a box that may wait to be looked at.
const MAX_PARTS: usize = 10_000;

/// The most other rules that are named for one.
const MAX_NAMED: usize = 8;

/// Something about a rule that is probably not meant. Rules are told by their places in the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Finding {
    /// No packet is left for the rule by those that are tried before.
    Never {
        /// The rule.
        rule: usize,
        /// Rules that take all its packets: one, or several together, of which at most 8 are told.
        by: Vec<usize>,
        /// How many rules it takes.
        count: usize,
    },
    /// An earlier rule takes the same packets and does the same.
    Duplicate {
        /// The rule.
        rule: usize,
        /// The earlier one.
        of: usize,
    },
    /// Earlier rules of the same priority do something else with some of its packets, so that the order of the list alone decides.
    Order {
        /// The rule.
        rule: usize,
        /// The earlier ones, at most 8.
        others: Vec<usize>,
    },
    /// Without the rule the same would become of its packets.
    Redundant {
        /// The rule.
        rule: usize,
        /// The later rule that does it then.
        by: usize,
    },
    /// Whether it can win was not found out, for that would take too long.
    Undecided {
        /// The rule.
        rule: usize,
    },
}

impl Finding {
    /// The rule that it is about.
    pub fn rule(&self) -> usize {
        match *self {
            Finding::Never { rule, .. }
            | Finding::Duplicate { rule, .. }
            | Finding::Order { rule, .. }
            | Finding::Redundant { rule, .. }
            | Finding::Undecided { rule } => rule,
        }
    }
}

/// What a rule does.
type Action<'r> = (&'r str, Option<Filtering>);

fn action(rule: &Rule) -> Action<'_> {
    (&rule.channel, rule.filtering)
}

/// Looks for what is probably not meant. With a configuration, packets come in by its interfaces only, and rules that lead to its translators
/// are for IPv4. What was found is in the order in which the rules are tried.
pub fn lint(list: &RuleList, config: Option<&Config>) -> Vec<Finding> {
    let mut order: Vec<usize> = (0..list.rules.len()).collect();
    order.sort_by_key(|&rule| list.rules[rule].priority);
    let rules: Vec<&Rule> = order.iter().map(|&rule| &list.rules[rule]).collect();
    let space = Space::new(&rules, config);
    let spaces: Vec<OneFamily<'_>> = [true, false]
        .into_iter()
        .map(|is_ipv4| OneFamily::new(&rules, &space, is_ipv4))
        .collect();
    let mut findings = Vec::new();
    for (rank, &rule) in order.iter().enumerate() {
        let found = about(&rules, &spaces, rank as u32);
        findings.extend(found.map(|found| found.in_list(rule, &order)));
    }
    findings
}

/// What was found about a rule, with rules by their places in the order in which they are tried.
enum Found {
    Never(BTreeSet<u32>),
    Duplicate(u32),
    Order(BTreeSet<u32>),
    Redundant(u32),
    Undecided,
}

impl Found {
    fn in_list(self, rule: usize, order: &[usize]) -> Finding {
        let place = |rank: u32| order[rank as usize];
        match self {
            Found::Never(by) => Finding::Never {
                rule,
                count: by.len(),
                by: by.into_iter().take(MAX_NAMED).map(place).collect(),
            },
            Found::Duplicate(of) => Finding::Duplicate { rule, of: place(of) },
            Found::Order(others) => Finding::Order {
                rule,
                others: others.into_iter().map(place).collect(),
            },
            Found::Redundant(by) => Finding::Redundant { rule, by: place(by) },
            Found::Undecided => Finding::Undecided { rule },
        }
    }
}

fn about(rules: &[&Rule], spaces: &[OneFamily<'_>], rank: u32) -> Option<Found> {
    let rule = rules[rank as usize];
    let mut by = BTreeSet::new();
    let mut is_covered = true;
    let mut is_undecided = false;
    for space in spaces {
        match space.covered(rank, &mut by) {
            Covered::Yes => {}
            Covered::No => is_covered = false,
            Covered::Unknown => is_undecided = true,
        }
    }
    if is_covered && !is_undecided {
        let same = by.iter().copied().find(|&other| {
            let other = rules[other as usize];
            by.len() == 1 && action(other) == action(rule) && same_packets(other, rule)
        });
        return Some(same.map_or(Found::Never(by), Found::Duplicate));
    }
    if is_covered {
        return Some(Found::Undecided);
    }
    let mut others = BTreeSet::new();
    for space in spaces {
        space.ordered_by_place(rank, &mut others);
    }
    if !others.is_empty() {
        return Some(Found::Order(others));
    }
    // Where it is for both families, the same rule must do for both.
    let mut redundant = spaces
        .iter()
        .filter(|space| !space.boxes(rank).is_empty())
        .map(|space| space.done_by_later(rank));
    let first = redundant.next().flatten()?;
    // Of duplicates, the later one is told.
    if same_packets(rules[first as usize], rule) {
        return None;
    }
    redundant
        .all(|other| other == Some(first))
        .then_some(Found::Redundant(first))
}

/// What all boxes are in.
struct Space<'r> {
    interfaces: Vec<&'r str>,
    highest_interface: u128,
    config: Option<&'r Config>,
}

impl<'r> Space<'r> {
    fn new(rules: &[&'r Rule], config: Option<&'r Config>) -> Self {
        let (interfaces, others) = match config {
            Some(config) => (config.interface_names(), 0),
            // Packets may come in by an interface that no rule names.
            None => {
                let names: BTreeSet<&str> = rules
                    .iter()
                    .flat_map(|rule| rule.interfaces.iter().map(AsRef::as_ref))
                    .collect();
                (names.into_iter().collect(), 1)
            }
        };
        let count = interfaces.len() as u128 + others;
        Self {
            interfaces,
            highest_interface: count.max(1) - 1,
            config,
        }
    }

    fn families(&self, rule: &Rule) -> Families {
        match self.config {
            Some(config) => setup::families(config, rule),
            None => rule.families(),
        }
    }
}

/// The boxes of all rules that are for a family.
struct OneFamily<'r> {
    items: Vec<Item>,
    /// The items of each rule, by rank.
    places: Vec<Range<usize>>,
    tree: Tree,
    /// Those of rules with one priority and action.
    of_priority: HashMap<u32, Vec<(Action<'r>, Tree)>>,
    /// Those of rules with one action.
    of_action: HashMap<Action<'r>, Tree>,
    actions: Vec<Action<'r>>,
    priorities: Vec<u32>,
}

enum Covered {
    Yes,
    No,
    Unknown,
}

impl<'r> OneFamily<'r> {
    fn new(rules: &[&'r Rule], space: &Space<'_>, is_ipv4: bool) -> Self {
        let everything = bounds::everything(is_ipv4, space.highest_interface);
        let mut items = Vec::new();
        let mut places = Vec::with_capacity(rules.len());
        let mut of_priority: HashMap<u32, HashMap<Action<'r>, Vec<Item>>> = HashMap::new();
        let mut of_action: HashMap<Action<'r>, Vec<Item>> = HashMap::new();
        for (rule, rank) in rules.iter().zip(0..) {
            let start = items.len();
            let families = space.families(rule);
            if if is_ipv4 { families.ipv4 } else { families.ipv6 } {
                items.extend(rule.expand(&space.interfaces).map(|rule_box| Item {
                    bounds: bounds::of(&rule_box, &everything),
                    rank,
                }));
            }
            places.push(start..items.len());
            let made = &items[start..];
            of_priority
                .entry(rule.priority)
                .or_default()
                .entry(action(rule))
                .or_default()
                .extend(made);
            of_action.entry(action(rule)).or_default().extend(made);
        }
        let trees = |of: HashMap<Action<'r>, Vec<Item>>| {
            // Where all do the same, nothing is asked.
            match of.len() {
                0 | 1 => Vec::new(),
                _ => of
                    .into_iter()
                    .map(|(action, items)| (action, Tree::new(items)))
                    .collect(),
            }
        };
        Self {
            tree: Tree::new(items.clone()),
            items,
            places,
            of_priority: of_priority
                .into_iter()
                .map(|(priority, of)| (priority, trees(of)))
                .collect(),
            of_action: of_action
                .into_iter()
                .map(|(action, items)| (action, Tree::new(items)))
                .collect(),
            actions: rules.iter().map(|rule| action(rule)).collect(),
            priorities: rules.iter().map(|rule| rule.priority).collect(),
        }
    }

    fn boxes(&self, rank: u32) -> &[Item] {
        &self.items[self.places[rank as usize].clone()]
    }

    /// Whether earlier rules take all packets of a rule; which ones goes into `by`.
    fn covered(&self, rank: u32, by: &mut BTreeSet<u32>) -> Covered {
        let mut budget = Budget(WORK);
        let boxes = self.boxes(rank);
        // Most rules have a packet in a corner or in the middle that is nobody else's.
        for item in boxes.iter().take(4) {
            for point in samples(&item.bounds) {
                if let Some(None) = self.tree.at(&point, 0..rank, &mut budget) {
                    return Covered::No;
                }
            }
        }
        let mut budget = Budget(WORK);
        let mut left: Vec<Bounds> = boxes.iter().map(|item| item.bounds).collect();
        while let Some(part) = left.pop() {
            let around = self.tree.around(&part, 0..rank, &mut budget);
            let taking = match around {
                Some(None) => {
                    let corner = part.map(|(first, _)| first);
                    self.tree.at(&corner, 0..rank, &mut budget)
                }
                around => around,
            };
            match taking {
                None => return Covered::Unknown,
                Some(None) => return Covered::No,
                Some(Some(item)) => {
                    by.insert(item.rank);
                    bounds::without(&part, &item.bounds, &mut left);
                }
            }
            if left.len() > MAX_PARTS.max(boxes.len()) + 64 {
                return Covered::Unknown;
            }
        }
        Covered::Yes
    }

    /// Earlier rules of the same priority that do something else with some of its packets.
    fn ordered_by_place(&self, rank: u32, others: &mut BTreeSet<u32>) {
        let mine = self.actions[rank as usize];
        let Some(trees) = self.of_priority.get(&self.priorities[rank as usize]) else {
            return;
        };
        let mut budget = Budget(WORK);
        for item in self.boxes(rank) {
            for (_, tree) in trees.iter().filter(|(action, _)| *action != mine) {
                tree.overlapping(&item.bounds, 0..rank, &mut budget, |other| {
                    others.insert(other.rank);
                    others.len() >= MAX_NAMED
                });
                if others.len() >= MAX_NAMED {
                    return;
                }
            }
        }
    }

    /// A later rule that does the same with all its packets, with none between that does something else with some.
    fn done_by_later(&self, rank: u32) -> Option<u32> {
        let mine = self.actions[rank as usize];
        let boxes = self.boxes(rank);
        let mut budget = Budget(WORK);
        let first = boxes.first()?;
        let all = rank + 1..u32::MAX;
        let later = self
            .of_action
            .get(&mine)?
            .around(&first.bounds, all, &mut budget)??
            .rank;
        for item in boxes {
            let around = self
                .boxes(later)
                .iter()
                .any(|other| bounds::contains(&other.bounds, &item.bounds));
            if !around {
                return None;
            }
            for (_, tree) in self.of_action.iter().filter(|(action, _)| **action != mine) {
                if tree.overlapping(&item.bounds, rank + 1..later, &mut budget, |_| true)? {
                    return None;
                }
            }
        }
        Some(later)
    }
}

/// Points of a box: two corners, the middle, and some on its edges.
fn samples(bounds: &Bounds) -> impl Iterator<Item = Point> {
    let middle = |(first, last): (u128, u128)| first + (last - first) / 2;
    let low = bounds.map(|(first, _)| first);
    let high = bounds.map(|(_, last)| last);
    let mixed = std::array::from_fn(|at| if at % 2 == 0 { low[at] } else { high[at] });
    let other = std::array::from_fn(|at| if at % 2 == 0 { high[at] } else { low[at] });
    [low, high, bounds.map(middle), mixed, other].into_iter()
}

/// Whether two rules take the same packets, for they list the same values.
fn same_packets(one: &Rule, two: &Rule) -> bool {
    fn sorted<T: Ord + Clone>(values: &Values<T>) -> Vec<T> {
        let mut all: Vec<T> = values.iter().cloned().collect();
        all.sort_unstable();
        all
    }
    fn same<T: Ord + Clone>(one: &[T], two: &[T]) -> bool {
        let sorted = |values: &[T]| {
            let mut values = values.to_vec();
            values.sort_unstable();
            values
        };
        sorted(one) == sorted(two)
    }
    sorted(&one.from) == sorted(&two.from)
        && sorted(&one.to) == sorted(&two.to)
        && sorted(&one.source_ports) == sorted(&two.source_ports)
        && sorted(&one.destination_ports) == sorted(&two.destination_ports)
        && same(&one.protocols, &two.protocols)
        && same(&one.interfaces, &two.interfaces)
        && same(&one.tcp_flags, &two.tcp_flags)
        && one.fields == two.fields
}
