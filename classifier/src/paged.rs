//! Arrays that grow without being copied, in huge pages once they are large.
#![allow(unsafe_code)]

use std::alloc::{Layout, alloc, dealloc, handle_alloc_error};
use std::marker::PhantomData;
use std::ptr::NonNull;

use crate::prefetch::prefetch_address;

/// The size of the larger pages of x86-64 and of AArch64 with 4 KiB pages. Searches that go all over the memory
/// find its pages' addresses in the processor's caches then.
pub(crate) const HUGE_PAGE: usize = 2 << 20;
/// Smaller arrays start at a cache line.
const LINE: usize = 64;

/// Asks for huge pages. If there are none, small ones do as well.
pub(crate) fn advise_huge_pages(start: NonNull<u8>, size: usize) {
    #[cfg(target_os = "linux")]
    // SAFETY: the advice changes how the memory is mapped, not what it holds; it is the caller's own.
    unsafe {
        libc::madvise(start.as_ptr().cast(), size, libc::MADV_HUGEPAGE);
    }
    #[cfg(not(target_os = "linux"))]
    let _ = (start, size);
}

/// A vector in pages of [`HUGE_PAGE`] bytes. As long as one is enough, it is only as large as needed.
#[derive(Debug)]
pub(crate) struct Paged<T> {
    /// All but the last are full.
    pages: Vec<NonNull<T>>,
    len: usize,
    /// How many values fit into the pages that are there.
    capacity: usize,
    values: PhantomData<T>,
}

// SAFETY: it owns its values like a vector.
unsafe impl<T: Send> Send for Paged<T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Paged<T> {}

impl<T> Paged<T> {
    /// Values in a full page.
    pub(crate) const PER_PAGE: usize = {
        assert!(size_of::<T>() > 0 && size_of::<T>() <= HUGE_PAGE && align_of::<T>() <= LINE);
        HUGE_PAGE / size_of::<T>()
    };

    pub(crate) const fn new() -> Self {
        Self {
            pages: Vec::new(),
            len: 0,
            capacity: 0,
            values: PhantomData,
        }
    }

    #[inline]
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Allocated memory in bytes.
    pub(crate) fn memory(&self) -> usize {
        self.capacity.min(Self::PER_PAGE) * size_of::<T>()
            + self.pages.len().saturating_sub(1) * HUGE_PAGE
            + self.pages.capacity() * size_of::<NonNull<T>>()
    }

    /// Where a value is that fits into the pages.
    ///
    /// # Safety
    ///
    /// The index is below the capacity.
    #[inline(always)]
    unsafe fn place(&self, index: usize) -> NonNull<T> {
        debug_assert!(index < self.capacity);
        // SAFETY: below the capacity, so the page is there and holds the value's place.
        unsafe {
            self.pages
                .get_unchecked(index / Self::PER_PAGE)
                .add(index % Self::PER_PAGE)
        }
    }

    #[inline(always)]
    pub(crate) fn get(&self, index: usize) -> Option<&T> {
        // SAFETY: below the length; all values below it are there.
        (index < self.len).then(|| unsafe { self.place(index).as_ref() })
    }

    #[inline(always)]
    pub(crate) fn get_mut(&mut self, index: usize) -> Option<&mut T> {
        // SAFETY: as above, and the array is borrowed for nobody else.
        (index < self.len).then(|| unsafe { self.place(index).as_mut() })
    }

    /// Starts to load a value into the cache.
    #[inline(always)]
    pub(crate) fn prefetch(&self, index: usize) {
        if let Some(value) = self.get(index) {
            prefetch_address(value);
        }
    }

    /// So many values side by side, which must be there and in one page.
    #[inline(always)]
    pub(crate) fn run(&self, start: usize, count: usize) -> &[T] {
        Self::check_run(start, count, self.len);
        // SAFETY: all of the run is below the length, and in one page, as was checked.
        unsafe { NonNull::slice_from_raw_parts(self.place(start), count).as_ref() }
    }

    /// As [`run`](Self::run).
    #[inline(always)]
    pub(crate) fn run_mut(&mut self, start: usize, count: usize) -> &mut [T] {
        Self::check_run(start, count, self.len);
        // SAFETY: as above, and the array is borrowed for nobody else.
        unsafe { NonNull::slice_from_raw_parts(self.place(start), count).as_mut() }
    }

    #[inline(always)]
    fn check_run(start: usize, count: usize, len: usize) {
        assert!(
            0 < count
                && start < len
                && count <= len - start
                && start % Self::PER_PAGE + count <= Self::PER_PAGE,
            "a run beyond the array or its page"
        );
    }

    #[inline]
    pub(crate) fn push(&mut self, value: T) {
        if self.len == self.capacity {
            self.grow();
        }
        // SAFETY: below the capacity, and nothing is there yet.
        unsafe { self.place(self.len).write(value) };
        self.len += 1;
    }

