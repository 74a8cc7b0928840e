//! Frames: packet buffers that move. A frame has one owner at a time, so that using one twice does not compile,
//! and one that is dropped goes back to the pool that it came from, so that none is lost.
#![allow(unsafe_code)]

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::mem::ManuallyDrop;
use std::ptr::NonNull;
use std::rc::Rc;

/// Bytes asked for do not fit in a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{wanted} bytes do not fit in a frame of {capacity}")]
pub struct FrameTooSmall {
    /// Bytes asked for.
    pub wanted: usize,
    /// Bytes that the frame can hold.
    pub capacity: usize,
}

/// A fixed number of frames of equal size, for one worker: a UMEM or plain memory.
///
/// The handle is cheap to clone. The memory stays until the last handle and the last frame are gone.
#[derive(Clone)]
pub struct FramePool {
    shared: Rc<Shared>,
    /// Where frames come from for packets that ordinary ones don't hold.
    long: Option<Rc<Shared>>,
}

struct Shared {
    /// Data start of frame 0; frame n starts `n * stride` further on.
    base: NonNull<u8>,
    stride: usize,
    capacity: usize,
    count: u32,
    free: RefCell<Vec<u32>>,
    /// Keeps the memory behind `base` where it is.
    _region: Box<dyn Any>,
}

impl FramePool {
    /// A pool in plain memory: `count` frames that hold up to `capacity` bytes each.
    pub fn in_memory(count: u32, capacity: usize) -> Self {
        let mut region = vec![0u8; count as usize * capacity];
        let base = NonNull::new(region.as_mut_ptr()).unwrap_or(NonNull::dangling());
        // SAFETY: the region holds `count * capacity` bytes, its heap memory does not move when the box does,
        // and nothing else touches it since only the pool keeps the box.
        unsafe { Self::over_region(Box::new(region), base, capacity, capacity, count) }
    }

    /// A pool over memory that exists: frame `n` is the `capacity` bytes from `base + n * stride`.
    ///
    /// # Safety
    /// For each `n` below `count` these bytes must be valid for reads and writes as long as `region` lives, must not overlap,
    /// and must be accessed by nobody but the owner of frame `n` (and by the kernel while the frame is lent to it).
    pub(crate) unsafe fn over_region(
        region: Box<dyn Any>,
        base: NonNull<u8>,
        stride: usize,
        capacity: usize,
        count: u32,
    ) -> Self {
        // Handed out from the end: the first frames taken are those with the lowest numbers.
        let free = RefCell::new((0..count).rev().collect());
        Self {
            shared: Rc::new(Shared {
                base,
                stride,
                capacity,
                count,
                free,
                _region: region,
            }),
            long: None,
        }
    }

    /// This pool, with the frames of another one for packets that its own don't hold.
    pub fn with_long_frames(self, long: Self) -> Self {
        Self {
            long: Some(long.shared),
            ..self
        }
    }

    /// The pool of long frames, if there is one.
    pub fn long_frames(&self) -> Option<Self> {
        self.long.as_ref().map(|long| Self {
            shared: Rc::clone(long),
            long: None,
        })
    }

    /// An empty frame, or `None` when all are in use.
    #[inline]
    pub fn take(&self) -> Option<Frame> {
        Shared::take(&self.shared)
    }

    /// An empty long frame; `None` when all are in use or there are none.
    pub fn take_long(&self) -> Option<Frame> {
        Shared::take(self.long.as_ref()?)
    }

    /// An empty frame that holds so many bytes; `None` when all are in use or none is as long.
    #[inline]
    pub fn take_for(&self, len: usize) -> Option<Frame> {
        if len <= self.shared.capacity {
            return self.take();
        }
        self.take_long().filter(|frame| len <= frame.capacity())
    }

    /// A frame that holds a copy of `bytes`; `None` when all are in use or the bytes do not fit.
    pub fn take_filled(&self, bytes: &[u8]) -> Option<Frame> {
        let mut frame = self.take_for(bytes.len())?;
        frame.set_len(bytes.len()).ok()?;
        frame.bytes_mut().copy_from_slice(bytes);
        Some(frame)
    }

    /// Frames that nobody holds, long ones not among them; nor are they in the numbers that follow.
    pub fn free(&self) -> usize {
        self.shared.free.borrow().len()
    }

    /// All frames of the pool.
    pub fn count(&self) -> usize {
        self.shared.count as usize
    }

