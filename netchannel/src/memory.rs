//! Large arrays that start as zeros, in huge pages, and take memory only as they are used.
#![allow(unsafe_code)]

use std::alloc::{Layout, handle_alloc_error};
use std::marker::PhantomData;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use zerocopy::FromZeros;

/// Advice is for multiples of this: all page sizes are ones.
const PAGE: usize = 64 << 10;
/// What is smaller than a huge page needs no advice.
const HUGE_PAGE: usize = 2 << 20;

/// An array of a fixed length whose values are all zeros at first. What was never written takes no memory, to the page; lookups all over it
/// find its pages' addresses in the processor's caches, for the pages are huge where the kernel has such.
#[derive(Debug)]
pub(crate) struct ZeroedArray<T> {
    start: NonNull<T>,
    len: usize,
    values: PhantomData<T>,
}

// SAFETY: it owns its values like a vector.
unsafe impl<T: Send> Send for ZeroedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for ZeroedArray<T> {}

impl<T: FromZeros + Copy> ZeroedArray<T> {
    /// An array of `len` zeros. It starts at a page, so that values of one cache line's size and alignment are in one each.
    pub(crate) fn new(len: usize) -> Self {
        let layout = Layout::array::<T>(len).unwrap_or_else(|_| handle_alloc_error(Layout::new::<T>()));
        if layout.size() == 0 {
            return Self {
                start: NonNull::dangling(),
                len,
                values: PhantomData,
            };
        }
        // SAFETY: a new anonymous mapping touches no memory that is there.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                layout.size(),
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
                -1,
                0,
            )
        };
        let Some(memory) = NonNull::new(start).filter(|_| start != libc::MAP_FAILED) else {
            handle_alloc_error(layout)
        };
        advise_huge_pages(memory.cast(), layout.size());
        Self {
            start: memory.cast(),
            len,
            values: PhantomData,
        }
    }
}

/// Asks for huge pages. If there are none, small ones do as well.
fn advise_huge_pages(start: NonNull<u8>, size: usize) {
    // SAFETY: the advice changes how the memory is mapped, not what it holds; it is the caller's own.
    unsafe {
        libc::madvise(start.as_ptr().cast(), size, libc::MADV_HUGEPAGE);
    }
}

/// An empty vector with room for `capacity` values, in huge pages if there are such, of which only what is used is taken.
pub(crate) fn vec_in_huge_pages<T>(capacity: usize) -> Vec<T> {
    let mut values = Vec::with_capacity(capacity);
    let room = values.spare_capacity_mut();
    let size = size_of_val(room);
    if let Some(start) = NonNull::new(room.as_mut_ptr().cast::<u8>()) {
        // The advice is for whole pages.
        let skipped = start.align_offset(PAGE);
        if let Some(rest) = size.checked_sub(skipped).filter(|&rest| rest >= HUGE_PAGE) {
            // SAFETY: the start of the page lies inside of the vector's room.
            advise_huge_pages(unsafe { start.add(skipped) }, rest);
        }
    }
    values
}

impl<T> Deref for ZeroedArray<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` values and starts at a page, which every alignment divides; zeros are values of `T`.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> DerefMut for ZeroedArray<T> {
    #[inline(always)]
    fn deref_mut(&mut self) -> &mut [T] {
        // SAFETY: as above, and the array is borrowed for nobody else.
        unsafe { std::slice::from_raw_parts_mut(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for ZeroedArray<T> {
    fn drop(&mut self) {
        let size = self.len * size_of::<T>();
        if size > 0 {
            // SAFETY: this is the mapping that `new` made, and nothing borrows it any more.
            unsafe { libc::munmap(self.start.as_ptr().cast(), size) };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn starts_as_zeros_and_keeps_what_is_written() {
        let mut array = ZeroedArray::<[u64; 3]>::new(1_000_003);
        assert_eq!(array.len(), 1_000_003);
        assert_eq!(array.as_ptr().align_offset(4096), 0);
        for place in [0, 7, 500_000, 1_000_002] {
            assert_eq!(array[place], [0; 3]);
            array[place] = [place as u64; 3];
        }
        assert_eq!(array[500_000], [500_000; 3]);
        assert_eq!(array[500_001], [0; 3]);
    }

    #[test]
    fn vectors_have_their_room() {
        for capacity in [0, 10, 1_000_000] {
            let mut values = vec_in_huge_pages::<[u32; 3]>(capacity);
            assert!(values.capacity() >= capacity);
            let start = values.as_ptr();
            (0..capacity).for_each(|value| values.push([value as u32; 3]));
            assert_eq!(values.as_ptr(), start);
            assert!(
                values
                    .iter()
                    .zip(0..)
                    .all(|(value, number)| *value == [number; 3])
            );
        }
    }

    #[test]
    fn may_be_empty() {
        assert!(ZeroedArray::<u64>::new(0).is_empty());
    }
}
