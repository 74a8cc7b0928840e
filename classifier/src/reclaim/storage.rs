//! The memory that slabs and links share.
#![allow(unsafe_code)]

use std::mem::{MaybeUninit, needs_drop};
use std::ptr::{NonNull, slice_from_raw_parts_mut};
use std::sync::{Mutex, MutexGuard, PoisonError};

use super::Domain;

/// Slabs that stay where they are for as long as a writer or a link needs them.
pub(super) struct Storage<T> {
    pub(super) domain: Domain,
    memory: Mutex<Memory<T>>,
}

pub(super) struct Memory<T> {
    pub(super) slabs: Vec<Slab<T>>,
    /// Places without an object that the writer doesn't know of: those of links that were dropped, and,
    /// once the writer is gone, all.
    pub(super) vacant: Vec<NonNull<T>>,
}

// SAFETY: the pointers are the storage's own, and lead to objects that may go to another thread.
unsafe impl<T: Send> Send for Memory<T> {}

/// Places of objects, side by side. Dropping it frees the memory, and drops no object.
pub(super) struct Slab<T> {
    pub(super) start: NonNull<T>,
    pub(super) capacity: usize,
    /// How many of the places, from the first, ever held an object.
    pub(super) used: usize,
}

impl<T> Storage<T> {
    pub(super) fn new(domain: Domain) -> Self {
        let memory = Memory {
            slabs: Vec::new(),
            vacant: Vec::new(),
        };
        Self {
            domain,
            memory: Mutex::new(memory),
        }
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Memory<T>> {
        // Whole between any two statements, so a thread that panicked did no harm.
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Storage<T> {
    fn drop(&mut self) {
        // No writer, no link: nobody can reach an object any more.
        if !needs_drop::<T>() {
            return;
        }
        let mut memory = self.lock();
        let mut vacant = std::mem::take(&mut memory.vacant);
        vacant.sort_unstable();
        for slab in &memory.slabs {
            for index in 0..slab.used {
                // SAFETY: the index is below the slab's capacity.
                let object = unsafe { slab.start.add(index) };
                if vacant.binary_search(&object).is_err() {
                    // SAFETY: every used place that is not vacant holds an object, and each is visited
                    // once.
                    unsafe { object.drop_in_place() };
                }
            }
        }
    }
}

impl<T> Slab<T> {
    /// Memory for that many objects.
    pub(super) fn new(capacity: usize) -> Self {
        let places = Box::leak(Box::<[T]>::new_uninit_slice(capacity));
        Self {
            start: NonNull::from(places).cast(),
            capacity,
            used: 0,
        }
    }
}

impl<T> Drop for Slab<T> {
    fn drop(&mut self) {
        let places = slice_from_raw_parts_mut(self.start.as_ptr().cast::<MaybeUninit<T>>(), self.capacity);
        // SAFETY: `new` made them from a box of that many places.
        drop(unsafe { Box::from_raw(places) });
    }
}
