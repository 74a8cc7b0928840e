#![allow(unsafe_code)]

use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use super::{Domain, Slabs};

/// Counts how often it was dropped.
struct Counted {
    value: usize,
    drops: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.drops.fetch_add(1, Relaxed);
    }
}

/// Slabs with some objects, and the count of those that were dropped.
fn filled(batch: usize, count: usize) -> (Slabs<Counted>, Vec<NonNull<Counted>>, Arc<AtomicUsize>) {
    let drops = Arc::new(AtomicUsize::new(0));
    let mut slabs = Slabs::with_batch(&Domain::new(), batch);
    let objects = (0..count)
        .map(|value| {
            slabs.insert(Counted {
                value,
                drops: Arc::clone(&drops),
            })
        })
        .collect();
    (slabs, objects, drops)
}

#[test]
fn objects_stay_where_they_are() {
    let (slabs, objects, drops) = filled(1, 10_000);
    for (value, object) in objects.iter().enumerate() {
        // SAFETY: none was retired.
        assert_eq!(unsafe { object.as_ref() }.value, value);
    }
    assert_eq!(slabs.len(), 10_000);
    assert!(slabs.memory() >= 10_000 * size_of::<Counted>());
    assert!(
        slabs.memory() <= 13_000 * size_of::<Counted>(),
        "few places are empty"
    );
    drop(slabs);
    assert_eq!(drops.load(Relaxed), 10_000);
}

#[test]
fn the_last_retired_is_reused_first() {
    let (mut slabs, objects, drops) = filled(4, 64);
    for object in &objects[..9] {
        // SAFETY: nobody else has the pointers.
        unsafe { slabs.retire(*object) };
    }
    assert_eq!(
        (slabs.len(), slabs.held_back(), slabs.domain().held_back()),
        (55, 9, 8)
    );
    let again = |slabs: &mut Slabs<Counted>| {
        let drops = Arc::clone(&drops);
        slabs.insert(Counted { value: 0, drops })
    };
    for index in (0..8).rev() {
        assert_eq!(again(&mut slabs), objects[index]);
    }
    assert_eq!((slabs.held_back(), slabs.domain().held_back()), (1, 0));
    drop(slabs);
    assert_eq!(drops.load(Relaxed), 64 + 8);
}

#[test]
fn a_section_holds_back_what_was_retired_since_and_no_more() {
    let (mut slabs, objects, drops) = filled(8, 1_000);
    let domain = slabs.domain().clone();
    let [mut before, mut after] = [domain.reader(), domain.reader()];
    let (first, rest) = objects.split_at(500);
    let (second, third) = rest.split_at(250);
    let retire = |slabs: &mut Slabs<Counted>, objects: &[NonNull<Counted>]| {
        for object in objects {
            // SAFETY: nobody else has the pointers.
            unsafe { slabs.retire(*object) };
        }
    };
    retire(&mut slabs, first);
    let early = before.enter();
    retire(&mut slabs, second);
    let late = after.enter();
    retire(&mut slabs, third);
    // 4 objects of a batch were retired before the first section began, 6 before the second did.
    assert_eq!(slabs.reclaim(), 500 - 4);
    assert_eq!(slabs.held_back(), 4 + 500);
    drop(early);
    assert_eq!(slabs.reclaim(), 4 + 250 - 6);
    assert_eq!(slabs.held_back(), 6 + 250);
    drop(late);
    assert_eq!(slabs.reclaim(), 6 + 250);
    assert_eq!(drops.load(Relaxed), 1_000);
    assert_eq!((slabs.held_back(), domain.held_back(), slabs.memory()), (0, 0, 0));
}

#[test]
fn places_are_reused_for_ever() {
    let (mut slabs, mut objects, drops) = filled(64, 100);
    let mut reader = slabs.domain().reader();
    let memory = slabs.memory();
    for round in 0..100_000 {
        let section = (round % 3 > 0).then(|| reader.enter());
        let drops = Arc::clone(&drops);
        let new = slabs.insert(Counted { value: round, drops });
        let old = std::mem::replace(&mut objects[round % 100], new);
        // SAFETY: nobody else has the pointer.
        unsafe { slabs.retire(old) };
        drop(section);
        assert!(slabs.held_back() <= 2 * 64, "one batch to be wanted, one open");
    }
    assert!(slabs.memory() < 3 * memory + 4_096, "{} {memory}", slabs.memory());
}

