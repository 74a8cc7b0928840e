//! Comparing a key with rules: all dimensions of one rule at once, or one dimension of sixteen rules.
#![allow(unsafe_code)]

use super::entry::{Bounds, Entry};
use super::residual::{BLOCK, Lanes};
use crate::word::Word;

/// The processor instructions that comparisons use. All give the same answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Instructions {
    /// What every processor has.
    Portable,
    /// 256-bit vectors (x86-64 with AVX2), for 32-bit words.
    Avx2,
    /// 512-bit vectors (x86-64 with AVX-512 F, BW, CD, DQ and VL), for 32-bit words.
    Avx512,
}

impl Instructions {
    /// All, the most wanted first.
    pub const ALL: [Self; 3] = [Self::Avx512, Self::Avx2, Self::Portable];

    /// Whether this processor has them.
    pub fn is_available(self) -> bool {
        #[cfg(target_arch = "x86_64")]
        {
            let bits = is_x86_feature_detected!("bmi1")
                && is_x86_feature_detected!("bmi2")
                && is_x86_feature_detected!("lzcnt")
                && is_x86_feature_detected!("popcnt");
            match self {
                Self::Portable => true,
                Self::Avx2 => bits && is_x86_feature_detected!("avx2"),
                Self::Avx512 => {
                    bits && is_x86_feature_detected!("avx512f")
                        && is_x86_feature_detected!("avx512bw")
                        && is_x86_feature_detected!("avx512cd")
                        && is_x86_feature_detected!("avx512dq")
                        && is_x86_feature_detected!("avx512vl")
                }
            }
        }
        #[cfg(not(target_arch = "x86_64"))]
        {
            self == Self::Portable
        }
    }

    /// The fastest that this processor has.
    pub fn best() -> Self {
        Self::ALL
            .into_iter()
            .find(|instructions| instructions.is_available())
            .unwrap_or(Self::Portable)
    }

    /// These, or what takes their place where the processor or the word doesn't have them.
    pub(super) fn for_words<W: Word>(self) -> Self {
        if W::BITS == u32::BITS && self.is_available() {
            self
        } else {
            Self::Portable
        }
    }
}

/// A way to compare.
pub(super) trait Compare: Copy {
    /// Whether the key is in the entry's ranges.
    ///
    /// # Safety
    ///
    /// The processor has the instructions, and the word is one that they are for.
    unsafe fn accepts<W: Word, A, const D: usize>(self, key: &Bounds<W, D>, entry: &Entry<W, A, D>) -> bool;

    /// Which of sixteen rules accept the key: the lowest bit for the first.
    ///
    /// # Safety
    ///
    /// As [`accepts`](Self::accepts).
    unsafe fn accepting<W: Word, const D: usize>(self, key: &[W; D], rules: &Lanes<W, D>) -> u16;
}

#[derive(Clone, Copy)]
pub(super) struct Portable;

impl Compare for Portable {
    #[inline(always)]
    unsafe fn accepts<W: Word, A, const D: usize>(self, key: &Bounds<W, D>, entry: &Entry<W, A, D>) -> bool {
        let mut inside = true;
        for dimension in 0..D {
            inside &= key.low[dimension] >= entry.low[dimension];
            inside &= key.not_high[dimension] >= entry.not_high[dimension];
        }
        inside
    }

    #[inline(always)]
    unsafe fn accepting<W: Word, const D: usize>(self, key: &[W; D], rules: &Lanes<W, D>) -> u16 {
        let mut accepting = u16::MAX;
        for (dimension, &value) in key.iter().enumerate() {
            let mut inside = 0u16;
            for lane in 0..BLOCK {
                let lane_inside = rules.low[dimension][lane] <= value && value <= rules.high[dimension][lane];
                inside |= u16::from(lane_inside) << lane;
            }
            accepting &= inside;
            if accepting == 0 {
                break;
            }
        }
        accepting
    }
}

#[cfg(target_arch = "x86_64")]
pub(super) use x86::{Avx2, Avx512};

#[cfg(target_arch = "x86_64")]
mod x86 {
    use std::arch::x86_64::*;

    use super::{BLOCK, Bounds, Compare, Entry, Lanes, Word};

    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx2;

    #[derive(Clone, Copy)]
    pub(in super::super) struct Avx512;

    impl Compare for Avx2 {
        #[inline(always)]
        unsafe fn accepts<W: Word, A, const D: usize>(
            self,
            key: &Bounds<W, D>,
            entry: &Entry<W, A, D>,
        ) -> bool {
            // SAFETY: the caller's promise; both start with 2 * D words of 32 bits.
            unsafe { accepts_avx2((&raw const *key).cast(), (&raw const *entry).cast(), 2 * D) }
        }

        #[inline(always)]
        unsafe fn accepting<W: Word, const D: usize>(self, key: &[W; D], rules: &Lanes<W, D>) -> u16 {
            // SAFETY: the caller's promise; the key has D words of 32 bits, and the lanes that times 16.
            unsafe {
                accepting_avx2(
                    key.as_ptr().cast(),
                    rules.low.as_ptr().cast(),
                    rules.high.as_ptr().cast(),
                    D,
                )
            }
        }
    }

