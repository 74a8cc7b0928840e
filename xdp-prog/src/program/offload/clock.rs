//! The kernel's clock, in ticks of the entries' times.
//!
//! To ask the kernel takes as long as all else that is read of a flow. What it says changes only when its count of timer interrupts, the jiffies, does, and
//! that is a word of memory: so the answer is kept for all processors beside the jiffies it was given at.

use core::ptr::{read_volatile, write_volatile};

use aya_ebpf::helpers::generated::{bpf_jiffies64, bpf_ktime_get_coarse_ns};
use xdp_prog::offload::TICK_BITS;

use super::maps;

/// The tick of `CLOCK_MONOTONIC` at the last timer interrupt, or the one before that.
#[inline(always)]
pub(super) fn tick() -> Option<u32> {
    let kept = maps::clock()?;
    // SAFETY: the map's value lives as long as the program runs; whoever else writes it writes the whole word.
    let (jiffies, tick) = split(unsafe { read_volatile(kept) });
    // SAFETY: the helper only reads the count; the verifier puts a load in its place.
    let now = unsafe { bpf_jiffies64() } as u32;
    if jiffies == now && tick != 0 {
        return Some(tick);
    }
    // SAFETY: the helper only reads the clock.
    let tick = (unsafe { bpf_ktime_get_coarse_ns() } >> TICK_BITS) as u32;
    // SAFETY: as above.
    unsafe { write_volatile(kept, u64::from(now) << 32 | u64::from(tick)) };
    Some(tick)
}

#[inline(always)]
fn split(word: u64) -> (u32, u32) {
    ((word >> 32) as u32, word as u32)
}
