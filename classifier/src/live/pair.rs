//! Two copies of a structure: one that readers see, and one that the writer changes meanwhile.
#![allow(unsafe_code)]

use std::cell::UnsafeCell;

use crate::reclaim::sync::{Arc, AtomicUsize, Ordering};
use crate::reclaim::{Domain, Reader, Section, Sequence};

/// The writer's side.
pub(super) struct Pair<C> {
    domain: Domain,
    copies: Arc<Copies<C>>,
    /// Sections that began before may be in the copy that is hidden now.
    switched: Sequence,
}

struct Copies<C> {
    copies: [UnsafeCell<C>; 2],
    /// The index of the copy that sections entered from now on see.
    published: AtomicUsize,
}

// SAFETY: readers in several threads have shared references to one copy, while the writer, maybe in yet
// another, changes the other.
unsafe impl<C: Send + Sync> Sync for Copies<C> {}

impl<C> Pair<C> {
    pub(super) fn new(copies: [C; 2]) -> Self {
        let domain = Domain::new();
        let switched = domain.advance();
        let copies = Copies {
            copies: copies.map(UnsafeCell::new),
            published: AtomicUsize::new(0),
        };
        Self {
            domain,
            copies: Arc::new(copies),
            switched,
        }
    }

    /// The copy that readers see.
    pub(super) fn published(&self) -> &C {
        let index = self.copies.published.load(Ordering::Relaxed);
        // SAFETY: the copy is changed after `publish` only, which borrows the pair mutably.
        unsafe { &*self.copies.copies[index].get() }
    }

    /// The other copy.
    pub(super) fn hidden(&self) -> &C {
        let index = 1 - self.copies.published.load(Ordering::Relaxed);
        // SAFETY: the copy is changed by `change` only, which borrows the pair mutably.
        unsafe { &*self.copies.copies[index].get() }
    }

    /// Whether no section sees the hidden copy any more, so that [`change`](Self::change) won't wait.
    pub(super) fn is_left(&self) -> bool {
        self.domain.has_passed(self.switched)
    }

    /// The copy that readers see, and the other to change. Waits for sections that still see that.
    pub(super) fn change(&mut self) -> (&C, &mut C) {
        self.domain.wait(self.switched);
        let index = 1 - self.copies.published.load(Ordering::Relaxed);
        // SAFETY: sections that began before `publish` turned away from this copy have ended, and later
        // ones see the other. We are the one writer, and the borrow of the pair lasts as long as this
        // one.
        let hidden = unsafe { &mut *self.copies.copies[index].get() };
        (self.published(), hidden)
    }

    /// Makes the hidden copy the one that readers see, at one instant.
    pub(super) fn publish(&mut self) {
        let index = 1 - self.copies.published.load(Ordering::Relaxed);
        // Release: the copy was changed before.
        self.copies.published.store(index, Ordering::Release);
        self.switched = self.domain.advance();
    }

    pub(super) fn reader(&self) -> PairReader<C> {
        PairReader {
            reader: self.domain.reader(),
            copies: Arc::clone(&self.copies),
        }
    }
}

/// A reader's side.
pub(super) struct PairReader<C> {
    reader: Reader,
    copies: Arc<Copies<C>>,
}

impl<C> PairReader<C> {
    #[inline]
    pub(super) fn enter(&mut self) -> PairSection<'_, C> {
        let section = self.reader.enter();
        // Acquire: the copy was changed before. In the section, since the writer waits for no other.
        let index = self.copies.published.load(Ordering::Acquire);
        PairSection {
            // SAFETY: the writer does not change the copy before the section has ended. The reference
            // does not get out of the section.
            copy: unsafe { &*self.copies.copies[index].get() },
            _section: section,
        }
    }
}

pub(super) struct PairSection<'reader, C> {
    copy: &'reader C,
    _section: Section<'reader>,
}

impl<C> PairSection<'_, C> {
    /// The copy that was published when the section was entered.
    #[inline]
    pub(super) fn copy(&self) -> &C {
        self.copy
    }
}

#[cfg(all(test, loom))]
mod model {
    use loom::cell::UnsafeCell;
    use loom::{model, thread};

    use super::Pair;

    /// The model checker finds fault with a change while, or before, a reader reads.
    #[derive(Debug)]
    struct Two([UnsafeCell<u32>; 2]);

    // SAFETY: this is what is checked.
    unsafe impl Sync for Two {}

    impl Two {
        fn new() -> Self {
            Self([(); 2].map(|()| UnsafeCell::new(0)))
        }

        fn get(&self) -> [u32; 2] {
            // SAFETY: the model checker knows when it is not.
            self.0.each_ref().map(|cell| cell.with(|value| unsafe { *value }))
        }

        fn set(&mut self, value: u32) {
            for cell in &self.0 {
                // SAFETY: as above.
                cell.with_mut(|place| unsafe { *place = value });
            }
        }
    }

    #[test]
    fn two_readers_never_see_half_a_change() {
        model(|| {
            let mut pair = Pair::new([Two::new(), Two::new()]);
            let readers = [(); 2].map(|()| {
                let mut reader = pair.reader();
                thread::spawn(move || {
                    let section = reader.enter();
                    let [one, other] = section.copy().get();
                    assert_eq!(one, other);
                    drop(section);
                    reader
                })
            });
            for value in 1..=2 {
                if pair.is_left() {
                    pair.change().1.set(value);
                    pair.publish();
                }
            }
            for reader in readers {
                reader.join().expect("the thread ends");
            }
            assert_eq!(pair.change().0.get()[0], pair.published().get()[1]);
        });
    }
}
