//! One block of memory for the entries of all tables of a state.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

/// Room for a number of values side by side, that are written one by one.
///
/// Nothing is ever dropped in it, so it is for types that need no drop.
#[derive(Debug)]
pub(super) struct Arena<T> {
    start: NonNull<T>,
    capacity: usize,
}

// SAFETY: the arena owns its values; who shares it shares them.
unsafe impl<T: Send> Send for Arena<T> {}
// SAFETY: as above. Writing needs an unsafe call that promises that nobody reads.
unsafe impl<T: Send + Sync> Sync for Arena<T> {}

impl<T> Arena<T> {
    /// Room for `capacity` values.
    pub(super) fn new(capacity: usize) -> Self {
        const { assert!(!std::mem::needs_drop::<T>() && size_of::<T>() > 0) }
        let layout = Self::layout(capacity);
        if layout.size() == 0 {
            return Self {
                start: NonNull::dangling(),
                capacity,
            };
        }
        // SAFETY: the layout's size is not zero.
        let start = unsafe { alloc(layout) };
        let Some(start) = NonNull::new(start.cast()) else {
            handle_alloc_error(layout)
        };
        Self { start, capacity }
    }

    fn layout(capacity: usize) -> Layout {
        // A set of rules of which an array would be too large for the address space can't have been made.
        Layout::array::<T>(capacity).unwrap_or_else(|_| panic!("{capacity} entries exceed the address space"))
    }

    /// Bytes allocated.
    pub(super) const fn memory(&self) -> usize {
        self.capacity * size_of::<T>()
    }

    /// Where the value of that index is; the index may be any.
    #[inline(always)]
    pub(super) fn address(&self, index: usize) -> *const T {
        self.start.as_ptr().wrapping_add(index)
    }

    /// The value of that index.
    ///
    /// # Safety
    ///
    /// The index is below the capacity, a value was [written](Self::write) there, the caller synchronized
    /// with that, and no other is written while the reference lives.
    #[inline(always)]
    pub(super) unsafe fn get(&self, index: usize) -> &T {
        debug_assert!(index < self.capacity);
        // SAFETY: the caller's promise; the address is inside the allocation.
        unsafe { &*self.start.as_ptr().add(index) }
    }

    /// Stores a value.
    ///
    /// # Safety
    ///
    /// The index is below the capacity, and nobody has a reference to what was there.
    #[inline]
    pub(super) unsafe fn write(&self, index: usize, value: T) {
        debug_assert!(index < self.capacity);
        // SAFETY: the caller's promise; the address is inside the allocation.
        unsafe { self.start.as_ptr().add(index).write(value) };
    }
}

impl<T> Drop for Arena<T> {
    fn drop(&mut self) {
        let layout = Self::layout(self.capacity);
        if layout.size() > 0 {
            // SAFETY: allocated with this layout by `new`.
            unsafe { dealloc(self.start.as_ptr().cast(), layout) };
        }
    }
}
