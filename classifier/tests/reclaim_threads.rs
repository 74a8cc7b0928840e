//! Readers look at objects while a writer takes them away and reuses their places. Objects are scribbled
//! over when they are dropped, by plain writes, so that a race detector sees a reader that still looks
//! as well as the reader itself does.
#![allow(unsafe_code)]

use std::ptr::{NonNull, null_mut};
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering::*};

use classifier::reclaim::{Domain, Section, Slabs};

const READERS: usize = 3;
const CHANGES: usize = 60_000;

/// What a dropped object holds.
const SCRIBBLE: u64 = 0xdead_beef_dead_beef;

struct Canary<'counts> {
    value: u64,
    inverse: u64,
    dropped: &'counts AtomicUsize,
}

impl<'counts> Canary<'counts> {
    fn new(value: u64, dropped: &'counts AtomicUsize) -> Self {
        Self {
            value,
            inverse: !value,
            dropped,
        }
    }

    fn check(&self) -> u64 {
        assert_eq!(self.value, !self.inverse, "a dropped or half-written object");
        self.value
    }
}

impl Drop for Canary<'_> {
    fn drop(&mut self) {
        self.check();
        self.value = SCRIBBLE;
        self.inverse = SCRIBBLE;
        self.dropped.fetch_add(1, Relaxed);
    }
}

/// The same numbers in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        ((self.0 >> 33) as usize) % bound
    }
}

/// Runs the writer once and readers all the while, in sections of differing length, and with readers that
/// leave and come back.
fn run(domain: &Domain, writer: impl FnOnce(), reader: impl Fn(&Section<'_>) + Sync) {
    /// Ends the readers, even if the writer panics.
    struct Finally<'done>(&'done AtomicBool);
    impl Drop for Finally<'_> {
        fn drop(&mut self) {
            self.0.store(true, Release);
        }
    }

    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for number in 0..READERS {
            let (done, reader) = (&done, &reader);
            scope.spawn(move || {
                let mut random = Random(number as u64);
                let mut slot = domain.reader();
                while !done.load(Acquire) {
                    let section = slot.enter();
                    for _ in 0..1 + random.below(8) {
                        reader(&section);
                        if random.below(64) == 0 {
                            std::thread::yield_now();
                        }
                    }
                    drop(section);
                    if random.below(128) == 0 {
                        slot = domain.reader();
                    }
                }
            });
        }
        let _done = Finally(&done);
        writer();
    });
}

#[test]
fn links() {
    let dropped = AtomicUsize::new(0);
    let domain = Domain::new();
    let mut slabs = Slabs::with_batch(&domain, 4);
    let links: Vec<_> = (0..16).map(|_| slabs.link()).collect();
    for link in &links {
        slabs.replace(link, Some(Canary::new(0, &dropped)));
    }
    let mut inserted = links.len();
    let writer = || {
        let mut random = Random(7);
        for change in 1..=CHANGES {
            let object = (random.below(8) > 0).then(|| Canary::new(change as u64, &dropped));
            inserted += usize::from(object.is_some());
            slabs.replace(&links[random.below(links.len())], object);
            if random.below(256) == 0 {
                slabs.reclaim();
                std::thread::yield_now();
            }
        }
    };
    run(&domain, writer, |section| {
        let found: Vec<_> = links.iter().filter_map(|link| link.load(section)).collect();
        for object in found {
            object.check();
        }
    });
    slabs.reclaim();
    assert_eq!(slabs.len() + dropped.load(Relaxed), inserted);
    drop(links);
    drop(slabs);
    assert_eq!(dropped.load(Relaxed), inserted);
}

struct Node<'counts> {
    canary: Canary<'counts>,
    next: AtomicPtr<Node<'counts>>,
}

#[test]
fn lists() {
    let dropped = AtomicUsize::new(0);
    let domain = Domain::new();
    let mut slabs = Slabs::new(&domain).limit(4_096);
    let head = AtomicPtr::<Node>::new(null_mut());
    let mut inserted = 0;
    let writer = || {
        let mut random = Random(9);
        for change in 1..=CHANGES {
            if random.below(256) == 0 {
                std::thread::yield_now();
            }
            let mut place = &head;
            for _ in 0..random.below(8) {
                // SAFETY: this is the writer, and what it reaches is not retired.
                match unsafe { place.load(Relaxed).as_ref() } {
                    Some(node) => place = &node.next,
                    None => break,
                }
            }
            let Some(here) = NonNull::new(place.load(Relaxed)).filter(|_| random.below(2) == 0) else {
                let node = Node {
                    canary: Canary::new(change as u64, &dropped),
                    next: AtomicPtr::new(place.load(Relaxed)),
                };
                inserted += 1;
                place.store(slabs.insert(node).as_ptr(), Release);
                continue;
            };
            // SAFETY: as above. It is retired after the one way to it leads past it.
            unsafe {
                place.store(here.as_ref().next.load(Relaxed), Release);
                slabs.retire(here);
            }
        }
    };
    run(&domain, writer, |_section| {
        let mut place = &head;
        for _ in 0..64 {
            // SAFETY: a section is open, and nodes that it may reach are retired, not dropped.
            let Some(node) = (unsafe { place.load(Acquire).as_ref() }) else {
                break;
            };
            node.canary.check();
            place = &node.next;
        }
    });
    slabs.reclaim();
    assert_eq!(slabs.len() + dropped.load(Relaxed), inserted);
    assert_eq!(slabs.held_back(), 0);
    drop(slabs);
    assert_eq!(dropped.load(Relaxed), inserted, "the slabs drop what is left");
}
