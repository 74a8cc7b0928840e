//! The test that the tries come from, and address prefixes against other crates.
//!
//! The test: 1,000,000 random insertions in one and in five dimensions; insertions, searches and removals of
//! 1,000,000 rules, each done for all before the next; 100,000 insertions and searches. A random rule in one
//! dimension is a random prefix of 8 to 32 bits, each length equally likely. In five dimensions both addresses
//! are such prefixes, and each port and the protocol are with equal chance an exact random value or any.
//! Priorities are random. Keys are random points of rules drawn in random order, which is also the order of
//! removal.
//!
//! The prefixes: 1,000,000 different ones, of random lengths as above or of lengths as in the routers of the
//! Internet; here the longest has the best priority, so that all crates give the same answers, which is
//! checked.

use std::collections::HashSet;
use std::hint::black_box;
use std::net::Ipv4Addr;
use std::time::{Duration, Instant};

use classifier::trie::Trie;
use classifier::{Classifier, Ipv4FiveTuple, Key, Lookup, Range, Rule, RuleId, Schema, dimension};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main};
use ip_network::Ipv4Network;
use ip_network_table::IpNetworkTable;
use ipnet::Ipv4Net;
use prefix_trie::PrefixMap;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{RngExt, SeedableRng};

/// Rules of the test, and prefixes.
const MANY: usize = 1_000_000;
/// Rules of the short test.
const FEWER: usize = 100_000;
/// Keys of one batch.
const BURST: usize = 32;

/// One dimension of 32 bits, as in a table of routes.
#[derive(Debug, Clone, Copy)]
struct Address;

impl Schema<1> for Address {
    type Word = u32;
    const WIDTHS: [u32; 1] = [32];
}

/// How many of 1,000 prefixes have which length in the tables of routers without a default route,
/// about.
const ROUTES: [(u32, u32); 14] = [
    (8, 1),
    (12, 1),
    (13, 1),
    (14, 1),
    (15, 2),
    (16, 14),
    (17, 8),
    (18, 14),
    (19, 26),
    (20, 44),
    (21, 50),
    (22, 115),
    (23, 100),
    (24, 623),
];

fn prefix(random: &mut StdRng, length: u32) -> Range<u32> {
    Range::prefix(random.random(), length, 32).expect("no longer than an address")
}

fn any_length(random: &mut StdRng) -> u32 {
    random.random_range(8..=32)
}

fn route_length(random: &mut StdRng) -> u32 {
    let mut draw = random.random_range(0..1_000);
    for (length, share) in ROUTES {
        if draw < share {
            return length;
        }
        draw -= share;
    }
    24
}

fn one_dimension(count: usize) -> Vec<Rule<u32, 1, u32>> {
    let mut random = StdRng::seed_from_u64(1);
    (0..count as u32)
        .map(|action| {
            let length = any_length(&mut random);
            Rule::new([prefix(&mut random, length)], random.random(), action)
        })
        .collect()
}

fn five_dimensions(count: usize) -> Vec<Rule<u32, 5, u32>> {
    let mut random = StdRng::seed_from_u64(5);
    (0..count as u32)
        .map(|action| {
            let mut rule = Rule::any::<Ipv4FiveTuple>(random.random(), action);
            for address in [dimension::SOURCE_ADDRESS, dimension::DESTINATION_ADDRESS] {
                let length = any_length(&mut random);
                rule.ranges[address] = prefix(&mut random, length);
            }
            for port in [dimension::SOURCE_PORT, dimension::DESTINATION_PORT] {
                if random.random() {
                    rule.ranges[port] = Range::exact(random.random::<u16>().into());
                }
            }
            if random.random() {
                rule.ranges[dimension::PROTOCOL] = Range::exact(random.random::<u8>().into());
            }
            rule
        })
        .collect()
}

/// Different prefixes; the longer, the better the priority.
fn prefixes(length: impl Fn(&mut StdRng) -> u32) -> Vec<Rule<u32, 1, u32>> {
    let mut random = StdRng::seed_from_u64(32);
    let mut seen = HashSet::new();
    let mut rules = Vec::with_capacity(MANY);
    while rules.len() < MANY {
        let length = length(&mut random);
        let range = prefix(&mut random, length);
        if seen.insert(range) {
            rules.push(Rule::new([range], 32 - length, rules.len() as u32));
        }
    }
    rules
}