    /// Makes the only page larger, or adds one.
    #[cold]
    fn grow(&mut self) {
        if self.capacity >= Self::PER_PAGE {
            let page = Self::allocate(Self::PER_PAGE);
            self.pages.push(page);
            self.capacity += Self::PER_PAGE;
            return;
        }
        let least = (4 * LINE).div_ceil(size_of::<T>());
        let capacity = (2 * self.capacity).clamp(least, Self::PER_PAGE);
        let page = Self::allocate(capacity);
        match self.pages.first_mut() {
            Some(first) => {
                // SAFETY: both hold that many values, and are not the same; those of the old page are forgotten
                // with it, which has the layout of its capacity.
                unsafe {
                    page.copy_from_nonoverlapping(*first, self.len);
                    dealloc(first.as_ptr().cast(), Self::layout(self.capacity));
                }
                *first = page;
            }
            None => self.pages.push(page),
        }
        self.capacity = capacity;
    }

    /// The layout of a page for so many values, at most a full one.
    fn layout(capacity: usize) -> Layout {
        let (size, align) = if capacity < Self::PER_PAGE {
            (capacity * size_of::<T>(), LINE)
        } else {
            (HUGE_PAGE, HUGE_PAGE)
        };
        Layout::from_size_align(size, align).unwrap_or_else(|_| unreachable!("at most a huge page"))
    }

    fn allocate(capacity: usize) -> NonNull<T> {
        let layout = Self::layout(capacity);
        // SAFETY: neither the capacity nor the size of a value is zero.
        let Some(start) = NonNull::new(unsafe { alloc(layout) }) else {
            handle_alloc_error(layout)
        };
        if layout.align() == HUGE_PAGE {
            advise_huge_pages(start, layout.size());
        }
        start.cast()
    }

    fn iter(&self) -> impl Iterator<Item = &T> {
        (0..self.len).filter_map(|index| self.get(index))
    }
}

impl<T: Clone> Clone for Paged<T> {
    fn clone(&self) -> Self {
        let mut clone = Self::new();
        self.iter().for_each(|value| clone.push(value.clone()));
        clone
    }
}

impl<T> Drop for Paged<T> {
    fn drop(&mut self) {
        if std::mem::needs_drop::<T>() {
            for index in 0..self.len {
                // SAFETY: the value is there, and not used again.
                unsafe { self.place(index).drop_in_place() };
            }
        }
        for page in &self.pages {
            // SAFETY: allocated with this layout: full, if it is not the only one.
            unsafe {
                dealloc(
                    page.as_ptr().cast(),
                    Self::layout(self.capacity.min(Self::PER_PAGE)),
                )
            };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{HUGE_PAGE, Paged};
    use std::rc::Rc;

    /// Of a size that doesn't divide a page's.
    type Value = [u32; 7];

    #[test]
    fn keeps_its_values_over_several_pages() {
        let mut array = Paged::<Value>::new();
        assert_eq!((array.memory(), array.get(0)), (0, None));
        let count = 2 * Paged::<Value>::PER_PAGE + 5;
        for number in 0..count as u32 {
            array.push([number; 7]);
        }
        let check = |array: &Paged<Value>| {
            assert_eq!(array.len(), count);
            assert!((0..count).all(|index| array.get(index) == Some(&[index as u32; 7])));
            assert_eq!(array.get(count), None);
            let start = Paged::<Value>::PER_PAGE - 3;
            assert!(
                array
                    .run(start, 3)
                    .iter()
                    .zip(start as u32..)
                    .all(|(value, number)| value[0] == number)
            );
            assert!((3 * HUGE_PAGE..3 * HUGE_PAGE + 256).contains(&array.memory()));
        };
        check(&array);
        check(&array.clone());
        array.run_mut(9, 2)[1] = [0; 7];
        assert_eq!(array.get_mut(10), Some(&mut [0; 7]));
    }

    #[test]
    #[should_panic(expected = "beyond the array or its page")]
    fn runs_end_with_their_page() {
        let mut array = Paged::<Value>::new();
        (0..=Paged::<Value>::PER_PAGE).for_each(|_| array.push([0; 7]));
        array.run(Paged::<Value>::PER_PAGE - 1, 2);
    }

    #[test]
    fn small_arrays_take_little_and_start_at_a_cache_line() {
        let mut array = Paged::new();
        for number in 0..1_000u64 {
            array.push(number);
            assert!(array.memory() <= 256 + 16 * number as usize + 32);
            assert_eq!(array.run(0, 1).as_ptr().align_offset(64), 0);
        }
    }

    #[test]
    fn drops_each_value_once() {
        let value = Rc::new(());
        let mut array = Paged::new();
        (0..100).for_each(|_| array.push(Rc::clone(&value)));
        assert_eq!(Rc::strong_count(&value), 101);
        drop(array);
        assert_eq!(Rc::strong_count(&value), 1);
    }
}
