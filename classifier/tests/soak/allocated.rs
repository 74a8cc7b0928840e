//! How much memory the process has allocated, and which part of it in this thread.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

#[global_allocator]
static ALLOCATOR: Counting = Counting {
    bytes: AtomicUsize::new(0),
};

/// Bytes that are allocated now, as they were asked for.
pub(crate) fn allocated() -> usize {
    ALLOCATOR.bytes.load(Ordering::Relaxed)
}

thread_local! {
    // Without a destructor, and made by the compiler: so it can be used in an allocator.
    static HERE: Cell<isize> = const { Cell::new(0) };
}

/// Bytes that this thread has allocated, without those that it has freed, whoever allocated them.
pub(crate) fn allocated_here() -> isize {
    HERE.get()
}

/// The same of all other threads.
pub(crate) fn allocated_elsewhere() -> isize {
    allocated() as isize - allocated_here()
}

fn count_here(more: usize, less: usize) {
    HERE.set(HERE.get() + more as isize - less as isize);
}

/// The system's allocator, with a count.
struct Counting {
    bytes: AtomicUsize,
}

// SAFETY: all is done by the system's allocator, with the arguments that came; counting allocates nothing.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let pointer = unsafe { System.alloc(layout) };
        if !pointer.is_null() {
            self.bytes.fetch_add(layout.size(), Ordering::Relaxed);
            count_here(layout.size(), 0);
        }
        pointer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        if !pointer.is_null() {
            self.bytes.fetch_add(layout.size(), Ordering::Relaxed);
            count_here(layout.size(), 0);
        }
        pointer
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's promise.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        if !moved.is_null() {
            self.bytes.fetch_add(size, Ordering::Relaxed);
            self.bytes.fetch_sub(layout.size(), Ordering::Relaxed);
            count_here(size, layout.size());
        }
        moved
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promise.
        unsafe { System.dealloc(pointer, layout) };
        self.bytes.fetch_sub(layout.size(), Ordering::Relaxed);
        count_here(0, layout.size());
    }
}