/// The order of searches and removals.
fn shuffled(count: usize) -> Vec<usize> {
    let mut order: Vec<_> = (0..count).collect();
    order.shuffle(&mut StdRng::seed_from_u64(9));
    order
}

/// A point of each rule, in that order.
fn keys<const D: usize>(rules: &[Rule<u32, D, u32>], order: &[usize]) -> Vec<Key<u32, D>> {
    let mut random = StdRng::seed_from_u64(7);
    let point = |range: Range<u32>| random.random_range(range.low()..=range.high());
    let mut point = point;
    order
        .iter()
        .map(|&rule| Key::new(rules[rule].ranges.map(&mut point)))
        .collect()
}

fn insert<S: Schema<D, Word = u32>, const D: usize>(
    trie: &mut Trie<S, u32, D>,
    rules: &[Rule<u32, D, u32>],
) -> Vec<RuleId> {
    rules
        .iter()
        .map(|rule| trie.insert(*rule).expect("the rules fit their schema"))
        .collect()
}

fn search<S: Schema<D, Word = u32>, const D: usize>(trie: &Trie<S, u32, D>, keys: &[Key<u32, D>]) -> u64 {
    let actions = keys
        .iter()
        .map(|key| trie.lookup(key).map_or(0, |found| found.action));
    actions.map(u64::from).sum()
}

fn search_in_bursts<S: Schema<D, Word = u32>, const D: usize>(
    trie: &Trie<S, u32, D>,
    keys: &[Key<u32, D>],
) -> u64 {
    let mut results = [None; BURST];
    let mut sum = 0;
    for keys in keys.chunks(BURST) {
        trie.lookup_batch(keys, &mut results);
        let actions = results[..keys.len()].iter();
        sum += actions
            .map(|found| u64::from(found.map_or(0, |found| found.action)))
            .sum::<u64>();
    }
    sum
}

/// Measures the part of each round that `round` returns the time of.
fn rounds(group: &mut BenchmarkGroup<'_, WallTime>, name: &str, mut round: impl FnMut() -> Duration) {
    group.bench_function(name, |bencher| {
        bencher.iter_custom(|count| (0..count).map(|_| round()).sum());
    });
}

/// How long one thing takes.
fn time<T>(what: impl FnOnce() -> T) -> (Duration, T) {
    let start = Instant::now();
    let result = black_box(what());
    (start.elapsed(), result)
}

fn group<'criterion>(
    criterion: &'criterion mut Criterion,
    name: &str,
    count: usize,
) -> BenchmarkGroup<'criterion, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group
        .sample_size(10)
        .warm_up_time(Duration::from_millis(1))
        .measurement_time(Duration::from_secs(5))
        .throughput(Throughput::Elements(count as u64));
    group
}

fn test_in<S: Schema<D, Word = u32>, const D: usize>(criterion: &mut Criterion, rules: &[Rule<u32, D, u32>]) {
    let order = shuffled(rules.len());
    let points = keys(rules, &order);
    let mut many = group(criterion, &format!("seed/{D}-dimensional"), rules.len());
    rounds(&mut many, "insert", || {
        time(|| {
            let mut trie = Trie::<S, u32, D>::new();
            let ids = insert(&mut trie, black_box(rules));
            (trie, ids)
        })
        .0
    });
    rounds(&mut many, "insert, search, remove", || {
        let mut trie = Trie::<S, u32, D>::new();
        let (inserting, ids) = time(|| insert(&mut trie, black_box(rules)));
        let (searching, _) = time(|| search(&trie, &points));
        let ids: Vec<_> = order.iter().map(|&rule| ids[rule]).collect();
        let (removing, ()) = time(|| {
            for &id in &ids {
                trie.remove(id);
            }
        });
        inserting + searching + removing
    });
    many.finish();

    let rules = &rules[..FEWER];
    let points = keys(rules, &shuffled(FEWER));
    let mut fewer = group(criterion, &format!("seed/{D}-dimensional, fewer"), FEWER);
    rounds(&mut fewer, "insert, search", || {
        time(|| {
            let mut trie = Trie::<S, u32, D>::new();
            insert(&mut trie, black_box(rules));
            search(&trie, &points)
        })
        .0
    });
    fewer.finish();
}

fn test(criterion: &mut Criterion) {
    test_in::<Address, 1>(criterion, &one_dimension(MANY));
    test_in::<Ipv4FiveTuple, 5>(criterion, &five_dimensions(MANY));
}

