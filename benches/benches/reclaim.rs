//! Memory reclamation by sequences against the epochs of the crate `crossbeam-epoch`, on the same work:
//! a table of objects that readers look at in bursts, and that a writer replaces one by one.
//!
//! Times are processor times of the measured thread. What is held back is printed: objects that were
//! replaced and not dropped yet, sampled after every 64 replacements.
#![allow(unsafe_code)]

use std::hint::black_box;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::Duration;

use classifier::reclaim::{Domain, Link, Reader, Slabs};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};
use crossbeam_epoch::{Atomic, Collector, LocalHandle, Owned};
use nix::time::{ClockId, clock_gettime};

/// Objects in the table.
const OBJECTS: usize = 1_024;
/// Replacements while what is held back is watched.
const REPLACEMENTS: usize = 1_000_000;

/// The writer never waits for readers.
const UNLIMITED: usize = usize::MAX;

/// Objects that exist, where they are counted.
static EXISTING: AtomicUsize = AtomicUsize::new(0);

/// One cache line.
struct Object<const COUNTED: bool> {
    values: [u64; 8],
}

impl<const COUNTED: bool> Object<COUNTED> {
    fn new(value: u64) -> Self {
        if COUNTED {
            EXISTING.fetch_add(1, Relaxed);
        }
        Self { values: [value; 8] }
    }
}

impl<const COUNTED: bool> Drop for Object<COUNTED> {
    fn drop(&mut self) {
        if COUNTED {
            EXISTING.fetch_sub(1, Relaxed);
        }
    }
}

/// A table of objects, in the writer's hands.
trait Scheme<const COUNTED: bool> {
    const NAME: &str;
    /// What a thread needs to become a reader.
    type Table: Clone + Send;
    type Reader;

    fn new() -> Self;
    fn table(&self) -> Self::Table;
    fn reader(table: Self::Table) -> Self::Reader;
    /// Looks at objects, from `start` on, in one section.
    fn burst(reader: &mut Self::Reader, start: usize, count: usize) -> u64;
    fn replace(&mut self, index: usize, value: u64);
}

struct Sequences<const COUNTED: bool, const LIMIT: usize> {
    slabs: Slabs<Object<COUNTED>>,
    links: Arc<Vec<Link<Object<COUNTED>>>>,
}

impl<const COUNTED: bool, const LIMIT: usize> Scheme<COUNTED> for Sequences<COUNTED, LIMIT> {
    const NAME: &str = if LIMIT == UNLIMITED {
        "sequences"
    } else {
        "sequences, limited"
    };
    type Table = (Domain, Arc<Vec<Link<Object<COUNTED>>>>);
    type Reader = (Reader, Arc<Vec<Link<Object<COUNTED>>>>);

    fn new() -> Self {
        let mut slabs = Slabs::new(&Domain::new()).limit(LIMIT);
        let links: Vec<_> = (0..OBJECTS).map(|_| slabs.link()).collect();
        for (index, link) in links.iter().enumerate() {
            slabs.replace(link, Some(Object::new(index as u64)));
        }
        Self {
            slabs,
            links: Arc::new(links),
        }
    }

    fn table(&self) -> Self::Table {
        (self.slabs.domain().clone(), Arc::clone(&self.links))
    }

    fn reader((domain, links): Self::Table) -> Self::Reader {
        (domain.reader(), links)
    }

    #[inline]
    fn burst((reader, links): &mut Self::Reader, start: usize, count: usize) -> u64 {
        let section = reader.enter();
        (start..start + count)
            .filter_map(|index| links[index % OBJECTS].load(&section))
            .fold(0, |sum, object| sum ^ object.values[0])
    }

    #[inline]
    fn replace(&mut self, index: usize, value: u64) {
        self.slabs.replace(&self.links[index], Some(Object::new(value)));
    }
}

struct Epochs<const COUNTED: bool> {
    collector: Collector,
    writer: LocalHandle,
    objects: Arc<Vec<Atomic<Object<COUNTED>>>>,
}

impl<const COUNTED: bool> Scheme<COUNTED> for Epochs<COUNTED> {
    const NAME: &str = "epochs";
    type Table = (Collector, Arc<Vec<Atomic<Object<COUNTED>>>>);
    type Reader = (LocalHandle, Arc<Vec<Atomic<Object<COUNTED>>>>);

    fn new() -> Self {
        let collector = Collector::new();
        let objects = (0..OBJECTS).map(|index| Atomic::new(Object::new(index as u64)));
        Self {
            writer: collector.register(),
            collector,
            objects: Arc::new(objects.collect()),
        }
    }

