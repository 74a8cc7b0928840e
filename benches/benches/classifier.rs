//! Insert, look up and remove rules, in each structure of the classifier, on rule sets made here from a
//! fixed seed: five-tuples mixed as in access lists and firewalls, and plain address prefixes.

use std::hint::black_box;
use std::time::Duration;

use classifier::linear::Linear;
use classifier::trie::Trie;
use classifier::{Classifier, Ipv4FiveTuple, Key, Lookup, Range, Rule, RuleId, Schema, dimension};
use criterion::measurement::WallTime;
use criterion::{
    BatchSize, BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main,
};

/// Rules of one set.
const SIZES: [usize; 2] = [1_000, 10_000];
/// Keys of one lookup round, and rules of one removal round.
const ROUND: usize = 256;

/// One dimension of 32 bits, as in a table of routes.
#[derive(Debug, Clone, Copy)]
struct Address;

impl Schema<1> for Address {
    type Word = u32;
    const WIDTHS: [u32; 1] = [32];
}

/// SplitMix64 (Steele, Lea and Flood 2014): the same numbers on every machine.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed >> 32) as u32
    }

    fn below(&mut self, bound: usize) -> usize {
        ((u64::from(self.next()) * bound as u64) >> 32) as usize
    }

    fn pick<T: Copy>(&mut self, choices: &[T]) -> T {
        choices[self.below(choices.len())]
    }

    fn within(&mut self, range: &Range<u32>) -> u32 {
        let span = u64::from(range.high() - range.low()) + 1;
        range.low() + ((u64::from(self.next()) * span) >> 32) as u32
    }
}

fn range(low: u32, high: u32) -> Range<u32> {
    Range::new(low, high).expect("the lower end comes first")
}

fn prefix(value: u32, length: u32) -> Range<u32> {
    Range::prefix(value, length, 32).expect("no longer than an address")
}

/// An address range below one of few networks, so that rules nest; one in eight is any address.
fn address(random: &mut Random, networks: &[u32]) -> Range<u32> {
    let length = random.pick(&[0, 16, 22, 24, 24, 27, 30, 32]);
    let network = random.pick(networks);
    prefix(network | (random.next() & 0x0000_ffff), length)
}

/// Any port, the unprivileged ones, the privileged ones, one service, or a few ports in a row.
fn ports(random: &mut Random, service: bool) -> Range<u32> {
    let class = random.below(if service { 10 } else { 20 });
    match class {
        0 => range(1_024, 65_535),
        1 => range(0, 1_023),
        2 => {
            let low = 1_024 + random.next() % 60_000;
            range(low, low + random.next() % 100)
        }
        3..8 if service => Range::exact(random.pick(&[22, 25, 53, 80, 123, 443, 993, 1_521, 3_306, 8_080])),
        _ => Range::any(16),
    }
}

/// Rules as in access lists: the more specific first, many alike, some with wildcards.
fn five_tuple_rules(count: usize) -> Vec<Rule<u32, 5, u32>> {
    let mut random = Random(count as u64);
    let networks: Vec<u32> = (0..count / 20).map(|_| random.next() & 0xffff_0000).collect();
    let mut rules: Vec<_> = (0..count as u32)
        .map(|action| {
            let mut rule = Rule::any::<Ipv4FiveTuple>(0, action);
            rule.ranges[dimension::SOURCE_ADDRESS] = address(&mut random, &networks);
            rule.ranges[dimension::DESTINATION_ADDRESS] = address(&mut random, &networks);
            rule.ranges[dimension::SOURCE_PORT] = ports(&mut random, false);
            rule.ranges[dimension::DESTINATION_PORT] = ports(&mut random, true);
            let protocol = random.pick(&[6, 6, 6, 6, 17, 17, 1, 0]);
            if protocol != 0 {
                rule.ranges[dimension::PROTOCOL] = Range::exact(protocol);
            }
            rule
        })
        .collect();
    let address_bits = |rule: &Rule<u32, 5, u32>| -> u32 {
        rule.ranges[..2]
            .iter()
            .map(|range| (range.high() - range.low()).leading_zeros())
            .sum()
    };
    rules.sort_by_key(|rule| std::cmp::Reverse(address_bits(rule)));
    for (priority, rule) in rules.iter_mut().enumerate() {
        rule.priority = priority as u32;
    }
    rules
}