#[test]
fn the_writer_waits_at_the_limit() {
    let (slabs, objects, drops) = filled(8, 1_000);
    let mut slabs = slabs.limit(16);
    let domain = slabs.domain().clone();
    let (entered, has_entered) = std::sync::mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut reader = domain.reader();
            let section = reader.enter();
            assert!(entered.send(()).is_ok());
            // As far as the writer gets while this section is open.
            while domain.held_back() < 24 {
                std::thread::yield_now();
            }
            assert_eq!(drops.load(Relaxed), 0);
            drop(section);
        });
        assert!(has_entered.recv().is_ok());
        for object in objects {
            // SAFETY: nobody else has the pointers.
            unsafe { slabs.retire(object) };
            assert!(slabs.held_back() < 16 + 8);
        }
    });
}

#[test]
fn links_own_their_objects() {
    let drops = Arc::new(AtomicUsize::new(0));
    let counted = |value| {
        let drops = Arc::clone(&drops);
        Some(Counted { value, drops })
    };
    let domain = Domain::new();
    let mut slabs = Slabs::with_batch(&domain, 1);
    let mut reader = domain.reader();
    let [one, two] = [slabs.link(), slabs.link()];
    slabs.replace(&one, counted(1));
    slabs.replace(&two, counted(2));

    let section = reader.enter();
    let held = one.load(&section);
    slabs.replace(&one, counted(3));
    slabs.replace(&two, None);
    assert!(two.load(&section).is_none());
    assert_eq!(slabs.reclaim(), 0);
    assert_eq!(held.map(|object| object.value), Some(1));
    assert_eq!(one.load(&section).map(|object| object.value), Some(3));
    drop(section);
    assert_eq!(slabs.reclaim(), 2);
    assert_eq!(drops.load(Relaxed), 2);

    slabs.replace(&two, counted(4));
    drop(two);
    assert_eq!(drops.load(Relaxed), 3, "the link's object ends with it");
    let section = reader.enter();
    let held = one.load(&section);
    slabs.replace(&one, counted(5));
    drop(slabs);
    assert_eq!(drops.load(Relaxed), 3, "links and sections outlive the writer");
    assert_eq!(held.map(|object| object.value), Some(1 + 2));
    assert_eq!(one.load(&section).map(|object| object.value), Some(5));
    drop(section);
    drop(one);
    assert_eq!(drops.load(Relaxed), 5);
}

#[test]
fn memory_returns_when_links_are_dropped() {
    let mut slabs = Slabs::new(&Domain::new());
    let links: Vec<_> = (0..1_000).map(|_| slabs.link()).collect();
    for (value, link) in links.iter().enumerate() {
        slabs.replace(link, Some(value));
    }
    let memory = slabs.memory();
    drop(links);
    for value in 0..1_000 {
        slabs.insert(value);
    }
    assert_eq!(slabs.len(), 1_000);
    assert!(
        slabs.memory() <= memory + 1_024 * size_of::<usize>(),
        "their places are reused"
    );

    let mut slabs = Slabs::new(&Domain::new());
    let [one, two] = [slabs.link(), slabs.link()];
    slabs.replace(&one, Some(1));
    slabs.replace(&two, Some(2));
    slabs.replace(&one, None);
    drop(two);
    slabs.reclaim();
    assert_eq!((slabs.len(), slabs.memory()), (0, 0));
}

#[test]
#[should_panic(expected = "another domain")]
fn a_section_of_another_domain_is_refused() {
    let slabs = Slabs::<u32>::new(&Domain::new());
    let mut reader = Domain::new().reader();
    let section = reader.enter();
    slabs.link().load(&section);
}

#[test]
#[should_panic(expected = "other slabs")]
fn a_link_of_other_slabs_is_refused() {
    let domain = Domain::new();
    let [mut one, other] = [Slabs::<u32>::new(&domain), Slabs::new(&domain)];
    one.replace(&other.link(), Some(1));
}
