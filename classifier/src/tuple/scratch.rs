//! Arrays on the stack that are not cleared first.
#![allow(unsafe_code)]

use std::mem::MaybeUninit;

/// `N` values, of which only those that were set may be read.
#[repr(align(64))]
pub(super) struct Scratch<T, const N: usize> {
    values: [MaybeUninit<T>; N],
}

impl<T: Copy, const N: usize> Scratch<T, N> {
    #[inline(always)]
    pub(super) const fn new() -> Self {
        Self {
            values: [const { MaybeUninit::uninit() }; N],
        }
    }

    /// Stores a value.
    ///
    /// # Safety
    ///
    /// The index is below `N`.
    #[inline(always)]
    pub(super) unsafe fn set(&mut self, index: usize, value: T) {
        debug_assert!(index < N);
        // SAFETY: the caller's promise.
        unsafe { self.values.get_unchecked_mut(index) }.write(value);
    }

    /// A value that was set.
    ///
    /// # Safety
    ///
    /// The index was [set](Self::set).
    #[inline(always)]
    pub(super) unsafe fn get(&self, index: usize) -> &T {
        debug_assert!(index < N);
        // SAFETY: the caller's promise.
        unsafe { self.values.get_unchecked(index).assume_init_ref() }
    }

    /// Where the value of that index is, for vectors that read several.
    #[inline(always)]
    pub(super) const fn address(&self, index: usize) -> *const T {
        self.values.as_ptr().cast::<T>().wrapping_add(index)
    }

    /// Where the value of that index is, for vectors that write several.
    #[inline(always)]
    pub(super) const fn address_mut(&mut self, index: usize) -> *mut T {
        self.values.as_mut_ptr().cast::<T>().wrapping_add(index)
    }
}