/// Routes: the longest prefix has the best priority.
fn prefix_rules(count: usize) -> Vec<Rule<u32, 1, u32>> {
    let mut random = Random(count as u64);
    (0..count as u32)
        .map(|action| {
            let length = random.pick(&[16, 19, 20, 21, 22, 22, 23, 23, 24, 24, 24, 24]);
            Rule::new([prefix(random.next(), length)], 32 - length, action)
        })
        .collect()
}

/// Points of rules drawn uniformly.
fn keys<const D: usize>(rules: &[Rule<u32, D, u32>]) -> Vec<Key<u32, D>> {
    let mut random = Random(!(rules.len() as u64));
    (0..16 * ROUND)
        .map(|_| {
            let ranges = rules[random.below(rules.len())].ranges;
            Key::new(ranges.map(|range| random.within(&range)))
        })
        .collect()
}

fn build<C: Classifier<u32, D, Action = u32> + Default, const D: usize>(
    rules: &[Rule<u32, D, u32>],
) -> (C, Vec<RuleId>) {
    let mut structure = C::default();
    let ids = rules
        .iter()
        .map(|rule| structure.insert(*rule).expect("the rules fit their schema"))
        .collect();
    (structure, ids)
}

/// Measures one structure on one rule set.
fn measure<C, const D: usize>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    rules: &[Rule<u32, D, u32>],
) where
    C: Classifier<u32, D, Action = u32> + Clone + Default,
{
    let id = |what: &str| BenchmarkId::new(format!("{what}/{name}"), rules.len());

    group.throughput(Throughput::Elements(rules.len() as u64));
    group.bench_function(id("insert"), |bencher| {
        bencher.iter_with_large_drop(|| build::<C, D>(black_box(rules)));
    });

    let (structure, mut ids) = build::<C, D>(rules);
    let keys = keys(rules);
    let mut rounds = keys.chunks_exact(ROUND).cycle();
    let mut results = [None; ROUND];
    group.throughput(Throughput::Elements(ROUND as u64));
    group.bench_function(id("lookup"), |bencher| {
        bencher.iter(|| {
            if let Some(keys) = rounds.next() {
                structure.lookup_batch(black_box(keys), &mut results);
            }
            black_box(&results);
        });
    });

    let mut random = Random(7);
    for place in 0..ROUND {
        let other = place + random.below(ids.len() - place);
        ids.swap(place, other);
    }
    group.bench_function(id("remove"), |bencher| {
        let remove = |mut structure: C| {
            for &id in &ids[..ROUND] {
                black_box(structure.remove(id));
            }
            structure
        };
        bencher.iter_batched(|| structure.clone(), remove, BatchSize::LargeInput);
    });
}

/// What is measured has to be right: stops if a structure and linear search disagree.
fn check<S: Schema<D, Word = u32>, const D: usize>(rules: &[Rule<u32, D, u32>]) {
    let (trie, _) = build::<Trie<S, u32, D>, D>(rules);
    let (linear, _) = build::<Linear<S, u32, D>, D>(rules);
    for key in keys(rules) {
        let [answer, expected] =
            [trie.lookup(&key), linear.lookup(&key)].map(|found| found.map(|found| found.action));
        assert_eq!(answer, expected, "{key:?}");
    }
}

fn group<'criterion>(
    criterion: &'criterion mut Criterion,
    name: &str,
) -> BenchmarkGroup<'criterion, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    group
}

fn five_tuples(criterion: &mut Criterion) {
    let mut group = group(criterion, "five-tuple");
    for size in SIZES {
        let rules = five_tuple_rules(size);
        check::<Ipv4FiveTuple, 5>(&rules);
        measure::<Linear<Ipv4FiveTuple, u32, 5>, 5>(&mut group, "linear", &rules);
        measure::<Trie<Ipv4FiveTuple, u32, 5>, 5>(&mut group, "trie", &rules);
    }
    group.finish();
}

fn prefixes(criterion: &mut Criterion) {
    let mut group = group(criterion, "prefix");
    for size in SIZES {
        let rules = prefix_rules(size);
        check::<Address, 1>(&rules);
        measure::<Trie<Address, u32, 1>, 1>(&mut group, "trie", &rules);
    }
    group.finish();
}

criterion_group!(benches, five_tuples, prefixes);
criterion_main!(benches);
