//! Lookups in rule sets of ClassBench's styles with 1,000 to 1,000,000 rules: one at a time, in bursts, and in
//! bursts while another thread takes out rules and puts them in again without a pause.
//!
//! The rule sets are made here from a fixed seed, and so are the headers, each a random point of a rule, each rule
//! equally likely. A set is made, and a structure built, once, when the first measurement asks for it; that they
//! answer as the trace says is checked then. Lookups while writing need a second processor to mean something.

use std::cell::LazyCell;
use std::hint::black_box;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use classifier::live::{Mirrored, Reader, Writer};
use classifier::trie::Ipv4Trie;
use classifier::tuple::Ipv4Tuple;
use classifier::{Classifier, Ipv4Key, Ipv4Rule, Lookup, RuleId};
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use netchannel::workload::generate::{Distribution, Style, TraceOptions, rules, trace};
use netchannel::workload::trace::Winner;
use rand::SeedableRng;
use rand::rngs::StdRng;
use rand::seq::SliceRandom;

const SIZES: [u32; 4] = [1_000, 10_000, 100_000, 1_000_000];
const SEED: u64 = 1;
/// So many that most rules of a large set are not in a cache when they are asked for.
const HEADERS: u32 = 200_000;
/// Keys of a burst.
const BURST: usize = 32;
/// Keys of a round, so many that what is done once a round does not show.
const ROUND: usize = 32 * BURST;

/// A rule set, and keys with their winners.
struct Workload {
    rules: Vec<Ipv4Rule<u32>>,
    keys: Vec<Ipv4Key>,
    winners: Vec<Winner>,
}

impl Workload {
    fn new(style: Style, size: u32) -> Self {
        let options = TraceOptions {
            headers: HEADERS,
            distribution: Distribution::Uniform,
            seed: SEED,
        };
        let rules =
            rules(style, size, SEED, &style.properties(size)).expect("the usual properties make rules");
        let headers = trace(&rules, &options).expect("there are rules to make headers of");
        Self {
            rules,
            keys: headers.iter().map(|header| header.key).collect(),
            winners: headers.iter().filter_map(|header| header.winner).collect(),
        }
    }

    /// Rounds of keys without end.
    fn rounds(&self) -> impl Iterator<Item = &[Ipv4Key]> {
        self.keys.chunks_exact(ROUND).cycle()
    }

    /// Stops if a structure answers wrongly.
    fn check(&self, structure: &impl Lookup<u32, 5, Action = u32>) {
        let bursts = self.keys.chunks(BURST).zip(self.winners.chunks(BURST));
        for (keys, winners) in bursts {
            let mut found = [None; BURST];
            structure.lookup_batch(keys, &mut found[..keys.len()]);
            for ((key, found), winner) in keys.iter().zip(found).zip(winners) {
                // Priorities count the rules from 0, as winners do.
                let found = Winner::from(found.map(|found| found.priority));
                assert_eq!(found, *winner, "{key:?}");
            }
        }
    }
}

/// A structure with all rules, and their ids in random order.
struct Built<L> {
    writer: L,
    ids: Vec<RuleId>,
}

impl<L: Writer<u32, 5, Action = u32>> Built<L> {
    fn new<C>(name: &str, workload: &Workload, live: fn(C) -> L) -> Self
    where
        C: Classifier<u32, 5, Action = u32> + Default,
    {
        let mut structure = C::default();
        let rules = workload.rules.iter();
        let mut ids: Vec<RuleId> = rules
            .map(|rule| structure.insert(*rule).expect("the rules fit their schema"))
            .collect();
        workload.check(&structure);
        let bytes = structure.memory() as f64 / ids.len() as f64;
        println!("{name}, {} rules: {bytes:.1} bytes a rule", ids.len());
        ids.shuffle(&mut StdRng::seed_from_u64(SEED));
        Self {
            writer: live(structure),
            ids,
        }
    }

    /// Takes out one rule after the other and puts it in again, until it shall stop.
    fn change(&mut self, stop: &AtomicBool) {
        for place in (0..self.ids.len()).cycle() {
            if stop.load(Ordering::Relaxed) {
                return;
            }
            let rule = self.writer.remove(self.ids[place]).expect("it was inserted");
            self.ids[place] = self.writer.insert(rule).expect("it fitted before");
        }
    }
}

/// Stops the writing thread when it is dropped, so that a panic of the reading one does not wait for it.
struct Stopper<'flag>(&'flag AtomicBool);

impl Drop for Stopper<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Looks up a round of keys, in bursts.
fn bursts(structure: &impl Lookup<u32, 5, Action = u32>, keys: &[Ipv4Key]) {
    let mut found = [None; BURST];
    structure.lookup_batch(black_box(keys), &mut found[..keys.len()]);
    black_box(&found);
}

/// Measures one structure.
fn measure<L, C>(
    group: &mut BenchmarkGroup<'_, WallTime>,
    name: &str,
    size: u32,
    workload: &LazyCell<Workload, impl FnOnce() -> Workload>,
    live: fn(C) -> L,
) where
    C: Classifier<u32, 5, Action = u32> + Default,
    L: Writer<u32, 5, Action = u32> + Send,
{
    let id = |what: &str| BenchmarkId::new(format!("{what}/{name}"), size);
    let mut built = None;
    let mut building = || Built::new(name, workload, live);

    group.bench_function(id("single"), |bencher| {
        let Built { writer, .. } = built.get_or_insert_with(&mut building);
        let mut rounds = workload.rounds();
        bencher.iter(|| {
            for key in rounds.next().into_iter().flatten() {
                black_box(writer.lookup(black_box(key)));
            }
        });
    });

    group.bench_function(id("burst"), |bencher| {
        let Built { writer, .. } = built.get_or_insert_with(&mut building);
        let mut rounds = workload.rounds();
        bencher.iter(|| {
            for keys in rounds.next().into_iter().flat_map(|round| round.chunks(BURST)) {
                bursts(writer, keys);
            }
        });
    });

    group.bench_function(id("burst-while-writing"), |bencher| {
        let built = built.get_or_insert_with(&mut building);
        let mut reader = built.writer.reader();
        let mut rounds = workload.rounds();
        let stop = AtomicBool::new(false);
        thread::scope(|scope| {
            scope.spawn(|| built.change(&stop));
            let _stopper = Stopper(&stop);
            bencher.iter(|| {
                for keys in rounds.next().into_iter().flat_map(|round| round.chunks(BURST)) {
                    bursts(&reader.enter(), keys);
                }
            });
        });
    });
}

fn styles(criterion: &mut Criterion) {
    for style in Style::ALL {
        let mut group = criterion.benchmark_group(style.name());
        group
            .sample_size(10)
            .warm_up_time(Duration::from_millis(300))
            .measurement_time(Duration::from_secs(1))
            .throughput(Throughput::Elements(ROUND as u64));
        for size in SIZES {
            let workload = LazyCell::new(|| Workload::new(style, size));
            measure(&mut group, "tuple", size, &workload, |tuple: Ipv4Tuple<u32>| {
                tuple
            });
            measure(
                &mut group,
                "trie",
                size,
                &workload,
                Mirrored::<Ipv4Trie<u32>>::new,
            );
        }
        group.finish();
    }
}

criterion_group!(benches, styles);
criterion_main!(benches);
