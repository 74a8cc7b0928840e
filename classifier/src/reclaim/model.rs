//! All interleavings, and all values that the memory model allows a load to see, of small cases.
//!
//! The model checker finds fault with an object that is dropped while, or before, a reader reads it, and
//! with one that is read without having been seen written.
#![allow(unsafe_code)]

use loom::cell::UnsafeCell;
use loom::model;
use loom::thread::{self, JoinHandle};

use super::{Domain, Link, Reader, Slabs};

/// What an object holds once it was dropped.
const DROPPED: u32 = 0;

struct Canary(UnsafeCell<u32>);

// SAFETY: this is what is checked.
unsafe impl Sync for Canary {}

impl Canary {
    fn new(value: u32) -> Option<Self> {
        Some(Self(UnsafeCell::new(value)))
    }

    fn check(&self) -> u32 {
        // SAFETY: the model checker knows when it is not.
        let value = self.0.with(|value| unsafe { *value });
        assert_ne!(value, DROPPED);
        value
    }
}

impl Drop for Canary {
    fn drop(&mut self) {
        // SAFETY: as above.
        self.0.with_mut(|value| unsafe { *value = DROPPED });
    }
}

/// Reads what is behind the link in so many sections. Gives the reader back, so that it stays in the
/// domain.
fn read(mut reader: Reader, link: &'static Link<Canary>, sections: usize) -> JoinHandle<Reader> {
    thread::spawn(move || {
        let mut last = 0;
        for _ in 0..sections {
            let section = reader.enter();
            let value = link.load(&section).map_or(last, Canary::check);
            assert!(value >= last, "what was replaced stays so");
            last = value;
        }
        reader
    })
}

fn join<T>(handle: JoinHandle<T>) -> T {
    handle.join().expect("the thread ends")
}

/// A domain, one object in slabs that advance the sequence for every object, and its link. One more place
/// is vacant.
fn one_object() -> (Domain, Slabs<Canary>, Box<Link<Canary>>) {
    let domain = Domain::new();
    let mut slabs = Slabs::with_batch(&domain, 1);
    let link = Box::new(slabs.link());
    slabs.replace(&link, Canary::new(1));
    slabs.replace(&link, Canary::new(1));
    slabs.reclaim();
    (domain, slabs, link)
}

/// For threads that end before the link does: counting references would multiply the interleavings.
fn borrowed(link: &Link<Canary>) -> &'static Link<Canary> {
    // SAFETY: every test joins its threads first.
    unsafe { &*std::ptr::from_ref(link) }
}

#[test]
fn two_readers_and_a_writer_that_reuses() {
    model(|| {
        let (domain, mut slabs, link) = one_object();
        let readers = [(); 2].map(|()| read(domain.reader(), borrowed(&link), 1));
        slabs.replace(&link, Canary::new(2));
        // In the place of the first, if no reader is in the way.
        slabs.insert(Canary(UnsafeCell::new(3)));
        let _readers = readers.map(join);
        slabs.reclaim();
        assert_eq!((slabs.len(), slabs.held_back()), (2, 0));
    });
}

#[test]
fn a_reader_that_enters_again() {
    model(|| {
        let (domain, mut slabs, link) = one_object();
        let reader = read(domain.reader(), borrowed(&link), 2);
        slabs.replace(&link, Canary::new(2));
        slabs.replace(&link, Canary::new(3));
        join(reader);
    });
}

#[test]
fn a_reader_that_goes_away() {
    model(|| {
        let (domain, mut slabs, link) = one_object();
        let mut reader = domain.reader();
        let there = borrowed(&link);
        let reader = thread::spawn(move || {
            let section = reader.enter();
            there.load(&section).map(Canary::check);
        });
        slabs.replace(&link, Canary::new(2));
        slabs.reclaim();
        join(reader);
    });
}

#[test]
fn two_writers_that_look_at_the_readers() {
    model(|| {
        let (domain, mut slabs, link) = one_object();
        let reader = read(domain.reader(), borrowed(&link), 1);
        let other = domain.clone();
        let other = thread::spawn(move || {
            let sequence = other.advance();
            other.has_passed(sequence);
            other
        });
        slabs.replace(&link, Canary::new(2));
        slabs.reclaim();
        join(other);
        join(reader);
    });
}