/// Inserts, searches and removes with one crate's map: three figures, from rounds of their own.
fn map<M: Default>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    insert: impl Fn(&mut M),
    search: impl Fn(&M) -> u64,
    remove: impl Fn(&mut M),
) -> u64 {
    rounds(group, &format!("{name}/insert"), || {
        time(|| {
            let mut map = M::default();
            insert(&mut map);
            map
        })
        .0
    });
    let mut full = M::default();
    insert(&mut full);
    rounds(group, &format!("{name}/search"), || time(|| search(&full)).0);
    let sum = search(&full);
    rounds(group, &format!("{name}/remove"), || {
        let mut map = M::default();
        insert(&mut map);
        time(|| remove(&mut map)).0
    });
    sum
}

fn compare(criterion: &mut Criterion, name: &str, rules: &[Rule<u32, 1, u32>]) {
    let order = shuffled(rules.len());
    let keys = keys(rules, &order);
    let addresses: Vec<_> = keys
        .iter()
        .map(|key| Ipv4Addr::from_bits(key.values()[0]))
        .collect();
    let address = |rule: &Rule<u32, 1, u32>| Ipv4Addr::from_bits(rule.ranges[0].low());
    let length = |rule: &Rule<u32, 1, u32>| (32 - rule.priority) as u8;
    let mut group = group(criterion, name, rules.len());

    // The ids of rules do not depend on anything but the order of insertion.
    let ids = insert(&mut Trie::<Address, u32, 1>::new(), rules);
    let ids: Vec<_> = order.iter().map(|&rule| ids[rule]).collect();
    let expected = map(
        &mut group,
        "trie",
        |trie: &mut Trie<Address, u32, 1>| {
            for rule in rules {
                black_box(trie.insert(*rule)).expect("the rules fit their schema");
            }
        },
        |trie| search(trie, &keys),
        |trie| {
            for &id in &ids {
                black_box(trie.remove(id));
            }
        },
    );
    let mut trie = Trie::<Address, u32, 1>::new();
    insert(&mut trie, rules);
    rounds(&mut group, "trie/search in bursts", || {
        time(|| search_in_bursts(&trie, &keys)).0
    });
    assert_eq!(search_in_bursts(&trie, &keys), expected);
    drop(trie);

    let nets: Vec<_> = rules
        .iter()
        .map(|rule| Ipv4Net::new(address(rule), length(rule)).expect("at most 32 bits"))
        .collect();
    let removals: Vec<_> = order.iter().map(|&rule| nets[rule]).collect();
    let sum = map(
        &mut group,
        "prefix-trie",
        |map: &mut PrefixMap<Ipv4Net, u32>| {
            for (net, action) in nets.iter().zip(0..) {
                map.insert(*net, action);
            }
        },
        |map| {
            let found = addresses
                .iter()
                .map(|&address| map.get_lpm(&Ipv4Net::from(address)));
            found
                .map(|found| found.map_or(0, |(_, &action)| u64::from(action)))
                .sum()
        },
        |map| {
            for net in &removals {
                black_box(map.remove(net));
            }
        },
    );
    assert_eq!(sum, expected);

    let networks: Vec<_> = rules
        .iter()
        .map(|rule| Ipv4Network::new(address(rule), length(rule)).expect("no bits behind the prefix"))
        .collect();
    let removals: Vec<_> = order.iter().map(|&rule| networks[rule]).collect();
    let sum = map(
        &mut group,
        "ip_network_table",
        |table: &mut Table| {
            for (network, action) in networks.iter().zip(0..) {
                table.0.insert(*network, action);
            }
        },
        |table| {
            let found = addresses
                .iter()
                .map(|&address| table.0.longest_match_ipv4(address));
            found
                .map(|found| found.map_or(0, |(_, &action)| u64::from(action)))
                .sum()
        },
        |table| {
            for &network in &removals {
                black_box(table.0.remove(network));
            }
        },
    );
    assert_eq!(sum, expected);
    group.finish();
}

struct Table(IpNetworkTable<u32>);

impl Default for Table {
    fn default() -> Self {
        Self(IpNetworkTable::new())
    }
}

fn peers(criterion: &mut Criterion) {
    compare(criterion, "prefixes/random", &prefixes(any_length));
    compare(criterion, "prefixes/routes", &prefixes(route_length));
}

criterion_group!(benches, test, peers);
criterion_main!(benches);