    impl Compare for Avx512 {
        #[inline(always)]
        unsafe fn accepts<W: Word, A, const D: usize>(
            self,
            key: &Bounds<W, D>,
            entry: &Entry<W, A, D>,
        ) -> bool {
            // SAFETY: the caller's promise; both start with 2 * D words of 32 bits.
            unsafe { accepts_avx512((&raw const *key).cast(), (&raw const *entry).cast(), 2 * D) }
        }

        #[inline(always)]
        unsafe fn accepting<W: Word, const D: usize>(self, key: &[W; D], rules: &Lanes<W, D>) -> u16 {
            // SAFETY: the caller's promise; the key has D words of 32 bits, and the lanes that times 16.
            unsafe {
                accepting_avx512(
                    key.as_ptr().cast(),
                    rules.low.as_ptr().cast(),
                    rules.high.as_ptr().cast(),
                    D,
                )
            }
        }
    }

    /// Whether each of `count` words of the key is at least that of the entry.
    ///
    /// # Safety
    ///
    /// The processor has AVX2, and `count` words can be read from both.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn accepts_avx2(key: *const u32, entry: *const u32, count: usize) -> bool {
        let mut at = 0;
        let mut inside = _mm256_set1_epi32(-1);
        while at < count {
            // Words behind the last are not read: others write there.
            let lanes = _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7);
            let mask = _mm256_cmpgt_epi32(_mm256_set1_epi32((count - at) as i32), lanes);
            // SAFETY: the mask leaves out what is behind `count`.
            let (key, entry) = unsafe {
                (
                    _mm256_maskload_epi32(key.add(at).cast(), mask),
                    _mm256_maskload_epi32(entry.add(at).cast(), mask),
                )
            };
            // Lanes that are left out hold 0 on both sides.
            inside = _mm256_and_si256(inside, _mm256_cmpeq_epi32(_mm256_max_epu32(key, entry), key));
            at += 8;
        }
        _mm256_movemask_epi8(inside) == -1
    }

    /// Which of 16 rules hold the key's `count` values.
    ///
    /// # Safety
    ///
    /// The processor has AVX2; `count` words can be read from the key, and 16 times that from the others.
    #[inline]
    #[target_feature(enable = "avx2")]
    unsafe fn accepting_avx2(key: *const u32, low: *const u32, high: *const u32, count: usize) -> u16 {
        let mut accepting = u16::MAX;
        for dimension in 0..count {
            let mut inside = 0u32;
            // SAFETY: the caller's promise: 16 words of each for every dimension.
            let (value, low, high) = unsafe {
                (
                    _mm256_set1_epi32(key.add(dimension).read() as i32),
                    low.add(dimension * BLOCK),
                    high.add(dimension * BLOCK),
                )
            };
            for half in 0..2 {
                // SAFETY: as above.
                let (low, high) = unsafe {
                    (
                        _mm256_loadu_si256(low.add(half * 8).cast()),
                        _mm256_loadu_si256(high.add(half * 8).cast()),
                    )
                };
                let above = _mm256_cmpeq_epi32(_mm256_max_epu32(value, low), value);
                let below = _mm256_cmpeq_epi32(_mm256_min_epu32(value, high), value);
                let both = _mm256_castsi256_ps(_mm256_and_si256(above, below));
                inside |= (_mm256_movemask_ps(both) as u32) << (half * 8);
            }
            accepting &= inside as u16;
            if accepting == 0 {
                break;
            }
        }
        accepting
    }

    /// Whether each of `count` words of the key is at least that of the entry.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F, and `count` words can be read from both.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn accepts_avx512(key: *const u32, entry: *const u32, count: usize) -> bool {
        let mut at = 0;
        let mut outside = 0u16;
        while at < count {
            // Words behind the last are not read: others write there.
            let mask = if count - at >= 16 {
                u16::MAX
            } else {
                (1 << (count - at)) - 1
            };
            // SAFETY: the mask leaves out what is behind `count`.
            let (key, entry) = unsafe {
                (
                    _mm512_maskz_loadu_epi32(mask, key.add(at).cast()),
                    _mm512_maskz_loadu_epi32(mask, entry.add(at).cast()),
                )
            };
            outside |= _mm512_mask_cmplt_epu32_mask(mask, key, entry);
            at += 16;
        }
        outside == 0
    }

    /// Which of 16 rules hold the key's `count` values.
    ///
    /// # Safety
    ///
    /// The processor has AVX-512 F; `count` words can be read from the key, and 16 times that from the
    /// others.
    #[inline]
    #[target_feature(enable = "avx512f")]
    unsafe fn accepting_avx512(key: *const u32, low: *const u32, high: *const u32, count: usize) -> u16 {
        let mut accepting = u16::MAX;
        for dimension in 0..count {
            // SAFETY: the caller's promise: 16 words of each for every dimension.
            let (value, low, high) = unsafe {
                (
                    _mm512_set1_epi32(key.add(dimension).read() as i32),
                    _mm512_loadu_si512(low.add(dimension * BLOCK).cast()),
                    _mm512_loadu_si512(high.add(dimension * BLOCK).cast()),
                )
            };
            accepting = _mm512_mask_cmpge_epu32_mask(accepting, value, low);
            accepting = _mm512_mask_cmple_epu32_mask(accepting, value, high);
            if accepting == 0 {
                break;
            }
        }
        accepting
    }
}
