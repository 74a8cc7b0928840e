//! Memory that is shared with the XDP program: its maps, or, without a kernel, memory of this process alone.
#![allow(unsafe_code)]

use std::io;
use std::ops::Deref;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::{self, NonNull};
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64};

use xdp_prog::offload::{Ipv4Entry, Ipv6Entry, WayRecord};

/// What may lie in shared memory.
///
/// # Safety
///
/// All of it must be atomic, so that others may change it at any time, and any bytes must be a valid value. Its size must be a
/// multiple of 8 bytes or divide them, for the kernel rounds the size of a map's values up to that.
pub(super) unsafe trait Shared: Sync {}

/// The tags of a bucket.
pub(super) type Tags = [AtomicU8; xdp_prog::offload::BUCKET];

// SAFETY: eight atomic bytes.
unsafe impl Shared for Tags {}
// SAFETY: the structure is made of its words and leaves no gap, as is checked where it is defined.
unsafe impl Shared for Ipv4Entry<AtomicU32, AtomicU64> {}
// SAFETY: as above.
unsafe impl Shared for Ipv6Entry<AtomicU32, AtomicU64> {}
// SAFETY: as above.
unsafe impl Shared for WayRecord<AtomicU32, AtomicU64> {}

/// An array in shared memory. It starts as zeros.
pub(super) struct SharedArray<T> {
    start: NonNull<T>,
    len: usize,
}

// SAFETY: it owns the mapping, and what is in it may be used by any thread.
unsafe impl<T: Shared> Send for SharedArray<T> {}
// SAFETY: as above.
unsafe impl<T: Shared> Sync for SharedArray<T> {}

impl<T: Shared> SharedArray<T> {
    /// Memory of this process alone.
    ///
    /// # Errors
    ///
    /// If there is not enough.
    pub(super) fn anonymous(len: usize) -> io::Result<Self> {
        Self::map(len, libc::MAP_PRIVATE | libc::MAP_ANONYMOUS, -1)
    }

    /// The values of a map of the kernel, an array of at least `len` of them that may be mapped (BPF_F_MMAPABLE).
    ///
    /// # Errors
    ///
    /// What the kernel says.
    pub(super) fn of_map(map: BorrowedFd<'_>, len: usize) -> io::Result<Self> {
        Self::map(len, libc::MAP_SHARED, map.as_raw_fd())
    }

    fn map(len: usize, flags: libc::c_int, file: libc::c_int) -> io::Result<Self> {
        let size = len
            .checked_mul(size_of::<T>())
            .ok_or(io::ErrorKind::OutOfMemory)?;
        if size == 0 {
            return Ok(Self {
                start: NonNull::dangling(),
                len: 0,
            });
        }
        // SAFETY: a new mapping at a place that the kernel chooses touches no memory that is there.
        let start = unsafe {
            libc::mmap(
                ptr::null_mut(),
                size,
                libc::PROT_READ | libc::PROT_WRITE,
                flags,
                file,
                0,
            )
        };
        match NonNull::new(start).filter(|_| start != libc::MAP_FAILED) {
            Some(start) => Ok(Self {
                start: start.cast(),
                len,
            }),
            None => Err(io::Error::last_os_error()),
        }
    }
}

impl<T> Deref for SharedArray<T> {
    type Target = [T];

    #[inline(always)]
    fn deref(&self) -> &[T] {
        // SAFETY: the mapping holds `len` values, for the file is an array of at least so many; it starts at a page, which the values'
        // alignment divides. Any bytes are a value, and all of a value is atomic, as `Shared` says.
        unsafe { std::slice::from_raw_parts(self.start.as_ptr(), self.len) }
    }
}

impl<T> Drop for SharedArray<T> {
    fn drop(&mut self) {
        if self.len > 0 {
            // SAFETY: this is the mapping that was made, and nothing borrows it any more.
            unsafe { libc::munmap(self.start.as_ptr().cast(), self.len * size_of::<T>()) };
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    #[test]
    fn starts_as_zeros_and_keeps_what_is_written() {
        let array = SharedArray::<Tags>::anonymous(1000).expect("memory");
        assert!(array.iter().flatten().all(|tag| tag.load(Ordering::Relaxed) == 0));
        array[999][7].store(3, Ordering::Relaxed);
        assert_eq!(array[999][7].load(Ordering::Relaxed), 3);
        assert!(SharedArray::<Tags>::anonymous(0).expect("none").is_empty());
    }
}