    /// Frames in use: received, held by a channel, queued for transmission or lent to the kernel.
    pub fn in_use(&self) -> usize {
        self.count() - self.free()
    }

    /// Bytes that each frame can hold.
    pub fn frame_capacity(&self) -> usize {
        self.shared.capacity
    }

    /// Bytes of the longest packet that there are frames for.
    pub fn longest(&self) -> usize {
        let long = self.long.as_ref().map_or(0, |long| long.capacity);
        long.max(self.shared.capacity)
    }

    /// Takes a frame back from the kernel, which it was lent to by [`Frame::lend`].
    ///
    /// # Safety
    /// `index` must come from `lend` of a frame of this pool, and must not have been taken back since.
    ///
    /// # Panics
    /// If `index` is no frame of this pool, or `len` is more than a frame holds: the kernel broke its word.
    #[inline]
    pub(crate) unsafe fn take_back(&self, index: u32, len: usize) -> Frame {
        assert!(
            index < self.shared.count && len <= self.shared.capacity,
            "descriptor outside of the UMEM"
        );
        Shared::frame(&self.shared, index, len)
    }
}

impl Shared {
    #[inline]
    fn take(pool: &Rc<Self>) -> Option<Frame> {
        let index = pool.free.borrow_mut().pop()?;
        Some(Self::frame(pool, index, 0))
    }

    #[inline]
    fn frame(pool: &Rc<Self>, index: u32, len: usize) -> Frame {
        // SAFETY: index is below count, so the offset stays inside of the region (`over_region`'s contract).
        let data = unsafe { pool.base.add(index as usize * pool.stride) };
        Frame {
            data,
            len: len as u32,
            index,
            pool: Rc::clone(pool),
        }
    }
}

impl fmt::Debug for FramePool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FramePool")
            .field("count", &self.count())
            .field("free", &self.free())
            .finish()
    }
}

/// One packet buffer. It moves and can't be copied; dropped, it returns to its pool.
pub struct Frame {
    data: NonNull<u8>,
    len: u32,
    index: u32,
    pool: Rc<Shared>,
}

impl Frame {
    /// The bytes of the packet.
    #[inline]
    pub fn bytes(&self) -> &[u8] {
        // SAFETY: `data` starts this frame's own bytes and `len` never exceeds their capacity; the frame is their only owner.
        unsafe { std::slice::from_raw_parts(self.data.as_ptr(), self.len as usize) }
    }

    /// The bytes of the packet, for writing.
    #[inline]
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        // SAFETY: as in `bytes`, and `&mut self` makes the access exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.data.as_ptr(), self.len as usize) }
    }

    /// Has the processor fetch the headers into its cache while it does other things.
    #[inline]
    pub fn prefetch(&self) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch is a hint that reads nothing as far as the program can tell, and the pointer is valid anyway.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_T0>(self.data.as_ptr().cast());
        }
    }

    /// Length of the packet in bytes.
    #[inline]
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether the frame holds no bytes.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Bytes that the frame can hold.
    pub fn capacity(&self) -> usize {
        self.pool.capacity
    }

    /// Sets the length of the packet; bytes beyond the former length have any value.
    ///
    /// # Errors
    /// If the frame can't hold that much; it is unchanged then.
    #[inline]
    pub fn set_len(&mut self, len: usize) -> Result<(), FrameTooSmall> {
        if len > self.pool.capacity {
            return Err(FrameTooSmall {
                wanted: len,
                capacity: self.pool.capacity,
            });
        }
        self.len = len as u32;
        Ok(())
    }

    /// Adds bytes behind the end of the packet.
    ///
    /// # Errors
    /// If the frame can't hold that much; it is unchanged then.
    pub fn append(&mut self, bytes: &[u8]) -> Result<(), FrameTooSmall> {
        let end = self.len();
        self.set_len(end + bytes.len())?;
        self.bytes_mut()[end..].copy_from_slice(bytes);
        Ok(())
    }

    /// Makes room for `count` bytes at `at`, moving what follows back; the new bytes have any value.
    ///
    /// # Errors
    /// If the frame can't hold that much; it is unchanged then.
    ///
    /// # Panics
    /// If `at` lies beyond the end of the packet.
    pub fn insert(&mut self, at: usize, count: usize) -> Result<(), FrameTooSmall> {
        let end = self.len();
        assert!(at <= end, "insertion beyond the end of the packet");
        self.set_len(end + count)?;
        self.bytes_mut().copy_within(at..end, at + count);
        Ok(())
    }

    /// Removes `count` bytes from `at` on, moving what follows forward.
    ///
    /// # Panics
    /// If the packet has no such bytes.
    pub fn remove(&mut self, at: usize, count: usize) {
        let end = self.len();
        assert!(at + count <= end, "removal beyond the end of the packet");
        self.bytes_mut().copy_within(at + count..end, at);
        self.len -= count as u32;
    }

    /// Lends the frame to the kernel, which gets its number in the pool; [`FramePool::take_back`] ends that.
    #[inline]
    pub(crate) fn lend(self) -> u32 {
        let frame = ManuallyDrop::new(self);
        // SAFETY: the frame is not used after this and its drop does not run, so the reference is given up exactly once.
        drop(unsafe { std::ptr::read(&frame.pool) });
        frame.index
    }

    /// Whether the frame is one of this pool.
    pub fn belongs_to(&self, pool: &FramePool) -> bool {
        Rc::ptr_eq(&self.pool, &pool.shared)
    }
}

