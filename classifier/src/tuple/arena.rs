//! One block of memory for the entries of all tables of a state.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::ptr::NonNull;

use crate::paged::{HUGE_PAGE, advise_huge_pages};

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
        let Some(start) = NonNull::new(start) else {
            handle_alloc_error(layout)
        };
        if layout.align() == HUGE_PAGE {
            advise_huge_pages(start, layout.size());
        }
        Self {
            start: start.cast(),
            capacity,
        }
    }

    /// Room for `capacity` values, each made by `value`, that all may be read at once.
    pub(super) fn filled(capacity: usize, value: impl Fn() -> T) -> Self {
        let arena = Self::new(capacity);
        for index in 0..capacity {
            // SAFETY: below the capacity, and nobody else has the arena.
            unsafe { arena.write(index, value()) };
        }
        arena
    }

    fn layout(capacity: usize) -> Layout {
        // A set of rules of which an array would be too large for the address space can't have been made.
        Layout::array::<T>(capacity)
            .and_then(|layout| match layout.size() {
                size if size >= HUGE_PAGE => layout.align_to(HUGE_PAGE),
                _ => Ok(layout),
            })
            .unwrap_or_else(|_| panic!("{capacity} entries exceed the address space"))
    }

    /// How many values there is room for.
    pub(super) const fn capacity(&self) -> usize {
        self.capacity
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

    /// The value of that index, to change it.
    ///
    /// # Safety
    ///
    /// As for [`get`](Self::get), and nobody else has a reference to it.
    pub(super) unsafe fn get_mut(&mut self, index: usize) -> &mut T {
        debug_assert!(index < self.capacity);
        // SAFETY: the caller's promise; the address is inside the allocation.
        unsafe { &mut *self.start.as_ptr().add(index) }
    }

    /// Room for `capacity` values, the first of which are copies of the first `used` of these.
    ///
    /// # Safety
    ///
    /// That many were written here, and none is written meanwhile.
    pub(super) unsafe fn copied(&self, used: usize, capacity: usize) -> Self
    where
        T: Copy,
    {
        let arena = Self::new(capacity);
        assert!(used <= self.capacity && used <= capacity);
        // SAFETY: inside both allocations, which are distinct.
        unsafe {
            arena
                .start
                .as_ptr()
                .copy_from_nonoverlapping(self.start.as_ptr(), used)
        };
        arena
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