    fn table(&self) -> Self::Table {
        (self.collector.clone(), Arc::clone(&self.objects))
    }

    fn reader((collector, objects): Self::Table) -> Self::Reader {
        (collector.register(), objects)
    }

    #[inline]
    fn burst((handle, objects): &mut Self::Reader, start: usize, count: usize) -> u64 {
        let guard = handle.pin();
        (start..start + count)
            // SAFETY: objects are written before they are in the table, and destroyed by the collector.
            .filter_map(|index| unsafe { objects[index % OBJECTS].load(Acquire, &guard).as_ref() })
            .fold(0, |sum, object| sum ^ object.values[0])
    }

    #[inline]
    fn replace(&mut self, index: usize, value: u64) {
        let guard = self.writer.pin();
        let old = self.objects[index].swap(Owned::new(Object::new(value)), AcqRel, &guard);
        // SAFETY: the object is no longer in the table, and this thread alone takes objects out.
        unsafe { guard.defer_destroy(old) };
    }
}

impl<const COUNTED: bool> Drop for Epochs<COUNTED> {
    fn drop(&mut self) {
        let guard = self.writer.pin();
        for object in self.objects.iter() {
            let old = object.swap(crossbeam_epoch::Shared::null(), AcqRel, &guard);
            // SAFETY: as in `replace`.
            unsafe { guard.defer_destroy(old) };
        }
    }
}

/// Processor time of this thread.
fn processor_time() -> Duration {
    clock_gettime(ClockId::CLOCK_THREAD_CPUTIME_ID)
        .expect("every Linux has this clock")
        .into()
}

fn timed(mut work: impl FnMut(usize), count: u64) -> Duration {
    let start = processor_time();
    for index in 0..count as usize {
        work(index);
    }
    processor_time() - start
}

/// Runs the closure while so many readers look at bursts of 32 objects.
fn beside_readers<S: Scheme<COUNTED>, const COUNTED: bool>(
    scheme: &mut S,
    readers: usize,
    work: impl FnOnce(&mut S),
) {
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..readers {
            let (table, done) = (scheme.table(), &done);
            scope.spawn(move || {
                let mut reader = S::reader(table);
                let mut start = 0;
                while !done.load(Relaxed) {
                    black_box(S::burst(&mut reader, start, 32));
                    start += 32;
                }
            });
        }
        work(scheme);
        done.store(true, Relaxed);
    });
}

fn reader<S: Scheme<false>>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reclaim/burst");
    let scheme = S::new();
    let mut reader = S::reader(scheme.table());
    for count in [1, 32] {
        group.bench_function(BenchmarkId::new(S::NAME, count), |bencher| {
            bencher.iter_custom(|bursts| {
                timed(
                    |index| {
                        black_box(S::burst(&mut reader, index * count, count));
                    },
                    bursts,
                )
            });
        });
    }
    group.finish();
}

fn writer<S: Scheme<false>>(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("reclaim/replace");
    for readers in 0..3 {
        let mut scheme = S::new();
        beside_readers(&mut scheme, readers, |scheme| {
            group.bench_function(
                BenchmarkId::new(S::NAME, format!("{readers} readers")),
                |bencher| {
                    bencher.iter_custom(|count| {
                        timed(|index| scheme.replace(index % OBJECTS, index as u64), count)
                    });
                },
            );
        });
    }
    group.finish();
}

/// Prints how many replaced objects wait to be dropped while the writer writes without pause.
fn held_back<S: Scheme<true>>() {
    for readers in 0..3 {
        let before = EXISTING.load(Relaxed);
        let mut scheme = S::new();
        let (mut most, mut sum) = (0, 0);
        beside_readers(&mut scheme, readers, |scheme| {
            for index in 0..REPLACEMENTS {
                scheme.replace(index % OBJECTS, index as u64);
                if index % 64 == 63 {
                    let held = EXISTING.load(Relaxed) - before - OBJECTS;
                    most = most.max(held);
                    sum += held;
                }
            }
        });
        let mean = sum / (REPLACEMENTS / 64);
        println!(
            "reclaim/held back/{}/{readers} readers: mean {mean} objects, most {most}",
            S::NAME
        );
    }
}

fn measure(criterion: &mut Criterion) {
    reader::<Sequences<false, UNLIMITED>>(criterion);
    reader::<Epochs<false>>(criterion);
    writer::<Sequences<false, UNLIMITED>>(criterion);
    writer::<Epochs<false>>(criterion);
    held_back::<Sequences<true, UNLIMITED>>();
    held_back::<Sequences<true, 1_024>>();
    held_back::<Epochs<true>>();
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1));
    targets = measure
}
criterion_main!(benches);