impl Drop for Frame {
    #[inline]
    fn drop(&mut self) {
        self.pool.free.borrow_mut().push(self.index);
    }
}

impl fmt::Debug for Frame {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Frame")
            .field("index", &self.index)
            .field("len", &self.len)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_dropped_frame_returns_to_its_pool() {
        let pool = FramePool::in_memory(2, 64);
        let first = pool.take().unwrap();
        let second = pool.take().unwrap();
        assert!(pool.take().is_none());
        assert_eq!(pool.in_use(), 2);
        drop(first);
        assert_eq!(pool.in_use(), 1);
        drop(second);
        assert_eq!(pool.free(), 2);
    }

    #[test]
    fn frames_do_not_overlap() {
        let pool = FramePool::in_memory(8, 16);
        let mut frames: Vec<_> = (0..8u8).map(|n| pool.take_filled(&[n; 16]).unwrap()).collect();
        frames[3].bytes_mut().fill(0xff);
        for (n, frame) in frames.iter().enumerate() {
            let expected = if n == 3 { 0xff } else { n as u8 };
            assert_eq!(frame.bytes(), [expected; 16]);
        }
    }

    #[test]
    fn a_lent_frame_stays_in_use_until_it_is_taken_back() {
        let pool = FramePool::in_memory(1, 16);
        let index = pool.take_filled(&[7; 4]).unwrap().lend();
        assert_eq!(pool.in_use(), 1);
        // SAFETY: lent just above and taken back once.
        let frame = unsafe { pool.take_back(index, 4) };
        assert_eq!(frame.bytes(), [7; 4]);
        drop(frame);
        assert_eq!(pool.free(), 1);
    }

    #[test]
    fn bytes_are_inserted_and_removed_in_the_middle() {
        let pool = FramePool::in_memory(1, 8);
        let mut frame = pool.take_filled(b"abcdef").unwrap();
        frame.insert(2, 2).unwrap();
        frame.bytes_mut()[2..4].copy_from_slice(b"XY");
        assert_eq!(frame.bytes(), b"abXYcdef");
        assert_eq!(
            frame.insert(0, 1),
            Err(FrameTooSmall {
                wanted: 9,
                capacity: 8
            })
        );
        frame.remove(1, 3);
        assert_eq!(frame.bytes(), b"acdef");
    }

    #[test]
    fn long_packets_get_long_frames() {
        let pool = FramePool::in_memory(1, 4).with_long_frames(FramePool::in_memory(1, 8));
        assert_eq!((pool.frame_capacity(), pool.longest()), (4, 8));
        let short = pool.take_filled(b"1234").unwrap();
        assert!(pool.take_filled(b"1").is_none());
        assert!(pool.take_for(9).is_none());
        let mut long = pool.take_filled(b"12345").unwrap();
        assert!(short.belongs_to(&pool) && !long.belongs_to(&pool));
        assert!(pool.take_long().is_none());
        long.append(b"678").unwrap();
        long.append(b"9").unwrap_err();
        assert_eq!(long.bytes(), b"12345678");
        drop(long);
        assert_eq!((pool.in_use(), pool.long_frames().unwrap().free()), (1, 1));
        assert!(FramePool::in_memory(1, 4).take_long().is_none());
    }

    #[test]
    fn the_memory_outlives_the_pool_handle() {
        let pool = FramePool::in_memory(1, 8);
        let frame = pool.take_filled(b"still").unwrap();
        drop(pool);
        assert_eq!(frame.bytes(), b"still");
    }
}
