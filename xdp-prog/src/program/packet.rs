//! Bounds-checked reads of packet memory.

use aya_ebpf::programs::XdpContext;
use xdp_prog::Verdict;

use super::Decision;

/// What is left of a frame's first buffer, from some header on.
#[derive(Clone, Copy)]
pub(super) struct Packet {
    start: usize,
    end: usize,
}

impl Packet {
    #[inline(always)]
    pub(super) fn new(ctx: &XdpContext) -> Self {
        Self {
            start: ctx.data(),
            end: ctx.data_end(),
        }
    }

    /// The header at the start.
    ///
    /// References into packet memory may be less aligned than their type says: packet loads need no alignment
    /// on the machines whose kernel lets the program in (others' verifiers refuse it), and reading byte by byte
    /// would make the program a good deal longer.
    #[inline(always)]
    pub(super) fn header<T>(&self) -> Decision<&'static T> {
        if self.start + size_of::<T>() > self.end {
            return Err(Verdict::Malformed);
        }
        // SAFETY: the header lies within the packet, as just checked (the verifier checks the same again), and
        // packet memory lives as long as the program runs.
        Ok(unsafe { &*(self.start as *const T) })
    }

    /// What comes after `length` bytes.
    #[inline(always)]
    pub(super) fn skip(&self, length: usize) -> Self {
        Self {
            start: self.start + length,
            end: self.end,
        }
    }
}
